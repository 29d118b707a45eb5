"""The clock of an encoder: the time of each step of its output, measured by clicks.

The encoder reads clips of the same faint noise, each with one click. Where in the output a click
is seen, as the difference from the clips with other clicks, gives a position for each time; a line
through them gives the time of a step. Source: docs/encoders.md, "Time".
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import theilslopes
from torch import Tensor

from desed_task.encoder.encoder import Function, encode, mean_of_bands
from desed_task.encoder.settings import Tokens
from desed_task.errors import InputError

CLICK = 0.002  # seconds
NOISE = 0.01  # standard deviation; the click's is 0.5
_CLIPS_AT_A_TIME = 8
_EDGE = 0.06  # of the clip, without clicks
_SEEN = 0.25  # of a click's largest response: what is less is no response
_MAX_ERROR = 0.5  # steps


class Clock(NamedTuple):
    """What the settings of an encoder say of its output.

    Attributes:
        n_steps: steps of the clip.
        dimension: values of a step.
        step: seconds from a step to the next.
        first: seconds, centre of the first step.
        error: seconds, median distance of the clicks' times from the clock.
        spread: seconds, median time over which the output has half of a click's energy.
    """

    n_steps: int
    dimension: int
    step: float
    first: float
    error: float
    spread: float


def measure_clock(
    function: Function,
    sample_rate: int,
    seconds: float,
    tokens: Tokens | None = None,
    n_clicks: int = 40,
) -> Clock:
    """Measure the clock of an encoder in clips of `seconds`.

    Args:
        function: the encoder, `(batch, samples)` at `sample_rate` -> its output.
        sample_rate: Hz.
        seconds: length of a clip; at least some ten steps.
        tokens: if its output is several tokens for each step.
        n_clicks: number of clips.

    Raises InputError where the clicks show no steps in the order of time.
    """
    times = seconds * np.linspace(_EDGE, 1 - _EDGE, n_clicks)
    clips = click_clips(times, sample_rate, seconds)
    with torch.no_grad():
        outputs = torch.cat([_output(function, each) for each in clips.split(_CLIPS_AT_A_TIME)])
    if tokens is not None:
        if outputs.shape[1] % tokens.bands:
            expected = f"a number of tokens that {tokens.bands} divides"
            raise InputError(f"expected {expected}, got {outputs.shape[1]}")
        outputs = mean_of_bands(outputs, tokens)
    n_steps, dimension = outputs.shape[1:]
    difference = outputs - outputs.median(dim=0).values
    seen = difference.square().sum(dim=-1).double().numpy()
    positions, widths = _positions(seen)
    step, first = _line(positions, times)
    error = float(np.median(np.abs(first + step * positions - times)))
    if n_steps < 2 or not 0 <= error < _MAX_ERROR * step:
        raise InputError(
            f"expected an output that shows clicks in the order of time; in the {n_steps} steps of "
            f"{seconds:g} s they are elsewhere: where a step has several tokens, give --bands and "
            "--order"
        )
    return Clock(n_steps, dimension, step, first, error, step * float(np.median(widths)))


def click_clips(times: NDArray[np.float64], sample_rate: int, seconds: float) -> Tensor:
    """Clips `(times, samples)` of faint noise, each with a click centred at a time in seconds."""
    random = torch.Generator().manual_seed(0)
    noise = NOISE * torch.randn(round(seconds * sample_rate), generator=random)
    clips = noise.repeat(len(times), 1)
    length = max(1, round(CLICK * sample_rate))
    click = 0.5 * torch.randn(length, generator=random).clamp(-2, 2)
    for clip, time in zip(clips, times, strict=True):
        start = min(max(0, round(time * sample_rate - length / 2)), len(noise) - length)
        clip[start : start + length] += click
    return clips


def _output(function: Function, clips: Tensor) -> Tensor:
    output = encode(function, clips)
    last = output[-1] if isinstance(output, (list, tuple)) and output else output
    if not isinstance(last, Tensor) or last.dim() != 3 or not last.shape[1]:
        got = tuple(last.shape) if isinstance(last, Tensor) else type(last).__name__
        raise InputError(f"expected an output (batch, steps, dimension), got {got}")
    return last.float().cpu()


def _line(positions: NDArray[np.float64], times: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and value at 0 of the line of the times, without clicks that are seen elsewhere."""
    slope = theilslopes(times, positions).slope
    rest = times - slope * positions
    near = np.abs(rest - np.median(rest)) <= abs(slope)
    slope, start = np.polyfit(positions[near], times[near], 1) if near.sum() > 2 else (0.0, 0.0)
    return float(slope), float(start)


def _positions(seen: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each click is seen, in steps: the median of its energy, and the width of its half.

    Args:
        seen: `(clicks, steps)`, energy of the difference that a click makes.
    """
    seen = np.maximum(0, seen - np.median(seen, axis=1, keepdims=True))
    edges = np.arange(seen.shape[1] + 1) - 0.5
    quarters = []
    for energy in np.where(seen < _SEEN * seen.max(axis=1, keepdims=True), 0, seen):
        sums = np.concatenate([[0], energy.cumsum()]) / max(energy.sum(), 1e-30)
        quarters.append(np.interp((0.25, 0.5, 0.75), sums, edges))
    first, middle, last = np.array(quarters).T
    return middle, last - first
