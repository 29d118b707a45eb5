"""Recordings -> frame probabilities: windows of several recordings go through the network together.

Reading, resampling and decoding run in threads beside the network. Of a recording only the windows
that wait for the network are in memory, and its probabilities.
"""

import contextlib
import math
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from desed_task.detect.reading import Block
from desed_task.errors import FaultError, InputError
from desed_task.frames import FrameGrid
from desed_task.model import Model
from desed_task.model.graphs import OnnxModel
from desed_task.windows import Window, WindowAverage, cut_windows, window_step

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Windows `(batch, samples)` -> probabilities `(batch, rows, frames)`: classes, then SOD states."""
SILENCE = 2.0
"""Seconds after a short recording, from which the network's GRUs return to it."""


class Recording(NamedTuple):
    """A recording to score: any key, and a function that returns its blocks at the model's rate."""

    key: Any
    blocks: Callable[[], Iterable[Block]]


@dataclass(frozen=True)
class Probabilities:
    """Frame probabilities of a recording.

    Attributes:
        values: `(rows, frames)`, classes, then SOD states if the network has them.
        grid: time axis: the network's, or that of a longer recording.
        n_samples: length of the recording at the model's rate.
    """

    values: NDArray[np.float32]
    grid: FrameGrid
    n_samples: int

    @property
    def seconds(self) -> float:
        """Length of the recording in seconds."""
        return self.n_samples / self.grid.sample_rate


def network(model: Model | OnnxModel, *, autocast: torch.dtype | None = None) -> Network:
    """A model as a function of arrays; `autocast`: precision of the convolutions."""
    device = next(model.parameters()).device if isinstance(model, Model) else torch.device("cpu")

    def run(audio: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = torch.from_numpy(audio).to(device)
        with torch.inference_mode(), torch.autocast(device.type, autocast, autocast is not None):
            strong, _, sod = model(batch)
        rows = strong if sod is None else torch.cat([strong, sod.transpose(1, 2)], dim=1)
        return rows.float().cpu().numpy()

    return run


def score_recordings(
    recordings: Iterable[Recording],
    run: Network,
    grid: FrameGrid,
    *,
    overlap: float = 0.5,
    batch_size: int = 16,
    workers: int = 1,
    short_windows: bool = False,
    progress: Callable[[float], object] = lambda seconds: None,
) -> Generator[tuple[Any, Probabilities | InputError | FaultError], None, None]:
    """Probabilities of each recording, or why it cannot be read, in the order of completion.

    Args:
        recordings: what to score.
        run: the network.
        grid: time axis of its input.
        overlap: fraction of a window that the next one shares.
        batch_size: windows that go through the network together.
        workers: threads that read recordings; 0: none, the caller's reads.
        short_windows: whether a recording shorter than a window is padded to whole seconds with
            at least `SILENCE`, not to the whole window.
        progress: is called with the seconds of audio of each window that is new.
    """
    step = window_step(grid, overlap)
    windows = _windows(recordings, grid, step)
    if workers:
        windows = _in_threads(recordings, grid, step, workers, 2 * batch_size)
    averages: dict[int, _Average] = {}
    waiting: dict[int, list[tuple[int, Any, Window]]] = defaultdict(list)  # by their length

    def finished(length: int) -> Iterator[tuple[Any, Probabilities]]:
        batch = waiting.pop(length)
        outputs = run(np.stack([window.audio[:length] for _, _, window in batch]))
        for (number, key, window), output in zip(batch, outputs, strict=True):
            average = averages.setdefault(number, _Average(grid))
            progress(average.add(window, output))
            if window.n_samples is not None:
                yield key, averages.pop(number).finish(window.n_samples)

    with contextlib.closing(windows):  # ends the threads
        for number, key, item in windows:
            if not isinstance(item, Window):
                whole = waiting[grid.n_samples]
                whole[:] = [each for each in whole if each[0] != number]
                averages.pop(number, None)
                yield key, item
                continue
            length = _length(item, grid) if short_windows else grid.n_samples
            waiting[length].append((number, key, item))
            if len(waiting[length]) == batch_size:
                yield from finished(length)
        for length in [length for length, batch in waiting.items() if batch]:
            yield from finished(length)


def _length(window: Window, grid: FrameGrid) -> int:
    """Samples of a window with less padding, if it is the only one of its recording."""
    if window.start > 0 or window.n_samples is None:
        return grid.n_samples
    seconds = math.ceil(window.n_samples / grid.sample_rate + SILENCE)
    return min(seconds * grid.sample_rate, grid.n_samples)


class _Average:
    """Averaged windows of a recording."""

    def __init__(self, grid: FrameGrid) -> None:
        self._grid, self._mean = grid, WindowAverage(grid.n_frames)
        self._parts: list[NDArray[Any]] = []
        self._end = 0.0

    def add(self, window: Window, output: NDArray[np.float32]) -> float:
        """Include a window; the seconds of audio that it adds."""
        length, grid = window.n_samples, self._grid
        output = np.pad(output, ((0, 0), (0, grid.n_frames - output.shape[1])))
        self._parts.append(self._mean.add(window.start, output))
        end = (window.start * grid.samples_per_frame + grid.n_samples) if length is None else length
        added, self._end = end / grid.sample_rate - self._end, end / grid.sample_rate
        return added

    def finish(self, n_samples: int) -> Probabilities:
        """The recording's probabilities."""
        grid = self._grid.covering(n_samples / self._grid.sample_rate)
        values = np.concatenate([*self._parts, self._mean.finish(grid.n_frames)], axis=1)
        return Probabilities(values, grid, n_samples)


_Item = tuple[int, Any, Window | InputError | FaultError]


def _windows(
    recordings: Iterable[Recording], grid: FrameGrid, step: int
) -> Generator[_Item, None, None]:
    for number, recording in enumerate(recordings):
        yield from _recording_windows(number, recording, grid, step)


def _recording_windows(
    number: int, recording: Recording, grid: FrameGrid, step: int
) -> Iterator[_Item]:
    try:
        for window in cut_windows(recording.blocks(), grid, step):
            yield number, recording.key, window
    except (InputError, FaultError) as error:
        yield number, recording.key, error
    except OSError as error:
        yield number, recording.key, FaultError(str(error))


def _in_threads(
    recordings: Iterable[Recording], grid: FrameGrid, step: int, workers: int, longest: int
) -> Generator[_Item, None, None]:
    """`_windows` of several recordings at once, read by threads; at most `longest` wait."""
    items: queue.Queue[_Item | BaseException | None] = queue.Queue(longest)
    numbered, lock, stopped = enumerate(recordings), threading.Lock(), threading.Event()

    def put(item: _Item | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return items.put(item, timeout=0.1)
            except queue.Full:
                continue

    def read() -> None:
        try:
            while not stopped.is_set():
                with lock:
                    following = next(numbered, None)
                if following is None:
                    break
                for item in _recording_windows(*following, grid, step):
                    put(item)
                    if stopped.is_set():
                        break
            put(None)
        except BaseException as error:
            put(error)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        running = workers
        while running:
            item = items.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
