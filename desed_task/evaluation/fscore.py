"""Counts of right and wrong detections, and the F-scores they give."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.clip_counts import ClipCounts
from desed_task.evaluation.events import Floats, Ints


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Per class, `(classes,)`: what is true, what was detected, and what agrees."""

    true: Ints
    detected: Ints
    correct: Ints

    @property
    def per_class(self) -> NDArray[np.float64]:
        """F1 of each class; NaN for a class that the truth does not hold."""
        return np.where(self.true > 0, self._f1(self.true, self.detected, self.correct), np.nan)

    @property
    def macro(self) -> float | None:
        """Mean F1 over the classes that occur in the truth; None if there is none.

        A class that occurs but was never detected counts as 0.
        """
        occurring = self.per_class[self.true > 0]
        return float(occurring.mean()) if len(occurring) else None

    @property
    def micro(self) -> float | None:
        """F1 of all classes' counts together, false alarms of absent classes too."""
        if not self.true.sum():
            return None
        return float(self._f1(*(np.atleast_1d(c.sum()) for c in self._columns))[0])

    @property
    def _columns(self) -> tuple[Ints, Ints, Ints]:
        return self.true, self.detected, self.correct

    @staticmethod
    def _f1(true: Ints, detected: Ints, correct: Ints) -> NDArray[np.float64]:
        return 2 * correct / np.maximum(true + detected, 1)


class ClassTallies(NamedTuple):
    """What `ClassCounts` counts, thing by thing; each tally is `(classes,)`."""

    true: ClipCounts
    detected: ClipCounts
    correct: ClipCounts

    def counts(self, weights: Floats | None = None) -> ClassCounts:
        """The counts, of clips weighted as in `ClipCounts.count`."""
        return ClassCounts(*(tally.count(weights) for tally in self))
