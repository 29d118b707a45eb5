"""Recordings in blocks: files of any format, rate, number of channels and length."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from desed_task.dataio.audio import MIX, Channel, Mono, open_audio
from desed_task.dataio.bandwidth import Bandwidth

BLOCK_SECONDS = 5.0
Block = NDArray[np.float32]


def file_blocks(
    path: str | Path,
    sample_rate: int,
    channel: Channel = MIX,
    bandwidth: Bandwidth | None = None,
    *,
    warn: bool = True,
) -> Iterator[Block]:
    """Samples of a file at `sample_rate` Hz, channels as in `Mono`, in blocks.

    `bandwidth` is measured, if it is given; `warn`: whether channels that cancel are reported.

    Raises InputError as `desed_task.dataio.audio.open_audio`, and for samples far beyond ±1.
    """
    with open_audio(path) as file:
        mono = Mono(channel, path if warn else "")
        blocks = resampled(file.blocks(), file.sample_rate, sample_rate, mono)
        if bandwidth is not None:
            bandwidth.limit_hz = file.sample_rate / 2
            blocks = bandwidth.measured(blocks)
        yield from blocks


def resampled(
    blocks: Iterable[NDArray[np.float32]], rate: int, sample_rate: int, mono: Mono
) -> Iterator[Block]:
    """Blocks `(samples, channels)` at `rate` Hz -> mono blocks `(samples,)` at `sample_rate` Hz."""
    stream = None if rate == sample_rate else soxr.ResampleStream(rate, sample_rate, 1, "float32")
    for block in blocks:
        audio = mono(block).audio
        yield audio if stream is None else stream.resample_chunk(audio)
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
