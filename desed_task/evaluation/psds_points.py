"""PSDS from the events at some thresholds, by psds_eval's definition (Bilen et al., 2020)."""

from collections.abc import Sequence

import numpy as np

from desed_task.evaluation import intersection
from desed_task.evaluation.class_counts import Changes, ClassCounts
from desed_task.evaluation.clip_counts import ClipArray, ClipCounts
from desed_task.evaluation.events import find_overlaps
from desed_task.evaluation.psds import Scenario
from desed_task.evaluation.scoring_input import ScoringInput


def match(scoring: ScoringInput, scenarios: Sequence[Scenario]) -> list[dict[int, ClassCounts]]:
    """For each scenario, the counts of every class that occurs, by class index.

    The levels are the operating points; for the criteria see `intersection.match`.

    Raises ValueError where the system's operating points are unknown.
    """
    if scoring.points is None:
        raise ValueError("expected operating points or scores, got neither")
    overlaps = find_overlaps(scoring.points, scoring.true)
    matched = []
    for scenario in scenarios:
        counts = intersection.match(
            scoring.points,
            scoring.true,
            overlaps,
            scoring.durations,
            scenario.criteria,
            n_levels=len(scoring.thresholds),
            n_classes=scoring.n_classes,
        )
        labels = np.unique(scoring.true.label).tolist()
        matched.append({label: _class_counts(counts, label, scoring) for label in labels})
    return matched


def _class_counts(counts: ClipCounts, label: int, scoring: ScoringInput) -> ClassCounts:
    """What is counted at an operating point counts there only."""
    n_levels, n_classes = len(scoring.thresholds), scoring.n_classes

    def changes(array: ClipArray) -> Changes:
        level, column, *other = np.unravel_index(array.cell, array.shape)
        own = column == label
        clip = array.clip[own]
        column = clip * n_classes + other[0][own] if other else clip
        return Changes.between(level[own], level[own] + 1, column, n_levels)

    assert counts.cross is not None
    return ClassCounts.from_changes(
        (n_levels, len(scoring.durations), n_classes),
        scoring.true.clip[scoring.true.label == label],
        changes(counts.correct),
        changes(counts.false),
        changes(counts.cross),
    )
