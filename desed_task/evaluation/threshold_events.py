"""All events that one class's scores contain at any threshold, as a tree.

At a threshold, the events of a clip are the runs of frames with higher scores. When the threshold
falls, events appear, grow and merge, but never shrink or split. So all events that ever exist form
a tree: a node is a run of frames, its children are the shorter runs that lie within it. A node
exists for the thresholds below the lowest score within it, its `birth`, down to the highest score
directly beside it, its `death`: there the run grows, that is, its parent is born.

    score      3 . . # . .      frame 2 alone: birth 3, death 2
               2 . # # . #      frames 1 to 2: birth 2, death 1; frame 4: birth 2, death 1
               1 # # # # #      all frames: birth 1, death -inf

A class with n different scores has at most one node per run of equal scores, far fewer than events
at n thresholds; `psds_exact` matches each node once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.events import EventTable, Floats, Ints


@dataclass(frozen=True, eq=False)
class ThresholdEvents(EventTable):
    """Events of one class, detected at the thresholds `death <= t < birth`; `level` is 0.

    Args:
        birth, death: scores, `(events,)`.
    """

    birth: NDArray[np.floating]
    death: NDArray[np.floating]


def find_threshold_events(rows: NDArray[np.floating], edges: Floats, label: int) -> ThresholdEvents:
    """All events of one class at any threshold, ordered by clip.

    Args:
        rows: `(clips, frames)`; -inf is never detected.
        edges: starts of the frames and the end of the last one, seconds, `(clips, frames + 1)`.
        label: the class.
    """
    n_clips, n_frames = rows.shape
    # All clips one after the other, with a wall of -inf before, between and behind them.
    walled = np.full(n_clips * (n_frames + 1) + 1, -np.inf, dtype=rows.dtype)
    walled[:-1].reshape(n_clips, n_frames + 1)[:, 1:] = rows
    starts = np.flatnonzero(np.append(True, walled[1:] != walled[:-1]))
    runs = walled[starts]
    # Each run of equal scores is the lowest place of one node, which reaches from it to both sides
    # as far as no score is lower.
    minima = _window_minima(runs, n_frames)
    peak = np.flatnonzero(runs > -np.inf)
    left = _reach(runs, minima, peak, step=-1)
    # Several runs of one score can belong to one node: only the leftmost of them is used.
    peak, left = (a[runs[left] < runs[peak]] for a in (peak, left))
    right = _reach(runs, minima, peak, step=1)
    clip = starts[left + 1] // (n_frames + 1)
    origin = clip * (n_frames + 1) + 1
    zeros = np.zeros_like(clip)
    return ThresholdEvents(
        level=zeros,
        clip=clip,
        label=zeros + label,
        onset=edges[clip, starts[left + 1] - origin],
        offset=edges[clip, starts[right] - origin],
        birth=runs[peak],
        death=np.maximum(runs[left], runs[right]),
    )


def _window_minima(runs: NDArray[np.floating], longest: int) -> list[NDArray[np.floating]]:
    """Element k: the minima of all windows of 2**k runs, by the window's first run."""
    minima = [runs]
    while 2 ** len(minima) <= longest and len(minima[-1]) > 2 ** (len(minima) - 1):
        width = 2 ** (len(minima) - 1)
        minima.append(np.minimum(minima[-1][:-width], minima[-1][width:]))
    return minima


def _reach(
    runs: NDArray[np.floating], minima: list[NDArray[np.floating]], peak: Ints, *, step: int
) -> Ints:
    """Nearest run beside each peak that is lower (on the left: not higher), by binary search."""
    level = runs[peak]
    edge = peak.copy()
    for k in range(len(minima) - 1, -1, -1):
        window = edge + 1 if step > 0 else edge - 2**k
        inside = (window >= 0) & (window < len(minima[k]))
        lowest = minima[k][np.where(inside, window, 0)]
        higher = lowest >= level if step > 0 else lowest > level
        edge = np.where(inside & higher, edge + step * 2**k, edge)
    return edge + step
