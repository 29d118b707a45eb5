"""Windows of recordings that arrive in blocks, and of several recordings at once."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from desed_task.detect.scoring import Probabilities, Recording, score_recordings
from desed_task.detect.stream import FrameStream
from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from desed_task.windows import average_windows, cut_windows, window_starts, window_step

GRID = FrameGrid(sample_rate=100, hop_length=4, time_pooling=2, clip_seconds=2.03)
LENGTHS = [0, 1, 100, 203, 204, 211, 400, 403, 404, 1234]


def _audio(n_samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random(n_samples, dtype=np.float32)


def _blocks(audio: NDArray[np.float32], seed: int = 1) -> Iterator[NDArray[np.float32]]:
    """The audio in blocks of any length, also empty ones."""
    random, start = np.random.default_rng(seed), 0
    while start < len(audio):
        end = start + int(random.integers(0, 150))
        yield audio[start:end]
        start = end


def _network(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Two rows that depend on a frame's samples and, like a network's, on the whole window."""
    frames = GRID.n_frames
    padded = np.pad(windows, ((0, 0), (0, frames * GRID.samples_per_frame)))
    frame_sums = padded[:, : frames * GRID.samples_per_frame].reshape(len(windows), frames, -1)
    means = frame_sums.mean(axis=2)
    return np.stack([means, means * windows.mean(axis=1, keepdims=True)], axis=1)


