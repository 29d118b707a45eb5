"""Sound event bounding boxes by change detection (cSEBBs), vectorised over clips.

Source: Ebbers, Germain, Wichern and Le Roux, "Sound Event Bounding Boxes", Interspeech 2024
(arXiv 2406.04212). Onset and offset of an event are where the scores change, independent of the
threshold; the event is detected at all thresholds below its confidence. Written from the paper;
the tests compare it with the authors' package `sebbs`.

The scores of one class in one clip are a step function of time, 0 outside the clip. A step filter
of length L measures their change at a time t as delta(t), the mean over [t, t + L/2] minus the
mean over [t - L/2, t]. An event begins at a maximum of delta (at its first point, if delta is
constant there) and ends at the next minimum (at its last point). Delta is piecewise linear: its
slope at t is proportional to `score(t + L/2) - 2 score(t) + score(t - L/2)`, which is constant
between breakpoints: the frames' edges, and the edges shifted by +-L/2. So an event is a maximal
interval in which that expression is not positive, and no integral is needed to find it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.decode import frame_edges
from desed_task.evaluation.events import EventTable, Floats, Ints
from desed_task.evaluation.outputs import Boxes, Scores

# Delta rises only where the mean of the scores before and after exceeds the score in between by
# more than this fraction of it: rounding must not cut an event in two.
TIE = 1e-12
# Breakpoints at most this many seconds apart are treated as one.
SAME_TIME = 1e-7
# Added to both scores before they are compared for merging: keeps their ratio finite.
SCORE_FLOOR = 1e-3


class BoxParameters(NamedTuple):
    """Parameters of one class's boxes.

    Attributes:
        step_seconds: length L of the step filter, above 0.
        merge_absolute: neighbouring events merge if their highest score is less than this above
            the lowest one between them; at least 0, `inf`: no condition.
        merge_relative: the same for the ratio of the two scores; 0: no events merge.
    """

    step_seconds: float
    merge_absolute: float
    merge_relative: float


class Segments(NamedTuple):
    """Events of one class before merging, one array per column, ordered by clip and onset.

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
    """Boxes of one class, one array per column, ordered by clip and onset.

    `clip` is an index, `onset` and `offset` are seconds, `confidence` the mean score in between.
    """

    clip: Ints
    onset: Floats
    offset: Floats
    confidence: Floats


def bounding_boxes(scores: Scores, parameters: Sequence[BoxParameters]) -> Boxes:
    """Sound event bounding boxes of all clips and classes.

    Args:
        scores: in [0, 1]; -inf is treated as 0. Silent clips have boxes, too, with confidence 0.
        parameters: one per class, `(classes,)`.

    Raises:
        ValueError: the number of parameters is not the number of classes.
    """
    if len(parameters) != scores.n_classes:
        raise ValueError(
            f"box parameters: expected {scores.n_classes}, one per class, got {len(parameters)}"
        )
    by_class = []
    for label, chosen in enumerate(parameters):
        segments = find_segments(scores.values[:, label], scores.edges, chosen.step_seconds)
        by_class.append(merge_segments(segments, chosen.merge_absolute, chosen.merge_relative))
    labels = np.repeat(np.arange(len(by_class)), [len(boxes.clip) for boxes in by_class])
    clip, onset, offset, confidence = (np.concatenate(c) for c in zip(*by_class, strict=True))
    order = np.lexsort((onset, labels, clip))
    events = EventTable(np.zeros_like(clip), clip, labels, onset, offset).select(order)
    return Boxes(events, confidence[order], scores.names, scores.n_classes)


