"""A system's output and the ground truth, checked and with the same clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from desed_task.errors import InputError
from desed_task.evaluation.events import EventTable, Floats, Ints, sums
from desed_task.evaluation.outputs import (
    Boxes,
    OperatingPoints,
    Predictions,
    ScoredOutput,
    Scores,
)
from desed_task.evaluation.psds import Scenario
from desed_task.evaluation.threshold_events import ThresholdEvents
from desed_task.evaluation.truth import GroundTruth

Threshold = float | Sequence[float]
Table = TypeVar("Table", bound=EventTable)


def _check_names(names: Sequence[str], truth: GroundTruth) -> None:
    """Refuse clips that are named twice, or that the ground truth does not have."""
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError(f"clip {twice!r}: expected each clip once, got it more than once")
    truth.require(names)


def _check_scores(scores: ScoredOutput, truth: GroundTruth) -> None:
    """Refuse scores with other classes or times than the ground truth (see `evaluate`)."""
    if scores.n_classes != len(truth.classes):
        raise ValueError(
            f"classes of the scores: expected {len(truth.classes)} as in the ground truth, "
            f"got {scores.n_classes}"
        )
    if isinstance(scores, Boxes):
        _check_boxes(scores)
    else:
        _check_frames(scores, truth)


def _check_frames(scores: Scores, truth: GroundTruth) -> None:
    undefined = np.flatnonzero(np.isnan(scores.values).any(axis=(1, 2)))
    if len(undefined):
        raise InputError(
            f"scores of clip {scores.names[undefined[0]]!r}: expected numbers, got NaN"
        )
    edges = scores.edges
    frame = np.diff(edges, axis=1).max(axis=1, initial=0.0)
    needed = truth.duration_of(scores.names)
    for clip in np.flatnonzero(needed - edges[:, -1] > frame * (1 + 1e-9)):
        raise InputError(
            f"scores of clip {scores.names[clip]!r}: expected an end at {needed[clip]:g} s or at "
            f"most one frame earlier, got {edges[clip, -1]:g} s"
        )


def _check_boxes(boxes: Boxes) -> None:
    undefined = np.flatnonzero(np.isnan(boxes.confidence))
    if len(undefined):
        name = boxes.names[boxes.events.clip[undefined[0]]]
        raise InputError(f"boxes of clip {name!r}: expected a number as confidence, got NaN")
    for clip in boxes.events.clip[boxes.events.gaps() < 0]:
        raise InputError(
            f"boxes of clip {boxes.names[clip]!r}: expected boxes of a class to be disjoint, got "
            "two that overlap"
        )


@dataclass(frozen=True, eq=False)
class ScoringInput:
    """A system's output and the ground truth, checked; clips are numbered as in the ground truth.

    Args:
        truth: ground truth.
        true: the true events as columns.
        durations: seconds, `(clips,)`.
        counted: whether detections in a clip are scored, `(clips,)`.
        trim: whether detections are cut at the end of their clip.
        scenarios: of the PSDS, by their names in `SystemMetrics`.
        names: clips that the system's output names.
        detections: events at the F1 threshold; None if they are unknown.
        points: events at the operating points; None if they are unknown.
        thresholds: of the operating points.
        scores: the system's scores or boxes; None if it has none.
    """

    truth: GroundTruth
    true: EventTable
    durations: Floats
    counted: NDArray[np.bool_]
    trim: bool
    scenarios: Mapping[str, Scenario]
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
        scenarios: Mapping[str, Scenario] | None = None,
        drop_clips_without_events: bool = False,
        trim: bool = False,
    ) -> "ScoringInput":
        """Check and combine; arguments and errors are those of `evaluate`."""
        sources = [s for s in (scores, operating_points, predictions) if s is not None]
        if not sources:
            raise ValueError("expected scores, operating points or predictions, got none of them")
        for source in sources:
            _check_names(source.names, truth)
        if scores is not None:
            _check_scores(scores, truth)
        clips = list(truth.events)
        mentioned = {name for source in sources for name in source.names}
        scoring = cls(
            truth=truth,
            true=truth.table(clips),
            durations=truth.duration_of(clips),
            counted=np.array(
                [not drop_clips_without_events or bool(truth.events[name]) for name in clips],
                dtype=bool,
            ),
            trim=trim,
            scenarios=scenarios or {},
            names=tuple(name for name in clips if name in mentioned),
            detections=None,
            points=None,
            thresholds=tuple(thresholds),
            scores=scores,
        )
        return scoring._with_events(operating_points, predictions, f1_threshold)

    def _with_events(
        self,
        operating_points: OperatingPoints | None,
        predictions: Predictions | None,
        f1_threshold: Threshold,
    ) -> "ScoringInput":
        """With the given events, or else those that the scores give."""
        scores, thresholds = self.scores, self.thresholds
        if scores is not None and predictions is None:
            by_class = np.broadcast_to(np.asarray(f1_threshold, dtype=np.float64), self.n_classes)
            predictions = Predictions(scores.detect_by_class(by_class), scores.names)
        if scores is not None and operating_points is None and thresholds:
            operating_points = OperatingPoints(scores.detect(thresholds), thresholds, scores.names)
        detections = points = None
        if predictions is not None:
            detections = self._in_truth_order(predictions.events, predictions.names)
        if operating_points is not None:
            thresholds = operating_points.thresholds
            points = self._in_truth_order(operating_points.events, operating_points.names)
            if detections is None and f1_threshold in thresholds:
                detections = points.at_level(thresholds.index(f1_threshold))
        return replace(self, detections=detections, points=points, thresholds=thresholds)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.truth.classes)

    @property
    def true_seconds(self) -> Floats:
        """Length of the true events, `(clips, classes)`."""
        cell = self.true.clip * self.n_classes + self.true.label
        length = self.true.offset - self.true.onset
        return sums(cell, length, self.durations.size * self.n_classes).reshape(-1, self.n_classes)

    @property
    def n_dropped(self) -> int:
        """Number of named clips whose detections are not scored."""
        return int(np.sum(~self.counted[self._numbers(self.names)]))

    def threshold_events(self, label: int) -> ThresholdEvents:
        """The events of a class at all thresholds of the scores."""
        if self.scores is None:
            raise ValueError("expected scores or boxes, got none")
        return self._in_truth_order(self.scores.threshold_events(label), self.scores.names)

    def _in_truth_order(self, events: Table, names: Sequence[str]) -> Table:
        """The scored ones of the events, with clips numbered as in the ground truth."""
        numbers = self._numbers(names)
        events = replace(events, clip=numbers[events.clip])
        events = events.select(self.counted[events.clip])
        if self.trim:
            events = events.trimmed(self.durations)
        return events if np.all(np.diff(numbers) > 0) else events.ordered()

    def _numbers(self, names: Sequence[str]) -> Ints:
        """Each name's index in the ground truth."""
        index = {name: number for number, name in enumerate(self.truth.events)}
        return np.array([index[name] for name in names], dtype=np.int64)
