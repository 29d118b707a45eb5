"""model.json: what must be known of a network beside its weights."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator, with_config

from desed_task.features import NormType, Statistic
from desed_task.frames import FrameGrid
from desed_task.nnet.crnn import CRNNShape
from desed_task.postprocess.methods import (
    MEDIAN,
    MedianParameters,
    Method,
    Parameters,
    TunedParameters,
)
from desed_task.tables import class_name

with_config(ConfigDict(extra="forbid"))(CRNNShape)  # unknown keys are refused in it, too

# A file from elsewhere must not make a program that reads it allocate without limit.
Size = Annotated[int, Field(ge=1, le=1 << 16)]
ClassName = Annotated[str, AfterValidator(class_name)]
MAX_SAMPLES = 1 << 25  # of the network's input


class _Stored(BaseModel):
    """Plain values, strict about unknown keys and types; immutable."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",  # a threshold of tuned parameters can be infinite
    )


class Features(_Stored):
    """Arguments of `desed_task.features.LogMel`, without the sample rate."""

    n_window: Size
    hop_length: Size
    n_mels: Annotated[int, Field(ge=1, le=1024)]
    f_min: Annotated[float, Field(ge=0)]
    f_max: Annotated[float, Field(gt=0)]
    log_floor: Annotated[float, Field(gt=0)]
    log_range: tuple[float, float]


class ScalerSettings(_Stored):
    """Arguments of `desed_task.features.Scaler`, without the size of the features."""

    statistic: Statistic
    normtype: NormType
    dims: tuple[Literal[1, 2], ...]


class Correction(_Stored):
    """Settings of `desed_task.postprocess.score_correction.correct_scores`.

    Attributes:
        excluded_classes: classes that are not counted.
        active_threshold: score above which a class is active.
        correction_gain: added to the score of the class that is raised.
        correction_floor: score above which a second class may be raised.
    """

    excluded_classes: tuple[ClassName, ...]
    active_threshold: float
    correction_gain: float
    correction_floor: float


class Postprocessing(_Stored):
    """Methods that turn scores into events, and their parameters by class.

    Attributes:
        method: the method that is used unless the user chooses another.
        median: parameters of `median`.
        tuned: parameters of the methods that were tuned.
    """

    method: Method
    median: MedianParameters
    tuned: TunedParameters

    @property
    def methods(self) -> list[Method]:
        """The methods that have parameters."""
        tuned: list[Any] = [name for name, values in self.tuned if values is not None]
        return [MEDIAN, *tuned]

    def parameters(self, method: Method) -> Parameters | None:
        """Parameters of a method; None for one that was not tuned."""
        return self.median if method == MEDIAN else getattr(self.tuned, method)


class ModelDescription(_Stored):
    """Content of model.json.

    Attributes:
        format: version of the layout of this file.
        classes: names in the order of the network's outputs.
        sample_rate: Hz, of the network's input.
        clip_seconds: length of the network's input; longer recordings are read in windows.
        features, scaler, network: settings of the front end and shape of the network.
        correction: score correction by SOD; None: none.
        postprocessing: scores -> events.
        source: `student` or `teacher`, and where it is from.
        trained_on: files and folders of the training, by key.
        versions: of the libraries that wrote the model.
        weights_sha256: digest of weights.safetensors.
    """

    format: Literal[1] = 1
    classes: Annotated[tuple[ClassName, ...], Field(min_length=1, max_length=10_000)]
    sample_rate: Annotated[int, Field(ge=1, le=1_000_000)]
    clip_seconds: Annotated[float, Field(gt=0, le=3600)]
    features: Features
    scaler: ScalerSettings
    network: CRNNShape
    correction: Correction | None
    postprocessing: Postprocessing
    source: str
    trained_on: dict[str, str]
    versions: dict[str, str]
    weights_sha256: str = ""

    @model_validator(mode="after")
    def _check(self) -> "ModelDescription":
        names = set(self.classes)
        for method in self.postprocessing.methods:
            parameters = self.postprocessing.parameters(method)
            assert parameters is not None
            for key, by_class in parameters:
                if isinstance(by_class, dict) and set(by_class) != names:
                    raise ValueError(f"{method}.{key}: expected a value for each class")
        if len(names) != len(self.classes):
            raise ValueError("classes: expected distinct names")
        if self.network.n_classes != len(self.classes):
            raise ValueError(
                f"network.n_classes: expected {len(self.classes)}, the number of classes, got "
                f"{self.network.n_classes}"
            )
        for fits, text in (
            (self.network.rnn_layers <= 100, "network.rnn_layers: at most 100"),
            (self.features.hop_length <= self.features.n_window, "hop_length: at most n_window"),
            (self.features.f_min < self.features.f_max, "f_min: less than f_max"),
            (2 * self.features.f_max <= self.sample_rate, "f_max: at most half of sample_rate"),
            (
                self.clip_seconds * self.sample_rate <= MAX_SAMPLES,
                f"{MAX_SAMPLES} samples at most",
            ),
            (self.grid.n_frames > 0, "clip_seconds: at least one frame"),
            (self._bands_left() == 1, "network.pooling, sed_pooling: of n_mels bands to exactly 1"),
            (
                (self.scaler.statistic, self.scaler.normtype) != ("dataset", "minmax"),
                "scaler.normtype: not minmax with statistic dataset",
            ),
        ):
            if not fits:
                raise ValueError(f"expected {text}")
        if self.correction is not None and not self.network.sod_branch:
            raise ValueError("correction: expected null for a network without SOD branch")
        return self

    def _bands_left(self) -> int:
        """Bands that reach the SED branch's GRU; 0 where the pooling does not divide them."""
        bands = self.features.n_mels
        for _, pool in (*self.network.pooling, *self.network.sed_pooling):
            bands = 0 if bands % pool else bands // pool
        return bands

    @property
    def grid(self) -> FrameGrid:
        """Time axis of the network's input."""
        pooling = 1
        for time, _ in self.network.pooling:
            pooling *= time
        return FrameGrid(
            sample_rate=self.sample_rate,
            hop_length=self.features.hop_length,
            time_pooling=pooling,
            clip_seconds=self.clip_seconds,
        )
