"""Outputs of the network for windows of clips -> outputs for whole clips.

Of n ranks, rank r predicts windows r, r + n, r + 2n, … of a set (`desed_task.process_group`), so
that windows are joined after they were gathered. The windows of a clip follow each other in a set;
a clip that fits the network's input is one window, whose output is unchanged.
"""

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from desed_task import process_group
from desed_task.dataio.batch import Batch
from desed_task.evaluation import Scores
from desed_task.frames import FrameGrid
from desed_task.windows import average_windows


class ClipWindows(NamedTuple):
    """The windows of one clip in a table.

    Attributes:
        name: of the clip.
        seconds: its length.
        grid: its time axis.
        rows: rows of its windows.
        starts: their first frames.
    """

    name: str
    seconds: float
    grid: FrameGrid
    rows: slice
    starts: list[int]


class WindowTable:
    """Named arrays with one row per window of a set, and the clip of each row.

    All windows of all ranks are added and gathered before anything is read.

    Args:
        grid: time axis of a window.
    """

    def __init__(self, grid: FrameGrid) -> None:
        self._grid = grid
        self._names: list[str] = []
        self._batches: dict[str, list[NDArray]] = {}

    def add(self, batch: Batch, rows: Tensor | None = None, **columns: Tensor) -> None:
        """Add windows of a batch.

        Args:
            batch: the batch.
            rows: boolean mask of the windows to add, `(batch,)`, on the CPU; None: all.
            columns: values of all windows of the batch, `(batch, …)`.
        """
        n_windows = len(batch.names)
        rows = torch.ones(n_windows, dtype=torch.bool) if rows is None else rows
        self._names += itertools.compress(batch.names, rows.tolist())
        first_frames = torch.tensor(batch.first_frames or [0] * n_windows)
        columns = columns | {"first_frame": first_frames, "seconds": batch.seconds}
        for column, values in columns.items():
            self._batches.setdefault(column, []).append(values[rows].cpu().numpy())

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, column: str) -> bool:
        return column in self._batches

    def __getitem__(self, column: str) -> NDArray:
        """A column `(windows, …)`."""
        return np.concatenate(self._batches[column])

    def gather(self) -> None:
        """On rank 0: take the windows of all ranks, in the order of the set. All ranks call it."""
        tables = process_group.gather((self._names, self._batches))
        if len(tables) < 2:
            return
        order = set_order([len(names) for names, _ in tables])
        names = [name for names, _ in tables for name in names]
        self._names = [names[row] for row in order]
        columns = dict.fromkeys(column for _, batches in tables for column in batches)
        gathered = {c: [b for _, batches in tables for b in batches.get(c, [])] for c in columns}
        self._batches = {c: [np.concatenate(batches)[order]] for c, batches in gathered.items()}

    @cached_property
    def clips(self) -> list[ClipWindows]:
        """The clips, in the order of the set."""
        if not self._names:
            return []
        first_frames, seconds = self["first_frame"].tolist(), self["seconds"].tolist()
        begins = [row for row, frame in enumerate(first_frames) if frame == 0]
        return [
            ClipWindows(
                self._names[begin],
                seconds[begin],
                self._grid.covering(seconds[begin]),
                slice(begin, end),
                first_frames[begin:end],
            )
            for begin, end in zip(begins, [*begins[1:], len(self)], strict=True)
        ]

    def joined(self, column: str) -> list[NDArray]:
        """Averages of a column's frame values `(windows, rows, frames)` (`average_windows`).

        `(rows, frames)` of each clip. Frames of windows that a shortened run omitted are 0.
        """
        values = self[column]
        return [
            average_windows(clip.starts, values[clip.rows], clip.grid.n_frames)
            for clip in self.clips
        ]

    def scores(self, values: Sequence[NDArray]) -> Scores:
        """Scores `(classes, frames)` of each clip as the scores of the set."""
        names, grids = [clip.name for clip in self.clips], [clip.grid for clip in self.clips]
        return Scores.from_clips(values, names, grids)

    def maxima(self, column: str) -> NDArray:
        """Maximum of each clip's windows, `(clips, …)`."""
        return np.maximum.reduceat(self[column], [clip.rows.start for clip in self.clips], axis=0)


def set_order(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Indices that put the windows of all ranks, one rank after the other, into the set's order.

    Args:
        lengths: number of windows of each rank.

    Example:
        >>> set_order([3, 2])
        array([0, 3, 1, 4, 2])
    """
    indices = [np.arange(length) * len(lengths) + rank for rank, length in enumerate(lengths)]
    return np.argsort(np.concatenate(indices))
