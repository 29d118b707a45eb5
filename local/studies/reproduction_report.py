"""What was found, and the authors' metrics beside ours, as Markdown that can be posted."""

import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from desed_task.desed import CLIP_SETS
from local.studies.find import FoundSet
from local.studies.markdown import markdown_table
from local.studies.runs import ROOT

METRICS = {
    "event_f1_macro": "event F1",
    "psds1_psds_eval": "PSDS1 (50 thresholds)",
    "psds1_sed_scores_eval": "PSDS1 (exact)",
    "psds2_psds_eval": "PSDS2 (50 thresholds)",
    "psds2_sed_scores_eval": "PSDS2 (exact)",
}
SETS = {each.name: each.title for each in CLIP_SETS if each.split == "test"}
EFFECTS = {
    "train": "the network learns from fewer clips than the authors'",
    "validation": "the best epoch is chosen on fewer clips",
    "test": "metrics are of another set of clips than the authors'",
}
"""What missing clips do to a comparison, by the split of their set."""
# The authors' values of their released model, in the order of METRICS. The teacher's exact PSDS2 is
# unknown: their code scored the student twice.
AUTHORS: dict[tuple[str, str], tuple[float | None, ...]] = {
    ("test", "student"): (0.519, 0.440, 0.458, 0.654, 0.681),
    ("test", "teacher"): (0.522, 0.439, 0.460, 0.652, None),
    ("eval", "student"): (0.533, 0.499, 0.513, 0.720, 0.741),
    ("eval", "teacher"): (0.539, 0.489, 0.505, 0.710, None),
}
COLUMNS = (
    "set",
    "network",
    "metric",
    "authors",
    "ours, mean",
    "lowest to highest run",
    "95 % interval",
    "authors' value in it",
)
DEVIATIONS = ROOT / "docs" / "defects.md"


def data_report(sets: Sequence[FoundSet], data: Path) -> str:
    """Counts of every set, and what its missing clips do to a comparison.

    Args:
        sets: what was found.
        data: the folder that was searched; the sets' folders are relative to it.
    """
    rows, remarks, whole = [], [], True
    for found in sets:
        clip_set, folder = found.clip_set, found.original or found.folder
        place = folder.relative_to(data) if folder else "not found"
        listed = found.listed if found.table else "no table"
        n_found = found.listed - found.n_missing
        rows.append((clip_set.title, clip_set.clips, listed, n_found, found.n_missing, place))
        remarks += _remarks(found)
        whole = whole and (not _remarks(found) or (clip_set.optional and not found.usable))
    columns = ("set", "published", "listed", "found", "missing", "folder")
    lines = markdown_table(columns, rows)
    return "\n".join([*lines, "", *remarks, *(["- The data is whole."] * whole)])


def _remarks(found: FoundSet) -> list[str]:
    clip_set, remarks = found.clip_set, []
    if not found.usable:
        absent = [] if found.folder else [" or ".join(clip_set.audio_folders)]
        if found.table is None and clip_set.labels != "unlabelled":
            absent.append(clip_set.table)
        needed = "needed" if found.scored else "needed for training"
        use = "excluded" if clip_set.optional else needed
        return [
            f"- {clip_set.title}: not found: {', '.join(absent) or 'none of its clips'} ({use})."
        ]
    if found.table is not None and found.listed != clip_set.clips:
        remarks.append(
            f"- {clip_set.title}: {found.table.name} lists {found.listed} clips, the published one "
            f"{clip_set.clips}: another version."
        )
    if found.empty:
        remarks.append(
            f"- {clip_set.title}: {found.empty} files without samples: download them again."
        )
    if found.n_missing:
        line = (
            f"- {clip_set.title}: {found.n_missing} of {found.listed} clips "
            f"({found.lost_share:.1%}) are missing, as when a recording can no longer be "
            f"downloaded: {EFFECTS[clip_set.split]}."
        )
        if found.scored:
            shift = found.lost_share**0.5
            line += (
                " If they are missing at random, this alone moves a metric by about "
                f"{shift:.2f} bootstrap standard deviations of the remaining set "
                f"({shift / 2:.2f} half widths of its 95 % interval)."
            )
        remarks.append(line)
    return remarks


def comparison(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Table of the authors' metrics and ours.

    Args:
        runs: content of metrics.json by title of the run.
    """
    rows = [
        (SETS[set_name], network, title, _shown(authors), *_our_cells(ours, runs, name, authors))
        for (set_name, network), values in AUTHORS.items()
        for (key, title), authors in zip(METRICS.items(), values, strict=True)
        if (ours := _values(runs, name := f"{set_name}/{network}/{key}"))
    ]
    return "\n".join(markdown_table(COLUMNS, rows))


def _our_cells(
    ours: list[float], runs: Mapping[str, Mapping[str, Any]], name: str, authors: float | None
) -> list[str]:
    """Mean, range over runs, interval over clips, and whether the authors' value is in it."""
    cells = [f"{statistics.fmean(ours):.3f}", f"{min(ours):.3f} to {max(ours):.3f}"]
    lows, highs = _values(runs, f"{name}/low"), _values(runs, f"{name}/high")
    if not lows or not highs:
        return [*cells, "not computed", "unknown"]
    low, high = statistics.fmean(lows), statistics.fmean(highs)
    inside = "unknown" if authors is None else "yes" if low <= authors <= high else "no"
    return [*cells, f"{low:.3f} to {high:.3f}", inside]


def _values(runs: Mapping[str, Mapping[str, Any]], name: str) -> list[float]:
    values = (run.get(name) for run in runs.values())
    return [value for value in values if isinstance(value, int | float)]


def _shown(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"


def reproduction(
    data: str,
    runs: Mapping[str, Mapping[str, Any]],
    failed: Sequence[str],
    command: str,
    changes: str,
) -> str:
    """The text of reproduction.md.

    Args:
        data: text of `data_report`.
        runs: content of metrics.json by name of the run.
        failed: names of the runs that failed.
        command: the command line.
        changes: keys of the recipe that it overrides; empty: none.
    """
    parts = [
        "# Reproduction on DESED",
        f"`{command}`",
        f"Runs: {', '.join(runs) or 'none'}. {_versions(runs)}",
        *([f"**Failed: {', '.join(failed)}.**"] if failed else []),
        *([f"**Not the recipe alone, but with `{changes}`.**"] if changes else []),
        "## Data",
        data,
        "## Metrics",
        comparison(runs) if runs else "No run has ended.",
        "The authors' values are of their released model. The interval is that of a bootstrap over "
        "clips (mean of the runs' bounds): it covers the choice of the set's clips. The range over "
        "the runs covers the training's random numbers.",
        "## Deviations from the published code",
        deviations(),
    ]
    return "\n\n".join(parts) + "\n"


def _versions(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Versions of Python and the libraries, those of all runs."""
    found: dict[str, set[str]] = {}
    for run in runs.values():
        for name, value in run.items():
            if name.startswith("versions/") and value is not None:
                found.setdefault(name.removeprefix("versions/"), set()).add(value)
    shown = [f"{name} {' and '.join(sorted(values))}" for name, values in found.items()]
    return f"Versions: {', '.join(shown)}." if shown else ""


def deviations() -> str:
    """Table of the defects of the published code and the decisions, without links to files."""
    table = DEVIATIONS.read_text(encoding="utf-8").partition("\n\n")[2]
    return re.sub(r"\[([^]]+)\]\((?!http)[^)]+\)", r"\1", table).strip()
