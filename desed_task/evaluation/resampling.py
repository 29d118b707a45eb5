"""A system's figures on sets in which clips are drawn several times, or not at all."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from desed_task.evaluation.decisions import Decisions, decide_intersections
from desed_task.evaluation.evaluate import F1_CRITERIA
from desed_task.evaluation.events import Floats, sums
from desed_task.evaluation.exact_psds import ClassChanges, class_changes
from desed_task.evaluation.intersection import IntersectionTallies
from desed_task.evaluation.psds import Scenario, combine, operating_point_roc
from desed_task.evaluation.results import HEADLINE_METRICS, MetricValue, SystemMetrics
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.evaluation.thinning import thin


def resampled_figures(metrics: SystemMetrics, weights: Floats) -> Iterator[dict[str, MetricValue]]:
    """The `HEADLINE_METRICS` of resampled sets, one set after the other.

    They are what `evaluate` gives with the same options for a truth, and a system's output, in
    which each clip is there as often as its weight says, under new names. Every decision lies
    within one clip, so all are made once, and counted anew for each set.

    Args:
        metrics: of the set as it is; a figure that is None there is None in all sets.
        weights: how often each clip of the truth is there, whole numbers, `(sets, clips)`.
    """
    task = metrics.scoring_input
    decisions = None
    if task.detections is not None:
        decisions = Decisions.on(task.detections, task, F1_CRITERIA)
    areas = _operating_areas(metrics) | _exact_areas(metrics, weights)
    for of_set in weights:
        figures: dict[str, MetricValue] = (
            {} if decisions is None else decisions.counts(of_set).f_scores()
        )
        figures |= {name: area.psds(of_set) for name, area in areas.items()}
        yield {name: figures.get(name) for name in HEADLINE_METRICS}


@dataclass(frozen=True, eq=False)
class _OperatingArea:
    """The area below the PSD-ROC through operating points."""

    scoring_input: ScoringInput
    scenario: Scenario
    tallies: IntersectionTallies

    def psds(self, weights: Floats) -> MetricValue:
        """The score, of clips weighted as in `ClipCounts.count`."""
        roc = operating_point_roc(
            self.tallies.counts(weights),
            _class_seconds(self.scoring_input, weights),
            float(self.scoring_input.durations @ weights),
            self.scenario,
        )
        return None if roc is None else roc.psds


@dataclass(frozen=True, eq=False)
class _ExactArea:
    """The area below the PSD-ROC over all thresholds; `changes` are by class."""

    scoring_input: ScoringInput
    scenario: Scenario
    changes: dict[int, ClassChanges]

    def psds(self, weights: Floats) -> MetricValue:
        """The score, of clips weighted as in `ClipCounts.count`."""
        class_seconds = _class_seconds(self.scoring_input, weights)
        total_seconds = float((self.scoring_input.durations * self.scoring_input.counted) @ weights)
        curves = {
            label: changes.curve(
                self.scenario, class_seconds, total_seconds, weights, self.scenario.max_efpr
            )
            for label, changes in self.changes.items()
            if changes.true.count(weights)
        }
        return combine(curves, self.scenario).psds if curves else None


def _class_seconds(task: ScoringInput, weights: Floats) -> Floats:
    true = task.true
    return sums(true.label, (true.offset - true.onset) * weights[true.clip], task.n_classes)


def _operating_areas(metrics: SystemMetrics) -> dict[str, _OperatingArea]:
    """Figures over operating points, by name."""
    task = metrics.scoring_input
    if task.points is None:
        return {}
    scenarios = {name: roc.scenario for name, roc in metrics.operating_rocs.items()}
    criteria = [scenario.criteria for scenario in scenarios.values()]
    decided = decide_intersections(task.points, task, criteria, n_levels=len(task.thresholds))
    return {
        f"{name}_psds_eval": _OperatingArea(task, scenario, tallies)
        for (name, scenario), tallies in zip(scenarios.items(), decided, strict=True)
    }


def _exact_areas(metrics: SystemMetrics, weights: Floats) -> dict[str, _ExactArea]:
    """Figures over all thresholds, by name; exact for sets of these weights only."""
    task = metrics.scoring_input
    areas = {
        f"{name}_sed_scores_eval": _ExactArea(task, roc.scenario, {})
        for name, roc in metrics.rocs.items()
    }
    total_seconds = weights @ (task.durations * task.counted)
    drawn, total_seconds = weights[total_seconds > 0], total_seconds[total_seconds > 0]
    for label in np.unique(task.true.label).tolist() if areas else []:
        scenarios = [area.scenario for area in areas.values()]
        decided = class_changes(
            task.threshold_events(label), label, task.true, task.n_classes, scenarios
        )
        for area, changes in zip(areas.values(), decided, strict=True):
            area.changes[label] = thin(changes, drawn, total_seconds, area.scenario.max_efpr)
    return areas
