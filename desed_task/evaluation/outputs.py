"""A system's output for some clips: scores, bounding boxes, or events at thresholds.

In each of them `names` are clip names as in the ground truth, and the clips of arrays and event
tables are numbered by their index in `names`; classes are numbered as in the ground truth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.decode import TimeAxis, detect_many, frame_edges
from desed_task.evaluation.events import EventTable, Floats, Ints
from desed_task.evaluation.threshold_events import ThresholdEvents, find_threshold_events
from desed_task.frames import FrameGrid


@dataclass(frozen=True, eq=False)
class Scores:
    """Post-processed scores over time.

    Args:
        values: `(clips, classes, frames)`; -inf is never detected.
        names: `(clips,)`.
        axis: times of the frames: a frame grid, or their edges in seconds, `(frames + 1,)` for all
            clips or `(clips, frames + 1)`.
        lengths: number of frames of each clip, `(clips,)`; the frames after them are padding. None:
            all frames.
    """

    values: NDArray[np.floating]
    names: Sequence[str]
    axis: TimeAxis
    lengths: Sequence[int] | None = None

    @classmethod
    def from_clips(
        cls,
        values: Sequence[NDArray[np.floating]],
        names: Sequence[str],
        axes: Sequence[TimeAxis],
    ) -> Self:
        """Scores of clips of any lengths; shorter ones are padded with empty frames of -inf.

        Args:
            values: `(classes, frames)` of each clip, at least one.
            names: `(clips,)`.
            axes: times of each clip's frames: a frame grid, or edges in seconds, `(frames + 1,)`.
        """
        lengths = [clip.shape[1] for clip in values]
        longest = max(lengths)
        padded = np.full((len(values), len(values[0]), longest), -np.inf, dtype=values[0].dtype)
        edges = np.empty((len(values), longest + 1))
        for k, (clip, axis, length) in enumerate(zip(values, axes, lengths, strict=True)):
            padded[k, :, :length] = clip
            edges[k, : length + 1] = frame_edges(axis, 1, length)
            edges[k, length + 1 :] = edges[k, length]
        if min(lengths) == longest and (edges == edges[0]).all():
            return cls(padded, names, edges[0])
        return cls(padded, names, edges, lengths)

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or len(self.values) != len(self.names):
            raise ValueError(
                f"scores: expected the shape ({len(self.names)} clips, classes, frames), "
                f"got {self.values.shape}"
            )
        _ = self.edges

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.values.shape[1]

    @property
    def edges(self) -> Floats:
        """Starts of the frames and the end of the last one, seconds, `(clips, frames + 1)`."""
        return frame_edges(self.axis, len(self.values), self.values.shape[2])

    @property
    def frame_seconds(self) -> float:
        """Length of a frame: that of the first one."""
        if isinstance(self.axis, FrameGrid):
            return self.axis.frame_seconds
        first, second = self.edges[0, :2].tolist()
        return second - first

    def detect(self, thresholds: Sequence[float]) -> EventTable:
        """Runs of frames with `score > threshold`; see `detect_many`."""
        return detect_many(self.values, thresholds, self.axis)

    def detect_by_class(self, thresholds: Sequence[float] | Floats) -> EventTable:
        """Runs of frames with `score > threshold` of their class."""
        bounds = np.asarray(thresholds, dtype=np.float64)
        above = self.values > bounds[:, None]
        return detect_many(above.astype(np.float32), [0.5], self.axis)

    def detect_with_confidence(
        self, thresholds: Sequence[float] | Floats
    ) -> tuple[EventTable, Floats]:
        """`detect_by_class`, and the mean score of each event, `(events,)`."""
        table = self.detect_by_class(thresholds)
        confidence = []
        for clip, label, onset, offset in zip(
            table.clip, table.label, table.onset, table.offset, strict=True
        ):
            edges = self.edges[clip]  # the last frames of a clip may have no length
            frames = slice(
                np.searchsorted(edges, onset), np.searchsorted(edges, offset, side="right") - 1
            )
            confidence.append(self.values[clip, label, frames].astype(np.float64).mean())
        return table, np.array(confidence, dtype=np.float64)

    def clips(self, rows: Ints) -> "Scores":
        """The scores of some clips, by their indices."""
        lengths = None if self.lengths is None else [self.lengths[row] for row in rows]
        names = [self.names[row] for row in rows]
        return Scores(self.values[rows], names, self.edges[rows], lengths)

    def threshold_events(self, label: int) -> ThresholdEvents:
        """Every run of frames that is an event at some threshold."""
        return find_threshold_events(self.values[:, label], self.edges, label)

    def processed(
        self, function: Callable[[NDArray[np.floating]], NDArray[np.floating]]
    ) -> "Scores":
        """The scores after a function of `(clips, classes, frames)`, called without padding.

        It is called once for the clips of each length, and returns scores of the same shape.
        """
        if self.lengths is None:
            return replace(self, values=function(self.values))
        values = np.full_like(self.values, -np.inf)
        lengths = np.asarray(self.lengths)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            values[rows, :, :length] = function(self.values[rows, :, :length])
        return replace(self, values=values)

    def as_scores(self) -> "Scores":
        """The scores themselves."""
        return self


@dataclass(frozen=True, eq=False)
class Boxes:
    """Sound event bounding boxes: events with one confidence each (Ebbers et al., 2024).

    A box is detected, with its own onset and offset, at every threshold below its confidence.
    Boxes of one class in one clip must not overlap.

    Args:
        events: the boxes; `level` is 0.
        confidence: `(boxes,)`.
        names: `(clips,)`.
        n_classes: number of classes.
    """

    events: EventTable
    confidence: Floats
    names: Sequence[str]
    n_classes: int

    def detect(self, thresholds: Sequence[float]) -> EventTable:
        """Boxes with `confidence > threshold`, for every threshold."""
        bounds = np.asarray(thresholds, dtype=np.float64)
        passed = np.searchsorted(bounds, self.confidence)
        level = np.concatenate([np.zeros(0, np.int64), *(np.arange(n) for n in passed)])
        table = self.events.select(np.repeat(np.arange(len(self.events)), passed))
        return replace(table, level=level).ordered()

    def detect_by_class(self, thresholds: Sequence[float] | Floats) -> EventTable:
        """Boxes with `confidence > threshold` of their class."""
        return self.detect_with_confidence(thresholds)[0]

    def detect_with_confidence(
        self, thresholds: Sequence[float] | Floats
    ) -> tuple[EventTable, Floats]:
        """`detect_by_class`, and the confidence of each box, `(events,)`."""
        bounds = np.asarray(thresholds, dtype=np.float64)
        chosen = self.confidence > bounds[self.events.label]
        return self.events.select(chosen), self.confidence[chosen]

    def threshold_events(self, label: int) -> ThresholdEvents:
        """The boxes of a class, each with all thresholds below its confidence."""
        never = np.full(len(self.events), -np.inf)
        columns: dict[str, Any] = vars(self.events)
        boxes = ThresholdEvents(**columns, birth=self.confidence, death=never)
        return boxes.select(boxes.label == label)

    def before(self, seconds: float) -> "Boxes":
        """The boxes that begin before a time, cut there."""
        chosen = self.events.onset < seconds
        events = self.events.select(chosen)
        events = replace(events, offset=np.minimum(events.offset, seconds))
        return replace(self, events=events, confidence=self.confidence[chosen])

    def as_scores(self) -> Scores:
        """Constant scores within each box, -inf elsewhere; every clip has its own edges.

        Boxes of a class that touch and have the same confidence become one run of frames.
        """
        table = self.events
        times = [
            np.unique(np.concatenate([[0.0], table.onset[rows], table.offset[rows]]))
            for rows in (np.flatnonzero(table.clip == clip) for clip in range(len(self.names)))
        ]
        n_frames = max(1, *(len(clip_times) - 1 for clip_times in times)) if times else 1
        edges = np.zeros((len(times), n_frames + 1))
        for row, clip_times in zip(edges, times, strict=True):
            row[: len(clip_times)] = clip_times
            row[len(clip_times) :] = clip_times[-1]
        values = np.full((len(times), self.n_classes, n_frames), -np.inf)
        for clip, label, onset, offset, score in zip(
            table.clip, table.label, table.onset, table.offset, self.confidence, strict=True
        ):
            first, end = np.searchsorted(edges[clip], [onset, offset])
            values[clip, label, first:end] = score
        return Scores(values, self.names, edges)


ScoredOutput = Scores | Boxes  # has events at every threshold


def joined(outputs: Sequence[ScoredOutput]) -> ScoredOutput:
    """The output of all clips, from outputs of one method for other clips each."""
    names = [name for output in outputs for name in output.names]
    scores = [output for output in outputs if isinstance(output, Scores)]
    if scores:
        values, edges = (
            np.concatenate(arrays)
            for arrays in ([each.values for each in scores], [each.edges for each in scores])
        )
        return Scores(values, names, edges)
    boxes = [output for output in outputs if isinstance(output, Boxes)]
    firsts = np.cumsum([0, *(len(each.names) for each in boxes)])
    tables = [
        replace(each.events, clip=each.events.clip + first)
        for each, first in zip(boxes, firsts[:-1], strict=True)
    ]
    columns = zip(*(vars(table).values() for table in tables), strict=True)
    return Boxes(
        EventTable(*map(np.concatenate, columns)),
        np.concatenate([each.confidence for each in boxes]),
        names,
        boxes[0].n_classes,
    )


@dataclass(frozen=True, eq=False)
class OperatingPoints:
    """Events at several thresholds.

    Args:
        events: level k holds the events at `thresholds[k]`.
        thresholds: ascending.
        names: clips with at least one event or row.
    """

    events: EventTable
    thresholds: tuple[float, ...]
    names: Sequence[str]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Events at one threshold.

    Args:
        events: level is 0.
        names: clips with at least one event or row.
    """

    events: EventTable
    names: Sequence[str]
