"""Scores -> events at many thresholds, vectorised over clips, classes and thresholds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.events import EventTable, Floats, Ints, expand_ranges
from desed_task.frames import FrameGrid

TimeAxis = FrameGrid | Floats
CLIPS_AT_ONCE = 32


def detect_many(
    scores: NDArray[np.floating], thresholds: Sequence[float], axis: TimeAxis
) -> EventTable:
    """Runs of frames with `score > threshold`, for every threshold.

    Scores and thresholds are compared as float64. An event lasts from the start of its first
    frame to the end of its last one, at most to the clip's length.

    Args:
        scores: post-processed scores `(clips, classes, frames)`.
        thresholds: ascending; an event's `level` is its threshold's index here.
        axis: times of the frames: a frame grid, or their edges (see `frame_edges`).

    Raises:
        ValueError: no thresholds, thresholds that do not ascend, or scores of another shape.
    """
    if scores.ndim != 3:
        raise ValueError(f"scores: expected the shape (clips, classes, frames), got {scores.shape}")
    bounds = np.asarray(thresholds, dtype=np.float64)
    if not len(bounds) or np.any(np.diff(bounds) <= 0):
        raise ValueError(f"expected at least one threshold, ascending, got {list(thresholds)}")
    edges = _passed(scores, bounds)
    steps = np.diff(edges, axis=2)
    # A step up from a to b passed thresholds begins an event at each of the levels a ... b-1, a
    # step down ends one. Sorted by level, clip, class and time, the k-th beginning and the k-th
    # end belong to one event.
    level, row, onset = _crossings(steps, edges[..., :-1], rising=True)
    _, _, offset = _crossings(steps, edges[..., 1:], rising=False)
    times = frame_edges(axis, len(scores), scores.shape[2])
    clip, label = np.divmod(row, max(scores.shape[1], 1))
    return EventTable(level, clip, label, times[clip, onset], times[clip, offset])


def frame_edges(axis: TimeAxis, n_clips: int, n_frames: int) -> Floats:
    """Starts of each clip's frames and the end of its last one, `(clips, frames + 1)`.

    Args:
        axis: a frame grid (the last frame ends with the clip), or edges in seconds, ascending:
            `(frames + 1,)` for all clips, or `(clips, frames + 1)`.
        n_clips, n_frames: the scores' lengths.

    Raises:
        ValueError: edges of another shape.
    """
    edges = frame_times(axis, n_frames) if isinstance(axis, FrameGrid) else axis
    if edges.shape not in ((n_frames + 1,), (n_clips, n_frames + 1)):
        raise ValueError(
            f"edges: expected the shape ({n_frames + 1},) or ({n_clips}, {n_frames + 1}), "
            f"got {edges.shape}"
        )
    return np.broadcast_to(edges, (n_clips, n_frames + 1))


def frame_times(grid: FrameGrid, n_frames: int) -> Floats:
    """Starts of the frames and the end of the last one, seconds, `(n_frames + 1,)`."""
    times = np.arange(n_frames + 1) * grid.samples_per_frame / grid.sample_rate
    return np.minimum(times, grid.clip_seconds)


def _passed(scores: NDArray[np.floating], bounds: Floats) -> NDArray[np.signedinteger]:
    """How many thresholds each score exceeds, `(clips, classes, frames + 2)`, 0 at both ends.

    In a small type, and a few clips at a time, because the comparison needs eight bytes per score.
    """
    kind = np.int16 if len(bounds) < np.iinfo(np.int16).max else np.int32
    edges = np.zeros((*scores.shape[:2], scores.shape[2] + 2), dtype=kind)
    for first in range(0, len(scores), CLIPS_AT_ONCE):
        clips = slice(first, first + CLIPS_AT_ONCE)
        # Thresholds below the score: those that it exceeds.
        edges[clips, :, 1:-1] = np.searchsorted(bounds, scores[clips])
    return edges


def _crossings(
    steps: NDArray[np.signedinteger], lower: NDArray[np.signedinteger], *, rising: bool
) -> tuple[Ints, Ints, Ints]:
    """Level, row (clip and class) and frame of every threshold crossed in one direction."""
    flat = steps.reshape(-1)
    where = np.flatnonzero(flat > 0 if rising else flat < 0)
    count = np.abs(flat[where]).astype(np.int64)
    level = expand_ranges(lower.reshape(-1)[where].astype(np.int64), count)
    index = np.repeat(where, count)
    order = np.argsort(level, kind="stable")
    row, frame = np.divmod(index[order], steps.shape[2])
    return level[order], row, frame
