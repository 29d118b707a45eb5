"""Sound event bounding boxes by change detection (cSEBBs), vectorised over clips.

After Ebbers, Germain, Wichern and Le Roux, "Sound Event Bounding Boxes", Interspeech 2024
(arXiv 2406.04212): an event's extent is found where the scores change, whatever the threshold,
and one confidence says at which thresholds it is detected. Written from the paper; the tests
compare it with the authors' package `sebbs`.

The scores of one class in one clip are a step function of time, 0 outside the clip. A step filter
of length L measures their change at a time t as delta(t), the mean over [t, t + L/2] less the mean
over [t - L/2, t]. An event begins at a maximum of delta, where that is level at its first point,
and ends at the next minimum, at its last point. Delta is piecewise linear: its slope at t is
proportional to `score(t + L/2) - 2 score(t) + score(t - L/2)`, which is constant between
breakpoints, the frames' edges and those moved by +-L/2. So an event is a longest stretch of time
in which that expression is not positive, and no integral is needed to find it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.decode import frame_edges
from desed_task.evaluation.events import EventTable, Floats, Ints
from desed_task.evaluation.outputs import Boxes, Scores

# Delta is level, not rising, where the mean of the scores before and after is higher than the
# one in between by no more than this part of it: rounding must not cut an event in two.
TIE = 1e-12
# Breakpoints at most this many seconds apart are one.
SAME_TIME = 1e-7
# Added to both scores before they are compared for merging: keeps their ratio finite.
SCORE_FLOOR = 1e-3


@dataclass(frozen=True)
class BoxParameters:
    """How one class's boxes are found.

    Args:
        step_seconds: length L of the step filter.
        merge_absolute: neighbouring events merge if their highest score is less than this above
            the lowest one between them; `inf` puts no condition.
        merge_relative: the same for the ratio of the two scores; 0 merges none.

    Raises:
        ValueError: a value out of range.
    """

    step_seconds: float
    merge_absolute: float
    merge_relative: float

    def __post_init__(self) -> None:
        _check_step(self.step_seconds)
        for name in ("merge_absolute", "merge_relative"):
            value = getattr(self, name)
            if not value >= 0:
                raise ValueError(f"{name} is {value}; zero, a positive number or inf is right")


class Segments(NamedTuple):
    """Events of one class before merging, as columns, ordered by clip and onset.

    Args:
        clip: index of the clip.
        onset, offset: seconds.
        before, through: integral of the scores from the clip's start to onset and to offset.
        peak: highest score within the event.
        gap: lowest score between the clip's preceding event and this one; -inf for a clip's
            first event.
    """

    clip: Ints
    onset: Floats
    offset: Floats
    before: Floats
    through: Floats
    peak: Floats
    gap: Floats


class ClassBoxes(NamedTuple):
    """Boxes of one class as columns, ordered by clip and onset.

    `clip` is an index, `onset` and `offset` are seconds, `confidence` the mean score in between.
    """

    clip: Ints
    onset: Floats
    offset: Floats
    confidence: Floats


def bounding_boxes(scores: Scores, parameters: Sequence[BoxParameters]) -> Boxes:
    """Sound event bounding boxes of all clips and classes.

    Args:
        scores: in [0, 1]; -inf counts as 0. Silence is no exception: it makes boxes with
            confidence 0.
        parameters: one per class, `(classes,)`.

    Raises:
        ValueError: another number of parameters than of classes.
    """
    if len(parameters) != scores.n_classes:
        raise ValueError(
            f"{len(parameters)} box parameters for {scores.n_classes} classes; one each is right"
        )
    found = [ClassBoxes(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0))]
    for label, chosen in enumerate(parameters):
        segments = find_segments(scores.values[:, label], scores.edges, chosen.step_seconds)
        found.append(merge_segments(segments, chosen.merge_absolute, chosen.merge_relative))
    labels = np.repeat(np.arange(len(found)) - 1, [len(of_class.clip) for of_class in found])
    clip, onset, offset, confidence = (np.concatenate(c) for c in zip(*found, strict=True))
    order = np.lexsort((onset, labels, clip))
    events = EventTable(np.zeros_like(clip), clip, labels, onset, offset).select(order)
    return Boxes(events, confidence[order], scores.names, scores.n_classes)


def find_segments(rows: NDArray[np.floating], edges: Floats, step_seconds: float) -> Segments:
    """Events of one class where the scores change, before merging.

    Clips with equal edges are handled together.

    Args:
        rows: scores in [0, 1], `(clips, frames)`; -inf counts as 0.
        edges: starts of the frames and the end of the last one, seconds, ascending,
            `(frames + 1,)` for all clips alike or `(clips, frames + 1)`.
        step_seconds: length of the step filter.

    Raises:
        ValueError: scores or edges of another shape, or no positive step.
    """
    _check_step(step_seconds)
    if rows.ndim != 2:
        raise ValueError(f"scores have shape {rows.shape}; (clips, frames) is right")
    values = np.where(np.isneginf(rows), 0.0, rows).astype(np.float64)
    edges = frame_edges(edges, *rows.shape)
    if (edges == edges[:1]).all():
        shared = edges[0] if len(edges) else np.zeros(edges.shape[1])
        return _segments_of_grid(values, shared, step_seconds)
    grids, grid_of = np.unique(edges, axis=0, return_inverse=True)
    parts = []
    for number, grid in enumerate(grids):
        members = np.flatnonzero(grid_of.reshape(-1) == number)
        part = _segments_of_grid(values[members], grid, step_seconds)
        parts.append(part._replace(clip=members[part.clip]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Segments(*(column[order] for column in columns))


def merge_segments(segments: Segments, merge_absolute: float, merge_relative: float) -> ClassBoxes:
    """Boxes: neighbouring events of a clip with a shallow gap between them become one.

    Two events merge if the higher one's peak, compared with the lowest score between them, is
    less than `merge_absolute` higher and less than `merge_relative` times as high. All gaps are
    judged by the events as they were found. A threshold of `inf` puts no condition.
    """
    peak = np.maximum(segments.peak[:-1], segments.peak[1:]) + SCORE_FLOOR
    gap = segments.gap[1:] + SCORE_FLOOR
    # A clip's first event merges with none: its height above -inf is not even less than inf.
    joined = (peak - gap < merge_absolute) & (peak / gap < merge_relative)
    single = np.append(~joined, True)[: len(segments.clip)]
    last = np.flatnonzero(single)
    first = np.flatnonzero(np.roll(single, 1))
    onset, offset = segments.onset[first], segments.offset[last]
    confidence = (segments.through[last] - segments.before[first]) / (offset - onset)
    return ClassBoxes(segments.clip[first], onset, offset, confidence)


def _segments_of_grid(rows: Floats, edges: Floats, step_seconds: float) -> Segments:
    """Segments of `(clips, frames)` scores whose frames all have the edges `(frames + 1,)`."""
    half = step_seconds / 2
    points = _breakpoints(edges, half)
    middles = (points[:-1] + points[1:]) / 2
    walled = np.pad(rows, ((0, 0), (1, 1)))  # no score outside the clip
    ahead, here, behind = (
        np.take(walled, np.searchsorted(edges, middles + shift, side="right"), axis=1)
        for shift in (half, 0.0, -half)
    )
    rising = (ahead + behind) / 2 > here * (1 + TIE)  # (clips, points - 1)
    steps = np.diff(np.pad(rising, ((0, 0), (1, 1)), constant_values=True).astype(np.int8), axis=1)
    clip, first = np.nonzero(steps < 0)
    _, end = np.nonzero(steps > 0)
    onset, offset = points[first], points[end]
    # The frames of a stretch of time, `begin:stop`: all that share time with it.
    begin = np.searchsorted(edges, points, side="right") - 1
    stop = np.searchsorted(edges, points, side="left")
    origin = clip * rows.shape[1]
    peak = _reduce(np.maximum, rows, origin + begin[first], origin + stop[end])
    gap = np.full(len(clip), -np.inf)
    later = np.flatnonzero(clip[1:] == clip[:-1]) + 1
    gap[later] = _reduce(
        np.minimum,
        rows,
        origin[later] + begin[end[later - 1]],
        origin[later] + stop[first[later]],
    )
    integral = np.pad(np.cumsum(rows * np.diff(edges), axis=1), ((0, 0), (1, 0)))
    before, through = (
        integral[clip, frame] + rows[clip, frame] * (time - edges[frame])
        for frame, time in ((begin[first], onset), (stop[end] - 1, offset))
    )
    return Segments(clip, onset, offset, before, through, peak, gap)


def _breakpoints(edges: Floats, half: float) -> Floats:
    """Edges, and edges moved by half a step, that lie within the clip; seconds, ascending.

    Of several that are the same up to rounding one is kept, the edge if it is among them.
    """
    moved = np.concatenate([edges - half, edges + half])
    inside = moved[(moved > edges[0]) & (moved < edges[-1])]
    points = np.unique(np.concatenate([edges, inside]))
    points = points[np.append(True, np.diff(points) > SAME_TIME)]
    place = np.searchsorted((edges[1:] + edges[:-1]) / 2, points)
    return np.where(np.abs(edges[place] - points) <= SAME_TIME, edges[place], points)


def _reduce(function: np.ufunc, rows: Floats, begin: Ints, stop: Ints) -> Floats:
    """A ufunc's reduction of `begin[k]:stop[k]` of the flattened rows, for every k."""
    flat = np.append(rows.reshape(-1), 0.0)  # `stop` may be the end
    return function.reduceat(flat, np.stack([begin, stop], axis=1).reshape(-1))[::2]


def _check_step(seconds: float) -> None:
    """Refuse the length of a step filter that is none."""
    if not 0 < seconds < np.inf:
        raise ValueError(f"step_seconds is {seconds}; a positive, finite number is right")
