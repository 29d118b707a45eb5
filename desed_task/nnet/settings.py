"""Settings of the network: widths and depths of `desed_task.nnet.crnn.CRNN`."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from desed_task.settings import (
    Count,
    Dropout,
    Pair,
    Positive,
    PositiveInt,
    Settings,
    Values,
    has_length,
)

PLAIN = "plain"


class NetworkSettings(Settings):
    """The two-branch CRNN."""

    nb_filters: Annotated[tuple[PositiveInt, ...], has_length(3)] = Field(
        description="channels of each block of the shared backbone"
    )
    kernel_size: Values[PositiveInt] = Field(
        description="kernel size of each backbone block, odd; kernels are square"
    )
    pooling: Values[Pair[PositiveInt]] = Field(
        description="[time, band] pooling of each backbone block; the time pooling sets the "
        "length of the network's frames"
    )
    sed_filters: Values[PositiveInt] = Field(
        description="channels of each further block of the SED branch"
    )
    sed_kernel_size: Values[PositiveInt] = Field(description="kernel size of each of them, odd")
    sed_pooling: Values[Pair[PositiveInt]] = Field(
        description="[time, band] pooling of each of them; time must be 1"
    )
    subspectral_blocks: Count = Field(
        description="number of first backbone blocks with sub-spectral batch norm"
    )
    subspectral_bands: PositiveInt = Field(
        description="groups of bands with separate statistics in sub-spectral batch norm"
    )
    batchnorm_eps: Positive = Field(description="added to the variance in every batch norm")
    batchnorm_momentum: float = Field(
        gt=0, le=1, description="weight of the new batch in the running statistics"
    )
    dropout: Dropout = Field(description="probability in blocks and fusion layers")
    rnn_layers: int = Field(ge=1, le=100, description="layers of each bidirectional GRU")
    n_RNN_cell: PositiveInt = Field(  # noqa: N815 - the published key
        description="cells per direction of each GRU"
    )
    dropout_recurrent: Dropout = Field(
        description="probability between GRU layers; needs `rnn_layers` of at least 2"
    )
    dropout_output: Dropout = Field(description="probability before the linear layers")
    weak_floor: Positive = Field(description="smallest attention weight of a frame")
    sod_branch: bool = Field(
        description="`false`: no SOD task, so no SOD loss and consistency, cross-task consistency, "
        "pseudo-label selection and score correction"
    )
    convolution: Values[Literal["plain", "frequency_dynamic"]] = Field(
        description="kind of each block's convolution, of the backbone and then of the SED branch: "
        "`plain` or [`frequency_dynamic`](https://arxiv.org/abs/2203.15296); `[]`: all plain; "
        "`confs/sed_fdy.yaml` has an example"
    )
    basis_kernels: PositiveInt = Field(
        description="kernels that a frequency-dynamic convolution weighs by clip and band"
    )
    attention_temperature: Positive = Field(
        description="divides the logits of these weights; a larger one makes them more equal"
    )

    @model_validator(mode="after")
    def _check(self) -> "NetworkSettings":
        for key in ("kernel_size", "pooling", "sed_kernel_size", "sed_pooling"):
            filters = "sed_filters" if key.startswith("sed_") else "nb_filters"
            blocks, number = len(getattr(self, filters)), len(getattr(self, key))
            expected = f"{blocks} entries, one for each of {filters}"
            self._require(number == blocks, key, expected, filters, got=number)
        for key in ("kernel_size", "sed_kernel_size"):
            self._require(all(size % 2 for size in getattr(self, key)), key, "odd sizes")
        self._require(
            self.subspectral_blocks <= len(self.nb_filters),
            "subspectral_blocks",
            f"at most {len(self.nb_filters)}, the blocks of nb_filters",
            "nb_filters",
        )
        self._require(all(pool[0] == 1 for pool in self.sed_pooling), "sed_pooling", "[1, band]")
        self._require(
            len(self.convolution) in (0, self.n_blocks),
            "convolution",
            f"[] or {self.n_blocks} entries, one for each of nb_filters and sed_filters",
            "nb_filters",
            "sed_filters",
            got=len(self.convolution),
        )
        self._require(
            self.rnn_layers > 1 or self.dropout_recurrent == 0,
            "dropout_recurrent",
            "0 with rnn_layers 1",
            "rnn_layers",
        )
        return self

    def check_input(self, n_mels: int, n_hops: int) -> None:
        """Raise a misfit unless the blocks pool `(n_mels, n_hops)` to 1 band and some frames.

        The SED branch's GRU reads exactly 1 band; the backbone's frames are the network's.
        """
        bands = n_mels
        for key, pooling in (("pooling", self.pooling), ("sed_pooling", self.sed_pooling)):
            for number, (_, pool) in enumerate(pooling, start=1):
                divisor = f"a divisor of {bands}, the bands that enter block {number}"
                if key == "pooling" and number <= self.subspectral_blocks:
                    fits = bands % self.subspectral_bands == 0
                    self._require(fits, "subspectral_bands", divisor, "pooling", "n_mels")
                self._require(bands % pool == 0, key, divisor, "pooling", "n_mels", got=pool)
                bands //= pool
        expected = f"pooling of {n_mels} bands to exactly 1"
        self._require(bands == 1, "sed_pooling", expected, "pooling", "n_mels", got=bands)
        frames = n_hops // self.time_pooling
        self._require(frames >= 1, "pooling", "at least 1 frame per clip", "n_hops", got=frames)

    @property
    def n_blocks(self) -> int:
        """Convolution blocks of the backbone and of the SED branch."""
        return len(self.nb_filters) + len(self.sed_filters)

    @property
    def time_pooling(self) -> int:
        """Spectrogram frames per frame of the network."""
        return math.prod(time for time, _ in self.pooling)
