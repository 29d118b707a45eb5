"""Recordings in blocks: files of any format, rate, number of channels and length; raw PCM."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr
from numpy.typing import NDArray

from desed_task.dataio.audio import mono_float, open_audio

BLOCK_SECONDS = 5.0
Block = NDArray[np.float32]


def file_blocks(path: str | Path, sample_rate: int) -> Iterator[Block]:
    """Samples of a file at `sample_rate` Hz, channels averaged, in blocks.

    Raises InputError as `desed_task.dataio.audio.open_audio`, and for samples far beyond ±1.
    """
    with open_audio(path) as file:
        yield from resampled(file.blocks(), file.sample_rate, sample_rate)


def array_blocks(audio: NDArray[np.floating], rate: int, sample_rate: int) -> Iterator[Block]:
    """Samples of an array `(samples,)` or `(samples, channels)` in [-1, 1] at `sample_rate` Hz."""
    size = round(BLOCK_SECONDS * rate)
    samples = np.atleast_2d(audio.T).T.astype(np.float32, copy=False)
    blocks = (samples[start : start + size] for start in range(0, len(samples), size))
    yield from resampled(blocks, rate, sample_rate)


def pcm_blocks(stream: BinaryIO, channels: int) -> Iterator[NDArray[np.float32]]:
    """Samples `(samples, channels)` of raw 16-bit little-endian PCM, as they arrive.

    Warns on standard error where the stream ends within a sample.
    """
    rest = b""
    width = 2 * channels
    read = getattr(stream, "read1", stream.read)
    while chunk := read(1 << 16):
        chunk = rest + chunk
        whole = len(chunk) // width * width
        rest = chunk[whole:]
        samples = np.frombuffer(chunk[:whole], "<i2").reshape(-1, channels)
        yield samples.astype(np.float32) / np.float32(32768)
    if rest:
        print(
            f"warning: standard input: incomplete last sample, dropped: expected {width} bytes "
            f"({channels} channels of 16 bits), got {len(rest)}",
            file=sys.stderr,
        )


def resampled(
    blocks: Iterable[NDArray[np.float32]], rate: int, sample_rate: int
) -> Iterator[Block]:
    """Blocks `(samples, channels)` at `rate` Hz -> mono blocks `(samples,)` at `sample_rate` Hz."""
    stream = None if rate == sample_rate else soxr.ResampleStream(rate, sample_rate, 1, "float32")
    for block in blocks:
        mono = mono_float(block).audio
        yield mono if stream is None else stream.resample_chunk(mono)
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
