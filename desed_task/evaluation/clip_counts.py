"""What matching counts in each clip, and the sums over clips that every metric is computed from.

Each metric family matches detections with true events once (`match`); its values are computed from
the counts. A match never depends on another clip, so the counts of a set in which
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

    def f_scores(self, family: str) -> dict[str, float | None]:
        """The values of level 0 in `SystemMetrics`, whose names begin with the family's.

        Macro F1 is the mean over the classes that occur (0 for one that was never detected), micro
        F1 that of the counts of all classes; both are None without a true event.
        """
        true, correct, false = (
            int(counts.sum()) for counts in (self.true, self.correct[0], self.false[0])
        )
        return {
            f"{family}_f1_macro": float(self.f1[0, self.true > 0].mean()) if true else None,
            f"{family}_f1_micro": 2 * correct / (correct + false + true) if true else None,
            f"{family}_true_positives": correct,
            f"{family}_false_positives": false,
            f"{family}_false_negatives": true - correct,
        }
