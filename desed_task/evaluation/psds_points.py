"""PSDS from the events at some thresholds, by psds_eval's definition (Bilen et al., 2020)."""

from collections.abc import Sequence

import numpy as np

from desed_task.evaluation import intersection
from desed_task.evaluation.class_counts import Changes, ClassCounts, PsdsCounts
from desed_task.evaluation.clip_counts import ClipArray
from desed_task.evaluation.events import Ints, find_overlaps
from desed_task.evaluation.psds import Scenario
from desed_task.evaluation.scoring_input import ScoringInput


def match(scoring: ScoringInput, scenarios: Sequence[Scenario]) -> list[PsdsCounts]:
    """The counts of each scenario.

    The levels are the operating points; for the criteria see `intersection.match`. All clips count,
    also those whose detections are excluded.

    Raises ValueError where the system's operating points are unknown.
    """
    if scoring.points is None:
        raise ValueError("expected operating points or scores, got neither")
    overlaps = find_overlaps(scoring.points, scoring.true)
    labels, clip = np.unique(scoring.true.label), scoring.true.clip
    n_levels = len(scoring.thresholds)
    shape = (n_levels, len(scoring.durations), scoring.n_classes)
    matched = []
    for scenario in scenarios:
        counts = intersection.match(
            scoring, scoring.points, scenario.criteria, n_levels=n_levels, overlaps=overlaps
        )
        correct, false = (_changes(array, labels) for array in (counts.correct, counts.false))
        cross: list[Changes | None] = [None] * len(labels)
        if scenario.alpha_ct > 0 and counts.cross is not None:
            cross = [*_changes(counts.cross, labels)]
        by_class = {
            label: ClassCounts.from_changes(
                shape, clip[scoring.true.label == label], found, rejected, crossing
            )
            for label, found, rejected, crossing in zip(
                labels.tolist(), correct, false, cross, strict=True
            )
        }
        matched.append(PsdsCounts(scenario, by_class, scoring.true_seconds, scoring.durations))
    return matched


def _changes(array: ClipArray, labels: Ints) -> list[Changes]:
    """The changes of each class; what is counted at an operating point ends at the next one."""
    level, label, *other = np.unravel_index(array.cell, array.shape)
    column = array.clip * array.shape[-1] + other[0] if other else array.clip
    order = np.argsort(label, kind="stable")
    first, end = (np.searchsorted(label[order], labels, side) for side in ("left", "right"))
    return [
        Changes.between(level[rows], level[rows] + 1, column[rows], array.shape[0])
        for rows in (order[i:j] for i, j in zip(first, end, strict=True))
    ]
