"""A tiny encoder of the shape of a transformer, `tests.support.tiny_transformer:pretrained`."""

from typing import Any

import torch
from torch import Tensor, nn

STEP = 2560  # samples, 160 ms at 16 kHz
WIDTH = 6
BLOCKS = 3
SETTINGS: dict[str, Any] = {
    "source": "tests.support.tiny_transformer:pretrained",
    "sample_rate": 16000,
    "frame_seconds": 0.16,
    "dimension": WIDTH,
}
OVERRIDES = [f"encoder.{key}={value}" for key, value in SETTINGS.items()]
TRAINED = [*OVERRIDES, "encoder.train=true"]


class Block(nn.Module):
    """A layer with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(0.1)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, steps, width)` -> the same."""
        normed: Tensor = self.norm(x + self.dropout(self.linear(x).tanh()))
        return normed


class TinyEncoder(nn.Module):
    """Patches, blocks and a last layer; what the blocks read is defined after them, as in BEATs."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(0.1 * torch.randn(WIDTH))
        self.mask = nn.Parameter(torch.randn(WIDTH))  # not used
        self.patches = nn.Conv1d(1, WIDTH, STEP, STEP)
        self.batch_norm = nn.BatchNorm1d(WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(BLOCKS)])
        self.last = nn.Linear(WIDTH, WIDTH)
        self.input_norm = nn.LayerNorm(WIDTH)

    def forward(self, audio: Tensor) -> list[Tensor]:
        """`(batch, samples)` -> layers `(batch, steps, width)`; the last is the output."""
        x = self.batch_norm(self.patches(audio[:, None])).transpose(1, 2)
        x = self.input_norm(x + self.position)
        hidden = []
        for block in self.blocks:
            x = block(x)
            hidden.append(x)
        return [*hidden, self.last(x)]


def pretrained() -> TinyEncoder:
    """The encoder, with the same weights in every call."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return TinyEncoder()
