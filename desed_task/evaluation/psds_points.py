"""PSDS from the events at some thresholds, by psds_eval's definition (Bilen et al., 2020)."""

from collections.abc import Sequence

import numpy as np

from desed_task.evaluation import intersection
from desed_task.evaluation.clip_counts import ClipCounts
from desed_task.evaluation.events import Floats, find_overlaps
from desed_task.evaluation.psds import PsdRoc, Scenario, class_curve, combine
from desed_task.evaluation.scoring_input import ScoringInput


def match(scoring: ScoringInput, scenarios: Sequence[Scenario]) -> list[ClipCounts]:
    """For each scenario, the counts at every operating point (see `intersection.match`).

    Raises ValueError where the system's operating points are unknown.
    """
    if scoring.points is None:
        raise ValueError("expected operating points or scores, got neither")
    overlaps = find_overlaps(scoring.points, scoring.true)
    return [
        intersection.match(
            scoring.points,
            scoring.true,
            overlaps,
            scoring.durations,
            scenario.criteria,
            n_levels=len(scoring.thresholds),
            n_classes=scoring.n_classes,
        )
        for scenario in scenarios
    ]


def measure(
    counts: ClipCounts, scoring: ScoringInput, scenario: Scenario, weights: Floats
) -> PsdRoc | None:
    """The PSD-ROC through the operating points; None where no class occurs.

    Classes that do not occur in the ground truth are excluded. For the weights see
    `ClipArray.total`.
    """
    total = counts.total(weights)
    class_seconds = scoring.class_seconds(weights)
    total_seconds = scoring.total_seconds(weights)
    curves = {
        label: class_curve(total, label, class_seconds, total_seconds, scenario)
        for label in np.flatnonzero(total.true).tolist()
    }
    return combine(curves, scenario)
