"""Tiny encoders, as sources `tests.support.tiny_encoder:NAME` and as files, and their settings."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from desed_task.encoder.settings import EncoderSettings

RATE, STEP, DIMENSION = 16000, 320, 6  # Hz, samples, values
CONVOLUTION = "tests.support.tiny_encoder:convolution"
OTHER = "tests.support.tiny_encoder:other_convolution"
PLAIN_FUNCTION = "tests.support.tiny_encoder:plain_function"
ENCODER = (
    f"encoder.source={CONVOLUTION}",
    f"encoder.sample_rate={RATE}",
    f"encoder.frame_seconds={STEP / RATE}",
    f"encoder.dimension={DIMENSION}",
)
CACHED = (*ENCODER, "encoder.mode=cached")
"""Overrides of a configuration."""


class Convolution(nn.Module):
    """`(batch, samples)` -> `(batch, steps, DIMENSION)`, a step for each 20 ms from 10 ms on."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.convolution = nn.Conv1d(1, 8, 400, stride=STEP, padding=40)
            self.dropout = nn.Dropout(0.5)
            self.linear = nn.Linear(8, DIMENSION)

    def forward(self, audio: Tensor) -> Tensor:
        steps = self.convolution(audio[:, None]).relu().transpose(1, 2)
        output: Tensor = self.linear(self.dropout(steps))
        return output


def convolution() -> nn.Module:
    """A source."""
    return Convolution(0)


def other_convolution() -> nn.Module:
    """The same with other weights."""
    return Convolution(1)


def plain_function() -> Callable[[Tensor], Tensor]:
    """A source that is no module."""
    module = Convolution(0).eval()
    return lambda audio: module(audio)


def tiny_encoder_settings(source: str = CONVOLUTION, **changes: Any) -> EncoderSettings:
    """Settings of the encoders here."""
    fixed = {"sample_rate": RATE, "frame_seconds": STEP / RATE, "dimension": DIMENSION}
    return EncoderSettings(source=source, **fixed | changes)


def write_encoder(path: Path) -> str:
    """Write `convolution` to a file `.pt2` or `.onnx`, for clips of 2 s, any batch; its path."""
    module, audio = Convolution(0).eval(), torch.zeros(2, 2 * RATE)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if path.suffix == ".pt2":
            shapes = ({0: torch.export.Dim("batch", min=1, max=4096)},)
            torch.export.save(torch.export.export(module, (audio,), dynamic_shapes=shapes), path)
        else:
            torch.onnx.export(
                module,
                (audio,),
                path,
                dynamo=False,
                opset_version=18,
                input_names=["audio"],
                output_names=["steps"],
                dynamic_axes={name: {0: "batch"} for name in ("audio", "steps")},
            )
    return str(path)
