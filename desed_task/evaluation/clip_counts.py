"""What matching counts in each clip, and the sums over clips that every metric is computed from.

Each metric family matches detections with true events once (`match`) and computes its values from
the counts (`measure`). A match never depends on another clip, so the counts of a set in which
clips are repeated or absent are sums with other weights: that is all the bootstrap does.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.events import Floats, Ints


@dataclass(frozen=True, eq=False)
class ClipArray:
    """An array of counts that is a sum over clips, stored as entries that add 1 to a cell.

    Args:
        clip: clip that an entry belongs to, `(entries,)`.
        cell: cell that an entry adds to, an index into the flat array, `(entries,)`.
        shape: shape of the array.
    """

    clip: Ints
    cell: Ints
    shape: tuple[int, ...]

    def total(self, weights: Floats | None = None) -> Ints:
        """The sum over clips, an array of `shape`.

        Args:
            weights: how often each clip occurs, whole numbers, `(clips,)`; None: once.
        """
        times = None if weights is None else weights[self.clip]
        total = np.bincount(self.cell, times, minlength=math.prod(self.shape))
        return np.rint(total).astype(np.int64).reshape(self.shape)

    def per_clip(self, n_clips: int) -> Ints:
        """The sum over cells, `(clips,)`."""
        return np.bincount(self.clip, minlength=n_clips)


@dataclass(frozen=True, eq=False)
class ClipCounts:
    """Counts of one metric family by clip; for segment-based metrics, read "segments" for events.

    Args:
        true: true events, `(classes,)`.
        correct: true events that were found, `(levels, classes)`.
        false: detected events that were rejected, `(levels, classes)`.
        cross: rejected events that match another class, `(levels, classes, other classes)`; None
            where the family does not define cross triggers.
    """

    true: ClipArray
    correct: ClipArray
    false: ClipArray
    cross: ClipArray | None = None

    def total(self, weights: Floats | None = None) -> "Counts":
        """Sums over clips; for the weights see `ClipArray.total`."""
        return Counts(
            self.true.total(weights),
            self.correct.total(weights),
            self.false.total(weights),
            None if self.cross is None else self.cross.total(weights),
        )


@dataclass(frozen=True, eq=False)
class Counts:
    """`ClipCounts` summed over clips, and their F-scores."""

    true: Ints
    correct: Ints
    false: Ints
    cross: Ints | None = None

    @property
    def f1(self) -> NDArray[np.float64]:
        """F1 `(levels, classes)`; NaN for a class without true event."""
        total = self.correct + self.false + self.true
        return np.where(self.true > 0, 2 * self.correct / np.maximum(total, 1), np.nan)

    def macro_f1(self, level: int = 0) -> float | None:
        """Mean F1 over the classes that occur; None if none does.

        A class that occurs but was never detected has F1 0.
        """
        occurring = self.f1[level, self.true > 0]
        return float(occurring.mean()) if len(occurring) else None

    def micro_f1(self, level: int = 0) -> float | None:
        """F1 of the counts summed over all classes; None without a true event."""
        true, correct = int(self.true.sum()), int(self.correct[level].sum())
        return 2 * correct / (correct + int(self.false[level].sum()) + true) if true else None

    def f_scores(self, name: str, level: int = 0) -> dict[str, float | None]:
        """The family's values in `SystemMetrics`, whose names begin with `name`."""
        correct = int(self.correct[level].sum())
        return {
            f"{name}_f1_macro": self.macro_f1(level),
            f"{name}_f1_micro": self.micro_f1(level),
            f"{name}_true_positives": correct,
            f"{name}_false_positives": int(self.false[level].sum()),
            f"{name}_false_negatives": int(self.true.sum()) - correct,
        }
