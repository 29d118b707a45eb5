"""Sets, folders and tables of the generated data set, in DESED's layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from desed_task.labels import Event
from desed_task.making.grouping import TEST, TRAIN, VALIDATION
from desed_task.synthesis.domains import RECORDED, SYNTHETIC, Domain
from desed_task.tables import table_text


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


def strong_table(records: Sequence[ClipRecord]) -> str:
    """Text of a TSV file: one row per event, and a row without times for a clip without events."""
    rows: list[tuple[str, ...]] = []
    for record in records:
        for onset, offset, label in record.events:
            rows.append((record.filename, f"{onset:.3f}", f"{offset:.3f}", label))
        if not record.events:
            rows.append((record.filename, "", "", ""))
    return table_text(("filename", "onset", "offset", "event_label"), rows)


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


def write_metadata(root: Path, clip_set: ClipSet, records: Sequence[ClipRecord]) -> None:
    """Write the tables of one set below the data set's folder."""
    tables = {
        clip_set.strong: strong_table,
        clip_set.weak: _weak_table,
        clip_set.durations: durations_table,
        clip_set.listing: _listing,
    }
    for path, table in tables.items():
        if path is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(table(records), encoding="utf-8", newline="\n")
