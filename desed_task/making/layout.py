"""Sizes and tables of a generated or collected data set, in DESED's layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

from desed_task.desed import CLIP_SETS, ClipSet
from desed_task.labels import Event

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


class Configure(Protocol):
    """Makes the text of the configuration that is written beside a data set."""

    def __call__(
        self, out: Path, classes: Sequence[str], sizes: Mapping[str, int], *, clip_seconds: float
    ) -> str:
        """The text, of a folder (absolute), class names, clips by name of the set, clip length."""
        ...


@dataclass(frozen=True)
class ClipRecord:
    """The metadata of one written clip; duration in seconds."""

    filename: str
    duration: float
    events: tuple[Event, ...]


def _strong_table(records: Sequence[ClipRecord]) -> pd.DataFrame:
    """Return one row per event, and an empty row for a clip without events."""
    rows = [
        (record.filename, *(("", "", "") if event is None else _event_row(event)))
        for record in records
        for event in (record.events or (None,))
    ]
    return pd.DataFrame(rows, columns=["filename", "onset", "offset", "event_label"])


def _event_row(event: Event) -> tuple[str, str, str]:
    return f"{event.onset:.3f}", f"{event.offset:.3f}", event.event_label


def _weak_table(records: Sequence[ClipRecord]) -> pd.DataFrame:
    tags = [",".join(sorted({event.event_label for event in record.events})) for record in records]
    return _listing(records).assign(event_labels=tags)


def _listing(records: Sequence[ClipRecord]) -> pd.DataFrame:
    return pd.DataFrame({"filename": [record.filename for record in records]})


def _durations(records: Sequence[ClipRecord]) -> pd.DataFrame:
    lengths = [f"{record.duration:.3f}" for record in records]
    return _listing(records).assign(duration=lengths)


_TABLES = {"strong": _strong_table, "weak": _weak_table, "unlabelled": _listing}


def write_metadata(root: Path, clip_set: ClipSet, records: Sequence[ClipRecord]) -> None:
    """Write the tables of one set below the data set's folder."""
    tables = {clip_set.table: _TABLES[clip_set.labels]}
    if clip_set.durations is not None:
        tables[clip_set.durations] = _durations
    for path, table in tables.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        table(records).to_csv(root / path, sep="\t", index=False)
