"""Confidence intervals by the bootstrap over clips (Efron and Tibshirani, 1993).

A resampled set is the same set with other clip weights: matching is done once, and the values of
the replicates are those of `families.measure` with the drawn weights.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from desed_task.evaluation.events import Floats
from desed_task.evaluation.families import match, measure
from desed_task.evaluation.results import HEADLINE_METRICS, MetricValue, SystemMetrics

SETS_AT_ONCE = 64  # a compromise of speed and memory


@dataclass(frozen=True)
class Interval:
    """A metric and its confidence interval; None where the metric is undefined.

    Args:
        value: the metric of the set itself.
        low, high: percentiles of the metric over resampled sets.
    """

    value: MetricValue
    low: MetricValue
    high: MetricValue


@dataclass(frozen=True)
class Intervals:
    """Confidence intervals of systems' `HEADLINE_METRICS`, and of the differences between systems.

    Args:
        replicates: number of resampled sets.
        seed: of the draw.
        confidence: share of the resampled sets whose values lie within an interval.
        metrics: intervals by system and metric.
        differences: by pair of systems (the first minus the second) and metric; every pair
            once, in the order of the systems.
    """

    replicates: int
    seed: int
    confidence: float
    metrics: dict[str, dict[str, Interval]]
    differences: dict[tuple[str, str], dict[str, Interval]]

    def as_flat_dict(self) -> dict[str, MetricValue]:
        """All bounds by name, ready for JSON.

        Names are `SYSTEM/METRIC/low` and `…/high`; a difference is `difference/A/B/METRIC`, and
        its bounds are `difference/A/B/METRIC/low` and `…/high`.
        """
        flat: dict[str, MetricValue] = {}
        for system, intervals in self.metrics.items():
            for name, interval in intervals.items():
                flat[f"{system}/{name}/low"] = interval.low
                flat[f"{system}/{name}/high"] = interval.high
        for (first, second), intervals in self.differences.items():
            for name, interval in intervals.items():
                flat[f"difference/{first}/{second}/{name}"] = interval.value
                flat[f"difference/{first}/{second}/{name}/low"] = interval.low
                flat[f"difference/{first}/{second}/{name}/high"] = interval.high
        return flat


def bootstrap(
    systems: Mapping[str, SystemMetrics],
    *,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    progress: bool = False,
) -> Intervals:
    """Percentile intervals of every system's `HEADLINE_METRICS`, and of each pair's differences.

    A resampled set has as many clips as the ground truth, drawn from them with replacement; its
    metrics are those that `evaluate` gives for it. The sets are the same for all systems, so a
    difference is between metrics of one set. A set in which a metric is undefined, because no
    class occurs in it, is excluded from that metric's percentiles.

    Args:
        systems: metrics by system, evaluated on the same clips.
        replicates: number of sets to draw.
        seed: of the draw; it does not depend on the systems.
        confidence: share of the sets' values within an interval, between 0 and 1.
        progress: whether to show a bar.

    Raises:
        ValueError: no systems, or systems that were evaluated on different clips; no replicates;
            a confidence that is no share.
    """
    if replicates < 1:
        raise ValueError(f"replicates: expected at least 1, got {replicates}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a share between 0 and 1, got {confidence}")
    from tqdm import tqdm

    clips = _common_clips(systems)
    weights = draw(len(clips), replicates, seed)
    bar = tqdm(
        total=len(systems) * replicates, desc="bootstrap", unit=" sets", disable=not progress
    )
    point, drawn = {}, {}
    with bar:
        for system, metrics in systems.items():
            order = [clips[name] for name in metrics.scoring_input.truth.events]
            rows = []
            for values in resampled_values(metrics, weights[:, order]):
                rows.append([*values.values()])
                bar.update()
            # None, an undefined metric, becomes NaN.
            drawn[system] = np.array(rows, dtype=np.float64)
            headlines = [getattr(metrics, name) for name in HEADLINE_METRICS]
            point[system] = np.array(headlines, dtype=np.float64)
    return Intervals(
        replicates,
        seed,
        confidence,
        metrics={
            system: _intervals(point[system], drawn[system], confidence) for system in systems
        },
        differences={
            (a, b): _intervals(point[a] - point[b], drawn[a] - drawn[b], confidence)
            for a, b in combinations(systems, 2)
        },
    )


def draw(n_clips: int, replicates: int, seed: int) -> Floats:
    """How often each clip is among `n_clips` drawn with replacement, `(replicates, clips)`."""
    if not n_clips:
        return np.zeros((replicates, 0))
    chances = np.full(n_clips, 1 / n_clips)
    times = np.random.default_rng(seed).multinomial(n_clips, chances, size=replicates)
    return times.astype(np.float64)


def _common_clips(systems: Mapping[str, SystemMetrics]) -> dict[str, int]:
    """Numbers of the clips of the ground truth, in the first system's order."""
    if not systems:
        raise ValueError("systems: expected at least 1, got 0")
    (first, clips), *others = (
        (system, metrics.scoring_input.truth.events.keys()) for system, metrics in systems.items()
    )
    for system, names in others:
        alone = sorted(names ^ clips)
        if alone:
            raise ValueError(
                f"{first!r} and {system!r}: expected the same clips, got {len(alone)} that only "
                f"one ground truth has, first {alone[0]!r}"
            )
    return {name: number for number, name in enumerate(clips)}


def resampled_values(metrics: SystemMetrics, weights: Floats) -> Iterator[dict[str, MetricValue]]:
    """The headline metrics of resampled sets, one set after the other.

    They equal what `evaluate` gives, with the same options, for a ground truth and a system's
    output in which each clip occurs, under new names, as often as its weight.

    Args:
        metrics: of the set itself; a metric without a source is None in all sets.
        weights: how often each clip of the ground truth occurs, whole numbers, `(sets, clips)`.
    """
    counts = match(metrics.scoring_input)
    for first in range(0, len(weights), SETS_AT_ONCE):
        for measured in measure(counts, weights[first : first + SETS_AT_ONCE]):
            yield {name: measured.values.get(name) for name in HEADLINE_METRICS}


def _intervals(point: Floats, drawn: Floats, confidence: float) -> dict[str, Interval]:
    """Intervals by metric; `point` is `(metrics,)`, `drawn` `(replicates, metrics)`."""
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    intervals = {}
    for name, value, column in zip(HEADLINE_METRICS, point.tolist(), drawn.T, strict=True):
        defined = column[~np.isnan(column)]
        known = bool(len(defined)) and not np.isnan(value)
        low, high = np.quantile(defined, tails).tolist() if known else (None, None)
        intervals[name] = Interval(None if np.isnan(value) else value, low, high)
    return intervals
