"""Paired comparison of two ways of training, over seeds and clips (docs/ablation.md, "Intervals").

A difference between two ways of training has two sources of chance: the seeds of the trainings and
the clips of the test set. The hierarchical bootstrap draws both: seeds with replacement, then clips
with replacement, the same seeds and the same clips for both ways.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from desed_task.evaluation.bootstrap import draw
from desed_task.evaluation.events import Floats

CONFIDENCE = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Comparison:
    """A difference between two ways of training.

    Args:
        difference: mean over the seeds, on the test set itself.
        low, high: confidence interval, which covers seeds and clips.
        smallest: the difference that would be found, by an interval that excludes 0, in `POWER`
            of all repetitions with as many seeds and clips.
        seeds: number of seeds that both have.
    """

    difference: float
    low: float | None
    high: float | None
    smallest: float | None
    seeds: int

    @property
    def found(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def compare(values: Floats, drawn: Floats, seed: int = 0) -> Comparison | None:
    """Compare two ways of training by their differences; None without a defined difference.

    The standard error is that of the mean difference over replicates. In each replicate as many
    seeds are drawn as there are. A draw from n seeds varies by (n - 1) / n of what n new seeds
    would, so its deviation from the mean of all seeds is multiplied by sqrt(n / (n - 1)).
    The interval is the difference plus and minus t times the standard error, t the quantile of
    Student's distribution: percentiles of so few seeds would be too narrow. Its degrees of freedom
    (Satterthwaite) are n - 1 where all variance is between seeds, and more where clips add to it.

    Args:
        values: the differences on the test set, `(seeds,)`; NaN: undefined, the seed is excluded.
        drawn: the same on resampled clips, `(seeds, replicates)`; the clips of a replicate are the
            same for all seeds. Replicates in which one is undefined are excluded.
        seed: of the draw of seeds.
    """
    defined = ~np.isnan(values)
    values, drawn = values[defined], drawn[defined]
    drawn = drawn[:, ~np.isnan(drawn).any(axis=0)]
    n_seeds, replicates = drawn.shape
    if not n_seeds:
        return None
    difference = float(values.mean())
    if n_seeds == 1 or replicates < 2:
        return Comparison(difference, None, None, None, n_seeds)
    times = draw(n_seeds, replicates, seed)
    seed_mean = drawn.mean(axis=0)
    deviation = (times * drawn.T).sum(axis=1) / n_seeds - seed_mean
    error = float(np.std(seed_mean + np.sqrt(n_seeds / (n_seeds - 1)) * deviation, ddof=1))
    between_seeds = float(np.var(values, ddof=1)) / n_seeds
    freedom = degrees_of_freedom(error**2, between_seeds, n_seeds)
    two_sided = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    return Comparison(
        difference,
        difference - two_sided * error,
        difference + two_sided * error,
        (two_sided + float(stats.t.ppf(POWER, freedom))) * error,
        n_seeds,
    )


def degrees_of_freedom(variance: float, between_seeds: float, n_seeds: int) -> float:
    """Satterthwaite's degrees of freedom of a variance, of which a part comes from the seeds.

    The rest, that of the clips, is known well: its own degrees are not counted.
    """
    share = min(1.0, between_seeds / variance) if variance else 1.0
    return (n_seeds - 1) / share**2 if share > 1e-3 else 1e6
