"""What was found, and the authors' metrics beside ours, as Markdown that can be posted."""

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from desed_task.errors import InputError
from local.reproduce.find import FoundSet

ROOT = Path(__file__).parents[2]
METRICS = {
    "event_f1_macro": "event F1",
    "psds1_psds_eval": "PSDS1 (50 thresholds)",
    "psds1_sed_scores_eval": "PSDS1 (exact)",
    "psds2_psds_eval": "PSDS2 (50 thresholds)",
    "psds2_sed_scores_eval": "PSDS2 (exact)",
}
SETS = {"test": "real validation", "eval": "public evaluation"}
# The authors' values of their released model, in the order of METRICS. The teacher's exact PSDS2 is
# unknown: their code scored the student twice.
AUTHORS: dict[tuple[str, str], tuple[float | None, ...]] = {
    ("test", "student"): (0.519, 0.440, 0.458, 0.654, 0.681),
    ("test", "teacher"): (0.522, 0.439, 0.460, 0.652, None),
    ("eval", "student"): (0.533, 0.499, 0.513, 0.720, 0.741),
    ("eval", "teacher"): (0.539, 0.489, 0.505, 0.710, None),
}
DEVIATIONS = "## Defects of the published code, and decisions"


def data_report(sets: Sequence[FoundSet]) -> str:
    """Counts of every set, and what its missing clips do to a comparison."""
    rows = [
        "| set | published | listed | found | missing | folder |",
        "|---|---|---|---|---|---|",
    ]
    remarks = []
    for found in sets:
        layout, place = found.layout, found.original or found.folder
        rows.append(
            f"| {layout.name} | {layout.clips} | {found.listed if found.table else 'no table'} | "
            f"{found.listed - found.n_missing} | {found.n_missing} | {place or 'not found'} |"
        )
        remarks += _remarks(found)
    return "\n".join([*rows, "", *(remarks or ["- The data is whole."])])


def _remarks(found: FoundSet) -> list[str]:
    layout, remarks = found.layout, []
    if not found.usable:
        lacks = [] if found.folder else [" or ".join(layout.folders)]
        if found.table is None and layout.annotated:
            lacks.append(layout.table)
        fate = "excluded" if layout.optional else "needed"
        return [f"- {layout.name}: not found: {', '.join(lacks) or 'none of its clips'} ({fate})."]
    if found.table is not None and found.listed != layout.clips:
        remarks.append(
            f"- {layout.name}: {found.table.name} lists {found.listed} clips, the published one "
            f"{layout.clips}: another version."
        )
    if found.empty:
        remarks.append(
            f"- {layout.name}: {found.empty} files without samples: download them again."
        )
    if found.n_missing:
        line = (
            f"- {layout.name}: {found.n_missing} of {found.listed} clips "
            f"({found.lost_share:.1%}) are missing, as when a recording can no longer be "
            f"downloaded: {layout.effect}."
        )
        if layout.prefix in SETS:
            shift = (found.lost_share / (1 - found.lost_share)) ** 0.5
            line += (
                " If they are missing at random, this alone moves a metric by about "
                f"{shift:.2f} bootstrap standard deviations of the remaining set "
                f"({shift / 2:.2f} half widths of its 95 % interval)."
            )
        remarks.append(line)
    return remarks


def read_metrics(path: Path) -> dict[str, Any]:
    """Content of a run's metrics.json. Raises InputError for another file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: expected a run's metrics: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a run's metrics, got {type(values).__name__}")
    return values


def comparison(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Table of the authors' metrics and ours.

    Args:
        runs: content of metrics.json by name of the run.
    """
    rows = [
        "| set | network | metric | authors | ours, mean | runs, from to | 95 % of clips | "
        "authors' value |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (set_name, network), expected in AUTHORS.items():
        for (key, title), theirs in zip(METRICS.items(), expected, strict=True):
            name = f"{set_name}/{network}/{key}"
            ours = _values(runs, name)
            if ours:
                rows.append(
                    f"| {SETS[set_name]} | {network} | {title} | {_shown(theirs)} | "
                    + " | ".join(_our_cells(ours, runs, name, theirs))
                    + " |"
                )
    return "\n".join(rows)


def _our_cells(
    ours: list[float], runs: Mapping[str, Mapping[str, Any]], name: str, theirs: float | None
) -> list[str]:
    """Mean, range over runs, interval over clips, and where the authors' value lies."""
    cells = [f"{statistics.fmean(ours):.3f}", f"{min(ours):.3f} to {max(ours):.3f}"]
    lows, highs = _values(runs, f"{name}/low"), _values(runs, f"{name}/high")
    if not lows or not highs:
        return [*cells, "not computed", "unknown"]
    low, high = statistics.fmean(lows), statistics.fmean(highs)
    place = "unknown" if theirs is None else "inside" if low <= theirs <= high else "outside"
    return [*cells, f"{low:.3f} to {high:.3f}", place]


def _values(runs: Mapping[str, Mapping[str, Any]], name: str) -> list[float]:
    values = (run.get(name) for run in runs.values())
    return [value for value in values if isinstance(value, int | float)]


def _shown(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"


def reproduction(
    sets: Sequence[FoundSet],
    runs: Mapping[str, Mapping[str, Any]],
    failed: Sequence[str],
    command: str,
) -> str:
    """The text of reproduction.md."""
    versions = next(iter(runs.values()), {})
    torch_version = versions.get("versions/torch", "unknown")
    parts = [
        "# Reproduction on DESED",
        f"`{command}`; {len(runs)} runs ({', '.join(runs)}), Python {platform.python_version()}, "
        f"torch {torch_version}.",
        *([f"**Failed: {', '.join(failed)}.**"] if failed else []),
        "## Data",
        data_report(sets),
        "## Metrics",
        comparison(runs) if runs else "No run has ended.",
        "The authors' values are of their released model. An interval is the mean over the runs of "
        "the bounds that a bootstrap over clips gives for each; it holds no variation between "
        "trainings, which the range over runs shows.",
        "## Deviations from the published code",
        deviations(),
    ]
    return "\n\n".join(parts) + "\n"


def deviations() -> str:
    """The table of README.md that says where the published code is not followed."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition(DEVIATIONS)[2].partition("\n## ")[0]
    return section.strip() or "See README.md."
