"""PSDS over all thresholds (Ebbers et al., 2022), by sed_scores_eval's definition.

Whether an event is tolerated, rejected or a cross trigger depends on its own onset and offset, not
on the threshold. So every event that exists at some threshold (`ThresholdEvents`) is matched once.
It begins to count at its birth and ceases to count at its death, when it merges into a longer
event: +1 false positive at the one score, -1 at the other. The number of false positives at a
threshold is then the cumulative sum of these changes over all scores from the highest one down to
the threshold, and likewise the cross triggers and the true events found. The ROC at all thresholds
costs one pass over the changes instead of one evaluation per threshold.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.class_counts import Changes, ClassCounts, PsdsCounts
from desed_task.evaluation.events import Floats, Ints, find_overlaps, sums
from desed_task.evaluation.psds import Scenario
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.evaluation.threshold_events import ThresholdEvents

# Shared times are compared after rounding to this many decimals, as sed_scores_eval does.
TIME_DECIMALS = 6


def match(scoring: ScoringInput, scenarios: Sequence[Scenario]) -> list[PsdsCounts]:
    """The counts of each scenario.

    A level is a score at which an event of the class is born, from the highest to the lowest;
    level 0 is above all scores, where nothing is detected. Every detection counts, also beyond
    its clip's end. Clips whose detections are excluded do not count.
    """
    counts: list[dict[int, ClassCounts]] = [{} for _ in scenarios]
    for label in np.unique(scoring.true.label).tolist():
        events = _ClassEvents(scoring.threshold_events(label), label, scoring)
        for scenario, by_class in zip(scenarios, counts, strict=True):
            by_class[label] = events.match(scenario)
    seconds = scoring.durations * scoring.counted
    return [
        PsdsCounts(scenario, by_class, scoring.true_seconds, seconds)
        for scenario, by_class in zip(scenarios, counts, strict=True)
    ]


class _ClassEvents:
    """All threshold events of one class, and the time that they share with the ground truth."""

    def __init__(self, events: ThresholdEvents, label: int, scoring: ScoringInput) -> None:
        self.label = label
        self.truth = scoring.true
        self.n_classes = scoring.n_classes
        self.n_clips = len(scoring.durations)
        self.clip = events.clip
        self.length = events.offset - events.onset
        self.overlaps = find_overlaps(events, self.truth)
        births = np.unique(events.birth)
        self.n_levels = len(births) + 1
        # Levels are numbered by falling score. An event dies at the birth of the longer event that
        # it becomes a part of; one that never dies has the level n_levels.
        self.birth = len(births) - np.searchsorted(births, events.birth)
        self.death = self.n_levels - np.searchsorted(births, events.death, side="right")

    def match(self, scenario: Scenario) -> ClassCounts:
        """The counts that the scenario's criteria give."""
        seconds = self.overlaps.seconds * self.overlaps.same_class
        shared = sums(self.overlaps.detection, seconds, len(self.length))
        tolerated = _rounded(shared) >= _rounded(scenario.criteria.dtc * self.length)
        cross = None
        if scenario.alpha_ct > 0:
            event, other = self._cross_triggers(tolerated, scenario.criteria.cttc)
            cross = self._alive(event, self.clip[event] * self.n_classes + other)
        false = np.flatnonzero(~tolerated)
        return ClassCounts.from_changes(
            (self.n_levels, self.n_clips, self.n_classes),
            self.truth.clip[self.truth.label == self.label],
            self._found(tolerated, scenario.criteria.gtc),
            self._alive(false, self.clip[false]),
            cross,
        )

    def _alive(self, event: Ints, column: Ints) -> Changes:
        """These events, from birth to death."""
        return Changes.between(self.birth[event], self.death[event], column, self.n_levels)

    def _cross_triggers(self, tolerated: NDArray[np.bool_], cttc: float) -> tuple[Ints, Ints]:
        """Rejected events, and the other class whose true events cover the share `cttc` of them."""
        least = _rounded(cttc * self.length)
        rejected = ~self.overlaps.same_class & ~tolerated[self.overlaps.detection]
        event, true, seconds = self.overlaps.select(rejected)
        label = self.truth.label[true]
        covered = []
        for other in np.unique(label):
            is_other = label == other
            shared = sums(event[is_other], seconds[is_other], len(least))
            covered.append(np.flatnonzero((shared > 0) & (_rounded(shared) >= least)))
        others = np.repeat(np.unique(label), [len(events) for events in covered])
        return np.concatenate([event[:0], *covered]), others

    def _found(self, tolerated: NDArray[np.bool_], gtc: float) -> Changes:
        """+1 where tolerated events begin to cover the share `gtc` of a true event, -1 after it."""
        counted = self.overlaps.same_class & tolerated[self.overlaps.detection]
        event, true, seconds = self.overlaps.select(counted)
        # Each tolerated event adds the time shared with a true event at its birth, and takes it
        # away at its death. Sorted by true event, then by falling score, the cumulative sum is the
        # time that is covered.
        true = np.concatenate([true, true])
        level = np.concatenate([self.birth[event], self.death[event]])
        change = np.concatenate([seconds, -seconds])
        order = np.lexsort((level, true))
        true, level, change = true[order], level[order], change[order]
        covered = np.cumsum(change)
        # The sum runs on from one true event to the next: subtract what it was before this one.
        first = np.flatnonzero(np.diff(true, prepend=-1))
        before = np.repeat(np.append(0.0, covered)[first], np.diff(first, append=len(true)))
        needed = _rounded(gtc * (self.truth.offset - self.truth.onset))[true]
        found = _rounded(covered - before) >= needed
        # Several changes at one score are one step: only the sum after the last one counts.
        last = np.append((np.diff(true) != 0) | (np.diff(level) != 0), True)[: len(true)]
        true, level, found = true[last], level[last], found[last].astype(np.int64)
        # Difference to the next higher score at which the covered time of the same event changed.
        higher = np.where(np.diff(true, prepend=-1) == 0, np.append(0, found[:-1]), 0)
        gain = found - higher
        changes = (level < self.n_levels) & (gain != 0)
        return Changes(level[changes], self.truth.clip[true[changes]], gain[changes])


def _rounded(seconds: Floats) -> Floats:
    return np.round(seconds, TIME_DECIMALS)
