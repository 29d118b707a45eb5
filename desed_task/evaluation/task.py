"""Scores and truth brought together: checked, and as arrays over the same clips."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from desed_task.errors import InputError
from desed_task.evaluation.decode import detect_many
from desed_task.evaluation.events import EventTable, Floats, trim_events
from desed_task.evaluation.truth import GroundTruth
from desed_task.frames import FrameGrid


def check_scores(
    scores: NDArray[np.floating], names: Sequence[str], truth: GroundTruth, grid: FrameGrid
) -> None:
    """Refuse scores that do not fit the clips, the classes or the truth (see `evaluate`)."""
    if scores.ndim != 3 or scores.shape[:2] != (len(names), len(truth.classes)):
        raise ValueError(
            f"scores have shape {scores.shape}; ({len(names)} clips, {len(truth.classes)} "
            "classes, frames) is right"
        )
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError(f"scores of clip {twice!r} are given more than once")
    unknown = [name for name in names if name not in truth.events]
    if unknown:
        raise InputError(
            f"scores of {len(unknown)} clip(s) that the ground truth does not know, "
            f"first {unknown[0]!r}"
        )
    undefined = np.flatnonzero(np.isnan(scores).any(axis=(1, 2)))
    if len(undefined):
        raise InputError(f"scores of clip {names[undefined[0]]!r} are not numbers (NaN)")
    end = scores.shape[2] * grid.frame_seconds
    for name in names:
        needed = min(truth.durations[name], grid.clip_seconds)
        if end < needed - grid.frame_seconds:
            raise InputError(
                f"scores of clip {name!r} end at {end:g} s, more than one frame before the clip "
                f"does ({needed:g} s)"
            )


@dataclass(frozen=True, eq=False)
class Task:
    """What is judged, as arrays. Clips without scores are numbered after those with.

    `truth` and `durations` are of all clips, `exact_seconds` is the audio that the exact
    figures count.
    """

    scores: NDArray[np.floating]
    truth: EventTable
    durations: Floats
    grid: FrameGrid
    trim: bool
    exact_seconds: float
    n_dropped: int = 0

    @classmethod
    def prepare(
        cls,
        scores: NDArray[np.floating],
        names: Sequence[str],
        truth: GroundTruth,
        grid: FrameGrid,
        trim: bool,
    ) -> "Task":
        """Everything `truth` knows, with the clips of `names` first."""
        scored = set(names)
        clips = [*names, *(name for name in truth.events if name not in scored)]
        durations = truth.duration_of(clips)
        return cls(scores, truth.table(clips), durations, grid, trim, truth.total_seconds)

    def without_empty_clips(self, names: Sequence[str], truth: GroundTruth) -> "Task":
        """Nothing is detected where nothing happens."""
        empty = np.array([not truth.events[name] for name in names], dtype=bool)
        return replace(
            self,
            scores=np.where(empty[:, None, None], -np.inf, self.scores),
            exact_seconds=truth.without_empty_clips().total_seconds,
            n_dropped=int(empty.sum()),
        )

    @property
    def n_classes(self) -> int:
        """Classes of the scores."""
        return self.scores.shape[1]

    def detect(self, thresholds: Sequence[float]) -> EventTable:
        """Events at these thresholds, cut at the clips' ends where that is asked for."""
        detections = detect_many(self.scores, thresholds, self.grid)
        return trim_events(detections, self.durations) if self.trim else detections
