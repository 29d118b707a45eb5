"""What an encoder's output may be: layers, tokens, precision, and one message for each misfit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from desed_task.encoder.encoder import FrameEncoder
from desed_task.encoder.settings import EncoderSettings
from desed_task.encoder.sources import load_encoder
from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from tests.support.tiny_encoder import PLAIN_FUNCTION, tiny_encoder_settings

GRID = FrameGrid(clip_seconds=2.0)
VALUES = {"sample_rate": 16000, "frame_seconds": 0.1, "dimension": 3}


def _encoder(function: Callable[[Tensor], Any], **changes: Any) -> FrameEncoder:
    settings = EncoderSettings(source="module:name", **VALUES | changes)
    return FrameEncoder(settings, function, GRID, "")


def _steps(function: Callable[[Tensor], Any], **changes: Any) -> Tensor:
    return _encoder(function, **changes).steps(torch.zeros(2, GRID.n_samples))


def _layers(audio: Tensor) -> list[Tensor]:
    return [torch.full((len(audio), 20, 3), float(number)) for number in range(3)]


@pytest.mark.parametrize(
    ("layers", "mean", "concatenated"),
    [((), [2], [2]), ((0,), [0], [0]), ((0, 1), [0.5], [0, 1]), ((-1, 0, 1), [1], [2, 0, 1])],
)
def test_layers(layers: tuple[int, ...], mean: list[float], concatenated: list[float]) -> None:
    assert _steps(_layers, layers=layers)[1, 7, ::3].tolist() == mean
    joined = _steps(_layers, layers=layers, join_layers="concat")
    assert joined[1, 7, ::3].tolist() == concatenated


@pytest.mark.parametrize("order", ["time", "band"])
def test_tokens_of_a_step_are_averaged_before_the_alignment(order: str) -> None:
    """Each frame has all bands: tokens are 100 * step + band."""
    tokens = (100.0 * torch.arange(20)[:, None] + torch.arange(4)).float()
    tokens = (tokens if order == "time" else tokens.T).flatten()[:, None].expand(-1, 3)
    steps = _steps(lambda audio: tokens.repeat(2, 1, 1), tokens={"bands": 4, "order": order})
    assert steps[0, :, 0].tolist() == [100 * step + 1.5 for step in range(20)]


def _raises(audio: Tensor) -> Tensor:
    raise ValueError("unknown\nand more")


MISFITS: dict[str, tuple[Callable[[Tensor], Any], dict[str, Any], str]] = {
    "dimension": (_layers, {"dimension": 4}, "dimension: expected 4 values of a step, got 3"),
    "steps": (
        _layers,
        {"frame_seconds": 0.05},
        r"frame_seconds: expected steps .* clip of 2 s, but for 2, got 20 steps .* to 1\.00 s",
    ),
    "rate": (
        lambda audio: torch.zeros(2, audio.shape[1] // 1600, 3),
        {"sample_rate": 32000},
        r"frame_seconds: .* got 40 steps of 0\.1 s from 0\.00 s to 4\.00 s",
    ),
    "first": (_layers, {"first_frame": 0.25}, r"frame_seconds: .* from 0\.20 s to"),
    "layer": (_layers, {"layers": [3]}, r"layers: expected from -3 to 2, got \[3\]"),
    "no layers": (lambda audio: _layers(audio)[0], {"layers": [0]}, r"layers: expected \[\], got"),
    "unlike layers": (
        lambda audio: [torch.zeros(2, 20, 3), torch.zeros(2, 10, 3)],
        {"layers": [0, 1]},
        r"layers: expected layers of one shape, got \(2, 20, 3\), \(2, 10, 3\)",
    ),
    "bands": (
        _layers,
        {"tokens": {"bands": 3, "order": "time"}},
        r"tokens\.bands: expected a divisor of the 20 tokens",
    ),
    "batch": (lambda audio: torch.zeros(1, 20, 3), {}, r"source: .* of 2 clips, got \(1, 20, 3\)"),
    "axes": (lambda audio: torch.zeros(2, 20), {}, r"source: expected tensors .* got \(2, 20\)"),
    "type": (lambda audio: {"x": audio}, {}, "source: expected a tensor or a list .* got dict"),
    "raises": (_raises, {}, r"audio .* of \(2, 32000\): .*test_encoder\.py:\d+: ValueError: unk"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfits(name: str) -> None:
    function, changes, message = MISFITS[name]
    with pytest.raises(InputError, match=f"module:name: .*{message}") as found:
        _steps(function, **changes)
    assert "\n" not in str(found.value)


def test_faults_of_the_system_are_not_the_encoders() -> None:
    def full(audio: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("memory")

    with pytest.raises(torch.OutOfMemoryError):
        _steps(full)


def test_precision() -> None:
    audio = 0.1 * torch.randn(2, GRID.n_samples, generator=torch.Generator().manual_seed(0))
    full, half = (
        load_encoder(tiny_encoder_settings(precision=precision), GRID).steps(audio)
        for precision in (32, "bf16")
    )
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().max() < 0.02
    with pytest.raises(InputError, match=r"precision: expected 32 for .* no PyTorch module, got b"):
        load_encoder(tiny_encoder_settings(PLAIN_FUNCTION, precision="bf16"), GRID)
