"""Outputs of the network for windows of clips -> outputs for whole clips.

Of n ranks, rank r predicts windows r, r + n, r + 2n, … of a set (`desed_task.process_group`), so
that windows are joined after they were gathered. The windows of a clip follow each other in a set;
a clip that fits the network's input is one window, whose output is unchanged.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from desed_task import process_group
from desed_task.dataio.batch import Batch
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
    """Named arrays with one row per window of a set, and the clip of each row."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._batches: dict[str, list[NDArray]] = {}

    def add(self, batch: Batch, rows: Tensor | None = None, **columns: Tensor) -> None:
        """Add the windows of a batch.

        Args:
            batch: the batch.
            rows: boolean mask of the windows to add, on the CPU; None: all.
            columns: their values, each `(windows, …)`.
        """
        first_frames = torch.tensor(batch.first_frames or [0] * len(batch.names))
        seconds, numbers = batch.seconds.cpu(), torch.arange(len(batch.names))
        if rows is not None:
            first_frames, seconds, numbers = first_frames[rows], seconds[rows], numbers[rows]
        self._names += [batch.names[number] for number in numbers.tolist()]
        columns = columns | {"first_frame": first_frames, "seconds": seconds}
        for column, values in columns.items():
            self._batches.setdefault(column, []).append(values.cpu().numpy())

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

    def clips(self, grid: FrameGrid) -> list[ClipWindows]:
        """The clips, in the order of the set. `grid`: time axis of a window."""
        if not self._names:
            return []
        first_frames = self["first_frame"].tolist()
        seconds = self["seconds"].tolist()
        begins = [row for row, frame in enumerate(first_frames) if frame == 0]
        return [
            ClipWindows(
                self._names[begin],
                seconds[begin],
                grid.covering(seconds[begin]),
                slice(begin, end),
                first_frames[begin:end],
            )
            for begin, end in zip(begins, [*begins[1:], len(self)], strict=True)
        ]


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


def join_frames(clips: Sequence[ClipWindows], values: NDArray) -> list[NDArray]:
    """Averages of the windows' frame values (`average_windows`), by clip.

    Args:
        clips: rows of `values`, by clip.
        values: `(windows, rows, frames)`.

    Returns:
        `(rows, frames)` of each clip. Frames of windows that a shortened run omitted are 0.
    """
    return [average_windows(clip.starts, values[clip.rows], clip.grid.n_frames) for clip in clips]


def join_maxima(clips: Sequence[ClipWindows], values: NDArray) -> NDArray:
    """Maximum of each clip's windows: `(windows, …)` -> `(clips, …)`."""
    return np.maximum.reduceat(values, [clip.rows.start for clip in clips], axis=0)
