"""model.json: what must be known of a network beside its weights."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from desed_task.encoder.settings import EncoderSettings
from desed_task.features import FeatureSettings, ScalerSettings
from desed_task.frames import FrameGrid
from desed_task.nnet.settings import NetworkSettings
from desed_task.postprocess.methods import Postprocessing
from desed_task.settings import ClassName, NonEmpty, Settings, Shown, in_section
from desed_task.sod_settings import CorrectionSettings

# Bounds: a file from elsewhere must not make its reader allocate without limit.
MAX_SAMPLES = 1 << 25  # of the network's input


class ModelDescription(Settings):
    """Content of model.json.

    Attributes:
        format: version of the layout of this file.
        classes: names in the order of the network's outputs.
        sample_rate: Hz, of the network's input.
        clip_seconds: length of the network's input; longer recordings are read in windows.
        features, scaler, network: settings of the front end and of the network.
        encoder: a pretrained encoder beside the features; None: none. Its source is information:
            the user of the model names it again.
        encoder_sha256: digest of the source. Weights that were trained with the network
            (`encoder.train`) are in weights.safetensors; others are not in the folder.
        correction: score correction by SOD; None: none.
        postprocessing: scores -> events.
        source: `student` or `teacher`, and where it is from.
        trained_on: files and folders of the training, by key.
        versions: of the libraries that wrote the model.
        weights_sha256: digest of weights.safetensors.
    """

    format: Literal[2] = 2
    classes: NonEmpty[ClassName] = Field(max_length=10_000)
    sample_rate: Annotated[int, Field(ge=1, le=1_000_000)]
    clip_seconds: Annotated[float, Field(gt=0, le=3600)]
    features: FeatureSettings
    scaler: ScalerSettings
    network: NetworkSettings
    encoder: EncoderSettings | None = None
    encoder_sha256: str = ""
    correction: CorrectionSettings | None
    postprocessing: Postprocessing
    source: str
    trained_on: dict[str, str]
    versions: dict[str, str]
    weights_sha256: str = ""

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, values: Any) -> Any:
        """Format 1 has the number of classes in `network`, and may have no `convolution`."""
        if not isinstance(values, dict) or values.get("format") != 1:
            return values
        values = values | {"format": 2}
        if isinstance(values.get("network"), dict):
            plain = {"convolution": [], "basis_kernels": 4, "attention_temperature": 31.0}
            values["network"] = plain | values["network"]
            values["network"].pop("n_classes", None)
        return values

    @model_validator(mode="after")
    def _check(self) -> "ModelDescription":
        self._require_distinct("classes")
        self._require(
            bool(self.encoder_sha256) == (self.encoder is not None),
            "encoder_sha256",
            "a digest with encoder, none without",
            "encoder",
        )
        with in_section("postprocessing"):
            self.postprocessing.check_classes(self.classes)
        if self.correction is not None:
            self._require(
                self.network.sod_branch,
                "correction",
                "null for a network without SOD branch",
                got=Shown("a section"),
            )
            with in_section("correction", classes="classes"):
                self.correction.check_classes(self.classes)
        self._require(
            self.grid.n_samples <= MAX_SAMPLES,
            "clip_seconds",
            f"at most {MAX_SAMPLES} samples",
            got=self.grid.n_samples,
        )
        with in_section("features", sample_rate="sample_rate", n_samples="clip_seconds"):
            self.features.check_input(self.sample_rate, self.grid.n_samples)
        with in_section("network", n_mels="features.n_mels", n_hops="clip_seconds"):
            self.network.check_input(self.features.n_mels, self.grid.n_hops)
        return self

    @property
    def grid(self) -> FrameGrid:
        """Time axis of the network's input."""
        return FrameGrid(
            sample_rate=self.sample_rate,
            hop_length=self.features.hop_length,
            time_pooling=self.network.time_pooling,
            clip_seconds=self.clip_seconds,
        )
