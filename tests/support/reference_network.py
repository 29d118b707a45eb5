"""Reference network: the published network, written in the most obvious way.

Maps are `(batch, channels, frames, bands)`, as in the published code. All layers are PyTorch's;
axes are permuted where a layer expects another order. Parameters have our names.
Source: docs/recipe.md, "Network".
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from desed_task.nnet.crnn import SEDOutput
from desed_task.nnet.settings import NetworkSettings
from desed_task.sod import SOD_STATES


class SubSpectralNorm(nn.Module):
    """Batch norm with separate statistics per group of bands."""

    def __init__(self, channels: int, shape: NetworkSettings) -> None:
        super().__init__()
        self.groups = shape.subspectral_bands
        self.norm = _norm(channels * self.groups, shape)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, frames, bands)` -> the same shape."""
        batch, channels, frames, bands = x.shape
        x = x.permute(0, 1, 3, 2).contiguous()
        x = self.norm(x.view(batch, channels * self.groups, bands // self.groups, frames))
        return x.view(batch, channels, bands, frames).permute(0, 1, 3, 2)


class Gating(nn.Module):
    """x · sigmoid(linear over channels of x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, frames, bands)` -> the same shape."""
        gate = torch.sigmoid(self.linear(x.permute(0, 2, 3, 1)))
        return x * gate.permute(0, 3, 1, 2)


class Block(nn.Module):
    """Convolution -> norm -> gating -> dropout -> average pooling by (time, band)."""

    def __init__(
        self,
        inputs: int,
        channels: int,
        size: int,
        pooling: tuple[int, int],
        subspectral: bool,
        shape: NetworkSettings,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, size, padding=size // 2)
        self.norm = SubSpectralNorm(channels, shape) if subspectral else _norm(channels, shape)
        self.gate = Gating(channels)
        self.dropout = nn.Dropout(shape.dropout)
        self.pool = nn.AvgPool2d(pooling)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs, frames, bands)` -> `(batch, channels, frames / t, bands / b)`."""
        x = self.gate(self.norm(self.conv(x)))
        return self.pool(self.dropout(x))


class Fusion(nn.Module):
    """Norm -> ReLU -> conv 1x1 -> norm -> ReLU -> dropout."""

    def __init__(self, inputs: int, channels: int, shape: NetworkSettings) -> None:
        super().__init__()
        self.norm_in = _norm(inputs, shape)
        self.conv = nn.Conv2d(inputs, channels, 1)
        self.norm_out = _norm(channels, shape)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, z: Tensor) -> Tensor:
        """`(batch, inputs, frames, bands)` -> `(batch, channels, frames, bands)`."""
        x = self.conv(torch.relu(self.norm_in(z)))
        return self.dropout(torch.relu(self.norm_out(x)))


class ReferenceCRNN(nn.Module):
    """The two-branch network, with the input and output of `desed_task.nnet.crnn.CRNN`."""

    def __init__(self, shape: NetworkSettings, n_classes: int) -> None:
        super().__init__()
        self.weak_floor = shape.weak_floor
        width, sed_width = shape.nb_filters[-1], (shape.nb_filters[-1], *shape.sed_filters)[-1]
        self.backbone = _blocks(
            (1, *shape.nb_filters),
            shape.kernel_size,
            shape.pooling,
            shape.subspectral_blocks,
            shape,
        )
        self.pool_fourth = nn.AvgPool2d(shape.pooling[-1])
        self.pool_third = nn.Sequential(
            nn.AvgPool2d(shape.pooling[-2]), nn.AvgPool2d(shape.pooling[-1])
        )
        fused = shape.nb_filters[-2] + shape.nb_filters[-3]
        self.sed_fusion, self.sod_fusion = Fusion(fused, width, shape), Fusion(fused, width, shape)
        self.sed_scale, self.sod_scale = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        self.sed_blocks = _blocks(
            (width, *shape.sed_filters), shape.sed_kernel_size, shape.sed_pooling, 0, shape
        )
        self.sed_rnn, self.sod_rnn = _gru(sed_width, shape), _gru(width, shape)
        self.output_dropout = nn.Dropout(shape.dropout_output)
        cells = 2 * shape.n_RNN_cell
        self.strong_head = nn.Linear(cells, n_classes)
        self.attention_head = nn.Linear(cells, n_classes)
        self.sod_head = nn.Linear(cells, SOD_STATES)

    def forward(self, features: Tensor) -> SEDOutput:
        """Features `(batch, bands, frames)` -> `SEDOutput`."""
        maps = [features.transpose(1, 2).unsqueeze(1)]
        for block in self.backbone:
            maps.append(block(maps[-1]))
        third, fourth, last = maps[-3:]
        z = torch.cat([self.pool_fourth(fourth), self.pool_third(third)], dim=1)
        sed = self.sed_scale * self.sed_fusion(z) + last
        sod = self.sod_scale * self.sod_fusion(z) + last
        for block in self.sed_blocks:
            sed = block(sed)
        sed, _ = self.sed_rnn(sed.squeeze(-1).permute(0, 2, 1))
        sed = self.output_dropout(sed)
        strong = torch.sigmoid(self.strong_head(sed))
        attention = torch.softmax(self.attention_head(sed), dim=-1)
        attention = torch.clamp(attention, min=self.weak_floor)
        weak = (strong * attention).sum(1) / attention.sum(1)
        sod, _ = self.sod_rnn(sod.mean(-1).permute(0, 2, 1))
        return SEDOutput(strong.permute(0, 2, 1), weak, self.sod_head(self.output_dropout(sod)))


def reference_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of our network -> of the reference: gates are linear, kernels (time, band)."""
    converted = {}
    for name, value in weights.items():
        if name.endswith("gate.linear.weight"):
            value = value.flatten(1)
        elif value.ndim == 4:
            value = value.transpose(2, 3)
        converted[name] = value.clone()
    return converted


def _blocks(
    widths: tuple[int, ...],
    sizes: tuple[int, ...],
    pooling: tuple[tuple[int, int], ...],
    subspectral: int,
    shape: NetworkSettings,
) -> nn.ModuleList:
    return nn.ModuleList(
        Block(widths[i], widths[i + 1], sizes[i], pooling[i], i < subspectral, shape)
        for i in range(len(sizes))
    )


def _norm(channels: int, shape: NetworkSettings) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=shape.batchnorm_eps, momentum=shape.batchnorm_momentum)


def _gru(inputs: int, shape: NetworkSettings) -> nn.GRU:
    return nn.GRU(
        inputs,
        shape.n_RNN_cell,
        num_layers=shape.rnn_layers,
        bidirectional=True,
        batch_first=True,
        dropout=shape.dropout_recurrent,
    )
