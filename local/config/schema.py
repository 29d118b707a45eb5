"""The sections of the configuration, typed and strict: what each key may be.

The values live in `confs/sed.yaml` alone: no field has a default here. What each key does is in
docs/configuration.md.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from local.classes import CLASSES

PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(ge=0, lt=1)]
Dropout = Annotated[float, Field(ge=0, le=0.99)]
Positive = Annotated[float, Field(gt=0)]
Pool = Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
Path44k = str | None
ClipKindName = Literal["synthetic", "weak", "unlabelled"]
MethodName = Literal["median", "tuned_median", "sebbs"]
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
    warmup_exponent: Weight
    const_max: Weight
    mean_teacher: bool
    ema_factor: OpenShare
    self_sup_loss: Literal["mse", "bce"]
    accumulate_batches: PositiveInt
    gradient_clip: Weight
    compile: bool
    precision: Literal["auto", 32, "16-mixed", "bf16-mixed"]
    num_workers: Count
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    weak_split: Annotated[float, Field(gt=0, lt=1)]
    validation_interval: PositiveInt
    weak_threshold: OpenShare
    val_thresholds: Annotated[list[OpenShare], Field(min_length=1)]
    obj_metric_synth_type: Literal["intersection", "event", "psds1", "psds2"]
    early_stop_patience: PositiveInt
    picture_interval: Count
    n_test_thresholds: PositiveInt
    backend: Literal["ddp"] | None
    sync_batchnorm: bool

    @model_validator(mode="after")
    def _every_run_validates(self) -> "Training":
        if self.n_epochs % self.validation_interval:
            raise ValueError(
                f"n_epochs {self.n_epochs} must be a multiple of validation_interval "
                f"{self.validation_interval}, so that the last epoch is validated and kept"
            )
        if len(set(self.train_sets)) != len(self.train_sets):
            raise ValueError("train_sets names a set twice")
        return self

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
        if any(given) and not (all(given) and self.eval_folder_44k is None):
            raise ValueError(
                "eval_folder, eval_tsv and eval_dur are given together, or all null with "
                "eval_folder_44k"
            )
        return self


class Opt(Section):
    """Adam."""

    lr: Positive
    betas: Annotated[list[OpenShare], Field(min_length=2, max_length=2)]
    scale_lr_with_ranks: bool


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
    dropout: Dropout
    rnn_layers: PositiveInt
    n_RNN_cell: PositiveInt  # noqa: N815 - the published key
    dropout_recurrent: Dropout
    dropout_output: Dropout
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

    @model_validator(mode="after")
    def _confidences(self) -> "Losses":
        low, high = self.self_consistency_inactive, self.self_consistency_active
        if low > high:
            raise ValueError(
                f"self_consistency_inactive {low:g} must not exceed "
                f"self_consistency_active {high:g}"
            )
        return self


class CrossTask(Section):
    """What SED and SOD are held against each other by."""

    excluded_classes: list[Literal[CLASSES]]  # type: ignore[valid-type]
    active_threshold: OpenShare
    pseudo_label_selection: bool
    disagreement_weight: Weight
    select_sod_consistency: bool

    @model_validator(mode="after")
    def _something_counts(self) -> "CrossTask":
        if set(self.excluded_classes) == set(CLASSES):
            raise ValueError("excluded_classes names every class: nothing is left to count")
        return self


class Postprocess(Section):
    """From the network's probabilities to scores, and what the test counts."""

    methods: Annotated[list[MethodName], Field(min_length=1)]
    f1_threshold: OpenShare
    score_correction: bool
    correction_gain: Share
    correction_floor: Share
    median_window: dict[Literal[CLASSES], PositiveInt]  # type: ignore[valid-type]
    tuning_metric: Literal["psds1", "psds2", "event_f1"]
    tuning_windows: Annotated[list[PositiveInt], Field(min_length=1)]
    sebbs_step: Annotated[list[Positive], Field(min_length=1)]
    sebbs_merge_absolute: list[Weight]
    sebbs_merge_relative: list[Weight]
    drop_clips_without_events: bool
    trim_to_clip: bool
    bootstrap_replicates: Count
    report: bool

    @model_validator(mode="after")
    def _methods_can_be_tuned(self) -> "Postprocess":
        if len(set(self.methods)) != len(self.methods):
            raise ValueError("methods names a method twice")
        if not self.sebbs_merge_absolute + self.sebbs_merge_relative:
            raise ValueError(
                "sebbs_merge_absolute and sebbs_merge_relative are both empty; "
                "one value to try is right"
            )
        return self

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
