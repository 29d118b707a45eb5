"""Samples as callers of Python have them: arrays and tensors of any layout and number format."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desed_task.dataio.audio import Mono
from desed_task.dataio.bandwidth import Bandwidth
from desed_task.detect.reading import BLOCK_SECONDS, Block, resampled
from desed_task.errors import InputError

MAX_CHANNELS = 64
"""An axis with more values is that of the samples."""
_FULL_SCALES = {"int16": 2.0**15, "int32": 2.0**31}


def array_blocks(
    audio: Any, rate: Any, sample_rate: int, mono: Mono, bandwidth: Bandwidth
) -> Iterator[Block]:
    """Samples of an array at `sample_rate` Hz, in blocks.

    Args:
        audio: samples as in `float_samples`, at least one.
        rate: Hz, of the array.
        sample_rate: Hz, of the blocks.
        mono: how channels become one.
        bandwidth: is measured.

    Raises InputError for any other array, and for samples that are NaN or far beyond ±1.
    """
    rate = checked_rate(rate)
    samples = float_samples(audio)
    if not len(samples):
        raise InputError("audio: expected at least 1 sample, got 0")
    size = round(BLOCK_SECONDS * rate)
    blocks = (samples[start : start + size] for start in range(0, len(samples), size))
    bandwidth.limit_hz = rate / 2
    yield from bandwidth.measured(resampled(blocks, rate, sample_rate, mono))


def checked_rate(rate: Any) -> int:
    """A sample rate in Hz. Raises InputError for any other value than a whole number from 1 on."""
    try:
        value = math.nan if isinstance(rate, bool | str | bytes) else float(rate)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not (value >= 1 and value.is_integer()):
        raise InputError(f"rate: expected the sample rate in Hz, at least 1, got {rate!r}")
    return int(value)


def float_samples(audio: Any, channels: int | None = None) -> NDArray[np.float32]:
    """Samples `(samples, channels)`, float32.

    Args:
        audio: array or tensor `(samples,)`, `(samples, channels)` or `(channels, samples)`, of
            floats in [-1, 1], int16 or int32.
        channels: their number; None: the axis of at most `MAX_CHANNELS` values has the channels.

    Raises InputError for another number format, and for a shape with several or no such reading.
    """
    detach = getattr(audio, "detach", None)  # a tensor of PyTorch, on any device
    try:
        values = np.asarray(audio if detach is None else _numbers(detach().cpu()))
    except ValueError as error:  # lists of different lengths
        raise InputError(f"audio: expected an array of floats: {error}") from None
    if values.dtype.kind == "f":
        samples = values.astype(np.float32, copy=False)
    elif values.dtype.name in _FULL_SCALES:
        samples = (values / _FULL_SCALES[values.dtype.name]).astype(np.float32)
    else:
        expected = "floats in [-1, 1], int16 or int32"
        raise InputError(f"audio: expected an array of {expected}, got {values.dtype}")
    return _channels_last(samples, channels)


def _numbers(tensor: Any) -> NDArray[Any]:
    """The values of a tensor; bfloat16, which numpy does not have, as float32."""
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _channels_last(samples: NDArray[np.float32], channels: int | None) -> NDArray[np.float32]:
    shape = samples.shape
    if channels is None:
        fits = [count <= MAX_CHANNELS for count in shape]
        expected = f"(samples, channels) or (channels, samples), at most {MAX_CHANNELS} channels"
    else:
        fits = [count == channels for count in shape]
        expected = f"(samples, {channels}) or ({channels}, samples)"
    expected = expected if channels not in (None, 1) else f"(samples,), {expected}"
    if len(shape) == 1 and channels in (None, 1):
        return samples[:, None]
    if not samples.size:
        return samples.reshape(0, channels or 1)
    if len(shape) == 2 and fits[0] != fits[1]:
        return samples if fits[1] else samples.T
    if len(shape) == 2 and channels is not None and all(fits):
        return samples  # a short block, as the documentation has its axes
    raise InputError(f"audio: expected the shape {expected}, got {shape}")
