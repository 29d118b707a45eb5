"""An encoder as a module: audio at the network's rate -> embeddings on the network's frames."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchaudio.transforms import Resample

from desed_task.encoder.alignment import align, covers
from desed_task.encoder.settings import EncoderSettings
from desed_task.errors import InputError
from desed_task.frames import FrameGrid

Output = Tensor | Sequence[Tensor]
"""`(batch, steps or tokens, dimension)` of the output, or of each hidden layer from the first."""
Function = Callable[[Tensor], Output]
MAX_RATIO_TERMS = 10_000_000
"""Product of the terms of a ratio of sample rates; that of 44100 and 16000 (441:160) is 70 560."""


class FrameEncoder(nn.Module):
    """A pretrained encoder behind the network's audio.

    Args:
        settings: what its output means.
        function: the encoder, `(batch, samples)` at its own rate -> `Output`. An `nn.Module` gets
            evaluation mode.
        grid: time axis of the network's input.
        digest: SHA-256 of its weights, or of what else identifies it.
    """

    def __init__(
        self, settings: EncoderSettings, function: Function, grid: FrameGrid, digest: str
    ) -> None:
        super().__init__()
        self.settings, self.grid, self.digest = settings, grid, digest
        self._check_ratio()
        self.resample = (
            Resample(grid.sample_rate, settings.sample_rate)
            if settings.sample_rate != grid.sample_rate
            else nn.Identity()
        )
        self.function = function
        self.eval()

    def forward(self, audio: Tensor) -> Tensor:
        """`(batch, samples)` -> `(batch, frames, width)`."""
        return align(self.steps(audio), self.settings, self.grid)

    def steps(self, audio: Tensor) -> Tensor:
        """`(batch, samples)` -> `(batch, steps, width)`, float32, by the encoder's own clock.

        Raises InputError for an output that is not what the settings say.
        """
        settings = self.settings
        with torch.autocast(audio.device.type, enabled=False):
            resampled = self.resample(audio)
        bf16 = settings.precision == "bf16"
        with torch.autocast(audio.device.type, torch.bfloat16, enabled=bf16):
            output = self.function(resampled)
        joined = self._joined(output).float()
        self._check(joined, audio.shape[0])
        return joined

    def _joined(self, output: Output) -> Tensor:
        """The layers that are used as one tensor, without tokens."""
        settings = self.settings
        if isinstance(output, Tensor):
            layers = [output]
            if settings.layers:
                raise self._wrong("layers", "[]", "an output without hidden layers")
        else:
            wanted = settings.layers or (-1,)
            if not all(-len(output) <= number < len(output) for number in wanted):
                expected = f"from {-len(output)} to {len(output) - 1}"
                raise self._wrong("layers", expected, str(list(wanted)))
            layers = [output[number] for number in wanted]
        layers = [self._steps_of_tokens(layer) for layer in layers]
        if settings.join_layers == "concat":
            return torch.cat(layers, dim=-1)
        return torch.stack(layers).mean(dim=0) if len(layers) > 1 else layers[0]

    def _steps_of_tokens(self, layer: Tensor) -> Tensor:
        """`(batch, steps, dimension)`: the mean of the tokens of each step."""
        tokens = self.settings.tokens
        if tokens is None or layer.dim() != 3:
            return layer
        if layer.shape[1] % tokens.bands:
            expected = f"a divisor of the {layer.shape[1]} tokens of a clip"
            raise self._wrong("tokens.bands", expected, str(tokens.bands))
        sizes, band_axis = (
            ((-1, tokens.bands), 2)
            if tokens.order == "time"
            else (
                (tokens.bands, -1),
                1,
            )
        )
        return layer.unflatten(1, sizes).mean(dim=band_axis)

    def _check_ratio(self) -> None:
        """Refuse rates whose filters for resampling need memory without limit."""
        rates = self.settings.sample_rate, self.grid.sample_rate
        own, network = (rate // math.gcd(*rates) for rate in rates)
        if own * network > MAX_RATIO_TERMS:
            expected = f"a rate with a simple ratio to the {rates[1]} Hz of the audio"
            raise self._wrong("sample_rate", expected, f"{rates[0]} ({own}:{network})")

    def _check(self, steps: Tensor, batch: int) -> None:
        settings, shape = self.settings, tuple(steps.shape)
        if len(shape) != 3 or shape[0] != batch or not shape[1]:
            raise self._wrong(
                "source", f"an output (batch, steps, dimension) of {batch} clips", f"{shape}"
            )
        if shape[2] != settings.width:
            raise self._wrong("dimension", f"{settings.width} values of a step", f"{shape[2]}")
        clip = self.grid.clip_seconds
        if not covers(shape[1], settings.frame_seconds, settings.first_seconds, clip):
            end = settings.first_seconds + (shape[1] - 0.5) * settings.frame_seconds
            raise self._wrong(
                "frame_seconds",
                f"steps that reach the end of a clip of {clip:g} s",
                f"{shape[1]} steps of {settings.frame_seconds:g} s, which end at {end:.2f} s",
            )

    def _wrong(self, key: str, expected: str, got: str) -> InputError:
        return InputError(f"{self.settings.source}: encoder.{key}: expected {expected}, got {got}")
