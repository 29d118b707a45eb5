"""The two-branch CRNN: sound events (SED), and sound occurrence and overlap (SOD).

Source: Guan et al. 2024; docs/recipe.md, "Network".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from desed_task.labels import SOD_STATE_NAMES
from desed_task.nnet.blocks import ConvBlock, FusionLayer
from desed_task.nnet.dropout import Dropout
from desed_task.nnet.gru import BiGRU

SOD_STATES = len(SOD_STATE_NAMES)


class SEDOutput(NamedTuple):
    """What the network says of a batch, float32.

    Attributes:
        strong: `(batch, classes, frames)`, probability of each class in each frame.
        weak: `(batch, classes)`, probability of each class in the clip.
        sod_logits: `(batch, frames, 3)`, logits of 0, 1, 2 and more sounds; None when left out.
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
        subspectral_blocks: number of first blocks with sub-spectral batch norm.
        subspectral_bands: groups of bands of the sub-spectral batch norm.
        rnn_layers, n_RNN_cell: of each branch's bidirectional GRU.
        dropout, dropout_recurrent, dropout_output: in blocks, between GRU layers, before the heads.
        batchnorm_eps, batchnorm_momentum: of every batch norm (momentum weighs the new batch).
        weak_floor: smallest attention weight of a frame in `weak`.
        sod_branch: whether there is a SOD branch.
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


class CRNN(nn.Module):
    """Shared convolutional backbone, cross-layer fusion, one recurrent branch per task."""

    def __init__(self, shape: CRNNShape) -> None:
        super().__init__()
        self.weak_floor = shape.weak_floor
        self._compiled: Callable[..., tuple[Tensor, Tensor | None]] | None = None
        width = shape.nb_filters[-1]
        self.backbone = _conv_blocks(
            1, shape.nb_filters, shape.kernel_size, shape.pooling, shape.subspectral_blocks, shape
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
            width, shape.sed_filters, shape.sed_kernel_size, shape.sed_pooling, 0, shape
        )
        sed_width = (width, *shape.sed_filters)[-1]
        self.sed_rnn = _bigru(sed_width, shape)
        self.output_dropout = Dropout(shape.dropout_output)
        self.strong_head = nn.Linear(2 * shape.n_RNN_cell, shape.n_classes)
        self.attention_head = nn.Linear(2 * shape.n_RNN_cell, shape.n_classes)
        self.has_sod = shape.sod_branch
        if self.has_sod:
            self.sod_fusion = _fusion(fused, width, shape)
            self.sod_scale = nn.Parameter(torch.ones(1))
            self.sod_rnn = _bigru(width, shape)
            self.sod_head = nn.Linear(2 * shape.n_RNN_cell, SOD_STATES)

    def forward(self, features: Tensor, with_sod: bool = True) -> SEDOutput:
        """Scaled log-mel features `(batch, bands, frames)` -> `SEDOutput`.

        `with_sod` False leaves the SOD branch out (inference without score correction).
        """
        convolve = self._compiled or self._convolve
        of_sed, of_sod = convolve(features, self.has_sod and with_sod)
        strong, weak = self._sed(of_sed)
        return SEDOutput(strong, weak, None if of_sod is None else self._sod(of_sod))

    def compile_convolutions(self) -> None:
        """Compile all that comes before the recurrent layers; the state dict stays as it is."""
        self._compiled = torch.compile(self._convolve, dynamic=False)

    def _convolve(self, features: Tensor, with_sod: bool) -> tuple[Tensor, Tensor | None]:
        """What the recurrent layers of both branches read, `(batch, frames, channels)`."""
        x = features.unsqueeze(1)  # (batch, 1, bands, frames)
        maps = []
        for block in self.backbone:
            x = block(x)
            maps.append(x)
        third_last, second_last, last = maps[-3:]
        z = torch.cat([self.pool_second_last(second_last), self.pool_third_last(third_last)], dim=1)
        of_sed = self.sed_blocks(self.sed_scale * self.sed_fusion(z) + last)
        of_sed = of_sed.squeeze(2).transpose(1, 2)
        if not with_sod:
            return of_sed, None
        of_sod = self.sod_scale * self.sod_fusion(z) + last
        return of_sed, of_sod.mean(dim=2).transpose(1, 2)

    def _sed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.sed_rnn(x)  # (batch, frames, 2 cells)
        # Probabilities are made in float32: half precision rounds them to 0 and 1.
        with torch.autocast(x.device.type, enabled=False):
            x = self.output_dropout(x.float())
            strong = self.strong_head(x).sigmoid()
            # Over the classes, not over time: a published peculiarity, kept.
            attention = self.attention_head(x).softmax(dim=-1).clamp(min=self.weak_floor)
            weak = (strong * attention).sum(dim=1) / attention.sum(dim=1)
        return strong.transpose(1, 2), weak

    def _sod(self, x: Tensor) -> Tensor:
        x = self.sod_rnn(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.sod_head(self.output_dropout(x.float()))


def _conv_blocks(
    inputs: int,
    filters: tuple[int, ...],
    kernel_sizes: tuple[int, ...],
    pooling: tuple[tuple[int, int], ...],
    subspectral_blocks: int,
    shape: CRNNShape,
) -> nn.Sequential:
    blocks = [
        ConvBlock(
            before,
            channels,
            kernel_size=kernel_size,
            pooling=pool,
            groups=shape.subspectral_bands if number < subspectral_blocks else None,
            dropout=shape.dropout,
            eps=shape.batchnorm_eps,
            momentum=shape.batchnorm_momentum,
        )
        for number, (before, channels, kernel_size, pool) in enumerate(
            zip((inputs, *filters[:-1]), filters, kernel_sizes, pooling, strict=True)
        )
    ]
    return nn.Sequential(*blocks)


def _fusion(inputs: int, channels: int, shape: CRNNShape) -> FusionLayer:
    return FusionLayer(
        inputs,
        channels,
        dropout=shape.dropout,
        eps=shape.batchnorm_eps,
        momentum=shape.batchnorm_momentum,
    )


def _average_pool(pooling: tuple[int, int]) -> nn.AvgPool2d:
    time, band = pooling
    return nn.AvgPool2d((band, time))


def _bigru(inputs: int, shape: CRNNShape) -> BiGRU:
    return BiGRU(inputs, shape.n_RNN_cell, shape.rnn_layers, shape.dropout_recurrent)
