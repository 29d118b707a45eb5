"""Confidence intervals by the bootstrap over clips (Efron and Tibshirani, 1993)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from desed_task.evaluation.events import Floats
from desed_task.evaluation.resampling import resampled_figures
from desed_task.evaluation.results import HEADLINE_METRICS, MetricValue, SystemMetrics


@dataclass(frozen=True)
class Interval:
    """A figure and its confidence interval; None where the figure is undefined.

    Args:
        value: the figure of the set as it is.
        low, high: percentiles of the figure of resampled sets.
    """

    value: MetricValue
    low: MetricValue
    high: MetricValue


@dataclass(frozen=True)
class Intervals:
    """Confidence intervals of some systems' `HEADLINE_METRICS`, and of how much systems differ.

    Args:
        replicates: how many resampled sets they are from.
        seed: of the draw.
        confidence: share of the resampled sets whose figures lie within an interval.
        figures: intervals by system, then by the figure's name.
        differences: by pair of systems (the first minus the second) and figure; every pair
            once, in the order of the systems.
    """

    replicates: int
    seed: int
    confidence: float
    figures: dict[str, dict[str, Interval]]
    differences: dict[tuple[str, str], dict[str, Interval]]

    def as_flat_dict(self) -> dict[str, MetricValue]:
        """All bounds by name, ready for JSON.

        They are `SYSTEM/FIGURE/low` and `…/high`; a difference is `difference/A/B/FIGURE`, and
        its bounds `difference/A/B/FIGURE/low` and `…/high`.
        """
        flat: dict[str, MetricValue] = {}
        for system, intervals in self.figures.items():
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

    A resampled set has as many clips as the truth, drawn from them with replacement; its
    figures are what `evaluate` gives for it. It is the same for all systems, so differences are
    between figures of one set. A set in which a figure is undefined, because no class occurs in
    it, is left out of that figure's percentiles.

    Args:
        systems: metrics by system; judged on the same clips.
        replicates: how many sets to draw.
        seed: of the draw; it does not depend on the systems.
        confidence: share of the sets' figures within an interval, between 0 and 1.
        progress: whether to show a bar.

    Raises:
        ValueError: no systems, or systems that were judged on different clips; no replicates;
            a confidence that is no share.
    """
    if replicates < 1:
        raise ValueError(f"replicates = {replicates}; 1 or more is right")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}; a share between 0 and 1 is right")
    clips = _common_clips(systems)
    weights = draw(len(clips), replicates, seed)
    drawn = _figures_of_draws(systems, clips, weights, progress=progress)
    point = {
        system: np.array([getattr(metrics, name) for name in HEADLINE_METRICS], dtype=np.float64)
        for system, metrics in systems.items()
    }
    return Intervals(
        replicates,
        seed,
        confidence,
        figures={
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


def _common_clips(systems: Mapping[str, SystemMetrics]) -> list[str]:
    """The clips of the truth, in the first system's order."""
    if not systems:
        raise ValueError("no systems; one or more is right")
    (first, clips), *others = (
        (system, list(metrics.scoring_input.truth.events)) for system, metrics in systems.items()
    )
    for system, own in others:
        alone = sorted(set(own) ^ set(clips))
        if alone:
            raise ValueError(
                f"{first!r} and {system!r} were judged on different clips: {len(alone)} are in "
                f"one truth only, as {alone[0]!r}; the same clips are right"
            )
    return clips


def _figures_of_draws(
    systems: Mapping[str, SystemMetrics],
    clips: list[str],
    weights: Floats,
    *,
    progress: bool,
) -> dict[str, Floats]:
    """Each system's headline metrics of every draw, `(replicates, metrics)`; NaN: undefined."""
    from tqdm import tqdm

    drawn = {}
    with tqdm(
        total=len(systems) * len(weights), desc="bootstrap", unit=" sets", disable=not progress
    ) as bar:
        for system, metrics in systems.items():
            place = {name: number for number, name in enumerate(clips)}
            order = [place[name] for name in metrics.scoring_input.truth.events]
            rows = []
            for figures in resampled_figures(metrics, weights[:, order]):
                rows.append([figures[name] for name in HEADLINE_METRICS])
                bar.update()
            drawn[system] = np.array(rows, dtype=np.float64)
    return drawn


def _intervals(point: Floats, drawn: Floats, confidence: float) -> dict[str, Interval]:
    """Of all headlines: values `(headlines,)` and those of the draws `(replicates, headlines)`."""
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    intervals = {}
    for name, value, column in zip(HEADLINE_METRICS, point.tolist(), drawn.T, strict=True):
        defined = column[~np.isnan(column)]
        known = bool(len(defined)) and not np.isnan(value)
        low, high = np.quantile(defined, tails).tolist() if known else (None, None)
        intervals[name] = Interval(None if np.isnan(value) else value, low, high)
    return intervals
