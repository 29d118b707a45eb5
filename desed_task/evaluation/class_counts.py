"""Counts of a class at all levels of the threshold -> its PSD-ROC curve, for any clip weights.

The counts are stored as their changes from level to level in each clip. The changes of a set in
which clips are repeated or absent are one product with the clips' weights; their cumulative sums
are the counts. Many sets share the product: that is what makes the bootstrap fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from desed_task.evaluation.events import Floats, Ints
from desed_task.evaluation.psds import (
    SECONDS_PER_HOUR,
    PsdRoc,
    RocCurve,
    Scenario,
    combine,
    staircase,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Changes(NamedTuple):
    """What is added to a count from a level on, `(entries,)` each.

    The column is the clip; for cross triggers it is clip * classes + other class.
    """

    level: Ints
    column: Ints
    amount: Ints

    @classmethod
    def between(cls, begin: Ints, end: Ints, column: Ints, n_levels: int) -> "Changes":
        """1 from level `begin` to before `end`; an end of `n_levels` is never reached."""
        ends = end < n_levels
        return cls(
            np.concatenate([begin, end[ends]]),
            np.concatenate([column, column[ends]]),
            np.repeat(np.array([1, -1]), [len(begin), int(ends.sum())]),
        )

    def matrix(self, n_levels: int, n_columns: int) -> "csr_array":
        """The same as `(levels, columns)`, without zeros."""
        from scipy.sparse import coo_array

        entries = (self.amount.astype(np.float64), (self.level, self.column))
        matrix = coo_array(entries, shape=(n_levels, n_columns)).tocsr()
        matrix.eliminate_zeros()
        return matrix


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Changes of the counts of one class, without the levels at which nothing changes.

    Args:
        true: clip of every true event, `(events,)`.
        correct: true events that were found, `(levels, clips)`.
        false: detected events that were rejected, `(levels, clips)`.
        cross: rejected events that match another class, `(levels, pairs)`; None: not counted.
        pair_clip, pair_other: clip and other class of a pair, `(pairs,)`.
    """

    true: Ints
    correct: "csr_array"
    false: "csr_array"
    cross: "csr_array | None"
    pair_clip: Ints
    pair_other: Ints

    @classmethod
    def from_changes(
        cls,
        shape: tuple[int, int, int],
        true: Ints,
        correct: Changes,
        false: Changes,
        cross: Changes | None,
    ) -> "ClassCounts":
        """`shape` is levels, clips, classes."""
        n_levels, n_clips, n_classes = shape
        matrices = [each.matrix(n_levels, n_clips) for each in (correct, false)]
        pairs = np.zeros(0, dtype=np.int64)
        if cross is not None:
            pairs, pair = np.unique(cross.column, return_inverse=True)
            matrices.append(cross._replace(column=pair).matrix(n_levels, len(pairs)))
        changed = np.any([np.diff(matrix.indptr) > 0 for matrix in matrices], axis=0)
        changed[:1] = True
        found, rejected, *crossing = (matrix[changed] for matrix in matrices)
        return cls(
            true, found, rejected, crossing[0] if crossing else None, *np.divmod(pairs, n_classes)
        )

    def curves(
        self, scenario: Scenario, weights: Floats, class_seconds: Floats, total_seconds: Floats
    ) -> list[RocCurve]:
        """True positive ratio against effective false positives per hour, one curve for each set.

        Effective false positives are false positives per hour of audio plus `alpha_ct` times the
        mean, over the other classes that occur, of the cross triggers per hour of that class's
        true events.

        Args:
            scenario: weights, and the limit at which the curves end.
            weights: of the clips in each set, which must hold a true event, `(sets, clips)`.
            class_seconds: length of all true events of each class, `(sets, classes)`.
            total_seconds: length of all clips, `(sets,)`.
        """
        efpr = _counts(self.false, weights) * (SECONDS_PER_HOUR / total_seconds)[:, None]
        # Cross triggers only add to the rate. Levels below the last one whose false positives
        # alone are within the limit (rounding allowed for) cannot add a point of the curve.
        within = np.flatnonzero((efpr <= scenario.max_efpr * (1 + 1e-9)).any(axis=0))
        n_levels = within.max(initial=-1) + 1
        efpr = efpr[:, :n_levels]
        if self.cross is not None and n_levels:
            factor = _cross_factor(scenario.alpha_ct, class_seconds)
            values = weights[:, self.pair_clip] * factor[:, self.pair_other]
            efpr += _counts(self.cross[:n_levels], values)
        # The rate is constant between two changes of `correct`: there the least efpr counts.
        correct = self.correct[:n_levels]
        first = np.flatnonzero(np.append(True, np.diff(correct.indptr)[1:] > 0)[:n_levels])
        rate = _counts(correct[first], weights) / weights[:, self.true].sum(axis=1, keepdims=True)
        least = np.minimum.reduceat(efpr, first, axis=1) if n_levels else efpr
        inside = least <= scenario.max_efpr
        return [staircase(x[i], y[i]) for x, y, i in zip(least, rate, inside, strict=True)]


def _counts(changes: "csr_array", weights: Floats) -> Floats:
    """Counts of each set, `(sets, levels)`, from changes `(levels, columns)` and their weights."""
    return np.cumsum(np.ascontiguousarray((changes @ weights.T).T), axis=1)


def _cross_factor(alpha_ct: float, class_seconds: Floats) -> Floats:
    """What a cross trigger of each class adds to the effective rate, `(sets, classes)`."""
    occurring = class_seconds > 0
    others = np.maximum(occurring.sum(axis=1, keepdims=True) - 1, 1)
    return np.where(
        occurring, alpha_ct * SECONDS_PER_HOUR / np.where(occurring, class_seconds, 1) / others, 0.0
    )


@dataclass(frozen=True, eq=False)
class PsdsCounts:
    """What the PSD-ROCs of one scenario are computed from.

    Args:
        scenario: weights, and the limit at which the curves end.
        by_class: counts of each class that occurs in the ground truth, by index.
        true_seconds: length of the true events, `(clips, classes)`.
        seconds: length of the clips that count, `(clips,)`; 0: the clip does not.
    """

    scenario: Scenario
    by_class: Mapping[int, ClassCounts]
    true_seconds: Floats
    seconds: Floats

    def rocs(self, weights: Floats) -> list[PsdRoc | None]:
        """The PSD-ROC of each set; None where no class occurs.

        Args:
            weights: how often each clip occurs in each set, whole numbers, `(sets, clips)`.
        """
        class_seconds, total_seconds = weights @ self.true_seconds, weights @ self.seconds
        curves: list[dict[int, RocCurve]] = [{} for _ in weights]
        for label, counts in self.by_class.items():
            sets = np.flatnonzero(weights[:, counts.true].any(axis=1))
            found = counts.curves(
                self.scenario, weights[sets], class_seconds[sets], total_seconds[sets]
            )
            for number, curve in zip(sets.tolist(), found, strict=True):
                curves[number][label] = curve
        return [combine(each, self.scenario) for each in curves]

    def roc(self) -> PsdRoc | None:
        """The PSD-ROC of the set itself, in which every clip occurs once."""
        return self.rocs(np.ones((1, len(self.seconds))))[0]