def _expected(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """The windows of the whole recording at once."""
    starts = window_starts(len(audio), GRID)
    outputs = []
    for start in starts:
        begin = start * GRID.samples_per_frame
        window = audio[begin : begin + GRID.n_samples]
        outputs.append(_network(np.pad(window, (0, GRID.n_samples - len(window)))[None])[0])
    n_frames = GRID.covering(len(audio) / GRID.sample_rate).n_frames
    return average_windows(starts, outputs, n_frames)


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_windows_of_blocks_are_those_of_the_whole(n_samples: int) -> None:
    audio = _audio(n_samples)
    windows = list(cut_windows(_blocks(audio), GRID, window_step(GRID)))
    assert [window.start for window in windows] == window_starts(n_samples, GRID)
    assert [window.n_samples for window in windows] == [None] * (len(windows) - 1) + [n_samples]
    for window in windows:
        own = audio[window.start * GRID.samples_per_frame :][: GRID.n_samples]
        np.testing.assert_array_equal(window.audio, np.pad(own, (0, GRID.n_samples - len(own))))


def test_a_smaller_overlap_has_fewer_windows() -> None:
    for overlap, step in ((0, GRID.n_frames), (0.5, GRID.n_frames // 2), (0.95, 1)):
        starts = [w.start for w in cut_windows([_audio(1234)], GRID, window_step(GRID, overlap))]
        assert set(np.diff(starts[:-1])) <= {step}
        assert starts[-1] == window_starts(1234, GRID)[-1]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_several_recordings_share_batches(workers: int, batch_size: int) -> None:
    audio = {n_samples: _audio(n_samples, n_samples) for n_samples in LENGTHS}
    sizes: list[int] = []

    def run(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes.append(len(windows))
        return _network(windows)

    heard: list[float] = []
    recordings = [Recording(key, partial(_blocks, audio[key])) for key in LENGTHS]
    found = dict(
        score_recordings(
            recordings,
            run,
            GRID,
            batch_size=batch_size,
            workers=workers,
            progress=heard.append,
        )
    )
    assert set(sizes[:-1]) <= {batch_size}
    assert sum(heard) == pytest.approx(sum(LENGTHS) / GRID.sample_rate)
    assert set(found) == set(LENGTHS)
    for n_samples, result in found.items():
        assert isinstance(result, Probabilities)
        np.testing.assert_allclose(result.values, _expected(audio[n_samples]), rtol=1e-6)
        assert result.n_samples == n_samples


def test_short_recordings_go_through_in_short_windows() -> None:
    """Of one batch are windows of one length; what follows a recording is 0."""
    grid = FrameGrid(sample_rate=100, hop_length=4, time_pooling=2, clip_seconds=6.0)
    shapes: list[tuple[int, ...]] = []

    def run(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        shapes.append(windows.shape)
        frames = replace(grid, clip_seconds=windows.shape[1] / grid.sample_rate).n_frames
        padded = np.pad(windows, ((0, 0), (0, 8)))[:, : frames * 8]  # 8 samples a frame
        return padded.reshape(len(windows), 1, frames, 8).mean(axis=3)

    lengths = [30, 100, 101, 40, 450, 700, 90]
    recordings = [
        Recording(number, partial(_blocks, _audio(n))) for number, n in enumerate(lengths)
    ]
    found = dict(score_recordings(recordings, run, grid, batch_size=3, short_windows=True))
    # 450 samples and 2 s are more than a window; 700 samples are two windows.
    assert sorted(shapes) == [(1, 300), (1, 400), (3, 300), (3, 600)]
    for number, n_samples in enumerate(lengths):
        result = found[number]
        assert isinstance(result, Probabilities)
        whole = np.pad(_audio(n_samples), (0, 1000))[: result.values.shape[1] * 8]
        expected = whole.reshape(-1, 8).mean(axis=1)
        np.testing.assert_allclose(result.values[0], expected, rtol=1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_recording_that_breaks_off_does_not_stop_the_others(workers: int) -> None:
    def broken() -> Iterator[NDArray[np.float32]]:
        yield _audio(900)
        raise InputError("b.wav: cut off")

    def fault() -> Iterator[NDArray[np.float32]]:
        raise ValueError("a mistake of the program")
        yield

    parts: list[Any] = [lambda: _blocks(_audio(500)), broken, lambda: _blocks(_audio(300))]
    recordings = [Recording(number, blocks) for number, blocks in enumerate(parts)]
    found = dict(score_recordings(recordings, _network, GRID, batch_size=4, workers=workers))
    assert isinstance(found[1], InputError)
    for key, n_samples in ((0, 500), (2, 300)):
        result = found[key]
        assert isinstance(result, Probabilities)
        np.testing.assert_allclose(result.values, _expected(_audio(n_samples)), rtol=1e-6)
    with pytest.raises(ValueError, match="a mistake of the program"):
        list(score_recordings([Recording(0, fault)], _network, GRID, workers=workers))


@pytest.mark.parametrize("n_samples", LENGTHS)
@pytest.mark.parametrize("latency", [GRID.clip_seconds, GRID.clip_seconds + 0.1, 100.0])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.95])
def test_a_stream_with_a_window_of_latency_is_as_a_file(
    n_samples: int, latency: float, overlap: float
) -> None:
    stream = FrameStream(_network, GRID, latency, overlap)
    audio = _audio(n_samples)
    rows = [each for block in _blocks(audio) for each in stream.add(block)]
    last, seconds = stream.finish()
    file = [Recording(0, partial(_blocks, audio))]
    ((_, found),) = score_recordings(file, _network, GRID, overlap=overlap, workers=0)
    assert isinstance(found, Probabilities)
    np.testing.assert_allclose(np.concatenate([*rows, last], 1), found.values, rtol=1e-5)
    if overlap == 0.5:
        np.testing.assert_allclose(found.values, _expected(audio), rtol=1e-5)
    assert seconds == n_samples / GRID.sample_rate


@pytest.mark.parametrize("latency", [0.08, 0.5, 1.0, 1.5])
def test_rows_of_a_stream_are_final_after_the_latency(latency: float) -> None:
    """The first row depends on the frame alone, so that any windows give it."""
    stream = FrameStream(_network, GRID, latency, overlap=0.5)
    audio = _audio(1234)
    rows, heard = [], 0
    for block in _blocks(audio):
        heard += len(block)
        rows += list(stream.add(block))
        ready = sum(each.shape[1] for each in rows) * GRID.frame_seconds
        # Windows follow each other at half the latency.
        assert ready > heard / GRID.sample_rate - 1.5 * latency - 2 * GRID.frame_seconds
    last, _ = stream.finish()
    found = np.concatenate([*rows, last], axis=1)
    np.testing.assert_allclose(found[0], _expected(audio)[0], rtol=1e-5)
    full = GRID.n_frames  # before, windows were filled up with zeros
    np.testing.assert_allclose(found[1, full:], _expected(audio)[1, full:], atol=0.1)


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_does_not_grow_with_the_audio(workers: int) -> None:
    """Ten times the audio, 1.4 MB more, with few frames."""
    grid = FrameGrid(sample_rate=1000, hop_length=100, time_pooling=2, clip_seconds=2.0)

    def blocks(n_blocks: int) -> Iterator[NDArray[np.float32]]:
        for _ in range(n_blocks):
            yield np.zeros(1000, np.float32)

    def run(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.zeros((len(windows), 1, grid.n_frames), np.float32)

    def peak(n_blocks: int) -> int:
        recordings = [Recording(0, partial(blocks, n_blocks))]
        tracemalloc.start()
        for _, found in score_recordings(recordings, run, grid, batch_size=4, workers=workers):
            assert isinstance(found, Probabilities)
            assert found.n_samples == 1000 * n_blocks
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # imports
    assert peak(400) - peak(40) < 500_000
