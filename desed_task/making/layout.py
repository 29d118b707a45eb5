"""Sizes and tables of a generated or collected data set, in DESED's layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from desed_task.desed import BY_NAME, CLIP_SETS
from desed_task.labels import Event
from desed_task.tables import table_text

_GENERATED = [each for each in CLIP_SETS if each.name != "strong"]
SIZES: dict[str, dict[str, int]] = {
    name: dict(zip([each.name for each in _GENERATED], counts, strict=True))
    for name, counts in {
        "tiny": (12, 10, 20, 6, 8, 6),
        "demo": (240, 160, 320, 60, 120, 40),
        "ablation": (240, 160, 320, 60, 480, 40),
        "medium": (600, 160, 320, 150, 200, 60),
        "full": tuple(each.clips for each in _GENERATED),
    }.items()
}
"""Number of clips in each set; `full` has DESED's counts, `ablation` more test clips than demo."""


@dataclass(frozen=True)
class ClipRecord:
    """The metadata of one written clip; duration in seconds."""

    filename: str
    duration: float
    events: tuple[Event, ...]


def strong_table(records: Sequence[ClipRecord]) -> str:
    """Text of a TSV file: one row per event, and a row without times for a clip without events.

    Times are in milliseconds, or in microseconds where an event would have no length, or begin
    after its clip.
    """
    rows: list[tuple[str, ...]] = []
    for record in records:
        for onset, offset, label in record.events:
            times = _times(onset, offset, digits=3)
            if float(times[0]) >= min(float(times[1]), record.duration):
                times = _times(onset, offset, digits=6)
            rows.append((record.filename, *times, label))
        if not record.events:
            rows.append((record.filename, "", "", ""))
    return table_text(("filename", "onset", "offset", "event_label"), rows)


def _times(onset: float, offset: float, digits: int) -> tuple[str, str]:
    return f"{onset:.{digits}f}", f"{offset:.{digits}f}"


def durations_table(records: Sequence[ClipRecord]) -> str:
    """Text of a TSV file: the length of each clip in seconds."""
    rows = [(record.filename, f"{record.duration:.3f}") for record in records]
    return table_text(("filename", "duration"), rows)


def _weak_table(records: Sequence[ClipRecord]) -> str:
    tags = [",".join(sorted({event.event_label for event in record.events})) for record in records]
    rows = [(record.filename, text) for record, text in zip(records, tags, strict=True)]
    return table_text(("filename", "event_labels"), rows)


def _listing(records: Sequence[ClipRecord]) -> str:
    return table_text(("filename",), [(record.filename,) for record in records])


_TABLES = {"strong": strong_table, "weak": _weak_table, "unlabelled": _listing}


def clip_tables(records: Mapping[str, Sequence[ClipRecord]]) -> dict[str, str]:
    """Text of the tables of sets, by path, from the clips of each set by its name."""
    tables: dict[str, str] = {}
    for name, clips in records.items():
        clip_set = BY_NAME[name]
        tables[clip_set.table] = _TABLES[clip_set.labels](clips)
        if clip_set.durations is not None:
            tables[clip_set.durations] = durations_table(clips)
    return tables


def write_texts(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files of a data set, text by path; a file that is a link is replaced."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