def find_segments(rows: NDArray[np.floating], edges: Floats, step_seconds: float) -> Segments:
    """Events of one class before merging.

    Clips with equal edges are computed in one batch.

    Args:
        rows: scores in [0, 1], `(clips, frames)`; -inf is treated as 0.
        edges: starts of the frames and the end of the last one, seconds, ascending,
            `(frames + 1,)` for all clips or `(clips, frames + 1)`.
        step_seconds: length of the step filter.

    Raises:
        ValueError: scores or edges of another shape, or a step that is not positive.
    """
    if not 0 < step_seconds < np.inf:
        raise ValueError(f"step_seconds: expected a positive, finite number, got {step_seconds}")
    if rows.ndim != 2:
        raise ValueError(f"scores: expected (clips, frames), got shape {rows.shape}")
    values = np.where(np.isneginf(rows), 0.0, rows).astype(np.float64)
    edges = frame_edges(edges, *rows.shape)
    if (edges == edges[:1]).all():
        shared = edges[0] if len(edges) else np.zeros(edges.shape[1])
        return _grid_segments(values, shared, step_seconds)
    grids, grid_of = np.unique(edges, axis=0, return_inverse=True)
    by_grid = []
    for number, grid in enumerate(grids):
        members = np.flatnonzero(grid_of.reshape(-1) == number)
        segments = _grid_segments(values[members], grid, step_seconds)
        by_grid.append(segments._replace(clip=members[segments.clip]))
    columns = [np.concatenate(column) for column in zip(*by_grid, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Segments(*(column[order] for column in columns))


def merge_segments(segments: Segments, merge_absolute: float, merge_relative: float) -> ClassBoxes:
    """Boxes: neighbouring events of a clip with a shallow gap between them become one.

    Two events merge if the higher one's peak, compared with the lowest score between them, is
    less than `merge_absolute` higher and less than `merge_relative` times as high. All gaps are
    compared with the peaks before merging. A threshold of `inf` is no condition.
    """
    peak = np.maximum(segments.peak[:-1], segments.peak[1:]) + SCORE_FLOOR
    gap = segments.gap[1:] + SCORE_FLOOR
    # A clip's first event has the gap -inf: its height above that is inf, and inf < inf is false.
    joined = (peak - gap < merge_absolute) & (peak / gap < merge_relative)
    single = np.append(~joined, True)[: len(segments.clip)]
    last = np.flatnonzero(single)
    first = np.flatnonzero(np.roll(single, 1))
    onset, offset = segments.onset[first], segments.offset[last]
    confidence = (segments.through[last] - segments.before[first]) / (offset - onset)
    return ClassBoxes(segments.clip[first], onset, offset, confidence)


def _grid_segments(rows: Floats, edges: Floats, step_seconds: float) -> Segments:
    """Segments of scores `(clips, frames)`, where all clips have the edges `(frames + 1,)`."""
    half = step_seconds / 2
    points = _breakpoints(edges, half)
    middles = (points[:-1] + points[1:]) / 2
    padded = np.pad(rows, ((0, 0), (1, 1)))  # 0 outside the clip
    ahead, here, behind = (
        np.take(padded, np.searchsorted(edges, middles + shift, side="right"), axis=1)
        for shift in (half, 0.0, -half)
    )
    rising = (ahead + behind) / 2 > here * (1 + TIE)  # (clips, points - 1)
    steps = np.diff(np.pad(rising, ((0, 0), (1, 1)), constant_values=True).astype(np.int8), axis=1)
    clip, first = np.nonzero(steps < 0)
    _, end = np.nonzero(steps > 0)
    onset, offset = points[first], points[end]
    # Frames `begin:stop` overlap the interval between two points.
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
    """Edges, and edges shifted by half a step, within the clip; seconds, ascending.

    Of several that are equal up to rounding one remains: the edge, if one is among them.
    """
    shifted = np.concatenate([edges - half, edges + half])
    inside = shifted[(shifted > edges[0]) & (shifted < edges[-1])]
    points = np.unique(np.concatenate([edges, inside]))
    points = points[np.append(True, np.diff(points) > SAME_TIME)]
    nearest = edges[np.searchsorted((edges[1:] + edges[:-1]) / 2, points)]
    return np.where(np.abs(nearest - points) <= SAME_TIME, nearest, points)


def _reduce(function: np.ufunc, rows: Floats, begin: Ints, stop: Ints) -> Floats:
    """A ufunc's reduction of `begin[k]:stop[k]` of the flattened rows, for every k."""
    flat = np.append(rows.reshape(-1), 0.0)  # `stop` may be the length
    return function.reduceat(flat, np.stack([begin, stop], axis=1).reshape(-1))[::2]
