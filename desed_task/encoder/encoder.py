"""An encoder as a module: audio at the network's rate -> embeddings on the network's frames."""

import math
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchaudio.transforms import Resample

from desed_task.encoder.alignment import TOLERANCE, align, excess_steps
from desed_task.encoder.settings import EncoderSettings, Tokens
from desed_task.errors import InputError, as_fault, shortened
from desed_task.frames import FrameGrid

Output = Tensor | Sequence[Tensor]
"""`(batch, steps or tokens, dimension)` of the output, or of each hidden layer from the first."""
Function = Callable[[Tensor], Output]
MAX_RATIO_TERMS = 10_000_000
"""Product of the terms of a ratio of sample rates; that of 44100 and 16000 (441:160) is 70 560."""
_FOREIGN = ("<", sysconfig.get_path("stdlib"), str(Path(__file__).parents[1]))
"""Starts of the names of files that are not the user's."""


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
        settings, device = self.settings, audio.device.type
        with torch.autocast(device, enabled=False):
            audio = self.resample(audio.float())
        with torch.autocast(device, torch.bfloat16, enabled=settings.precision == "bf16"):
            try:
                output = encode(self.function, audio)
            except InputError as error:
                raise InputError(f"encoder.source {settings.source}: {error}") from error
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
        elif not isinstance(output, (list, tuple)) or not output:
            raise self._wrong("source", "a tensor or a list of tensors", type(output).__name__)
        else:
            wanted = settings.layers or (-1,)
            if not all(-len(output) <= number < len(output) for number in wanted):
                expected = f"from {-len(output)} to {len(output) - 1}"
                raise self._wrong("layers", expected, str(list(wanted)))
            layers = [output[number] for number in wanted]
        if not all(isinstance(layer, Tensor) and layer.dim() == 3 for layer in layers):
            expected = "tensors (batch, steps, dimension)"
            raise self._wrong("source", expected, shortened(map(_shape, layers)))
        layers = [self._without_bands(layer) for layer in layers]
        if any(layer.shape != layers[0].shape for layer in layers):
            got = shortened(map(_shape, layers))
            raise self._wrong("layers", "layers of one shape", got)
        if settings.join_layers == "concat":
            return torch.cat(layers, dim=-1)
        return torch.stack(layers).mean(dim=0) if len(layers) > 1 else layers[0]

    def _without_bands(self, layer: Tensor) -> Tensor:
        tokens = self.settings.tokens
        if tokens is None:
            return layer
        if layer.shape[1] % tokens.bands:
            expected = f"a divisor of the {layer.shape[1]} tokens of a clip"
            raise self._wrong("tokens.bands", expected, str(tokens.bands))
        return mean_of_bands(layer, tokens)

    def _check_ratio(self) -> None:
        """Refuse rates whose filters for resampling need memory without limit."""
        rates = self.settings.sample_rate, self.grid.sample_rate
        own, network = (rate // math.gcd(*rates) for rate in rates)
        if own * network > MAX_RATIO_TERMS:
            expected = f"a rate with a simple ratio to the {rates[1]} Hz of the audio"
            raise self._wrong("sample_rate", expected, f"{rates[0]} ({own}:{network})")

    def _check(self, steps: Tensor, batch: int) -> None:
        settings, shape = self.settings, tuple(steps.shape)
        if shape[0] != batch or not shape[1]:
            expected = f"an output (batch, steps, dimension) of {batch} clips"
            raise self._wrong("source", expected, f"{shape}")
        if shape[2] != settings.width:
            raise self._wrong("dimension", f"{settings.width} values of a step", f"{shape[2]}")
        clip, step, first = self.grid.clip_seconds, settings.frame_seconds, settings.first_seconds
        excess = excess_steps(shape[1], step, first, clip)
        if not (first <= TOLERANCE * step and abs(excess) <= TOLERANCE + 1e-6):
            raise self._wrong(
                "frame_seconds",
                f"steps that begin and end with a clip of {clip:g} s, but for {TOLERANCE}",
                f"{shape[1]} steps of {step:g} s from {first - step / 2:.2f} s to "
                f"{clip + excess * step:.2f} s",
            )

    def _wrong(self, key: str, expected: str, got: str) -> InputError:
        return InputError(f"{self.settings.source}: encoder.{key}: expected {expected}, got {got}")


def encode(function: Function, audio: Tensor) -> Output:
    """The output of an encoder for `(batch, samples)`, which is not checked.

    Raises InputError for an exception of the encoder's that is no fault of the system.
    """
    try:
        return function(audio)
    except Exception as error:  # the user's code, or a graph's
        stops = isinstance(error, (InputError, MemoryError, torch.OutOfMemoryError))
        if stops or as_fault(error) is not None:
            raise
        shape = tuple(audio.shape)
        raise InputError(
            f"cannot read audio (batch, samples) of {shape}: {reason(error)}"
        ) from error


def mean_of_bands(layer: Tensor, tokens: Tokens) -> Tensor:
    """`(batch, tokens, dimension)` -> `(batch, steps, dimension)`: the mean of a step's tokens."""
    if tokens.order == "time":
        return layer.unflatten(1, (-1, tokens.bands)).mean(dim=2)
    return layer.unflatten(1, (tokens.bands, -1)).mean(dim=1)


def reason(error: Exception) -> str:
    """File and line of the user's code, where an exception has passed any, and its first line."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_FOREIGN) and "-packages" not in frame.filename
    ]
    where = f"{own[-1].filename}:{own[-1].lineno}: " if own else ""
    first = (str(error).splitlines() or [""])[0]
    return f"{where}{type(error).__name__}: {first}"


def _shape(layer: object) -> str:
    return str(tuple(layer.shape) if isinstance(layer, Tensor) else type(layer).__name__)
