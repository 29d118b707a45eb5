"""Polyphonic sound detection score (Bilen et al., 2020): scenarios, and curves from counts."""

from dataclasses import dataclass, field

import numpy as np

from desed_task.evaluation.clip_counts import Counts
from desed_task.evaluation.events import Floats, Ints
from desed_task.evaluation.intersection import Criteria

SECONDS_PER_HOUR = 3600


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


def class_curve(
    counts: Counts,
    column: int,
    class_seconds: Floats,
    total_seconds: float,
    scenario: Scenario,
) -> RocCurve:
    """True positive ratio of one class against its effective false positives, up to `max_efpr`.

    Args:
        counts: by threshold and class, matched with the scenario's criteria.
        column: the class's place in the counts, which must hold a true event of it.
        class_seconds: length of all true events of each class, `(classes,)`.
        total_seconds: length of all clips.
        scenario: weights and limit.
    """
    efpr = effective_rate(
        counts.false[:, column],
        None if counts.cross is None else counts.cross[:, column],
        class_seconds,
        total_seconds,
        scenario.alpha_ct,
    )
    inside = efpr <= scenario.max_efpr
    return staircase(efpr[inside], counts.correct[inside, column] / counts.true[column])


def effective_rate(
    false: Ints,
    cross: Ints | None,
    class_seconds: Floats,
    total_seconds: float,
    alpha_ct: float,
) -> Floats:
    """Effective false positives of one class per hour, `(levels,)`.

    False positives per hour of audio, plus `alpha_ct` times the mean, over the other classes that
    occur, of the cross triggers per hour of that class's true events.

    Args:
        false: false positives, `(levels,)`.
        cross: cross triggers, `(levels, classes)`, 0 for the class itself; None with `alpha_ct` 0.
        class_seconds: length of all true events of each class, `(classes,)`.
        total_seconds: length of all clips.
        alpha_ct: weight of the cross triggers.
    """
    efpr = false * SECONDS_PER_HOUR / total_seconds
    occurring = class_seconds > 0
    n_others = occurring.sum() - 1
    if alpha_ct > 0 and n_others and cross is not None:
        rates = cross[:, occurring] * SECONDS_PER_HOUR / class_seconds[occurring]
        efpr = efpr + alpha_ct * rates.sum(axis=1) / n_others
    return efpr


def staircase(efpr: Floats, rate: Floats) -> RocCurve:
    """The rising staircase through some points in any order: the best rate up to each efpr."""
    order = np.lexsort((rate, efpr))
    efpr, best = efpr[order], np.maximum.accumulate(rate[order])
    last = np.append(np.diff(efpr) > 0, True)[: len(efpr)]
    return RocCurve(efpr[last], best[last])


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
