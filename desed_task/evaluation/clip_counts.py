"""Decisions that are counted: each lies within one clip, so that clips can be weighted."""

import math
from dataclasses import dataclass

import numpy as np

from desed_task.evaluation.events import Floats, Ints


@dataclass(frozen=True, eq=False)
class ClipCounts:
    """Things that add to the cells of an array, as columns.

    Args:
        clip: the clip each thing lies in, `(things,)`.
        cell: the cell it adds to, an index into the flat array, `(things,)`.
        shape: of the array.
        amount: what each thing adds, `(things,)`; None: 1.
    """

    clip: Ints
    cell: Ints
    shape: tuple[int, ...]
    amount: Ints | None = None

    def count(self, weights: Floats | None = None) -> Ints:
        """The array, of this tally's `shape`.

        Args:
            weights: how often each clip is there, whole numbers, `(clips,)`; None: once.
        """
        amount: Ints | Floats | None = self.amount
        if weights is not None:
            times = weights[self.clip]
            amount = times if amount is None else amount * times
        total = np.bincount(self.cell, amount, minlength=math.prod(self.shape))
        if amount is not None:
            total = np.rint(total).astype(np.int64)
        return total.reshape(self.shape)

    def merged(self) -> "ClipCounts":
        """The same counts of fewer things: one for each clip and cell, none where they cancel.

        The things come in the order of their cells.
        """
        n_clips = int(self.clip.max(initial=0)) + 1
        places, group = np.unique(self.cell * n_clips + self.clip, return_inverse=True)
        amount = np.rint(np.bincount(group, self.amount, minlength=len(places))).astype(np.int64)
        cell, clip = np.divmod(places[amount != 0], n_clips)
        return ClipCounts(clip, cell, self.shape, amount[amount != 0])
