"""Steps of an encoder on frames: a slow integration over time, and encoders that are a clock."""

import numpy as np
import pytest
import torch
from torch import Tensor

from desed_task.encoder.alignment import alignment
from desed_task.encoder.encoder import FrameEncoder
from desed_task.encoder.settings import EncoderSettings
from desed_task.frames import FrameGrid

GRID = FrameGrid()


def _slow_frame(values: np.ndarray, step: float, first: float, start: float, end: float) -> float:
    """Mean over a frame of a function that is constant in each step; else its centre's value."""
    centres = first + step * np.arange(len(values))
    if step >= end - start:
        return float(np.interp((start + end) / 2, centres, values))
    times = np.linspace(start, end, 1001)[:-1] + (end - start) / 2000
    nearest = np.abs(times[:, None] - centres).argmin(axis=1)
    return float(values[nearest].mean())


@pytest.mark.parametrize(
    ("step", "first", "n_steps"),
    [
        *((0.02, 0.0125, 499), (0.01, 0.0, 1001), (0.0116, 0.0058, 862), (0.0639, 0.03, 157)),
        *((0.064, 0.032, 156), (0.16, 0.08, 62), (0.1, 0.0875, 100), (0.5, 0.25, 20), (9, 4.5, 1)),
    ],
)
def test_alignment(step: float, first: float, n_steps: int) -> None:
    weights = alignment(n_steps, step, first, GRID.n_frames, GRID.frame_seconds)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    values = np.random.default_rng(0).normal(size=n_steps)
    frame = GRID.frame_seconds
    expected = [
        _slow_frame(values, step, first, n * frame, (n + 1) * frame) for n in range(GRID.n_frames)
    ]
    np.testing.assert_allclose(weights @ values, expected, atol=0.02)


@pytest.mark.parametrize("rate", [16000, 8000, 22050])
@pytest.mark.parametrize(("step", "first"), [(0.02, 0.0125), (0.16, 0.08), (0.1, 0.0), (0.3, 0.3)])
def test_an_encoder_whose_output_is_its_clock(rate: int, step: float, first: float) -> None:
    """Frames have the times of their centres, whatever the encoder's rate, step and first step."""

    def clock(audio: Tensor) -> Tensor:
        n_steps = int(audio.shape[1] / rate / step)
        return (first + step * torch.arange(n_steps)).repeat(len(audio), 1)[..., None]

    settings = EncoderSettings(
        source="clock", sample_rate=rate, frame_seconds=step, first_frame=first, dimension=1
    )
    frames = FrameEncoder(settings, clock, GRID, "")(torch.zeros(2, GRID.n_samples))
    assert frames.shape == (2, GRID.n_frames, 1)
    centres = (np.arange(GRID.n_frames) + 0.5) * GRID.frame_seconds
    inside = (centres > first + step) & (centres < GRID.clip_seconds - 2 * step)
    assert inside.mean() > 0.8
    found = frames.numpy()[:, inside, 0]
    np.testing.assert_allclose(found, [centres[inside]] * 2, atol=1e-5 if step > 0.064 else 2e-3)


def test_mixed_precision_does_not_reach_resampling_and_alignment() -> None:
    settings = EncoderSettings(source="copy", sample_rate=8000, frame_seconds=0.01, dimension=80)
    encoder = FrameEncoder(settings, lambda audio: audio.unflatten(1, (-1, 80)), GRID, "")
    audio = torch.randn(1, GRID.n_samples, generator=torch.Generator().manual_seed(0))
    expected = encoder(audio)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder(audio), expected)
