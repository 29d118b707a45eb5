"""The two-branch CRNN: sound events (SED), and sound occurrence and overlap (SOD).

Source: Guan et al. 2024; docs/recipe.md, "Network".
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from desed_task.encoder.settings import Branch, EncoderSettings
from desed_task.nnet.blocks import ConvBlock, FusionLayer
from desed_task.nnet.cpu import Dropout, is_exported
from desed_task.nnet.cpu_gru import run_grus
from desed_task.nnet.settings import PLAIN, NetworkSettings
from desed_task.sod import SOD_STATES


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


class CRNN(nn.Module):
    """Shared convolutional backbone, cross-layer fusion, one recurrent branch per task.

    Args:
        settings: widths and depths.
        n_classes: outputs of the SED branch.
        encoder: whose embeddings enter the branches; None: no encoder.
    """

    def __init__(
        self, settings: NetworkSettings, n_classes: int, encoder: EncoderSettings | None = None
    ) -> None:
        super().__init__()
        self.weak_floor = settings.weak_floor
        self._compiled: Callable[..., tuple[Tensor, Tensor | None]] | None = None
        width = settings.nb_filters[-1]
        n_backbone = len(settings.nb_filters)
        convolution = settings.convolution or (PLAIN,) * settings.n_blocks
        self.backbone = _conv_blocks(
            (1, *settings.nb_filters),
            settings.kernel_size,
            convolution[:n_backbone],
            settings.pooling,
            settings.subspectral_blocks,
            settings,
        )
        # The two blocks before the last, pooled to the last one's size, are fused with it.
        self.pool_third_last = nn.Sequential(
            _average_pool(settings.pooling[-2]), _average_pool(settings.pooling[-1])
        )
        self.pool_second_last = _average_pool(settings.pooling[-1])
        fused = settings.nb_filters[-2] + settings.nb_filters[-3]
        self.sed_fusion = FusionLayer(fused, width, settings)
        self.sed_scale = nn.Parameter(torch.ones(1))
        self.sed_blocks = _conv_blocks(
            (width, *settings.sed_filters),
            settings.sed_kernel_size,
            convolution[n_backbone:],
            settings.sed_pooling,
            0,
            settings,
        )
        sed_width = (width, *settings.sed_filters)[-1]
        self.sed_embedding = _embedding_layer(sed_width, encoder, "sed")
        self.sed_rnn = _gru(_joined_width(self.sed_embedding, sed_width), settings)
        self.output_dropout = Dropout(settings.dropout_output)
        self.strong_head = nn.Linear(2 * settings.n_RNN_cell, n_classes)
        self.attention_head = nn.Linear(2 * settings.n_RNN_cell, n_classes)
        self.has_sod = settings.sod_branch
        if self.has_sod:
            self.sod_fusion = FusionLayer(fused, width, settings)
            self.sod_scale = nn.Parameter(torch.ones(1))
            self.sod_embedding = _embedding_layer(width, encoder, "sod")
            self.sod_rnn = _gru(_joined_width(self.sod_embedding, width), settings)
            self.sod_head = nn.Linear(2 * settings.n_RNN_cell, SOD_STATES)

    def forward(
        self, features: Tensor, with_sod: bool = True, embeddings: Tensor | None = None
    ) -> SEDOutput:
        """Scaled log-mel features `(batch, bands, frames)` -> `SEDOutput`.

        `with_sod` False skips the SOD branch (inference without score correction). `embeddings`
        `(batch, frames, width)` are those of an encoder, on the network's frames.
        """
        compiled = self._compiled if self.training else None  # batches of validation vary in size
        convolve = compiled or self._convolve
        sed_features, sod_features = convolve(features, self.has_sod and with_sod)
        # GRUs and heads run in float32 whatever the precision: half precision rounds small
        # gradients of the GRUs to 0, and probabilities near 0 and 1 to 0 and 1.
        with torch.autocast("cuda" if features.is_cuda else "cpu", enabled=False):
            branches = {self.sed_rnn: _joined(self.sed_embedding, sed_features, embeddings)}
            if sod_features is not None:
                joined = _joined(self.sod_embedding, sod_features, embeddings)
                branches[self.sod_rnn] = joined
            states = [self.output_dropout(x) for x in _run_grus(branches)]
            strong, weak = self._sed(states[0])
            sod_logits = None if sod_features is None else self.sod_head(states[1])
        return SEDOutput(strong, weak, sod_logits)

    def compile_convolutions(self) -> None:
        """Compile the layers before the GRUs for training; the state dict keeps its names."""
        self._compiled = torch.compile(self._convolve, dynamic=False)

    def convolution_parameters(self) -> list[nn.Parameter]:
        """Parameters of the layers before those that join embeddings, and before the GRUs."""
        names = ("backbone.", "sed_fusion.", "sed_scale", "sed_blocks.", "sod_fusion.", "sod_scale")
        return [p for name, p in self.named_parameters() if name.startswith(names)]

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

    def _sed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`(batch, frames, 2 cells)` -> `strong`, `weak`."""
        strong = self.strong_head(x).sigmoid()
        # Over the classes, not over time: a peculiarity of the published code.
        attention = self.attention_head(x).softmax(dim=-1)
        # Not `clamp`: see `desed_task.sod.expected_count`.
        attention = attention.masked_fill(attention < self.weak_floor, self.weak_floor)
        weak = (strong * attention).sum(dim=1) / attention.sum(dim=1)
        return strong.transpose(1, 2), weak


