"""Events of a stream as soon as they are final, in constant memory.

A frame's probabilities are final once `latency` seconds of audio follow it: the network's windows
follow each other at half the latency, and the mean over those so far is taken. With a latency of a
window's length or more, windows and means are those of a file. Until the first window is full, it
is padded with zeros, as a short clip is.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from desed_task.dataio.audio import Mono
from desed_task.detect.arrays import MAX_CHANNELS, checked_rate, float_samples
from desed_task.detect.bands import warn_of_narrow_bands
from desed_task.detect.events import Detection, EventJoiner, find_events
from desed_task.detect.scoring import Network
from desed_task.detect.settings import Checked
from desed_task.errors import InputError
from desed_task.evaluation.outputs import Scores
from desed_task.frames import FrameGrid
from desed_task.model import ModelDescription
from desed_task.postprocess.methods import SEBBS, MedianParameters
from desed_task.sod import corrected_scores
from desed_task.windows import Window, WindowAverage, WindowCutter, window_step


class EventStream:
    """Blocks of audio -> events.

    Args:
        run: the network.
        model: its description.
        settings: how scores become events.
        rate: Hz, of the blocks.
        channels: of the blocks.
        latency: seconds of audio after which a frame's probabilities are final.

    Raises InputError for post-processing that needs the whole recording, and impossible values.
    """

    def __init__(
        self,
        run: Network,
        model: ModelDescription,
        settings: Checked,
        rate: int,
        channels: int,
        latency: float,
    ) -> None:
        if not isinstance(settings.parameters, MedianParameters):
            known = [method for method in model.postprocessing.methods if method != SEBBS]
            raise InputError(
                f"--postprocess {settings.method}: needs the whole recording: expected "
                f"{' or '.join(known)} for a stream"
            )
        rate = checked_rate(rate)
        if not 1 <= channels <= MAX_CHANNELS:
            raise InputError(f"--channels: expected 1 to {MAX_CHANNELS}, got {channels}")
        if not latency > 0:
            raise InputError(f"--latency: expected more than 0 s, got {latency:g}")
        warn_of_narrow_bands({"stream": rate / 2}, model.features.f_max)
        own = model.sample_rate
        self._channels = channels
        self._mono = Mono(settings.channel, "stream")
        self._resampler = None if rate == own else soxr.ResampleStream(rate, own, 1, "float32")
        self._frames = FrameStream(run, model.grid, latency, settings.overlap)
        self._events = EventDecoder(model, settings)

    def __call__(self, block: NDArray[Any]) -> list[Detection]:
        """Events that are certain after a block; its samples: `arrays.float_samples`."""
        block = float_samples(block, self._channels)
        return self._add(self._mono(block).audio, last=False)

    def finish(self) -> list[Detection]:
        """The remaining events, at the stream's end; no block may follow."""
        events = self._add(np.zeros(0, np.float32), last=True)
        rows, seconds = self._frames.finish()
        return [*events, *self._events.finish(rows, seconds)]

    def _add(self, audio: NDArray[np.float32], *, last: bool) -> list[Detection]:
        if self._resampler is not None:
            audio = self._resampler.resample_chunk(audio, last=last)
        return [event for rows in self._frames.add(audio) for event in self._events.add(rows)]


