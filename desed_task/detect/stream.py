"""Events of a stream, each when it is final, in constant memory.

A frame's probabilities are final once `latency` seconds of audio follow it: the network's windows
follow each other at half the latency, and the mean over those so far is taken. With a latency of a
window's length or more, windows and means are those of a file. Until the first window is full, it
is filled up with zeros, as a short clip is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from desed_task.dataio.audio import mono_float
from desed_task.detect.events import Detection, corrected_scores
from desed_task.detect.scoring import Network
from desed_task.detect.settings import Checked
from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from desed_task.model import ModelDescription
from desed_task.postprocess.median import median_filter
from desed_task.postprocess.methods import SEBBS, MedianParameters, in_class_order
from desed_task.windows import WindowAverage, last_start, window_step


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
        for option, value in (("rate", rate), ("channels", channels)):
            if value < 1:
                raise InputError(f"--{option}: expected at least 1, got {value}")
        if not latency > 0:
            raise InputError(f"--latency: expected more than 0 s, got {latency:g}")
        own = model.sample_rate
        self._channels = channels
        self._resampler = None if rate == own else soxr.ResampleStream(rate, own, 1, "float32")
        self._frames = FrameStream(run, model.grid, latency, settings.overlap)
        self._events = EventDecoder(model, settings)

    def __call__(self, block: NDArray[np.floating]) -> list[Detection]:
        """Events that are certain after a block `(samples,)` or `(samples, channels)`."""
        block = np.asarray(block, dtype=np.float32).reshape(-1, self._channels)
        return self._add(mono_float(block).audio, last=False)

    def finish(self) -> list[Detection]:
        """The remaining events, at the stream's end; no block may follow."""
        events = self._add(np.zeros(0, np.float32), last=True)
        rows, seconds = self._frames.finish()
        return [*events, *self._events.add(rows), *self._events.finish(seconds)]

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
        self._step = min(window_step(grid, overlap), max(1, self._latency // 2))
        self._average = WindowAverage(grid.n_frames)
        self._audio = np.zeros(0, np.float32)  # from the start of the next window on
        self._first = 0  # sample at which it begins
        self._start = 0  # frame of the next window
        self._latest: int | None = None  # frame of the latest window
        self._final = 0  # frames that were returned
        self._padded_end = 0  # sample up to which the filled-up window was run

    def add(self, audio: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Rows `(rows, frames)` that became final."""
        grid = self._grid
        self._audio = np.concatenate([self._audio, audio])
        while self._end > self._start * grid.samples_per_frame + grid.n_samples:
            yield self._window(self._start)
            self._start += self._step
            # The last window may begin before the next regular one.
            keep = min(self._start, last_start(self._end, grid)) * grid.samples_per_frame
            self._audio = self._audio[max(0, keep - self._first) :]
            self._first = max(keep, self._first)
        frames = self._end // grid.samples_per_frame - self._latency
        due = self._end - self._padded_end >= self._step * grid.samples_per_frame
        if self._start == 0 and due and frames > self._final:
            self._padded_end = self._end
            values = self._probabilities(0)
            yield self._returned(values[:, self._final : frames])

    def finish(self) -> tuple[NDArray[np.float32], float]:
        """The remaining rows, and the length of the stream in seconds."""
        last = last_start(self._end, self._grid)
        rows = self._window(last)
        rest = self._average.finish()[:, self._final - last :]
        seconds = self._end / self._grid.sample_rate
        missing = self._grid.covering(seconds).n_frames - self._final - rest.shape[1]
        rest = np.pad(rest, ((0, 0), (0, max(0, missing))))[:, : rest.shape[1] + missing]
        return np.concatenate([rows, rest], axis=1), seconds

    @property
    def _end(self) -> int:
        return self._first + len(self._audio)

    def _probabilities(self, start: int) -> NDArray[np.float32]:
        begin = start * self._grid.samples_per_frame - self._first
        audio = self._audio[begin : begin + self._grid.n_samples]
        return self._run(np.pad(audio, (0, self._grid.n_samples - len(audio)))[None])[0]

    def _window(self, start: int) -> NDArray[np.float32]:
        """Include a window; rows that became final."""
        before = self._latest or 0
        finished = self._average.add(start, self._probabilities(start))  # frames before `start`
        self._latest = start
        pending = self._average.pending
        final = start + self._grid.n_frames - self._latency
        ready = finished[:, max(0, self._final - before) :]
        begin = max(self._final, start) - start
        early = pending[:, begin : max(begin, final - start)]
        return self._returned(np.concatenate([ready, early], axis=1))

    def _returned(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        self._final += rows.shape[1]
        return rows


@dataclass
class _Open:
    """An event that may still go on: its frames, and the sum of its scores."""

    onset: int
    offset: int
    total: float = 0.0
    frames: int = 0


class EventDecoder:
    """Final frame probabilities -> events: score correction, median filter, thresholds.

    A median filter needs half its window after a frame, and merging the pause after an event.
    """

    def __init__(self, model: ModelDescription, settings: Checked) -> None:
        assert isinstance(settings.parameters, MedianParameters)
        self._model, self._settings = model, settings
        self._windows = in_class_order(settings.parameters.window, model.classes)
        self._reach = max(self._windows) // 2 + 1
        self._held: NDArray[np.float32] | None = None  # corrected scores from frame `_first` on
        self._first = 0
        self._done = 0  # frames that were decoded
        self._open: dict[int, _Open] = {}

    def add(self, rows: NDArray[np.float32]) -> list[Detection]:
        """Events that are certain after further rows `(classes and states, frames)`."""
        if not rows.shape[1]:
            return []
        n_classes = len(self._model.classes)
        corrected = corrected_scores(rows[:n_classes], rows[n_classes:], self._model)
        held = corrected if self._held is None else np.concatenate([self._held, corrected], axis=1)
        end = self._first + held.shape[1] - self._reach
        if end <= self._done:
            self._held = held
            return []
        events = self._decode(held, end)
        keep = max(0, self._done - self._reach)
        self._held, self._first = held[:, keep - self._first :].copy(), keep
        return events

    def finish(self, seconds: float) -> list[Detection]:
        """The remaining events of a stream of this length."""
        if self._held is None:
            return []
        events = self._decode(self._held, self._first + self._held.shape[1])
        events += [self._event(label) for label in list(self._open)]
        cut = [
            Detection(event.onset, min(event.offset, seconds), event.event_label, event.confidence)
            for event in events
            if event.onset < seconds
        ]
        return [event for event in cut if self._is_long(event)]

    def _decode(self, held: NDArray[np.float32], end: int) -> list[Detection]:
        """Events that end in the frames up to `end`."""
        filtered = median_filter(held[None], self._windows)[0].astype(np.float64)
        filtered = filtered[:, self._done - self._first : end - self._first]
        ended: list[Detection] = []
        for label, threshold in enumerate(self._settings.thresholds):
            steps = np.diff((filtered[label] > threshold).astype(np.int8), prepend=0, append=0)
            runs = zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True)
            for begin, stop in runs:
                scores = filtered[label, begin:stop]
                ended += self._extend(label, self._done + int(begin), scores)
            ended += self._ended(label, end)
        self._done = end
        ended.sort(key=lambda event: (event.offset, event.onset))
        return [event for event in ended if self._is_long(event)]

    def _extend(self, label: int, begin: int, scores: NDArray[np.float64]) -> list[Detection]:
        """Add a run of active frames to the open event, or end that and open another."""
        ended = self._ended(label, begin)
        current = self._open.setdefault(label, _Open(begin, begin))
        current.offset = begin + len(scores)
        current.total += float(scores.sum())
        current.frames += len(scores)
        return ended

    def _ended(self, label: int, frame: int) -> list[Detection]:
        """The open event, if a sound in this frame would not belong to it."""
        current = self._open.get(label)
        if current is None or current.offset == frame:
            return []
        pause = (frame - current.offset) * self._model.grid.frame_seconds
        return [] if pause < self._settings.merge_gap else [self._event(label)]

    def _event(self, label: int) -> Detection:
        event, frame = self._open.pop(label), self._model.grid.frame_seconds
        name = self._model.classes[label]
        return Detection(
            event.onset * frame, event.offset * frame, name, event.total / event.frames
        )

    def _is_long(self, event: Detection) -> bool:
        return event.offset - event.onset >= self._settings.min_duration
