"""How much was scored: true events, clips, recordings; a note where these are few."""

import math

import numpy as np

from desed_task.drawing.style import readable_class
from desed_task.errors import shortened
from desed_task.evaluation.events import Ints
from desed_task.report.blocks import Marked, join_names
from desed_task.report.systems import ReportInput

FEW_EVENTS = 30
"""A class with fewer true events is named in the note."""
FEW_RECORDINGS = 20
MAX_NAMES = 10  # of classes in the note
NORMAL_95 = 1.96  # standard deviations that a 95 % interval reaches to either side


def size_blocks(report: ReportInput) -> list[str]:
    """A sentence with the numbers, and a highlighted one where they are few."""
    scoring = report.scoring[0]
    counts = np.bincount(scoring.true.label, minlength=scoring.n_classes)
    occurring = int(np.count_nonzero(counts))
    blocks = [
        f"Ground truth: {_number(len(scoring.true), 'event')} of "
        f"{_number(occurring, 'class', 'classes')} in {_origin(report)}, "
        f"{_length(float(scoring.durations.sum()))} of audio."
    ]
    note = _few(report, counts)
    return [*blocks, note] if note else blocks


def class_origins(report: ReportInput) -> Ints:
    """Number of recordings (of clips, where these are unknown) with each class, `(classes,)`."""
    true = report.scoring[0].true
    _, numbers = np.unique(np.array(report.origins, dtype=object), return_inverse=True)
    pairs = np.unique(np.stack([true.label, numbers[true.clip]]), axis=1)
    return np.bincount(pairs[0], minlength=report.scoring[0].n_classes)


def _few(report: ReportInput, counts: Ints) -> Marked | None:
    """The note on small numbers: which they are, and what they mean; None if none is small."""
    few = []
    n_recordings = len(set(report.origins))
    if n_recordings < FEW_RECORDINGS:
        few.append(_number(n_recordings, report.origin))
    order = np.argsort(counts, kind="stable").tolist()
    rare = [label for label in order if 0 < counts[label] < FEW_EVENTS]
    if rare:
        named = [f"{readable_class(report.classes[label])} {counts[label]}" for label in rare]
        few.append(f"less than {FEW_EVENTS} events of a class ({shortened(named, MAX_NAMES)})")
    if not few:
        return None
    wide = NORMAL_95 * math.sqrt(0.25 / FEW_EVENTS)
    text = (
        f"Few data: {join_names(few)}. Metrics of few data depend on chance: the 95 % interval of "
        f"a recall of 0.5 is ±{wide:.2f} with {FEW_EVENTS} events, and wider with less. "
    )
    if report.intervals is None:
        text += "No intervals were computed."
    else:
        text += "Use the intervals in brackets: a difference can be chance if its interval has 0."
        if n_recordings < len(report.origins):
            text += (
                " The intervals draw clips; clips of one recording are similar, so the real "
                "uncertainty is larger."
            )
    return Marked(text)


def _origin(report: ReportInput) -> str:
    """Number of clips, and of recordings where they are known."""
    clips = _number(len(report.origins), "clip")
    if report.recordings is None:
        return clips
    return f"{clips} of {_number(len(set(report.origins)), report.origin)}"


def _number(count: int, one: str, several: str = "") -> str:
    """A count and its noun."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def _length(seconds: float) -> str:
    """A length in seconds, minutes or hours."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"