class FrameStream:
    """Samples -> frame probabilities that are final.

    Args:
        run: the network.
        grid: time axis of its input.
        latency: seconds.
        overlap: of the windows, with a latency of a window's length or more.
    """

    def __init__(self, run: Network, grid: FrameGrid, latency: float, overlap: float) -> None:
        self._run, self._grid = run, grid
        self._latency = max(1, round(latency / grid.frame_seconds))  # frames
        self._step = window_step(grid, overlap)
        if latency < grid.clip_seconds:
            self._step = min(self._step, max(1, self._latency // 2))
        else:  # a frame is final when no later window has it
            self._latency = max(self._latency, grid.n_frames)
        self._cutter = WindowCutter(grid, self._step)
        self._average = WindowAverage(grid.n_frames)
        self._latest = 0  # first frame of the latest window
        self._final = 0  # frames that were returned
        self._padded_end = 0  # sample up to which the padded first window was run

    def add(self, audio: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Rows `(rows, frames)` that became final."""
        for window in self._cutter.add(audio):
            yield self._include(window)
        end = self._cutter.n_samples
        frames = end // self._grid.samples_per_frame - self._latency
        due = end - self._padded_end >= self._step * self._grid.samples_per_frame
        if self._cutter.start == 0 and due and frames > self._final:
            self._padded_end = end
            values = self._run(self._cutter.audio(0)[None])[0]
            yield self._returned(values[:, self._final : frames])

    def finish(self) -> tuple[NDArray[np.float32], float]:
        """The remaining rows, and the length of the stream in seconds."""
        window = self._cutter.finish()
        rows = self._include(window)
        seconds = self._cutter.n_samples / self._grid.sample_rate
        rest = self._average.finish(self._grid.covering(seconds).n_frames)
        return np.concatenate([rows, rest[:, self._final - window.start :]], axis=1), seconds

    def _include(self, window: Window) -> NDArray[np.float32]:
        """Include a window; rows that became final."""
        start, before = window.start, self._latest
        finished = self._average.add(start, self._run(window.audio[None])[0])  # before `start`
        self._latest = start
        final = start + self._grid.n_frames - self._latency
        ready = finished[:, max(0, self._final - before) :]
        begin = max(self._final, start) - start
        early = self._average.pending[:, begin : max(begin, final - start)]
        return self._returned(np.concatenate([ready, early], axis=1))

    def _returned(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        self._final += rows.shape[1]
        return rows


class EventDecoder:
    """Final frame probabilities -> events: score correction, median filter, thresholds.

    A median filter needs half its window after a frame, and closing a pause the pause.
    """

    def __init__(self, model: ModelDescription, settings: Checked) -> None:
        assert isinstance(settings.parameters, MedianParameters)
        self._model, self._settings = model, settings
        self._parameters = settings.parameters
        self._reach = max(settings.parameters.window.values()) // 2 + 1
        # Corrected scores, from frame `_first` on.
        self._held = np.zeros((len(model.classes), 0), np.float32)
        self._first = 0
        self._done = 0  # frames that were decoded
        # An event that continues in the next rows is found in two, without a pause between them.
        gap = max(settings.merge_gap, model.grid.frame_seconds / 2)
        self._joiner = EventJoiner(gap, settings.min_duration, settings.calibration)

    def add(self, rows: NDArray[np.float32]) -> list[Detection]:
        """Events that are certain after further rows `(classes and states, frames)`."""
        self._hold(rows)
        end = self._first + self._held.shape[1] - self._reach
        if end <= self._done:
            return []
        events = self._decode(end)
        keep = max(0, end - self._reach)
        self._held, self._first = self._held[:, keep - self._first :].copy(), keep
        return events

    def finish(self, rows: NDArray[np.float32], seconds: float) -> list[Detection]:
        """The remaining events of a stream of this length, after its last rows."""
        self._hold(rows)
        return self._decode(self._model.grid.covering(seconds).offset_to_frame(seconds), seconds)

    def _hold(self, rows: NDArray[np.float32]) -> None:
        classes = self._model.classes
        strong, states = rows[: len(classes)], rows[len(classes) :]
        corrected = corrected_scores(strong, states, classes, self._model.correction)
        self._held = np.concatenate([self._held, corrected], axis=1)

    def _decode(self, end: int, seconds: float = np.inf) -> list[Detection]:
        """Events that are over, once the frames up to `end` are decoded.

        Args:
            end: number of frames.
            seconds: length of the stream, if it is known.
        """
        grid, classes = self._model.grid, self._model.classes
        held = self._parameters.apply(Scores(self._held[None], ["stream"], grid), classes)
        values = held.values[..., self._done - self._first : end - self._first]
        times = np.arange(self._done, end + 1) * grid.samples_per_frame / grid.sample_rate
        scores = Scores(values, ["stream"], np.minimum(times, seconds))
        events = find_events(scores, classes, self._settings.thresholds)
        self._done = end
        over = self._joiner.add(events, np.inf if seconds < np.inf else times[-1])
        return sorted(over, key=lambda event: (event.offset, event.onset))
