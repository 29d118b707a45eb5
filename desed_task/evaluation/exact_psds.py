"""PSDS over all thresholds (Ebbers et al., 2022), by sed_scores_eval's definition.

Whether an event that a system's scores contain at some threshold is tolerated or a cross trigger
depends on its own times only, so every such event (`ThresholdEvents`) is matched once; the curves
are sums of what appears and disappears at each score.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.clip_counts import ClipCounts
from desed_task.evaluation.events import EventTable, Floats, Ints, find_overlaps, sums
from desed_task.evaluation.psds import (
    PsdRoc,
    RocCurve,
    Scenario,
    combine,
    effective_rate,
    staircase,
)
from desed_task.evaluation.threshold_events import ThresholdEvents

# Shared times are compared after rounding to this many decimals, as sed_scores_eval does.
TIME_DECIMALS = 6


def exact_rocs(
    candidates: Callable[[int], ThresholdEvents],
    truth: EventTable,
    n_classes: int,
    total_seconds: float,
    scenarios: Sequence[Scenario],
) -> list[PsdRoc | None]:
    """The PSD-ROC of each scenario over all thresholds.

    Every detection counts, also beyond its clip's end; classes that do not occur in the truth
    are left out, and the result is None if none does.

    Args:
        candidates: gives a class's events at all thresholds, clips numbered as in `truth`.
        truth: true events.
        n_classes: number of classes.
        total_seconds: length of all clips together.
        scenarios: what to judge by.
    """
    class_seconds = sums(truth.label, truth.offset - truth.onset, n_classes)
    curves: list[dict[int, RocCurve]] = [{} for _ in scenarios]
    for label in np.unique(truth.label).tolist():
        decided = class_changes(candidates(label), label, truth, n_classes, scenarios)
        for scenario, changes, found in zip(scenarios, decided, curves, strict=True):
            found[label] = changes.curve(scenario, class_seconds, total_seconds)
    return [
        combine(found, scenario) if found else None
        for scenario, found in zip(scenarios, curves, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class ClassChanges:
    """What begins and ceases to count for one class as the threshold falls through its scores.

    The first axis of the changes' cells are the scores at which something changes, ascending,
    and, last, above them all, where nothing is detected.

    Args:
        true: true events of the class, `()`.
        false: rejected nodes, `(levels + 1,)`.
        cross: rejected nodes that fit another class, `(levels + 1, classes)`; without columns
            where cross triggers have no weight.
        found: true events that tolerated nodes cover well enough, `(levels + 1,)`.
    """

    true: ClipCounts
    false: ClipCounts
    cross: ClipCounts
    found: ClipCounts

    def curve(
        self,
        scenario: Scenario,
        class_seconds: Floats,
        total_seconds: float,
        weights: Floats | None = None,
        max_efpr: float = math.inf,
    ) -> RocCurve:
        """True positive ratio against effective false positives per hour, up to `max_efpr`.

        The class must occur, in clips weighted as in `ClipCounts.count`; the seconds are weighted
        already.
        """
        false, cross, found = (
            np.cumsum(changes.count(weights)[::-1], axis=0)[::-1]
            for changes in (self.false, self.cross, self.found)
        )
        efpr = effective_rate(false, cross, class_seconds, total_seconds, scenario.alpha_ct)
        inside = efpr <= max_efpr
        return staircase(efpr[inside], found[inside] / self.true.count(weights))


def class_changes(
    candidates: ThresholdEvents,
    label: int,
    truth: EventTable,
    n_classes: int,
    scenarios: Sequence[Scenario],
) -> Iterator[ClassChanges]:
    """What each of the scenarios decides on the candidates of a class; see `exact_rocs`."""
    output = _ClassOutput(candidates, label, truth, n_classes)
    return map(output.changes, scenarios)


class _ClassOutput:
    """All candidates of one class, and what they share with the truth."""

    def __init__(
        self, candidates: ThresholdEvents, label: int, truth: EventTable, n_classes: int
    ) -> None:
        clip, onset, offset, birth, death = candidates
        same = np.zeros(len(onset), dtype=np.int64)
        self.label = label
        self.truth = truth
        self.n_classes = n_classes
        self.clip = clip
        self.length = offset - onset
        self.overlaps = find_overlaps(EventTable(same, clip, same + label, onset, offset), truth)
        levels, self.birth = np.unique(birth, return_inverse=True)
        self.n_levels = len(levels)
        # A node is swallowed at the birth of its parent; -1: never.
        self.death = np.searchsorted(levels, death, side="right") - 1

    def changes(self, scenario: Scenario) -> ClassChanges:
        """What the scenario decides."""
        seconds = self.overlaps.seconds * self.overlaps.same_class
        shared = sums(self.overlaps.detection, seconds, len(self.length))
        tolerated = _rounded(shared) >= _rounded(scenario.dtc * self.length)
        rejected = np.flatnonzero(~tolerated)
        shape = (self.n_levels + 1,)
        if scenario.alpha_ct > 0:
            node, other = self._cross_triggers(tolerated, scenario.cttc)
            cross = self._alive(node, (*shape, self.n_classes), other)
        else:
            cross = self._alive(rejected[:0], (*shape, 0))
        true = self.truth.clip[self.truth.label == self.label]
        return ClassChanges(
            true=ClipCounts(true, np.zeros(len(true), dtype=np.int64), ()),
            false=self._alive(rejected, shape),
            cross=cross,
            found=self._found(tolerated, scenario.gtc),
        )

    def _alive(self, node: Ints, shape: tuple[int, ...], column: Ints | int = 0) -> ClipCounts:
        """These nodes begin to count at their birth, and cease at their death."""
        width = math.prod(shape[1:])
        ends = self.death[node] >= 0
        begin = self.birth[node] * width + column
        end = (self.death[node] * width + column)[ends]
        clip = self.clip[node]
        return ClipCounts(
            clip=np.concatenate([clip, clip[ends]]),
            cell=np.concatenate([begin, end]),
            shape=shape,
            amount=np.repeat(np.array([1, -1]), [len(begin), len(end)]),
        )

    def _cross_triggers(self, tolerated: NDArray[np.bool_], cttc: float) -> tuple[Ints, Ints]:
        """Rejected nodes, and the other class that each of them fits."""
        least = _rounded(cttc * self.length)
        rejected = ~self.overlaps.same_class & ~tolerated[self.overlaps.detection]
        node, true, seconds = self.overlaps.of(rejected)
        label = self.truth.label[true]
        fitting = []
        for other in np.unique(label):
            of_class = label == other
            shared = sums(node[of_class], seconds[of_class], len(least))
            fitting.append(np.flatnonzero((shared > 0) & (_rounded(shared) >= least)))
        others = np.repeat(np.unique(label), [len(nodes) for nodes in fitting])
        return np.concatenate([node[:0], *fitting]), others

    def _found(self, tolerated: NDArray[np.bool_], gtc: float) -> ClipCounts:
        """True events begin and cease to be covered well enough by tolerated nodes."""
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
        counts = (rank >= 0) & (gain != 0)
        clip = self.truth.clip[true[counts]]
        return ClipCounts(clip, rank[counts], (self.n_levels + 1,), gain[counts])


def _rounded(seconds: Floats) -> Floats:
    return np.round(seconds, TIME_DECIMALS)
