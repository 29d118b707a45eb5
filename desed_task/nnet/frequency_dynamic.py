"""Frequency-dynamic convolution: a convolution whose kernel depends on the clip and the band.

Source: Nam et al., Interspeech 2022 (arXiv 2203.15296); docs/recipe.md, "Frequency-dynamic
convolution".
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from desed_task.nnet.cpu import band_convolution, is_exported


class BandAttention(nn.Module):
    """Weights of the basis kernels for each clip and band.

    Args:
        inputs: channels of the map.
        basis_kernels: number of kernels to weigh.
        kernel_size: of the first convolution over bands, odd.
        temperature: divides the logits of the softmax.
    """

    def __init__(
        self, inputs: int, basis_kernels: int, kernel_size: int, temperature: float
    ) -> None:
        super().__init__()
        hidden = max(4, inputs // 4)
        self.temperature = temperature
        self.conv_in = nn.Conv1d(inputs, hidden, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm1d(hidden, eps=1e-5, momentum=0.1)
        self.conv_out = nn.Conv1d(hidden, basis_kernels, kernel_size=1)
        for conv in (self.conv_in, self.conv_out):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(cast(Tensor, self.conv_out.bias))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs, bands, frames)` -> `(batch, basis kernels, bands)`, sums of 1."""
        hidden = self.norm(self.conv_in(x.mean(dim=3))).relu()
        return (self.conv_out(hidden) / self.temperature).softmax(dim=1)

    def extra_repr(self) -> str:
        """Settings, for the network's description."""
        return f"temperature={self.temperature}"


class FrequencyDynamicConv(nn.Module):
    """Sum of basis convolutions without bias, weighted by clip and band.

    Args:
        inputs, channels: channels that enter and leave.
        kernel_size: odd; the map keeps its size.
        basis_kernels: number of basis convolutions.
        temperature: see `BandAttention`.

    Attributes:
        convolution: the function that convolves on every device; None: the fastest on each.
    """

    convolution: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None

    def __init__(
        self,
        inputs: int,
        channels: int,
        *,
        kernel_size: int,
        basis_kernels: int,
        temperature: float,
    ) -> None:
        super().__init__()
        size = (basis_kernels, channels, inputs, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(size))
        for kernel in self.weight.detach():
            nn.init.kaiming_normal_(kernel, mode="fan_in", nonlinearity="relu")
        self.attention = BandAttention(inputs, basis_kernels, kernel_size, temperature)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs, bands, frames)` -> `(batch, channels, bands, frames)`."""
        on_cpu = x.device.type == "cpu" and not is_exported()
        fastest = band_convolution if on_cpu else sum_of_convolutions
        return (self.convolution or fastest)(x, self.attention(x), self.weight)


def sum_of_convolutions(x: Tensor, attention: Tensor, weight: Tensor) -> Tensor:
    """The weighted sum, taken after the basis convolutions.

    Args:
        x: `(batch, inputs, bands, frames)`.
        attention: `(batch, basis kernels, bands)`.
        weight: `(basis kernels, channels, inputs, size, size)`, odd size.

    Returns: `(batch, channels, bands, frames)`.
    """
    parts = functional.conv2d(x, weight.flatten(0, 1), padding=weight.shape[-1] // 2)
    parts = parts.unflatten(1, weight.shape[:2])  # (batch, basis, channels, bands, frames)
    return (parts * attention[:, :, None, :, None].to(parts.dtype)).sum(dim=1)
