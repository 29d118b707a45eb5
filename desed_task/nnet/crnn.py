"""The two-branch CRNN: sound events (SED), and sound occurrence and overlap (SOD).

Source: Guan et al. 2024; docs/recipe.md, "Network".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from desed_task.nnet.blocks import ConvBlock, FusionLayer
from desed_task.nnet.cpu import Dropout
from desed_task.sod import SOD_STATES

PLAIN = "plain"


class SEDOutput(NamedTuple):
    """Predictions of the network for a batch, float32.

    Attributes:
        strong: `(batch, classes, frames)`, probability of each class in each frame.
        weak: `(batch, classes)`, probability of each class in the clip.
        sod_logits: `(batch, frames, 3)`, logits of 0, 1, 2 and more sounds; None without
            the SOD branch.
    """

    strong: Tensor
    weak: Tensor
    sod_logits: Tensor | None


@dataclass(frozen=True)
class CRNNShape:
    """Widths and depths of a `CRNN`, named as the keys of `net`; lists: one entry per block.

    Attributes:
        n_classes: classes of the SED branch.
        nb_filters, kernel_size, pooling: the shared backbone, at least three blocks; pooling is
            (time, band).
        sed_filters, sed_kernel_size, sed_pooling: further blocks of the SED branch.
        subspectral_blocks: number of the first blocks that have sub-spectral batch norm.
        subspectral_bands: number of its groups of bands.
        rnn_layers, n_RNN_cell: layers and cells per direction of each branch's bidirectional GRU.
        dropout, dropout_recurrent, dropout_output: in blocks, between GRU layers, before the heads.
        batchnorm_eps, batchnorm_momentum: of every batch norm (momentum weighs the new batch).
        weak_floor: smallest attention weight of a frame in `weak`.
        sod_branch: whether the network has the SOD branch.
        convolution: of each block of the backbone, then of the SED branch; (): all plain.
        basis_kernels, attention_temperature: of frequency-dynamic convolutions.
    """

    n_classes: int
    nb_filters: tuple[int, ...]
    kernel_size: tuple[int, ...]
    pooling: tuple[tuple[int, int], ...]
    sed_filters: tuple[int, ...]
    sed_kernel_size: tuple[int, ...]
    sed_pooling: tuple[tuple[int, int], ...]
    subspectral_blocks: int
    subspectral_bands: int
    batchnorm_eps: float
    batchnorm_momentum: float
    dropout: float
    rnn_layers: int
    n_RNN_cell: int  # noqa: N815 - the configuration key
    dropout_recurrent: float
    dropout_output: float
    weak_floor: float
    sod_branch: bool
    convolution: tuple[Literal["plain", "frequency_dynamic"], ...] = ()
    basis_kernels: int = 4
    attention_temperature: float = 31.0


class CRNN(nn.Module):
    """Shared convolutional backbone, cross-layer fusion, one recurrent branch per task."""

    def __init__(self, shape: CRNNShape) -> None:
        super().__init__()
        self.weak_floor = shape.weak_floor
        self._compiled: Callable[..., tuple[Tensor, Tensor | None]] | None = None
        width = shape.nb_filters[-1]
        n_backbone, n_sed = len(shape.nb_filters), len(shape.sed_filters)
        convolution = shape.convolution or (PLAIN,) * (n_backbone + n_sed)
        if len(convolution) != n_backbone + n_sed:
            raise ValueError(
                f"convolution: expected none or {n_backbone + n_sed} entries, got {convolution}"
            )
        self.backbone = _conv_blocks(
            (1, *shape.nb_filters),
            shape.kernel_size,
            convolution[:n_backbone],
            shape.pooling,
            shape.subspectral_blocks,
            shape,
        )
        # The two blocks before the last, pooled to the last one's size, are fused with it.
        self.pool_third_last = nn.Sequential(
            _average_pool(shape.pooling[-2]), _average_pool(shape.pooling[-1])
        )
        self.pool_second_last = _average_pool(shape.pooling[-1])
        fused = shape.nb_filters[-2] + shape.nb_filters[-3]
        self.sed_fusion = _fusion(fused, width, shape)
        self.sed_scale = nn.Parameter(torch.ones(1))
        self.sed_blocks = _conv_blocks(
            (width, *shape.sed_filters),
            shape.sed_kernel_size,
            convolution[n_backbone:],
            shape.sed_pooling,
            0,
            shape,
        )
        sed_width = (width, *shape.sed_filters)[-1]
        self.sed_rnn = _gru(sed_width, shape)
        self.output_dropout = Dropout(shape.dropout_output)
        self.strong_head = nn.Linear(2 * shape.n_RNN_cell, shape.n_classes)
        self.attention_head = nn.Linear(2 * shape.n_RNN_cell, shape.n_classes)
        self.has_sod = shape.sod_branch
        if self.has_sod:
            self.sod_fusion = _fusion(fused, width, shape)
            self.sod_scale = nn.Parameter(torch.ones(1))
            self.sod_rnn = _gru(width, shape)
            self.sod_head = nn.Linear(2 * shape.n_RNN_cell, SOD_STATES)

    def forward(self, features: Tensor, with_sod: bool = True) -> SEDOutput:
        """Scaled log-mel features `(batch, bands, frames)` -> `SEDOutput`.

        `with_sod` False skips the SOD branch (inference without score correction).
        """
        compiled = self._compiled if self.training else None  # batches of validation vary in size
        convolve = compiled or self._convolve
        sed_features, sod_features = convolve(features, self.has_sod and with_sod)
        strong, weak = self._sed(sed_features)
        sod_logits = None if sod_features is None else self._sod(sod_features)
        return SEDOutput(strong, weak, sod_logits)

    def compile_convolutions(self) -> None:
        """Compile the layers before the GRUs for training; the state dict keeps its names."""
        self._compiled = torch.compile(self._convolve, dynamic=False)

    def _convolve(self, features: Tensor, with_sod: bool) -> tuple[Tensor, Tensor | None]:
        """Inputs of the GRUs of both branches, `(batch, frames, channels)`."""
        x = features.unsqueeze(1)  # (batch, 1, bands, frames)
        maps = []
        for block in self.backbone:
            x = block(x)
            maps.append(x)
        third_last, second_last, last = maps[-3:]
        z = torch.cat([self.pool_second_last(second_last), self.pool_third_last(third_last)], dim=1)
        sed_map = self.sed_blocks(self.sed_scale * self.sed_fusion(z) + last)  # one band
        sed_features = sed_map.squeeze(2).transpose(1, 2)
        if not with_sod:
            return sed_features, None
        sod_map = self.sod_scale * self.sod_fusion(z) + last
        return sed_features, sod_map.mean(dim=2).transpose(1, 2)

    # GRUs and heads run in float32 whatever the precision: half precision rounds small gradients
    # of the GRUs to 0, and probabilities near 0 and 1 to 0 and 1.

    def _sed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            x, _ = self.sed_rnn(x.float())  # (batch, frames, 2 cells)
            x = self.output_dropout(x)
            strong = self.strong_head(x).sigmoid()
            # Over the classes, not over time: a published peculiarity, kept.
            attention = self.attention_head(x).softmax(dim=-1).clamp(min=self.weak_floor)
            weak = (strong * attention).sum(dim=1) / attention.sum(dim=1)
        return strong.transpose(1, 2), weak

    def _sod(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x, _ = self.sod_rnn(x.float())
            return self.sod_head(self.output_dropout(x))


def _conv_blocks(
    filters: tuple[int, ...],
    kernel_sizes: tuple[int, ...],
    convolutions: tuple[str, ...],
    pooling: tuple[tuple[int, int], ...],
    subspectral_blocks: int,
    shape: CRNNShape,
) -> nn.Sequential:
    blocks = [
        ConvBlock(
            before,
            channels,
            kernel_size=kernel_size,
            basis_kernels=None if convolution == PLAIN else shape.basis_kernels,
            attention_temperature=shape.attention_temperature,
            pooling=pool,
            subspectral_bands=shape.subspectral_bands if number < subspectral_blocks else None,
            dropout=shape.dropout,
            batchnorm_eps=shape.batchnorm_eps,
            batchnorm_momentum=shape.batchnorm_momentum,
        )
        for number, (before, channels, kernel_size, convolution, pool) in enumerate(
            zip(filters[:-1], filters[1:], kernel_sizes, convolutions, pooling, strict=True)
        )
    ]
    return nn.Sequential(*blocks)


def _fusion(inputs: int, channels: int, shape: CRNNShape) -> FusionLayer:
    return FusionLayer(
        inputs,
        channels,
        dropout=shape.dropout,
        batchnorm_eps=shape.batchnorm_eps,
        batchnorm_momentum=shape.batchnorm_momentum,
    )


def _average_pool(pooling: tuple[int, int]) -> nn.AvgPool2d:
    time, band = pooling
    return nn.AvgPool2d((band, time))


def _gru(inputs: int, shape: CRNNShape) -> nn.GRU:
    return nn.GRU(
        inputs,
        shape.n_RNN_cell,
        shape.rnn_layers,
        bidirectional=True,
        batch_first=True,
        dropout=shape.dropout_recurrent,
    )
