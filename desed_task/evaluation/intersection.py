"""Intersection-based counts and F-score (Bilen et al., 2020), by psds_eval's definition."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.clip_counts import ClipArray, ClipCounts, Counts
from desed_task.evaluation.events import EventTable, Floats, Ints, Overlaps, find_overlaps
from desed_task.evaluation.psds import F1_CRITERIA, Criteria
from desed_task.evaluation.scoring_input import ScoringInput


def match(
    scoring: ScoringInput,
    detections: EventTable,
    criteria: Criteria = F1_CRITERIA,
    *,
    n_levels: int = 1,
    overlaps: Overlaps | None = None,
) -> ClipCounts:
    """Detections that are tolerated or rejected, and true events found, at every operating point.

    A detection is tolerated when true events of its class cover at least the share `dtc` of it.
    A true event is found when tolerated detections cover at least the share `gtc` of it.
    A rejected detection that begins after its clip's end is no false alarm: psds_eval looks
    for false alarms only within the clip.

    Args:
        scoring: what is evaluated.
        detections: its events at one or more operating points.
        criteria: the tolerances.
        n_levels: number of operating points.
        overlaps: `find_overlaps(detections, scoring.true)`; found again if None.
    """
    matches = _compare(scoring, detections, criteria, n_levels, overlaps)
    truth, n_classes = scoring.true, scoring.n_classes
    level, row = np.divmod(matches.found, max(len(truth), 1))
    cell = detections.level * n_classes + detections.label
    shape = (n_levels, n_classes)
    false, crossing = matches.false, matches.crossing
    return ClipCounts(
        true=ClipArray(truth.clip, truth.label, (n_classes,)),
        correct=ClipArray(truth.clip[row], level * n_classes + truth.label[row], shape),
        false=ClipArray(detections.clip[false], cell[false], shape),
        cross=ClipArray(
            detections.clip[crossing],
            cell[crossing] * n_classes + matches.other,
            (*shape, n_classes),
        ),
    )


def confusion(scoring: ScoringInput) -> Ints | None:
    """Numbers of events at the F1 threshold, `(classes + 1, classes + 1)`; None without detections.

    Rows are detected, columns true classes. Diagonal: true events that are found; last row: true
    events that are not. All other cells: rejected detections, in the column of each class of which
    they are a cross trigger, in the last column where they are no cross trigger.
    """
    if scoring.detections is None:
        return None
    true, detected, n_classes = scoring.true.label, scoring.detections.label, scoring.n_classes
    matches = _compare(scoring, scoring.detections, F1_CRITERIA)
    alone = np.setdiff1d(matches.false, matches.crossing)
    found, missed = true[matches.found], np.delete(true, matches.found)
    rows = [found, np.full_like(missed, n_classes), detected[matches.crossing], detected[alone]]
    columns = [found, missed, matches.other, np.full_like(alone, n_classes)]
    size = n_classes + 1
    cells = size * np.concatenate(rows) + np.concatenate(columns)
    return np.bincount(cells, minlength=size**2).reshape(size, size)


class _Matches(NamedTuple):
    """What a comparison finds.

    Attributes:
        found: true events that are found: row + level · number of true events.
        false: rows of the rejected detections that are false alarms.
        crossing, other: rows of the cross triggers, and the other class; a detection can be a cross
            trigger of several classes.
    """

    found: Ints
    false: Ints
    crossing: Ints
    other: Ints


def _compare(
    scoring: ScoringInput,
    detections: EventTable,
    criteria: Criteria,
    n_levels: int = 1,
    overlaps: Overlaps | None = None,
) -> _Matches:
    """Compare detections with the true events; arguments as of `match`."""
    truth = scoring.true
    overlaps = find_overlaps(detections, truth) if overlaps is None else overlaps
    same = overlaps.same_class
    detection, true, seconds = overlaps.select(same)
    length = detections.offset - detections.onset
    covered = compensated_sums(detection, seconds / length[detection], len(detections))
    tolerated = covered >= criteria.dtc

    detection, true, seconds = overlaps.select(same & tolerated[overlaps.detection])
    where = detections.level[detection] * len(truth) + true
    share = seconds / (truth.offset - truth.onset)[true]
    found = compensated_sums(where, share, n_levels * len(truth)) >= criteria.gtc
    false = ~tolerated & (detections.onset < scoring.durations[detections.clip])
    return _Matches(
        np.flatnonzero(found),
        np.flatnonzero(false),
        *_cross_triggers(detections, truth, overlaps, tolerated, criteria.cttc, scoring.n_classes),
    )


def f_scores(counts: Counts) -> dict[str, float | None]:
    """The intersection-based values of `SystemMetrics`.

    psds_eval's macro average excludes classes without any found event, whose F1 is 0/0 in its
    formula; an undefined average is 0 in the recipe (docs/recipe.md, "One training step"). The
    mean over the classes that occur has a name of its own.
    """
    values = counts.f_scores("intersection")
    values["intersection_f1_macro_occurring"] = values["intersection_f1_macro"]
    if counts.true.any():
        found = counts.correct[0] > 0
        summed = np.where(found, counts.f1[0], 0.0).sum()
        values["intersection_f1_macro"] = float(summed / max(int(found.sum()), 1))
    return values


def _cross_triggers(
    detections: EventTable,
    truth: EventTable,
    overlaps: Overlaps,
    tolerated: NDArray[np.bool_],
    cttc: float,
    n_classes: int,
) -> tuple[Ints, Ints]:
    """Rejected detections, and the other class whose true events cover the share `cttc` of them."""
    rejected = ~overlaps.same_class & ~tolerated[overlaps.detection]
    detection, true, seconds = overlaps.select(rejected)
    share = seconds / (detections.offset - detections.onset)[detection]
    pair, group = np.unique(detection * n_classes + truth.label[true], return_inverse=True)
    detection, other = np.divmod(pair[compensated_sums(group, share, len(pair)) >= cttc], n_classes)
    return detection, other


def compensated_sums(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Sum of the values of each group, `(n_groups,)`, in order of appearance.

    Kahan's compensated summation, as in psds_eval's data frames: a share that just reaches a
    criterion there must reach it here too. All groups' first values are added at once, then
    all second ones, and so on.
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
