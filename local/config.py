"""The typed, strict configuration: `confs/*.yaml` -> `Config`; what it refuses, it names.

The values live in `confs/sed.yaml` alone: no field has a default here. A file that starts from
another one names it as `extends: other.yaml` and holds the differences.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from local.classes import CLASSES
from local.yaml_loader import load_yaml, parse_value

PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Pool = Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
Path44k = str | None
ClipKindName = Literal["synthetic", "weak", "unlabelled"]
AugmentationName = Literal["Time mask", "Pitch shift", "Time shift", "Frequency mask", "Filter"]


class Section(BaseModel):
    """A section: unknown keys, wrong types and impossible values are refused; it never changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Training(Section):
    """Batches, schedules, selection, devices."""

    train_sets: Annotated[list[ClipKindName], Field(min_length=1)]
    batch_size: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)]
    batch_size_val: PositiveInt
    n_epochs: PositiveInt
    n_epochs_warmup: Count
    const_max: Weight
    mean_teacher: bool
    ema_factor: OpenShare
    self_sup_loss: Literal["mse", "bce"]
    accumulate_batches: PositiveInt
    gradient_clip: Weight
    precision: Literal["auto", 32, "16-mixed", "bf16-mixed"]
    num_workers: Count
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    weak_split: Annotated[float, Field(gt=0, lt=1)]
    validation_interval: PositiveInt
    val_thresholds: Annotated[list[OpenShare], Field(min_length=1)]
    obj_metric_synth_type: Literal["intersection", "event"]
    early_stop_patience: PositiveInt
    picture_interval: Count
    n_test_thresholds: PositiveInt

    @property
    def clips_per_set(self) -> dict[str, int]:
        """Clips per step of each kind; 0 for a set that is not trained on."""
        names = ("synthetic", "weak", "unlabelled")
        sizes = zip(names, self.batch_size, strict=True)
        return {name: size if name in self.train_sets else 0 for name, size in sizes}


class Scaler(Section):
    """How features are normalised."""

    statistic: Literal["instance", "dataset"]
    normtype: Literal["minmax", "standard", "mean"]
    dims: Annotated[list[Literal[1, 2]], Field(min_length=1, max_length=2)]

    @model_validator(mode="after")
    def _statistics_exist(self) -> "Scaler":
        if self.statistic == "dataset" and self.normtype == "minmax":
            raise ValueError("statistic 'dataset' goes with normtype 'standard' or 'mean'")
        if len(set(self.dims)) != len(self.dims):
            raise ValueError("dims names an axis twice; allowed: [1], [2], [1, 2]")
        return self


class Data(Section):
    """Where the sets lie, and the clips' rate and length."""

    synth_folder: str
    synth_folder_44k: Path44k
    synth_tsv: str
    weak_folder: str
    weak_folder_44k: Path44k
    weak_tsv: str
    unlabeled_folder: str
    unlabeled_folder_44k: Path44k
    synth_val_folder: str
    synth_val_folder_44k: Path44k
    synth_val_tsv: str
    synth_val_dur: str
    test_folder: str
    test_folder_44k: Path44k
    test_tsv: str
    test_dur: str
    eval_folder: str | None
    eval_folder_44k: Path44k
    eval_tsv: str | None
    eval_dur: str | None
    audio_max_len: Positive
    fs: PositiveInt

    @model_validator(mode="after")
    def _second_test_set_is_whole(self) -> "Data":
        given = [self.eval_folder is None, self.eval_tsv is None, self.eval_dur is None]
        if any(given) and not all(given):
            raise ValueError("eval_folder, eval_tsv and eval_dur are given together or all null")
        return self


class Opt(Section):
    """Adam."""

    lr: Positive
    betas: Annotated[list[OpenShare], Field(min_length=2, max_length=2)]


