"""Polyphonic sound detection score from operating points (Bilen et al., 2020; psds_eval)."""

from dataclasses import dataclass, field

import numpy as np

from desed_task.evaluation.events import Floats, Ints
from desed_task.evaluation.intersection import Criteria, IntersectionCounts

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Scenario:
    """What a PSDS rewards (docs/recipe.md, "Test").

    Args:
        name: how it is called in results and pictures.
        criteria: when a detection counts.
        alpha_ct: weight of the cross-trigger rate in the effective false positive rate.
        alpha_st: weight of the spread between classes.
        max_efpr: effective false positives per hour up to which the curve counts.
    """

    name: str
    criteria: Criteria
    alpha_ct: float = 0.0
    alpha_st: float = 1.0
    max_efpr: float = 100.0

    @property
    def dtc(self) -> float:
        """Detection tolerance."""
        return self.criteria.dtc

    @property
    def gtc(self) -> float:
        """Truth tolerance."""
        return self.criteria.gtc

    @property
    def cttc(self) -> float:
        """Cross-trigger tolerance; looked at only where `alpha_ct` is above 0."""
        return self.criteria.cttc


PSDS1 = Scenario("PSDS1", Criteria(dtc=0.7, gtc=0.7, cttc=0.3), alpha_ct=0.0)
PSDS2 = Scenario("PSDS2", Criteria(dtc=0.1, gtc=0.1, cttc=0.3), alpha_ct=0.5)


@dataclass(frozen=True, eq=False)
class RocCurve:
    """A staircase: `rate[k]` holds from `efpr[k]` (per hour, ascending) to the next point."""

    efpr: Floats
    rate: Floats

    def at(self, efpr: Floats) -> Floats:
        """The staircase's height at these abscissae, 0 before its first point."""
        index = np.searchsorted(self.efpr, efpr, side="right")
        return np.concatenate([[0.0], self.rate])[index]

    def area(self, max_efpr: float) -> float:
        """Share of the area up to `max_efpr` that lies below the staircase."""
        inside = self.efpr <= max_efpr
        ends = np.append(self.efpr[inside], max_efpr)
        return float(np.sum(np.diff(ends) * self.rate[inside]) / max_efpr)


@dataclass(frozen=True, eq=False)
class PsdRoc:
    """PSD-ROC of a system: the effective curve and one per class that occurs in the truth."""

    scenario: Scenario
    total: RocCurve
    per_class: dict[int, RocCurve] = field(default_factory=dict)

    @property
    def psds(self) -> float:
        """The score: share of the area below the effective curve."""
        return self.total.area(self.scenario.max_efpr)

    def class_psds(self) -> dict[int, float]:
        """The same share below each class's own curve, by class index."""
        return {k: curve.area(self.scenario.max_efpr) for k, curve in self.per_class.items()}


def operating_point_roc(
    counts: IntersectionCounts,
    class_seconds: Floats,
    total_seconds: float,
    scenario: Scenario,
) -> PsdRoc | None:
    """PSD-ROC through some operating points, as psds_eval draws it.

    Classes that do not occur in the truth are left out; None if none does.

    Args:
        counts: by the scenario's criteria.
        class_seconds: length of all true events of each class together, `(classes,)`.
        total_seconds: length of all clips together.
        scenario: weights and limit.
    """
    occurring = np.flatnonzero(counts.true)
    if not len(occurring):
        return None
    curves = {}
    for label in occurring:
        efpr = effective_rate(
            counts.false[:, label],
            counts.cross[:, label],
            class_seconds,
            total_seconds,
            scenario.alpha_ct,
        )
        rate = counts.correct[:, label] / counts.true[label]
        curves[int(label)] = staircase(efpr, rate)
    return combine(curves, scenario)


def effective_rate(
    false: Ints,
    cross: Ints,
    class_seconds: Floats,
    total_seconds: float,
    alpha_ct: float,
) -> Floats:
    """Effective false positives of one class per hour, `(levels,)`.

    False positives per hour of audio, plus `alpha_ct` times the mean over the other classes of
    the truth of the cross triggers per hour of that class.

    Args:
        false: false positives `(levels,)`.
        cross: cross triggers `(levels, classes)`, 0 for the class itself.
        class_seconds: length of all true events of each class together, `(classes,)`.
        total_seconds: length of all clips together.
        alpha_ct: weight of the cross triggers.
    """
    efpr = false * SECONDS_PER_HOUR / total_seconds
    occurring = class_seconds > 0
    n_others = occurring.sum() - 1
    if alpha_ct > 0 and n_others:
        rates = cross[:, occurring] * SECONDS_PER_HOUR / class_seconds[occurring]
        efpr = efpr + alpha_ct * rates.sum(axis=1) / n_others
    return efpr


def staircase(efpr: Floats, rate: Floats) -> RocCurve:
    """The rising staircase through some points in any order: the best rate up to each efpr."""
    order = np.lexsort((rate, efpr))
    efpr, best = efpr[order], np.maximum.accumulate(rate[order])
    last = np.append(np.diff(efpr) > 0, True)
    return RocCurve(efpr[last], best[last])


def combine(curves: dict[int, RocCurve], scenario: Scenario) -> PsdRoc:
    """The effective curve: mean over classes minus `alpha_st` standard deviations, at least 0."""
    efpr = np.unique(np.concatenate([curve.efpr for curve in curves.values()]))
    rates = np.stack([curve.at(efpr) for curve in curves.values()])
    total = rates.mean(axis=0) - scenario.alpha_st * rates.std(axis=0)
    return PsdRoc(scenario, RocCurve(efpr, np.maximum(total, 0.0)), curves)
