"""Settings of a pretrained encoder: what it is, what its output means, how it is used."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from desed_task.settings import (
    Dropout,
    NonEmpty,
    NonNegative,
    NoResult,
    Positive,
    PositiveFraction,
    PositiveInt,
    Settings,
    Values,
)

Branch = Literal["sed", "sod"]


class Tokens(Settings):
    """Several tokens for each step of time, one per group of frequency bands."""

    bands: PositiveInt = Field(description="tokens of a step")
    order: Literal["time", "band"] = Field(
        description="`time`: the tokens of a step follow each other; `band`: the steps of a band do"
    )


class EncoderSettings(Settings):
    """A pretrained encoder, whose embeddings enter the network before the GRUs (docs/encoders.md).

    `encoder: null` is no encoder. Keys without a default must be given.
    """

    source: str = Field(
        min_length=1,
        description="a file `.onnx` or `.pt2` (`torch.export`), a folder of an audio model of "
        "`transformers`, or `module:function`, which returns an `nn.Module` or another callable: "
        "audio `(batch, samples)` -> `(batch, steps, dimension)`. A path is relative to the folder "
        "in which the program is started",
    )
    sample_rate: PositiveInt = Field(description="Hz, of its input")
    frame_seconds: Positive = Field(description="seconds from a step of its output to the next")
    first_frame: NonNegative | None = Field(
        default=None,
        description="seconds, centre of the first step; `null`: half of `frame_seconds`",
    )
    dimension: PositiveInt = Field(description="values of a step, of one layer")
    layers: Values[int] = Field(
        default=(),
        description="hidden layers to use, from 0, negative from the last; `[]`: the output alone",
    )
    join_layers: Literal["mean", "concat"] = Field(
        default="mean", description="average of the layers, or one after the other"
    )
    tokens: Tokens | None = Field(
        default=None,
        description="`{bands: 8, order: time}`: the output is one token per step and group of "
        "bands; the tokens of a step are averaged before the steps are aligned",
    )
    branches: NonEmpty[Branch] = Field(
        default=("sed", "sod"), description="branches of the network that get the embeddings"
    )
    projection: PositiveInt | None = Field(
        default=None,
        description="width of the linear layer that joins features and embeddings before the "
        "GRU; `null`: as wide as the features",
    )
    dropout: Dropout = Field(
        default=0.0,
        description="probability that all embeddings of a clip are 0 in a training step",
    )
    precision: Annotated[Literal[32, "bf16"], NoResult] = Field(
        default=32, description="of the encoder alone; of a torch source"
    )
    mode: Literal["online", "cached"] = Field(
        default="online",
        description="`online`: it reads the distorted audio of every step; `cached`: embeddings "
        "of the clips are stored once, shifted and masked in time as the audio is, and 0 for "
        "mixed and pitch-shifted clips",
    )
    train: bool = Field(
        default=False, description="`true`: it is trained with the network (`online` only)"
    )
    lr: Positive = Field(
        default=0.0002, description="learning rate of its last block, with `train`"
    )
    layer_decay: PositiveFraction = Field(
        default=0.5, description="factor of the learning rate from each block to the one below"
    )
    trained_blocks: PositiveInt | None = Field(
        default=None, description="last blocks that are trained; `null`: all, and what is below"
    )

    @model_validator(mode="after")
    def _check(self) -> "EncoderSettings":
        self._require_distinct("layers")
        self._require_distinct("branches")
        self._require(
            not (self.train and self.mode == "cached"), "mode", "online with train", "train"
        )
        return self

    @property
    def first_seconds(self) -> float:
        """Centre of the first step."""
        return self.frame_seconds / 2 if self.first_frame is None else self.first_frame

    @property
    def width(self) -> int:
        """Values of a step, of all layers that are used."""
        return self.dimension * (max(1, len(self.layers)) if self.join_layers == "concat" else 1)
