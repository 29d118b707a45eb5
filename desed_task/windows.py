"""A long recording as overlapping windows of the network's clip length, and their average.

The network reads clips of one length. A longer recording is read as windows of that length, half
of each overlapping the next one; where windows overlap, their frame values are averaged. Windows
start on the frame grid, so that the frames of all windows coincide.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.frames import FrameGrid


def window_starts(n_samples: int, grid: FrameGrid) -> list[int]:
    """First frame of each window of a recording of `n_samples` samples at the grid's rate.

    A recording that fits one window has the single start 0. Otherwise neighbours are half a window
    apart, and the last window is the first on the frame grid that reaches the recording's end.
    """
    last = last_start(n_samples, grid)
    return [*range(0, last, window_step(grid)), last]


def window_step(grid: FrameGrid, overlap: float = 0.5) -> int:
    """Frames between two windows that share a fraction `overlap` of their length, at least 1."""
    return max(1, int(grid.n_frames * (1 - overlap)))


def last_start(n_samples: int, grid: FrameGrid) -> int:
    """First frame of the last window of a recording."""
    return max(0, math.ceil((n_samples - grid.n_samples) / grid.samples_per_frame))


class Window(NamedTuple):
    """A window of a recording.

    Attributes:
        start: its first frame.
        audio: `(samples,)`, float32, padded with zeros at the recording's end.
        n_samples: length of the recording in samples; None before its last window.
    """

    start: int
    audio: NDArray[np.float32]
    n_samples: int | None


class WindowCutter:
    """Blocks of a recording -> its windows, those of `window_starts`, in constant memory.

    Args:
        grid: time axis of a window.
        step: frames between two windows.
    """

    def __init__(self, grid: FrameGrid, step: int) -> None:
        self._grid, self._step = grid, step
        self._held: list[NDArray[np.float32]] = []  # samples from `_first` on
        self._first = 0
        self.start = 0  # first frame of the next window
        self.n_samples = 0  # of all blocks

    def add(self, block: NDArray[np.float32]) -> list[Window]:
        """Windows that end before the block `(samples,)` does."""
        grid = self._grid
        self._held.append(block)
        self.n_samples += len(block)
        windows = []
        # The last window is another one if the recording ends with this one.
        while self.n_samples > self.start * grid.samples_per_frame + grid.n_samples:
            windows.append(Window(self.start, self.audio(self.start), None))
            self.start += self._step
        if windows:
            keep = min(self.start, last_start(self.n_samples, grid)) * grid.samples_per_frame
            self._held = [self._held[0][keep - self._first :].copy()]
            self._first = keep
        return windows

    def audio(self, start: int) -> NDArray[np.float32]:
        """Audio of a window so far, padded with zeros, `(samples,)`; `start`: its first frame."""
        if len(self._held) != 1:
            self._held = [np.concatenate([np.zeros(0, np.float32), *self._held])]
        begin = start * self._grid.samples_per_frame - self._first
        audio = self._held[0][begin : begin + self._grid.n_samples]
        return np.pad(audio, (0, self._grid.n_samples - len(audio)))

    def finish(self) -> Window:
        """The last window of the recording."""
        start = last_start(self.n_samples, self._grid)
        return Window(start, self.audio(start), self.n_samples)


def cut_windows(
    blocks: Iterable[NDArray[np.float32]], grid: FrameGrid, step: int
) -> Iterator[Window]:
    """Windows `step` frames apart of a recording that arrives in blocks of any lengths."""
    cutter = WindowCutter(grid, step)
    for block in blocks:
        yield from cutter.add(block)
    yield cutter.finish()


def window_weights(n_frames: int) -> NDArray[np.float64]:
    """Weight of each frame of a window in the average, `(n_frames,)`: a triangle, never 0.

    At a window's edge the network has context on one side only.
    """
    return np.minimum(np.arange(1, n_frames + 1), np.arange(n_frames, 0, -1)).astype(np.float64)


class WindowAverage:
    """Frame values of one recording from the values of its windows, in constant memory.

    Where one window alone covers a frame, its value is returned to the bit.

    Args:
        n_frames: frames of a window.
    """

    def __init__(self, n_frames: int) -> None:
        self._weights = window_weights(n_frames)
        self._start = 0  # frame of the recording at which the buffers begin
        self._mean: NDArray[Any] | None = None  # (rows, frames), not yet returned
        self._total = np.zeros(n_frames)  # weights that are already in the mean

    def add(self, start: int, values: NDArray[Any]) -> NDArray[np.floating]:
        """Include a window; return the frames `(rows, frames)` that no later window changes.

        Args:
            start: its first frame; not below that of the window before it.
            values: `(rows, n_frames)`.
        """
        if self._mean is None:
            self._mean = np.zeros_like(values)
        n_frames = values.shape[1]
        done = min(start - self._start, n_frames)
        if done < 0:
            raise ValueError(f"window start {start}: expected at least {self._start}")
        finished = self._mean[:, :done]
        self._mean = np.pad(self._mean[:, done:], ((0, 0), (0, done)))
        self._total = np.pad(self._total[done:], (0, done))
        self._start = start
        self._total = self._total + self._weights
        # The running mean keeps the first value of a frame exactly: its share is 1.
        share = (self._weights / self._total).astype(values.dtype)
        self._mean = np.where(share == 1, values, self._mean + share * (values - self._mean))
        return finished

    @property
    def pending(self) -> NDArray[Any]:
        """Mean of the windows so far in the frames of the latest one, `(rows, n_frames)`."""
        if self._mean is None:
            raise ValueError("a recording has at least one window")
        return self._mean

    def finish(self, n_frames: int) -> NDArray[Any]:
        """Return the remaining frames of a recording of `n_frames`; no window may follow.

        Frames after the last window are 0.
        """
        rest = self.pending[:, : n_frames - self._start]
        missing = n_frames - self._start - rest.shape[1]
        return np.pad(rest, ((0, 0), (0, missing))) if missing else rest


def average_windows(
    starts: Sequence[int], values: Iterable[NDArray[Any]], n_frames: int
) -> NDArray[np.floating]:
    """Frame values of a recording, `(rows, n_frames)`, from those of its windows.

    Args:
        starts: first frame of each window, ascending from 0, without a gap between windows.
        values: `(rows, frames)` of each window.
        n_frames: of the recording; frames after the last window are 0.
    """
    windows = list(values)
    average = WindowAverage(windows[0].shape[1])
    parts = [average.add(start, window) for start, window in zip(starts, windows, strict=True)]
    return np.concatenate([*parts, average.finish(n_frames)], axis=1)