class Feats(Section):
    """The log-mel spectrogram."""

    n_mels: PositiveInt
    n_window: PositiveInt
    hop_length: PositiveInt
    f_min: Weight
    f_max: Positive
    log_floor: Positive
    log_range: Annotated[list[float], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def _ranges(self) -> "Feats":
        if self.f_min >= self.f_max:
            raise ValueError(f"f_min {self.f_min:g} must be below f_max {self.f_max:g}")
        if self.log_range[0] >= self.log_range[1]:
            raise ValueError(f"log_range {self.log_range} must be [lowest, highest] in dB")
        return self


class Net(Section):
    """The two-branch CRNN."""

    nb_filters: Annotated[list[PositiveInt], Field(min_length=3)]
    kernel_size: list[PositiveInt]
    pooling: list[Pool]
    sed_filters: list[PositiveInt]
    sed_kernel_size: list[PositiveInt]
    sed_pooling: list[Pool]
    subspectral_blocks: Count
    subspectral_bands: PositiveInt
    batchnorm_eps: Positive
    batchnorm_momentum: Annotated[float, Field(gt=0, le=1)]
    dropout: OpenShare
    rnn_layers: PositiveInt
    n_RNN_cell: PositiveInt  # noqa: N815 - the published key
    dropout_recurrent: OpenShare
    dropout_output: OpenShare
    weak_floor: Positive
    sod_branch: bool

    @model_validator(mode="after")
    def _lists_fit(self) -> "Net":
        for filters, others in (
            ("nb_filters", ("kernel_size", "pooling")),
            ("sed_filters", ("sed_kernel_size", "sed_pooling")),
        ):
            blocks = len(getattr(self, filters))
            for other in others:
                if len(getattr(self, other)) != blocks:
                    raise ValueError(
                        f"{other} has {len(getattr(self, other))} entries, "
                        f"{filters} has {blocks}: one per block"
                    )
        for size in (*self.kernel_size, *self.sed_kernel_size):
            if size % 2 == 0:
                raise ValueError(f"kernel size {size} must be odd")
        if self.subspectral_blocks > len(self.nb_filters):
            raise ValueError(
                f"subspectral_blocks {self.subspectral_blocks} exceeds the "
                f"{len(self.nb_filters)} blocks of nb_filters"
            )
        if any(pool[0] != 1 for pool in self.sed_pooling):
            raise ValueError("sed_pooling pools no time: [1, bands] per block")
        if self.rnn_layers == 1 and self.dropout_recurrent > 0:
            raise ValueError(
                "dropout_recurrent acts between layers: it needs rnn_layers of 2 or more"
            )
        return self


class Augs(Section):
    """Mixup and augmentation."""

    mixup: Literal["hard", "none"]
    mixup_scale: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
    aug_methods: list[AugmentationName]
    aug_scale: PositiveInt
    time_shift: Annotated[float, Field(gt=0, lt=1)]
    pitch_shift: Positive
    time_mask_number: PositiveInt
    time_mask_length: Annotated[float, Field(gt=0, lt=1)]
    frequency_mask: PositiveInt
    filter_bands: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
    filter_gain: Annotated[list[float], Field(min_length=2, max_length=2)]
    consis_loss: Literal["mse", "bce"]

    @model_validator(mode="after")
    def _ranges(self) -> "Augs":
        for name in ("mixup_scale", "filter_bands", "filter_gain"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} [{low}, {high}] must be [least, most]")
        if self.time_shift * self.aug_scale >= 1:
            raise ValueError(
                f"time_shift {self.time_shift:g} times aug_scale {self.aug_scale} "
                "must stay below 1, the whole clip"
            )
        if self.pitch_shift * self.aug_scale > 1200:
            raise ValueError("pitch_shift times aug_scale must not exceed 1200 cents, an octave")
        if len(set(self.aug_methods)) != len(self.aug_methods):
            raise ValueError("aug_methods names a method twice")
        return self


class KindShares(Section):
    """What each kind of clip contributes to self-consistency."""

    synthetic: Weight
    weak: Weight
    unlabelled: Weight


class Losses(Section):
    """Weights and kinds of the loss terms."""

    sed_strong: Weight
    sed_weak: Weight
    sod: Weight
    sed_consistency: Weight
    weak_consistency: Weight
    sod_consistency: Weight
    cross_task: Weight
    self_consistency: Weight
    self_consistency_share: KindShares
    self_consistency_active: Share
    self_consistency_inactive: Share
    sed_consistency_loss: Literal["bce", "mse"]
    cross_task_loss: Literal["mse", "mae"]


class CrossTask(Section):
    """What SED and SOD are held against each other by."""

    excluded_classes: list[Literal[CLASSES]]  # type: ignore[valid-type]
    active_threshold: OpenShare
    pseudo_label_selection: bool
    disagreement_weight: Weight
    select_sod_consistency: bool


class Postprocess(Section):
    """From the network's probabilities to scores, and what the test counts."""

    score_correction: bool
    correction_gain: Share
    correction_floor: Share
    median_window: dict[Literal[CLASSES], PositiveInt]  # type: ignore[valid-type]
    drop_clips_without_events: bool
    trim_to_clip: bool

    @model_validator(mode="after")
    def _every_class_has_a_window(self) -> "Postprocess":
        missing = [name for name in CLASSES if name not in self.median_window]
        if missing:
            raise ValueError(f"median_window lacks {', '.join(missing)}")
        return self

    @property
    def windows(self) -> list[int]:
        """Median windows in frames, in class order."""
        return [self.median_window[name] for name in CLASSES]


class Config(Section):
    """The whole experiment; sections as in `confs/sed.yaml`."""

    training: Training
    scaler: Scaler
    data: Data
    opt: Opt
    feats: Feats
    net: Net
    augs: Augs
    losses: Losses
    cross_task: CrossTask
    postprocess: Postprocess

    @model_validator(mode="after")
    def _parts_fit(self) -> "Config":
        if self.feats.f_max > self.data.fs / 2:
            raise ValueError(
                f"feats.f_max {self.feats.f_max:g} exceeds half of data.fs {self.data.fs}"
            )
        if self.feats.hop_length > self.feats.n_window:
            raise ValueError(
                f"feats.hop_length {self.feats.hop_length} exceeds feats.n_window "
                f"{self.feats.n_window}: samples would be skipped"
            )
        if self.grid.n_samples <= self.feats.n_window // 2:
            raise ValueError(
                f"data.audio_max_len {self.data.audio_max_len:g} s is shorter than half an "
                f"analysis window of feats.n_window {self.feats.n_window}"
            )
        self._check_bands()
        most_bands = self.augs.filter_bands[1]
        if "Filter" in self.augs.aug_methods and most_bands > self.feats.n_mels:
            raise ValueError(f"augs.filter_bands {most_bands} exceeds feats.n_mels")
        widest = self.augs.frequency_mask * self.augs.aug_scale
        if "Frequency mask" in self.augs.aug_methods and widest > self.feats.n_mels:
            raise ValueError(
                f"augs.frequency_mask times augs.aug_scale, {widest} bands, exceeds feats.n_mels"
            )
        return self

    def _check_bands(self) -> None:
        bands = self.feats.n_mels
        for number, pool in enumerate(self.net.pooling):
            if number < self.net.subspectral_blocks and bands % self.net.subspectral_bands:
                raise ValueError(
                    f"net.subspectral_bands {self.net.subspectral_bands} does not divide the "
                    f"{bands} bands that enter block {number + 1} "
                    f"(feats.n_mels {self.feats.n_mels}, net.pooling {self.net.pooling})"
                )
            bands //= pool[1]
        for pool in self.net.sed_pooling:
            bands //= pool[1]
        if bands != 1:
            raise ValueError(
                f"net.pooling {self.net.pooling} and net.sed_pooling {self.net.sed_pooling} leave "
                f"{bands} of feats.n_mels {self.feats.n_mels} bands; they must leave exactly 1"
            )
        if self.grid.n_frames < 1:
            raise ValueError(f"net.pooling {self.net.pooling} leaves no frame of a clip")

    @model_validator(mode="after")
    def _something_is_learned(self) -> "Config":
        losses = self.losses
        labelled = {"synthetic": losses.sed_strong, "weak": losses.sed_weak}
        if not any(labelled.get(name) for name in self.training.train_sets):
            raise ValueError(
                "losses.sed_strong and losses.sed_weak: no labelled set of training.train_sets "
                f"{self.training.train_sets} has a loss; one weight must be above 0"
            )
        return self

    @property
    def grid(self) -> FrameGrid:
        """The time axis that follows from rate, hop, pooling and clip length."""
        pooling = 1
        for pool in self.net.pooling:
            pooling *= pool[0]
        return FrameGrid(
            sample_rate=self.data.fs,
            hop_length=self.feats.hop_length,
            time_pooling=pooling,
            clip_seconds=self.data.audio_max_len,
        )

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with any value."""
        text = json.dumps(self.model_dump(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_yaml(self) -> str:
        """The resolved configuration as YAML."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False, default_flow_style=None)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a configuration file, ours or the published YAML, and apply `section.key=value`.

    Raises InputError with the file, the key's path, the value and what is allowed.
    """
    from local.published import from_published, is_published

    raw = read_composed(Path(path))
    if is_published(raw):
        raw = from_published(raw, source=str(path))
    return build_config(_overridden(raw, overrides), source=str(path))


def override_config(config: Config, overrides: Iterable[str]) -> Config:
    """The configuration with `section.key=value` applied. Raises InputError as `load_config`."""
    return build_config(_overridden(config.model_dump(), overrides), source="--set")


def build_config(raw: Mapping[str, Any], source: str) -> Config:
    """Check a nested mapping; `source` names it in messages."""
    try:
        return Config.model_validate(dict(raw))
    except ValidationError as error:
        lines = [f"{source}: {_explain(problem)}" for problem in error.errors()]
        raise InputError("\n       ".join(lines)) from None


def read_composed(path: Path) -> dict[str, Any]:
    """Read a YAML file and, below it, the one that its `extends` names."""
    seen: list[Path] = []
    layers: list[dict[str, Any]] = []
    current: Path | None = path
    while current is not None:
        if current.resolve() in seen:
            raise InputError(f"{current}: extends itself")
        seen.append(current.resolve())
        layer = load_yaml(current)
        parent = layer.pop("extends", None)
        if parent is not None and not isinstance(parent, str):
            raise InputError(f"{current}: extends: {parent!r} is not a file name")
        layers.append(layer)
        current = current.parent / parent if parent is not None else None
    raw: dict[str, Any] = {}
    for layer in reversed(layers):
        raw = merge(raw, layer)
    return raw


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, section by section; neither is changed."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _overridden(raw: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    for override in overrides:
        path, separator, text = override.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not separator or not all(keys):
            raise InputError(f"--set {override}: write section.key=value")
        section: Any = raw
        for key in keys[:-1]:
            if not isinstance(section, dict) or not isinstance(section.get(key), dict):
                raise InputError(f"--set {override}: there is no section {key!r} in {path!r}")
            section = section[key]
        if keys[-1] not in section:
            raise InputError(
                f"--set {override}: unknown key {path.strip()}; allowed here: {', '.join(section)}"
            )
        value: Any = parse_value(text)
        for key in reversed(keys):
            value = {key: value}
        raw = merge(raw, value)
    return raw


def _explain(problem: Any) -> str:
    path = ".".join(str(part) for part in problem["loc"] if part != "[key]") or "configuration"
    value, kind, message = problem["input"], problem["type"], problem["msg"]
    if kind == "extra_forbidden":
        return f"{path}: unknown key; allowed: {_siblings(problem['loc'])}"
    if kind == "missing":
        return f"{path}: missing"
    if kind == "value_error":
        return f"{path}: {message.removeprefix('Value error, ')}"
    shown = f"a section of {len(value)} keys" if isinstance(value, dict) else repr(value)
    return f"{path}: {shown} is not allowed: {message[0].lower()}{message[1:]}"


def _siblings(location: tuple[Any, ...]) -> str:
    section: Any = Config
    for key in location[:-1]:
        section = section.model_fields[key].annotation
    return ", ".join(section.model_fields)
