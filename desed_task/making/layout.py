"""Sets, folders and tables of the generated data set, in DESED's layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from desed_task.labels import Event
from desed_task.making.grouping import TEST, TRAIN, VALIDATION
from desed_task.synthesis.domains import RECORDED, SYNTHETIC, Domain


@dataclass(frozen=True)
class ClipSet:
    """One set: its domain, its audio folder and its tables, relative to the data set's folder.

    `split` tells which recordings of a soundbank its sounds are from.
    Tables: `strong` (events), `weak` (tags), `durations`, `listing` (file names only). File names
    are `prefix` and a number.
    """

    name: str
    domain: Domain
    audio: str
    prefix: str
    split: str
    strong: str | None = None
    weak: str | None = None
    durations: str | None = None
    listing: str | None = None


CLIP_SETS = (
    ClipSet(
        "synthetic_train",
        SYNTHETIC,
        "audio/train/synthetic21_train/soundscapes",
        "soundscape_train",
        TRAIN,
        strong="metadata/train/synthetic21_train/soundscapes.tsv",
    ),
    ClipSet("weak", RECORDED, "audio/train/weak", "weak", TRAIN, weak="metadata/train/weak.tsv"),
    ClipSet(
        "unlabelled",
        RECORDED,
        "audio/train/unlabel_in_domain",
        "unlabelled",
        TRAIN,
        listing="metadata/train/unlabel_in_domain.tsv",
    ),
    ClipSet(
        "synthetic_validation",
        SYNTHETIC,
        "audio/validation/synthetic21_validation/soundscapes",
        "soundscape_validation",
        VALIDATION,
        strong="metadata/validation/synthetic21_validation/soundscapes.tsv",
        durations="metadata/validation/synthetic21_validation/durations.tsv",
    ),
    ClipSet(
        "validation",
        RECORDED,
        "audio/validation/validation",
        "validation",
        TEST,
        strong="metadata/validation/validation.tsv",
        durations="metadata/validation/validation_durations.tsv",
    ),
    ClipSet(
        "public",
        RECORDED,
        "audio/eval/public",
        "public",
        TEST,
        strong="metadata/eval/public.tsv",
        durations="metadata/eval/public_durations.tsv",
    ),
)

SIZES: dict[str, dict[str, int]] = {
    name: dict(zip([each.name for each in CLIP_SETS], counts, strict=True))
    for name, counts in {
        "tiny": (12, 10, 20, 6, 8, 6),
        "demo": (240, 160, 320, 60, 120, 40),
        "ablation": (240, 160, 320, 60, 480, 40),
        "medium": (600, 160, 320, 150, 200, 60),
        "full": (10000, 1578, 14412, 2500, 1168, 692),
    }.items()
}
"""Number of clips in each set; `full` has DESED's counts, `ablation` more test clips than demo."""


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
    names = [record.filename for record in records]
    return pd.DataFrame({"filename": names, "event_labels": tags})


def write_metadata(root: Path, clip_set: ClipSet, records: Sequence[ClipRecord]) -> None:
    """Write the tables of one set below the data set's folder."""
    names = [record.filename for record in records]
    lengths = [f"{record.duration:.3f}" for record in records]
    tables = {
        clip_set.strong: lambda: _strong_table(records),
        clip_set.weak: lambda: _weak_table(records),
        clip_set.durations: lambda: pd.DataFrame({"filename": names, "duration": lengths}),
        clip_set.listing: lambda: pd.DataFrame({"filename": names}),
    }
    for path, table in tables.items():
        if path is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            table().to_csv(root / path, sep="\t", index=False)
