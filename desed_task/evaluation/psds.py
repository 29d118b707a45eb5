"""Polyphonic sound detection score (Bilen et al., 2020): criteria, scenarios, curves and areas."""

from dataclasses import dataclass, field

import numpy as np

from desed_task.evaluation.events import Floats

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Criteria:
    """The tolerances of intersection-based matching, shares of a length in (0, 1].

    Args:
        dtc: detection tolerance: least share of a detection that true events of its class cover.
        gtc: ground truth tolerance: least share of a true event that tolerated detections cover.
        cttc: cross-trigger tolerance: least share of a rejected detection that true events of
            one other class cover.
    """

    dtc: float = 0.5
    gtc: float = 0.5
    cttc: float = 0.3

    def __post_init__(self) -> None:
        for name in ("dtc", "gtc", "cttc"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ValueError(f"{name}: expected a share above 0 and at most 1, got {value}")


@dataclass(frozen=True)
class Scenario:
    """Tolerances and weights of a PSDS (docs/recipe.md, "Test").

    Args:
        name: its name in results and pictures.
        criteria: tolerances.
        alpha_ct: weight of the cross-trigger rate in the effective false positive rate.
        alpha_st: weight of the standard deviation between classes.
        max_efpr: effective false positives per hour at which the curves end.
    """

    name: str
    criteria: Criteria
    alpha_ct: float = 0.0
    alpha_st: float = 1.0
    max_efpr: float = 100.0


F1_CRITERIA = Criteria(dtc=0.5, gtc=0.5, cttc=0.3)
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
    """PSD-ROC of a system: the effective curve, and one for each class that occurs."""

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


def staircase(efpr: Floats, rate: Floats) -> RocCurve:
    """The rising staircase through some points in any order: where the best rate up to there rises.

    Its first point is used, also with rate 0.
    """
    order = np.lexsort((-rate, efpr))
    efpr, best = efpr[order], np.maximum.accumulate(rate[order])
    rises = np.diff(best, prepend=-1.0) > 0
    return RocCurve(efpr[rises], best[rises])


def combine(curves: dict[int, RocCurve], scenario: Scenario) -> PsdRoc | None:
    """The PSD-ROC of the classes' curves by class index; None without any.

    The effective curve is their mean minus `alpha_st` standard deviations, at least 0.
    """
    if not curves:
        return None
    efpr = np.unique(np.concatenate([curve.efpr for curve in curves.values()]))
    rates = np.stack([curve.at(efpr) for curve in curves.values()])
    total = rates.mean(axis=0) - scenario.alpha_st * rates.std(axis=0)
    return PsdRoc(scenario, RocCurve(efpr, np.maximum(total, 0.0)), curves)
