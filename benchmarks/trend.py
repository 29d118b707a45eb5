"""A straight line through values of which neighbours resemble each other, and what it shows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BLOCKS = 12
CONFIDENCE = 0.99


class Trend(NamedTuple):
    """A fitted line.

    Attributes:
        slope: per value.
        error: the slope's standard error.
        quantile: of Student's t: the slope's interval is `slope ± quantile · error`.
    """

    slope: float
    error: float
    quantile: float

    @property
    def grows(self) -> bool:
        """Whether a slope of zero or less is ruled out, with a confidence of 99 % both sides."""
        return self.slope > self.quantile * self.error

    def __str__(self) -> str:
        return f"{self.slope:.2f} +- {self.error:.2f}"


def fit_trend(values: Sequence[float]) -> Trend:
    """Fit the medians of `BLOCKS` blocks of neighbours.

    Memory moves in steps, so that its values in a block are no independent witnesses; and it falls
    for some epochs when the system takes pages back, which a median does not follow.

    Raises ValueError for fewer than two values a block.
    """
    size = len(values) // BLOCKS
    if size < 2:
        raise ValueError(f"{len(values)} values: {2 * BLOCKS} or more are right")
    from scipy.stats import linregress, t

    blocks = np.asarray(values, dtype=float)[-BLOCKS * size :].reshape(BLOCKS, size)
    line = linregress((np.arange(BLOCKS) + 0.5) * size, np.median(blocks, axis=1))
    quantile = t.ppf((1 + CONFIDENCE) / 2, BLOCKS - 2)
    return Trend(float(line.slope), float(line.stderr), float(quantile))
