"""Intersection-based counts and F-score (Bilen et al., 2020), by psds_eval's definition."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.clip_counts import ClipCounts
from desed_task.evaluation.events import EventTable, Floats, Ints, Overlaps


@dataclass(frozen=True)
class Criteria:
    """When a detection counts, as shares of a length in (0, 1].

    Args:
        dtc: detection tolerance: share of a detection that true events of its class cover.
        gtc: truth tolerance: share of a true event that tolerated detections cover.
        cttc: cross-trigger tolerance: share of a rejected detection that true events of one
            other class cover.
    """

    dtc: float = 0.5
    gtc: float = 0.5
    cttc: float = 0.3

    def __post_init__(self) -> None:
        for name in ("dtc", "gtc", "cttc"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ValueError(f"{name} = {value}; a share above 0 and at most 1 is right")


@dataclass(frozen=True, eq=False)
class IntersectionCounts:
    """Per operating point and class.

    Args:
        true: true events `(classes,)`.
        correct: true events that were found `(levels, classes)`.
        false: rejected detections `(levels, classes)`.
        cross: rejected detections that fit another class, `(levels, classes, other classes)`.
    """

    true: Ints
    correct: Ints
    false: Ints
    cross: Ints

    @property
    def per_class(self) -> NDArray[np.float64]:
        """F1 `(levels, classes)`; NaN for a class that the truth does not hold."""
        total = self.correct + self.false + self.true
        return np.where(self.true > 0, 2 * self.correct / np.maximum(total, 1), np.nan)

    def macro(self) -> Floats:
        """Mean F1 `(levels,)` as psds_eval takes it, 0 where it is undefined.

        psds_eval leaves out classes without any found event (their F1 is 0/0 in its formula);
        the recipe counts an undefined mean as 0 (docs/recipe.md, "One training step").
        """
        found = self.correct > 0
        totals = np.where(found, self.per_class, 0.0).sum(axis=1)
        return totals / np.maximum(found.sum(axis=1), 1)

    def micro(self) -> list[float | None]:
        """F1 of all classes' counts together at each level; None for an empty truth."""
        true = int(self.true.sum())
        correct, false = self.correct.sum(axis=1), self.false.sum(axis=1)
        return [
            2 * c / (c + f + true) if true else None
            for c, f in zip(correct.tolist(), false.tolist(), strict=True)
        ]


class IntersectionTallies(NamedTuple):
    """What `IntersectionCounts` counts, thing by thing; tallies have the counts' shapes."""

    true: ClipCounts
    correct: ClipCounts
    false: ClipCounts
    cross: ClipCounts

    def counts(self, weights: Floats | None = None) -> IntersectionCounts:
        """The counts, of clips weighted as in `ClipCounts.count`."""
        return IntersectionCounts(*(tally.count(weights) for tally in self))


def intersection_counts(
    detections: EventTable,
    truth: EventTable,
    overlaps: Overlaps,
    durations: Floats,
    criteria: Criteria,
    *,
    n_levels: int,
    n_classes: int,
) -> IntersectionCounts:
    """The counts of `intersection_tallies`."""
    return intersection_tallies(
        detections, truth, overlaps, durations, criteria, n_levels=n_levels, n_classes=n_classes
    ).counts()


def intersection_tallies(
    detections: EventTable,
    truth: EventTable,
    overlaps: Overlaps,
    durations: Floats,
    criteria: Criteria,
    *,
    n_levels: int,
    n_classes: int,
) -> IntersectionTallies:
    """Apply the three criteria at every operating point.

    A rejected detection that begins after its clip's end is no false alarm: psds_eval looks
    for false alarms only where the clip is.

    Args:
        detections: events of all operating points.
        truth: true events.
        overlaps: `find_overlaps(detections, truth)`.
        durations: seconds per clip, `(clips,)`.
        criteria: the tolerances.
        n_levels, n_classes: lengths of the counts.
    """
    same = overlaps.same_class
    detection, true, seconds = overlaps.of(same)
    length = detections.offset - detections.onset
    covered = compensated_sums(detection, seconds / length[detection], len(detections))
    tolerated = covered >= criteria.dtc

    detection, true, seconds = overlaps.of(same & tolerated[overlaps.detection])
    where = detections.level[detection] * len(truth) + true
    share = seconds / (truth.offset - truth.onset)[true]
    found = compensated_sums(where, share, n_levels * len(truth)) >= criteria.gtc
    level, row = np.divmod(np.flatnonzero(found), max(len(truth), 1))

    false = np.flatnonzero(~tolerated & (detections.onset < durations[detections.clip]))
    place = detections.level * n_classes + detections.label
    shape = (n_levels, n_classes)
    detection, other = _cross_triggers(
        detections, truth, overlaps, tolerated, criteria.cttc, n_classes
    )
    return IntersectionTallies(
        true=ClipCounts(truth.clip, truth.label, (n_classes,)),
        correct=ClipCounts(truth.clip[row], level * n_classes + truth.label[row], shape),
        false=ClipCounts(detections.clip[false], place[false], shape),
        cross=ClipCounts(
            detections.clip[detection], place[detection] * n_classes + other, (*shape, n_classes)
        ),
    )


def _cross_triggers(
    detections: EventTable,
    truth: EventTable,
    overlaps: Overlaps,
    tolerated: NDArray[np.bool_],
    cttc: float,
    n_classes: int,
) -> tuple[Ints, Ints]:
    """Rejected detections, and the other class whose true events cover them."""
    rejected = ~overlaps.same_class & ~tolerated[overlaps.detection]
    detection, true, seconds = overlaps.of(rejected)
    share = seconds / (detections.offset - detections.onset)[detection]
    pair, group = np.unique(detection * n_classes + truth.label[true], return_inverse=True)
    detection, other = np.divmod(pair[compensated_sums(group, share, len(pair)) >= cttc], n_classes)
    return detection, other


def compensated_sums(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Sum of the values of each group, `(n_groups,)`, in order of appearance.

    Kahan's compensated summation, because the data frames of psds_eval use it: a share that
    just reaches a criterion must do so here as well.
    """
    order = np.argsort(group, kind="stable")
    group, values = group[order], values[order]
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(begins, append=len(group))
    sums = np.zeros(n_groups)
    lost = np.zeros(n_groups)
    for rank in range(sizes.max(initial=0)):
        rows = begins[sizes > rank] + rank
        target = group[rows]
        term = values[rows] - lost[target]
        total = sums[target] + term
        lost[target] = (total - sums[target]) - term
        sums[target] = total
    return sums
