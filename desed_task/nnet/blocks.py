"""Convolution block: convolution -> normalisation -> context gating -> dropout -> average pooling.

Every map here is `(batch, channels, bands, frames)`: bands before frames, as the spectrogram
comes, so that the sub-spectral groups of bands are neighbours in memory.
Source: docs/recipe.md, "Network".
"""

from torch import Tensor, nn

from desed_task.nnet.dropout import Dropout
from desed_task.nnet.gating import gated_pool


class SubSpectralBatchNorm(nn.Module):
    """Batch normalisation with statistics and affine of its own per group of neighbouring bands.

    Channel index of the wrapped norm: channel * groups + group, lowest group first.

    Args:
        channels: channels of the map.
        groups: groups the bands are cut into; their number must divide the bands.
        eps, momentum: as in `torch.nn.BatchNorm2d` (momentum weighs the new batch).
    """

    def __init__(self, channels: int, groups: int, eps: float, momentum: float) -> None:
        super().__init__()
        self.groups = groups
        self.norm = nn.BatchNorm2d(channels * groups, eps=eps, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, bands, frames)` -> the same shape."""
        batch, channels, bands, frames = x.shape
        grouped = x.reshape(batch, channels * self.groups, bands // self.groups, frames)
        return self.norm(grouped).reshape(batch, channels, bands, frames)


class ContextGating(nn.Module):
    """x · sigmoid(linear over channels of x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, bands, frames)` -> the same shape."""
        return x * self.linear(x).sigmoid()


class ConvBlock(nn.Module):
    """One block of the network.

    Args:
        inputs, channels: channels that enter and leave.
        kernel_size: odd; the map keeps its size before pooling.
        pooling: (time, band) factors of the average pooling.
        groups: sub-spectral groups of bands; None: plain batch norm.
        dropout: probability.
        eps, momentum: of the normalisation.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        *,
        kernel_size: int,
        pooling: tuple[int, int],
        groups: int | None,
        dropout: float,
        eps: float,
        momentum: float,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, kernel_size, padding=kernel_size // 2)
        self.norm: nn.BatchNorm2d | SubSpectralBatchNorm
        if groups is None:
            self.norm = nn.BatchNorm2d(channels, eps=eps, momentum=momentum)
        else:
            self.norm = SubSpectralBatchNorm(channels, groups, eps, momentum)
        self.gate = ContextGating(channels)
        self.dropout = Dropout(dropout)
        time, band = pooling
        self.pooling = (band, time)
        self.pool = nn.AvgPool2d(self.pooling)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs, bands, frames)` -> `(batch, channels, bands / pool, frames / pool)`."""
        x = self.norm(self.conv(x))
        if x.device.type == "cpu":
            p = self.dropout.p if self.training else 0.0
            return gated_pool(x, self.gate.linear(x), p, self.pooling)
        return self.pool(self.dropout(self.gate(x)))


class FusionLayer(nn.Module):
    """D1, D2 of cross-layer fusion: norm -> ReLU -> conv 1x1 -> norm -> ReLU -> dropout."""

    def __init__(
        self, inputs: int, channels: int, *, dropout: float, eps: float, momentum: float
    ) -> None:
        super().__init__()
        self.norm_in = nn.BatchNorm2d(inputs, eps=eps, momentum=momentum)
        self.conv = nn.Conv2d(inputs, channels, kernel_size=1)
        self.norm_out = nn.BatchNorm2d(channels, eps=eps, momentum=momentum)
        self.dropout = Dropout(dropout)

    def forward(self, z: Tensor) -> Tensor:
        """`(batch, inputs, bands, frames)` -> `(batch, channels, bands, frames)`."""
        x = self.conv(self.norm_in(z).relu())
        return self.dropout(self.norm_out(x).relu())