def _embedding_layer(
    inputs: int, encoder: EncoderSettings | None, branch: Branch
) -> nn.Linear | None:
    """Joins a branch's features with the embeddings; None: the branch gets none."""
    if encoder is None or branch not in encoder.branches:
        return None
    return nn.Linear(inputs + encoder.width, encoder.projection or inputs)


def _joined_width(layer: nn.Linear | None, inputs: int) -> int:
    return inputs if layer is None else layer.out_features


def _joined(layer: nn.Linear | None, features: Tensor, embeddings: Tensor | None) -> Tensor:
    """Inputs of a GRU, `(batch, frames, channels)`, float32.

    Each frame's embedding is scaled to mean 0 and variance 1: encoders have outputs of any size.
    One that is 0 is not changed.
    """
    if layer is None:
        return features.float()
    if embeddings is None:
        raise ValueError("embeddings: expected those of the encoder, got None")
    width = int(embeddings.shape[-1])  # a constant of the ONNX graph
    scaled = layer_norm(embeddings.float(), (width,))
    joined: Tensor = layer(torch.cat([features.float(), scaled], dim=-1))
    return joined


def _run_grus(inputs: Mapping[nn.GRU, Tensor]) -> list[Tensor]:
    """`(batch, frames, features)` for each GRU -> its outputs, `(batch, frames, 2 cells)`."""
    if all(x.device.type == "cpu" for x in inputs.values()) and not is_exported():
        return run_grus(list(inputs), list(inputs.values()))
    return [gru(x)[0] for gru, x in inputs.items()]


def _conv_blocks(
    filters: tuple[int, ...],
    kernel_sizes: tuple[int, ...],
    convolutions: tuple[str, ...],
    pooling: tuple[tuple[int, int], ...],
    subspectral_blocks: int,
    settings: NetworkSettings,
) -> nn.Sequential:
    blocks = [
        ConvBlock(
            before,
            channels,
            settings,
            kernel_size=kernel_size,
            convolution=convolution,
            pooling=pool,
            subspectral=number < subspectral_blocks,
        )
        for number, (before, channels, kernel_size, convolution, pool) in enumerate(
            zip(filters[:-1], filters[1:], kernel_sizes, convolutions, pooling, strict=True)
        )
    ]
    return nn.Sequential(*blocks)


def _average_pool(pooling: tuple[int, int]) -> nn.AvgPool2d:
    time, band = pooling
    return nn.AvgPool2d((band, time))


def _gru(inputs: int, settings: NetworkSettings) -> nn.GRU:
    return nn.GRU(
        inputs,
        settings.n_RNN_cell,
        settings.rnn_layers,
        bidirectional=True,
        batch_first=True,
        dropout=settings.dropout_recurrent,
    )
