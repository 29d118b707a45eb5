"""Convolution block: convolution -> normalisation -> context gating -> dropout -> average pooling.

Maps are `(batch, channels, bands, frames)`, like the spectrogram: with bands before frames, the
bands of a sub-spectral group are neighbours in memory and the group is a reshape without a copy.
Source: docs/recipe.md, "Network".
"""

from torch import Tensor, nn

from desed_task.nnet.cpu import (
    Dropout,
    DropoutMasks,
    channels_last,
    is_exported,
    norm_gate_pool,
)
from desed_task.nnet.frequency_dynamic import FrequencyDynamicConv
from desed_task.nnet.settings import PLAIN, NetworkSettings


class SubSpectralBatchNorm(nn.Module):
    """Batch normalisation with separate statistics and affine for each group of bands.

    Channel index of the wrapped norm: channel * groups + group, lowest group first.

    Args:
        channels: channels of the map.
        groups: number of groups of neighbouring bands; it must divide the number of bands.
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
        inputs, channels: channels of the input and of the output.
        settings: of the whole network: dropout, norms, frequency-dynamic convolutions.
        kernel_size: odd; the map keeps its size before pooling.
        convolution: `plain` or `frequency_dynamic`.
        pooling: (time, band) window of the average pooling.
        subspectral: whether the batch norm is sub-spectral.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        settings: NetworkSettings,
        *,
        kernel_size: int,
        convolution: str,
        pooling: tuple[int, int],
        subspectral: bool,
    ) -> None:
        super().__init__()
        self.conv: nn.Conv2d | FrequencyDynamicConv
        if convolution == PLAIN:
            self.conv = nn.Conv2d(inputs, channels, kernel_size, padding=kernel_size // 2)
        else:
            self.conv = FrequencyDynamicConv(
                inputs,
                channels,
                kernel_size=kernel_size,
                basis_kernels=settings.basis_kernels,
                temperature=settings.attention_temperature,
            )
        eps, momentum = settings.batchnorm_eps, settings.batchnorm_momentum
        self.norm: nn.BatchNorm2d | SubSpectralBatchNorm
        if subspectral:
            groups = settings.subspectral_bands
            self.norm = SubSpectralBatchNorm(channels, groups, eps, momentum)
        else:
            self.norm = nn.BatchNorm2d(channels, eps, momentum)
        self.gate = ContextGating(channels)
        self.dropout = Dropout(settings.dropout)
        time, band = pooling
        self.pooling = (band, time)
        self.pool = nn.AvgPool2d(self.pooling)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs, bands, frames)` -> `(batch, channels, bands / pool, frames / pool)`."""
        if x.device.type == "cpu" and not is_exported():
            x = self.conv(channels_last(x))
            norm = self.norm
            norm, groups = (
                (norm.norm, norm.groups) if isinstance(norm, SubSpectralBatchNorm) else (norm, 1)
            )
            drops = self.training and self.dropout.p > 0
            masks = DropoutMasks(self.dropout.p) if drops else None
            return norm_gate_pool(x, norm, groups, self.gate.linear, masks, self.pooling)
        return self.pool(self.dropout(self.gate(self.norm(self.conv(x)))))


class FusionLayer(nn.Module):
    """D1 and D2 of the cross-layer fusion: norm -> ReLU -> conv 1x1 -> norm -> ReLU -> dropout."""

    def __init__(self, inputs: int, channels: int, settings: NetworkSettings) -> None:
        super().__init__()
        eps, momentum = settings.batchnorm_eps, settings.batchnorm_momentum
        self.norm_in = nn.BatchNorm2d(inputs, eps, momentum)
        self.conv = nn.Conv2d(inputs, channels, kernel_size=1)
        self.norm_out = nn.BatchNorm2d(channels, eps, momentum)
        self.dropout = Dropout(settings.dropout)

    def forward(self, z: Tensor) -> Tensor:
        """`(batch, inputs, bands, frames)` -> `(batch, channels, bands, frames)`."""
        x = self.conv(self.norm_in(z).relu())
        return self.dropout(self.norm_out(x).relu())
