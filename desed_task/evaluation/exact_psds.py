"""PSDS over all thresholds (Ebbers et al., 2022), by sed_scores_eval's definition.

Lowering a threshold through one class's scores of a clip, events appear, grow and merge. Each
event that ever exists is a node of a tree: it appears at its lowest score (`birth`) and is
swallowed by a larger one at the highest score beside it (`death`). Whether a node is tolerated
or a cross trigger depends on its own times only, so every node is judged once, and the curves
are sums of what appears and disappears at each score.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.decode import frame_times
from desed_task.evaluation.events import EventTable, Floats, Ints, find_overlaps, sums
from desed_task.evaluation.psds import (
    PsdRoc,
    RocCurve,
    Scenario,
    combine,
    effective_rate,
    staircase,
)
from desed_task.frames import FrameGrid

# Shared times are compared after rounding to this many decimals, as sed_scores_eval does.
TIME_DECIMALS = 6


class Nodes(NamedTuple):
    """Every event one class's scores contain at any threshold.

    `clip` is an index, `first` and `end` are frames (end excluded); the node exists for scores
    `death < s <= birth`.
    """

    clip: Ints
    first: Ints
    end: Ints
    birth: NDArray[np.floating]
    death: NDArray[np.floating]

    def select(self, chosen: NDArray[np.bool_]) -> "Nodes":
        """The nodes of a mask."""
        return Nodes(
            self.clip[chosen],
            self.first[chosen],
            self.end[chosen],
            self.birth[chosen],
            self.death[chosen],
        )


def exact_rocs(
    scores: NDArray[np.floating],
    truth: EventTable,
    total_seconds: float,
    grid: FrameGrid,
    scenarios: Sequence[Scenario],
    *,
    trim_to: Floats | None = None,
) -> list[PsdRoc | None]:
    """The PSD-ROC of each scenario over all thresholds.

    Every detection counts, also beyond its clip's end; classes that do not occur in the truth
    are left out, and the result is None if none does.

    Args:
        scores: post-processed scores `(clips, classes, frames)`; -inf is never detected.
        truth: true events, clips numbered as in `scores`.
        total_seconds: length of all clips together.
        grid: time axis of the frames.
        scenarios: what to judge by.
        trim_to: seconds per clip `(clips,)`; detections are cut there. None keeps them.
    """
    n_classes = scores.shape[1]
    class_seconds = sums(truth.label, truth.offset - truth.onset, n_classes)
    times = frame_times(grid, scores.shape[2])
    curves: list[dict[int, RocCurve]] = [{} for _ in scenarios]
    for label in np.unique(truth.label):
        system = _ClassOutput(scores[:, label], int(label), truth, times, trim_to)
        for scenario, found in zip(scenarios, curves, strict=True):
            found[int(label)] = system.curve(scenario, class_seconds, total_seconds)
    return [
        combine(found, scenario) if found else None
        for scenario, found in zip(scenarios, curves, strict=True)
    ]


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


class _ClassOutput:
    """All nodes of one class's scores `(clips, frames)`, and what they share with the truth."""

    def __init__(
        self,
        rows: NDArray[np.floating],
        label: int,
        truth: EventTable,
        times: Floats,
        trim_to: Floats | None,
    ) -> None:
        nodes = find_nodes(rows)
        onset, offset = times[nodes.first], times[nodes.end]
        if trim_to is not None:
            inside = onset < trim_to[nodes.clip]
            nodes = nodes.select(inside)
            onset = onset[inside]
            offset = np.minimum(offset[inside], trim_to[nodes.clip])
        same = np.zeros(len(onset), dtype=np.int64)
        self.label = label
        self.truth = truth
        self.length = offset - onset
        self.overlaps = find_overlaps(
            EventTable(same, nodes.clip, same + label, onset, offset), truth
        )
        levels, self.birth = np.unique(nodes.birth, return_inverse=True)
        self.n_levels = len(levels)
        # A node is swallowed at the birth of its parent; -1: never.
        self.death = np.searchsorted(levels, nodes.death, side="right") - 1

    def curve(self, scenario: Scenario, class_seconds: Floats, total_seconds: float) -> RocCurve:
        """True positive ratio against effective false positives per hour."""
        seconds = self.overlaps.seconds * self.overlaps.same_class
        shared = sums(self.overlaps.detection, seconds, len(self.length))
        tolerated = _rounded(shared) >= _rounded(scenario.dtc * self.length)
        false = self._alive(np.flatnonzero(~tolerated))
        cross = np.zeros((self.n_levels + 1, len(class_seconds)), dtype=np.int64)
        if scenario.alpha_ct > 0:
            for other, nodes in self._cross_triggers(tolerated, scenario.cttc):
                cross[:, other] = self._alive(nodes)
        efpr = effective_rate(false, cross, class_seconds, total_seconds, scenario.alpha_ct)
        n_true = np.count_nonzero(self.truth.label == self.label)
        return staircase(efpr, self._found(tolerated, scenario.gtc) / n_true)

    def _alive(self, nodes: Ints) -> Ints:
        """How many of these nodes exist at each score, ascending, and (0) above all scores."""
        return self._accumulate(self.birth[nodes], 1) - self._accumulate(self.death[nodes], 1)

    def _accumulate(self, rank: Ints, change: Ints | int) -> Ints:
        """Sum of the changes at each score and above, `(levels + 1,)`; rank -1 is left out."""
        weights = np.broadcast_to(change, rank.shape)[rank >= 0]
        total = np.bincount(rank[rank >= 0], weights, minlength=self.n_levels + 1)
        return np.rint(np.cumsum(total[::-1])[::-1]).astype(np.int64)

    def _cross_triggers(
        self, tolerated: NDArray[np.bool_], cttc: float
    ) -> Iterator[tuple[int, Ints]]:
        """Each other class, and the rejected nodes that fit it."""
        least = _rounded(cttc * self.length)
        rejected = ~self.overlaps.same_class & ~tolerated[self.overlaps.detection]
        node, true, seconds = self.overlaps.of(rejected)
        label = self.truth.label[true]
        for other in np.unique(label):
            of_class = label == other
            shared = sums(node[of_class], seconds[of_class], len(least))
            yield int(other), np.flatnonzero((shared > 0) & (_rounded(shared) >= least))

    def _found(self, tolerated: NDArray[np.bool_], gtc: float) -> Ints:
        """How many true events tolerated nodes cover well enough, at each score and above all."""
        counted = self.overlaps.same_class & tolerated[self.overlaps.detection]
        node, true, seconds = self.overlaps.of(counted)
        true = np.concatenate([true, true])
        rank = np.concatenate([self.birth[node], self.death[node]])
        change = np.concatenate([seconds, -seconds])
        order = np.lexsort((-rank, true))
        true, rank, change = true[order], rank[order], change[order]
        # Time covered from each score down to the next one at which something changes.
        covered = np.cumsum(change)
        first = np.flatnonzero(np.diff(true, prepend=-1))
        before = np.repeat(np.append(0.0, covered)[first], np.diff(first, append=len(true)))
        needed = _rounded(gtc * (self.truth.offset - self.truth.onset))[true]
        hit = _rounded(covered - before) >= needed
        last = np.append((np.diff(true) != 0) | (np.diff(rank) != 0), True)[: len(true)]
        true, rank, hit = true[last], rank[last], hit[last].astype(np.int64)
        # Gain or loss of a true event against the next higher score that mattered to it.
        gain = hit - np.where(np.diff(true, prepend=-1) == 0, np.append(0, hit[:-1]), 0)
        return self._accumulate(rank, gain)


def _rounded(seconds: Floats) -> Floats:
    return np.round(seconds, TIME_DECIMALS)
