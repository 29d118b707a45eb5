"""A system's output and the truth brought together: checked, and over the same clips."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from desed_task.errors import InputError
from desed_task.evaluation.events import EventTable, Floats, Ints, trim_events
from desed_task.evaluation.outputs import (
    Boxes,
    OperatingPoints,
    Predictions,
    ScoredOutput,
    Scores,
)
from desed_task.evaluation.threshold_events import ThresholdEvents
from desed_task.evaluation.truth import GroundTruth
from desed_task.frames import FrameGrid

Threshold = float | Sequence[float]


def check_scores(scores: ScoredOutput, truth: GroundTruth) -> None:
    """Refuse scores that do not fit the clips, the classes or the truth (see `evaluate`)."""
    check_names(scores.names, truth)
    if scores.n_classes != len(truth.classes):
        raise ValueError(f"{scores.n_classes} classes in the scores, {len(truth.classes)} in truth")
    if isinstance(scores, Boxes):
        _check_boxes(scores)
    elif isinstance(scores, Scores):
        _check_frames(scores, truth)


def check_names(names: Sequence[str], truth: GroundTruth) -> None:
    """Refuse clips that are named twice, or that the truth does not know."""
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError(f"clip {twice!r} is given more than once")
    unknown = [name for name in names if name not in truth.events]
    if unknown:
        raise InputError(
            f"{len(unknown)} clip(s) that the ground truth does not know, first {unknown[0]!r}"
        )


def _check_frames(scores: Scores, truth: GroundTruth) -> None:
    undefined = np.flatnonzero(np.isnan(scores.values).any(axis=(1, 2)))
    if len(undefined):
        raise InputError(f"scores of clip {scores.names[undefined[0]]!r} are not numbers (NaN)")
    edges = scores.edges
    frame = np.diff(edges, axis=1).max(axis=1, initial=0.0)
    needed = truth.duration_of(scores.names)
    if isinstance(scores.axis, FrameGrid):  # which crops longer clips
        needed = np.minimum(needed, scores.axis.clip_seconds)
    for clip in np.flatnonzero(needed - edges[:, -1] > frame * (1 + 1e-9)):
        raise InputError(
            f"scores of clip {scores.names[clip]!r} end at {edges[clip, -1]:g} s, more than one "
            f"frame before the clip does ({needed[clip]:g} s)"
        )


def _check_boxes(boxes: Boxes) -> None:
    undefined = np.flatnonzero(np.isnan(boxes.confidence))
    if len(undefined):
        name = boxes.names[boxes.events.clip[undefined[0]]]
        raise InputError(f"a box of clip {name!r} has a confidence that is not a number (NaN)")
    events = boxes.events
    same = (np.diff(events.clip) == 0) & (np.diff(events.label) == 0)
    for box in np.flatnonzero(same & (events.onset[1:] < events.offset[:-1])):
        raise InputError(f"boxes of one class overlap in clip {boxes.names[events.clip[box]]!r}")


@dataclass(frozen=True, eq=False)
class ScoringInput:
    """What is judged. Clips are numbered as in the truth, in every table.

    Args:
        truth: what is true.
        true: the true events as columns.
        durations: seconds, `(clips,)`.
        counted: whether what was detected in a clip counts, `(clips,)`.
        trim: whether detections are cut at the end of their clip.
        names: clips that the system says something about.
        detections: events at the F1 threshold; None if the system does not say.
        points: events at the operating points; None if the system does not say.
        thresholds: of the operating points.
        scores: the system's scores or boxes; None if there are none.
    """

    truth: GroundTruth
    true: EventTable
    durations: Floats
    counted: NDArray[np.bool_]
    trim: bool
    names: tuple[str, ...]
    detections: EventTable | None
    points: EventTable | None
    thresholds: tuple[float, ...]
    scores: ScoredOutput | None

    @classmethod
    def prepare(
        cls,
        scores: ScoredOutput | None,
        truth: GroundTruth,
        *,
        operating_points: OperatingPoints | None = None,
        predictions: Predictions | None = None,
        thresholds: Sequence[float] = (),
        f1_threshold: Threshold = 0.5,
        drop_clips_without_events: bool = False,
        trim: bool = False,
    ) -> "ScoringInput":
        """Check everything and bring it together; arguments and errors are those of `evaluate`."""
        sources = [s for s in (scores, operating_points, predictions) if s is not None]
        if not sources:
            raise ValueError("scores, operating points or predictions are needed")
        if scores is not None:
            check_scores(scores, truth)
        for source in (operating_points, predictions):
            if source is not None:
                check_names(source.names, truth)
        clips = list(truth.events)
        mentioned = {name for source in sources for name in source.names}
        task = cls(
            truth=truth,
            true=truth.table(clips),
            durations=truth.duration_of(clips),
            counted=np.array(
                [not drop_clips_without_events or bool(truth.events[name]) for name in clips],
                dtype=bool,
            ),
            trim=trim,
            names=tuple(name for name in clips if name in mentioned),
            detections=None,
            points=None,
            thresholds=tuple(thresholds),
            scores=scores,
        )
        return task._with_events(scores, operating_points, predictions, f1_threshold)

    def _with_events(
        self,
        scores: ScoredOutput | None,
        operating_points: OperatingPoints | None,
        predictions: Predictions | None,
        f1_threshold: Threshold,
    ) -> "ScoringInput":
        """The events the system says itself, else those its scores give."""
        detections = points = None
        if predictions is not None:
            detections = self._placed(predictions.events, predictions.names)
        elif scores is not None:
            at_threshold = (
                scores.detect([f1_threshold])
                if isinstance(f1_threshold, float | int)
                else scores.detect_by_class(f1_threshold)
            )
            detections = self._placed(at_threshold, scores.names)
        thresholds = self.thresholds
        if operating_points is not None:
            thresholds = operating_points.thresholds
            points = self._placed(operating_points.events, operating_points.names)
            if detections is None and f1_threshold in thresholds:
                detections = points.at_level(thresholds.index(f1_threshold))
        elif scores is not None and thresholds:
            points = self._placed(scores.detect(thresholds), scores.names)
        return replace(self, detections=detections, points=points, thresholds=thresholds)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.truth.classes)

    @property
    def total_seconds(self) -> float:
        """Length of all clips together."""
        return float(self.durations.sum())

    @property
    def counted_seconds(self) -> float:
        """Length of the clips whose detections count, which is what the exact figures count."""
        return float(self.durations[self.counted].sum())

    @property
    def n_dropped(self) -> int:
        """Clips that the system speaks of and whose detections were dropped."""
        counted = dict(zip(self.truth.events, self.counted.tolist(), strict=True))
        return sum(not counted[name] for name in self.names)

    def threshold_events(self, label: int) -> ThresholdEvents:
        """The events of a class at all thresholds of the scores."""
        if self.scores is None:
            raise ValueError("without scores there are no candidates")
        found = self.scores.threshold_events(label)
        clip = self._numbers(self.scores.names)[found.clip]
        found = found._replace(clip=clip).select(self.counted[clip])
        if not self.trim:
            return found
        end = self.durations[found.clip]
        found = found._replace(offset=np.minimum(found.offset, end))
        return found.select(found.onset < end)

    def _placed(self, events: EventTable, names: Sequence[str]) -> EventTable:
        """Events that count, with clips numbered as in the truth."""
        numbers = self._numbers(names)
        placed = replace(events, clip=numbers[events.clip])
        placed = placed.select(self.counted[placed.clip])
        if self.trim:
            placed = trim_events(placed, self.durations)
        return placed if _ascending(numbers) else placed.ordered()

    def _numbers(self, names: Sequence[str]) -> Ints:
        """Each name's place in the truth."""
        place = {name: number for number, name in enumerate(self.truth.events)}
        return np.array([place[name] for name in names], dtype=np.int64)


def _ascending(numbers: Ints) -> bool:
    return bool(np.all(np.diff(numbers) > 0))
