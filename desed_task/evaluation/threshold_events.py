"""All events that one class's scores contain at any threshold.

Lowering a threshold through one class's scores of a clip, events appear, grow and merge. Each
event that ever exists is a node of a tree: it appears at its lowest score (`birth`) and is
swallowed by a larger one at the highest score beside it (`death`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.events import Floats, Ints


class ThresholdEvents(NamedTuple):
    """Events of one class that exist for scores `death < s <= birth`, as columns.

    `clip` is an index; `onset` and `offset` are seconds.
    """

    clip: Ints
    onset: Floats
    offset: Floats
    birth: NDArray[np.floating]
    death: NDArray[np.floating]

    def select(self, chosen: NDArray[np.bool_]) -> "ThresholdEvents":
        """The rows of a mask."""
        return ThresholdEvents(
            self.clip[chosen],
            self.onset[chosen],
            self.offset[chosen],
            self.birth[chosen],
            self.death[chosen],
        )


class Nodes(NamedTuple):
    """The same in frames: `first` and `end` (excluded)."""

    clip: Ints
    first: Ints
    end: Ints
    birth: NDArray[np.floating]
    death: NDArray[np.floating]


def find_threshold_events(rows: NDArray[np.floating], edges: Floats) -> ThresholdEvents:
    """All candidates of the scores of one class.

    Args:
        rows: `(clips, frames)`; -inf is never detected.
        edges: starts of the frames and the end of the last one, seconds, `(clips, frames + 1)`.
    """
    nodes = find_nodes(rows)
    onset, offset = edges[nodes.clip, nodes.first], edges[nodes.clip, nodes.end]
    return ThresholdEvents(nodes.clip, onset, offset, nodes.birth, nodes.death)


def find_nodes(rows: NDArray[np.floating]) -> Nodes:
    """All nodes of the scores of one class, `(clips, frames)`, by clip."""
    n_clips, n_frames = rows.shape
    walled = np.full(n_clips * (n_frames + 1) + 1, -np.inf, dtype=rows.dtype)
    walled[:-1].reshape(n_clips, n_frames + 1)[:, 1:] = rows
    starts = np.flatnonzero(np.append(True, walled[1:] != walled[:-1]))
    runs = walled[starts]
    minima = _window_minima(runs, n_frames)
    peak = np.flatnonzero(runs > -np.inf)
    left = _reach(runs, minima, peak, step=-1)
    # Runs of one score inside one node: the first one stands for it.
    peak, left = (a[runs[left] < runs[peak]] for a in (peak, left))
    right = _reach(runs, minima, peak, step=1)
    clip = starts[left + 1] // (n_frames + 1)
    origin = clip * (n_frames + 1) + 1
    return Nodes(
        clip=clip,
        first=starts[left + 1] - origin,
        end=starts[right] - origin,
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
    """Nearest run beside each peak that is lower (to the left: not higher) than it."""
    level = runs[peak]
    edge = peak.copy()
    for k in range(len(minima) - 1, -1, -1):
        window = edge + 1 if step > 0 else edge - 2**k
        inside = (window >= 0) & (window < len(minima[k]))
        lowest = minima[k][np.where(inside, window, 0)]
        higher = lowest >= level if step > 0 else lowest > level
        edge = np.where(inside & higher, edge + step * 2**k, edge)
    return edge + step
