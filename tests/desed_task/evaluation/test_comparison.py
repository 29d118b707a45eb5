"""The hierarchical bootstrap against plain loops, known answers, and in simulations."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from desed_task.evaluation.bootstrap import draw
from desed_task.evaluation.comparison import compare

Array = NDArray[np.float64]


def _per_clip(
    rng: np.random.Generator, seeds: int, clips: int, effect: float, seed_spread: float
) -> Array:
    """Differences of a metric that is a mean over clips, `(seeds, clips)`."""
    by_seed = rng.normal(0, seed_spread, (seeds, 1))
    by_clip = rng.normal(0, 1, (1, clips))
    return effect + by_seed + by_clip + rng.normal(0, 0.5, (seeds, clips))


def _resampled(per_clip: Array, replicates: int, seed: int = 0) -> Array:
    """Means over resampled clips, `(seeds, replicates)`."""
    clips = per_clip.shape[1]
    return per_clip @ draw(clips, replicates, seed).T / clips


def _loop_error(per_clip: Array, replicates: int) -> float:
    """Standard error, one drawn seed and one drawn clip after the other."""
    rng = np.random.default_rng(5)
    seeds, clips = per_clip.shape
    means = []
    for _ in range(replicates):
        chosen_clips = [int(rng.integers(clips)) for _ in range(clips)]
        values = [
            sum(per_clip[seed, clip] for clip in chosen_clips) / clips for seed in range(seeds)
        ]
        drawn = [values[int(rng.integers(seeds))] for _ in range(seeds)]
        middle = sum(values) / seeds
        means.append(middle + (seeds / (seeds - 1)) ** 0.5 * (sum(drawn) / seeds - middle))
    return float(np.std(means, ddof=1))


def test_the_interval_is_that_of_plain_loops() -> None:
    per_clip = _per_clip(np.random.default_rng(1), seeds=4, clips=30, effect=0.3, seed_spread=0.3)
    found = compare(per_clip.mean(axis=1), _resampled(per_clip, 20_000))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.smallest is not None
    assert found.difference == pytest.approx(per_clip.mean())
    error = _loop_error(per_clip, 2000)
    between = np.var(per_clip.mean(axis=1), ddof=1) / 4
    freedom = 3 * (error**2 / between) ** 2 if between < error**2 else 3
    width = float(stats.t.ppf(0.975, freedom)) * error
    assert found.high - found.low == pytest.approx(2 * width, rel=0.1)
    assert (found.low + found.high) / 2 == pytest.approx(found.difference)
    power = float(stats.t.ppf(0.8, freedom)) * error
    assert found.smallest == pytest.approx(width + power, rel=0.1)


def test_equal_systems_differ_by_exactly_nothing() -> None:
    found = compare(np.zeros(5), np.zeros((5, 100)))
    assert found is not None
    assert (found.difference, found.low, found.high, found.smallest) == (0, 0, 0, 0)
    assert not found.found


def test_without_spread_between_seeds_the_interval_is_that_of_the_clips() -> None:
    rng = np.random.default_rng(2)
    clips = np.tile(rng.normal(1, 1, 200), (5, 1))
    found = compare(clips.mean(axis=1), _resampled(clips, 4000))
    assert found is not None
    assert found.low is not None
    normal = 1.96 * clips[0].std() / np.sqrt(200)
    assert found.difference - found.low == pytest.approx(normal, rel=0.05)


def test_without_spread_between_clips_the_interval_is_that_of_a_t_test() -> None:
    values = np.array([0.01, 0.05, 0.02, 0.09, 0.03])
    found = compare(values, np.tile(values[:, None], (1, 20_000)))
    assert found is not None
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.low == pytest.approx(expected.low, abs=0.001)
    assert found.high == pytest.approx(expected.high, abs=0.001)


@pytest.mark.parametrize(("seed_spread", "clips"), [(0.3, 40), (0.02, 40), (0.3, 400)])
def test_coverage_and_power(seed_spread: float, clips: int) -> None:
    """95 of 100 intervals hold the true difference; 80 of 100 find the smallest difference."""
    rng = np.random.default_rng(3)
    intervals, smallest = [], []
    for number in range(400):
        per_clip = _per_clip(rng, 4, clips, effect=0.5, seed_spread=seed_spread)
        found = compare(per_clip.mean(axis=1), _resampled(per_clip, 100, number), number)
        assert found is not None
        intervals.append((found.low, found.high))
        smallest.append(found.smallest)
    low, high = np.array(intervals, dtype=float).T
    assert 0.92 <= np.mean((low <= 0.5) & (high >= 0.5)) <= 0.985
    effect = float(np.mean(np.array(smallest, dtype=float)))
    assert 0.7 <= np.mean(low - 0.5 + effect > 0) <= 0.9


def test_undefined_values_are_excluded() -> None:
    values = np.array([0.1, np.nan, 0.3])
    drawn = np.array([[0.1, 0.2, np.nan], [np.nan] * 3, [0.3, 0.4, 0.5]])
    found = compare(values, drawn)
    assert found is not None
    assert found.seeds == 2
    assert found.difference == pytest.approx(0.2)
    assert compare(np.array([np.nan]), np.full((1, 4), np.nan)) is None


def test_one_seed_has_no_interval() -> None:
    found = compare(np.array([0.2]), np.full((1, 4), 0.2))
    assert found is not None
    assert (found.difference, found.low, found.smallest) == (0.2, None, None)
    assert not found.found
