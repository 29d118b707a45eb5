"""The configuration: sections and keys, what each does, and which values it may have.

The default values are in `confs/sed.yaml`: no field has one here. docs/configuration.md is made
from the descriptions (`python -m local.config.document`).
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, model_validator

from desed_task.desed import CLIP_SETS, SYNTHETIC_VALIDATION, TRAINING_SETS
from desed_task.errors import nearest, shortened
from desed_task.frames import FrameGrid
from desed_task.settings import (
    ClassName,
    Count,
    Dropout,
    Fraction,
    FractionBelow1,
    InnerFraction,
    NonNegative,
    Positive,
    PositiveInt,
    Settings,
    Shown,
)
from local.config.data import Data
from local.config.yaml_files import dump_yaml

DEFAULT_WINDOW = "default"
# Parts of the network with parameters that every labelled set trains.
SED_PARTS = ("backbone", "sed_fusion", "sed_rnn", "strong_head")

TimeBandPool = Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
ClipKindName = Literal["synthetic", "weak", "unlabelled"]
MethodName = Literal["median", "tuned_median", "sebbs"]
PartName = Literal[
    "backbone",
    "sed_fusion",
    "sed_blocks",
    "sed_rnn",
    "strong_head",
    "attention_head",
    "sod_fusion",
    "sod_rnn",
    "sod_head",
]
AugmentationName = Literal["Time mask", "Pitch shift", "Time shift", "Frequency mask", "Filter"]


class Training(Settings):
    """Batches, schedules, selection of the best checkpoint, devices."""

    train_sets: list[ClipKindName] = Field(
        min_length=1,
        description="sets to train on; `[synthetic]` alone is the supervised baseline",
    )
    batch_size: list[PositiveInt] = Field(
        min_length=3,
        max_length=3,
        description="clips per step of the synthetic, weak and unlabelled set (absent sets and "
        "those outside `train_sets` have none); with `ddp`, of each process",
    )
    batch_size_val: PositiveInt = Field(description="clips per batch of validation and test")
    n_epochs: PositiveInt = Field(
        description="epochs; one ends when the smallest training set is used up"
    )
    n_epochs_warmup: Count = Field(
        description="epochs of the ramp of learning rate and consistency weight; 0: no ramp"
    )
    n_epochs_rampdown: Count = Field(
        description="last epochs, over which the learning rate falls along half a cosine to 0; "
        "0: it stays"
    )
    warmup_exponent: NonNegative = Field(
        description="e of the ramp r = exp(-e·(1 - progress)²), progress from 0 to 1"
    )
    const_max: NonNegative = Field(description="consistency weight w after the ramp")
    mean_teacher: bool = Field(
        description="`false`: no teacher, and none of the loss terms that need it"
    )
    ema_factor: FractionBelow1 = Field(
        description="upper bound of α in teacher ← α·teacher + (1 - α)·student"
    )
    self_sup_loss: Literal["mse", "bce"] = Field(
        description="distance of weak and SOD consistency: `mse` (SOD: of logits) or `bce` (SOD: "
        "of the states' probabilities)"
    )
    accumulate_batches: PositiveInt = Field(
        description="batches per optimiser step, of their mean loss; the last step of an epoch may "
        "have fewer batches and divides by this number too"
    )
    gradient_clip: NonNegative = Field(description="largest norm of the gradients; 0: no clipping")
    precision: Literal["auto", 32, "16-mixed", "bf16-mixed"] = Field(
        description="`32` (on a GPU TF32 in convolutions and GRUs), `16-mixed` (GPU only), "
        "`bf16-mixed`, or `auto`: `16-mixed` on a GPU, `32` on a CPU"
    )
    compile: bool = Field(
        description="`true`: compile all layers before the recurrent ones with `torch.compile`; "
        "GPU only"
    )
    num_workers: Count = Field(
        description="processes that load audio for each training process; 0: the training process "
        "loads"
    )
    freeze: list[PartName] = Field(
        description="parts of the network that are not trained (with `--init_from_checkpoint`): "
        "their parameters stay, and their batch norms, in student and teacher, use the stored "
        "statistics, which stay too; dropout is as in the others; `[]`: all are trained"
    )
    seed: int = Field(ge=0, lt=2**32, description="seed of all random numbers and the weak split")
    weak_split: InnerFraction = Field(
        description="fraction of the weak set to train on; the rest validates"
    )
    validation_interval: PositiveInt = Field(
        description="epochs between validations; a divisor of `n_epochs`"
    )
    weak_threshold: FractionBelow1 = Field(
        description="score above which a tag is predicted, in the weak validation F1"
    )
    val_thresholds: list[FractionBelow1] = Field(
        min_length=1,
        description="thresholds whose mean intersection and event F1 a validation reports",
    )
    obj_metric_synth_type: Literal["intersection", "event", "psds1", "psds2"] = Field(
        description="metric of the synthetic validation set that, added to the weak F1, selects "
        "the best checkpoint: `intersection` or `event` F1, exact `psds1` or `psds2`"
    )
    early_stop_patience: PositiveInt = Field(
        description="validations without a better selection metric before training stops"
    )
    picture_interval: Count = Field(
        description="validations between two pictures of a clip; 0: no pictures"
    )
    n_test_thresholds: PositiveInt = Field(
        description="thresholds of the approximated PSDS, each in the middle of one of as many "
        "equal parts of [0, 1]"
    )
    backend: Literal["ddp"] | None = Field(
        description="`null`: one device; `ddp`: one process for each GPU "
        "([Several GPUs](several_gpus.md)), needed for several processes"
    )
    sync_batchnorm: bool = Field(
        description="with `ddp` on GPUs, `true`: batch norm uses the statistics of the batches of "
        "all processes; `false`: of each process, and validation and checkpoints use the mean of "
        "the running statistics"
    )

    @model_validator(mode="after")
    def _check(self) -> "Training":
        # A last epoch without validation could not be selected.
        self._require(
            self.n_epochs % self.validation_interval == 0,
            "validation_interval",
            f"a divisor of n_epochs {self.n_epochs}",
            "n_epochs",
        )
        self._require_distinct("train_sets")
        self._require_distinct("freeze")
        trained = [part for part in SED_PARTS if part not in self.freeze]
        expected = f"at least one of {', '.join(SED_PARTS)} that is not frozen"
        self._require(bool(trained), "freeze", expected)
        return self


class Scaler(Settings):
    """Normalisation of the features."""

    statistic: Literal["instance", "dataset"] = Field(
        description="statistics of each clip (`instance`) or of the training set (`dataset`, "
        "stored in the checkpoint)"
    )
    normtype: Literal["minmax", "standard", "mean"] = Field(
        description="`minmax`: to [0, 1], with `instance` only; `standard`: to mean 0 and "
        "deviation 1; `mean`: to mean 0"
    )
    dims: list[Literal[1, 2]] = Field(
        min_length=1,
        max_length=2,
        description="axes of the statistics: 1 (bands), 2 (frames) or both",
    )

    @model_validator(mode="after")
    def _check(self) -> "Scaler":
        self._require(
            self.statistic == "instance" or self.normtype != "minmax",
            "normtype",
            "'standard' or 'mean' with statistic 'dataset'",
            "statistic",
        )
        self._require_distinct("dims")
        return self


class Opt(Settings):
    """The optimiser, Adam."""

    lr: Positive = Field(description="learning rate after the ramp")
    betas: list[FractionBelow1] = Field(
        min_length=2, max_length=2, description="decay of the averages of gradients and squares"
    )
    scale_lr_with_ranks: bool = Field(
        description="`true`: multiply `lr` by the number of training processes; a resumed run "
        "keeps its learning rate"
    )


class Feats(Settings):
    """The log-mel spectrogram."""

    n_mels: PositiveInt = Field(
        description="bands; the pooling of backbone and SED branch must reduce them to exactly 1"
    )
    n_window: PositiveInt = Field(description="samples of the window, also the FFT size")
    hop_length: PositiveInt = Field(description="samples between frames")
    f_min: NonNegative = Field(description="Hz, lower edge of the lowest band")
    f_max: Positive = Field(description="Hz, upper edge of the highest band")
    log_floor: Positive = Field(description="smallest magnitude before the logarithm")
    log_range: list[float] = Field(
        min_length=2, max_length=2, description="dB, lowest and highest level; others are clamped"
    )

    @model_validator(mode="after")
    def _check(self) -> "Feats":
        self._require(self.f_min < self.f_max, "f_min", f"less than f_max {self.f_max:g}", "f_max")
        self._require(self.log_range[0] < self.log_range[1], "log_range", "[lowest, highest]")
        return self


class Net(Settings):
    """The two-branch CRNN."""

    nb_filters: list[PositiveInt] = Field(
        min_length=3, description="channels of each block of the shared backbone"
    )
    kernel_size: list[PositiveInt] = Field(
        description="kernel size of each backbone block, odd; kernels are square"
    )
    pooling: list[TimeBandPool] = Field(
        description="[time, band] pooling of each backbone block; the time pooling sets the "
        "length of the network's frames"
    )
    sed_filters: list[PositiveInt] = Field(
        description="channels of each further block of the SED branch"
    )
    sed_kernel_size: list[PositiveInt] = Field(description="kernel size of each of them, odd")
    sed_pooling: list[TimeBandPool] = Field(
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
    rnn_layers: PositiveInt = Field(description="layers of each bidirectional GRU")
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
    convolution: list[Literal["plain", "frequency_dynamic"]] = Field(
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
    def _check(self) -> "Net":
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
        blocks = len(self.nb_filters) + len(self.sed_filters)
        self._require(
            len(self.convolution) in (0, blocks),
            "convolution",
            f"[] or {blocks} entries, one for each of nb_filters and sed_filters",
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


class Augs(Settings):
    """Mixup and augmentation; each augmentation draws a level from 1 to `aug_scale`."""

    mixup: Literal["hard", "none"] = Field(
        description="`hard`: add a mixed copy of each clip, labels united; `none`: do not"
    )
    mixup_scale: list[PositiveInt] = Field(
        min_length=2, max_length=2, description="fewest and most clips added to each clip"
    )
    aug_methods: list[AugmentationName] = Field(
        description="augmentations to draw from: `Time mask`, `Pitch shift`, `Time shift`, "
        "`Frequency mask`, `Filter`; `[]`: no augmented copy"
    )
    aug_scale: PositiveInt = Field(description="largest level")
    time_shift: InnerFraction = Field(description="fraction of the clip per level")
    pitch_shift: Positive = Field(description="cents per level")
    time_mask_number: PositiveInt = Field(description="masked intervals per level")
    time_mask_length: InnerFraction = Field(description="fraction of the clip per interval")
    frequency_mask: PositiveInt = Field(description="masked bands per level")
    filter_bands: list[PositiveInt] = Field(
        min_length=2, max_length=2, description="fewest and most runs of bands, each with one gain"
    )
    filter_gain: list[float] = Field(
        min_length=2, max_length=2, description="dB, lowest and highest gain of the filter"
    )
    consis_loss: Literal["mse", "bce"] = Field(description="distance of self-consistency")

    @model_validator(mode="after")
    def _check(self) -> "Augs":
        for key in ("mixup_scale", "filter_bands", "filter_gain"):
            low, high = getattr(self, key)
            self._require(low <= high, key, "[lowest, highest]")
        scale = f"aug_scale {self.aug_scale}"
        self._require(
            self.time_shift * self.aug_scale < 1,
            "time_shift",
            f"less than 1 / {scale}",
            "aug_scale",
        )
        self._require(
            self.pitch_shift * self.aug_scale <= 1200,
            "pitch_shift",
            f"at most 1200 cents / {scale}",
            "aug_scale",
        )
        self._require_distinct("aug_methods")
        return self


class KindShares(Settings):
    """Weight of each kind of clip in self-consistency."""

    synthetic: NonNegative
    weak: NonNegative
    unlabelled: NonNegative


class Losses(Settings):
    """Weights and distances of the loss terms; a term of weight 0 is not computed."""

    sed_strong: NonNegative = Field(description="weight of the BCE on frame labels")
    sed_weak: NonNegative = Field(description="weight of the BCE on tags")
    sod: NonNegative = Field(description="weight of the SOD cross-entropy")
    sed_consistency: NonNegative = Field(
        description="weight of SED consistency with the teacher; this and the following weights "
        "are multiplied by w (`training.const_max`)"
    )
    weak_consistency: NonNegative = Field(
        description="weight of consistency with the teacher's tags"
    )
    sod_consistency: NonNegative = Field(description="weight of SOD consistency with the teacher")
    cross_task: NonNegative = Field(description="weight of cross-task consistency")
    self_consistency: NonNegative = Field(description="weight of self-consistency")
    self_consistency_share: KindShares = Field(
        description="weight of each kind of clip in self-consistency: `synthetic`, `weak`, "
        "`unlabelled`"
    )
    self_consistency_active: Fraction = Field(
        description="score above which a class is treated as active in a mixture"
    )
    self_consistency_inactive: Fraction = Field(
        description="score below which a class is treated as inactive in a mixture"
    )
    sed_consistency_loss: Literal["bce", "mse"] = Field(description="distance of SED consistency")
    cross_task_loss: Literal["mse", "mae"] = Field(description="distance of cross-task consistency")

    @model_validator(mode="after")
    def _check(self) -> "Losses":
        self._require(
            self.self_consistency_inactive <= self.self_consistency_active,
            "self_consistency_inactive",
            f"at most self_consistency_active {self.self_consistency_active:g}",
            "self_consistency_active",
        )
        return self


class CrossTask(Settings):
    """Comparison of the two tasks, SED and SOD."""

    excluded_classes: list[ClassName] = Field(
        description="classes excluded from every count of active classes; `[]`: none"
    )
    active_threshold: FractionBelow1 = Field(
        description="score above which a class is treated as active"
    )
    pseudo_label_selection: bool = Field(
        description="`true`: frames where the teacher's two tasks disagree have less weight in SED "
        "consistency"
    )
    disagreement_weight: NonNegative = Field(description="weight of these frames; others have 1")
    select_sod_consistency: bool = Field(
        description="`true`: SOD consistency on agreeing frames only, as in the paper's figure"
    )


class Postprocess(Settings):
    """From the network's scores to events, and the metrics of the test."""

    methods: list[MethodName] = Field(
        min_length=1,
        description="methods that the test scores side by side, the first one under the network's "
        "name, others as `student_sebbs`: `median`: `median_window`; `tuned_median`: windows and "
        "F1 thresholds tuned per class; `sebbs`: "
        "[sound event bounding boxes](https://arxiv.org/abs/2406.04212), tuned per class. Tuning "
        "uses the synthetic validation set; the checkpoint stores its result",
    )
    f1_threshold: FractionBelow1 = Field(
        description="threshold of the test's event, segment and intersection F1"
    )
    score_correction: bool = Field(description="`true`: correct SED scores by SOD in the test")
    correction_gain: Fraction = Field(description="added to the score of the class that is raised")
    correction_floor: Fraction = Field(description="score above which a second class may be raised")
    median_window: dict[ClassName, PositiveInt] = Field(
        description="frames of the median filter by class; `default`: of the classes without an "
        "entry, and of a class named `default`"
    )
    tuning_metric: Literal["psds1", "psds2", "event_f1"] = Field(
        description="metric that `tuned_median` and `sebbs` maximise for each class: exact "
        "`psds1`, `psds2`, or `event_f1` at its best threshold; F1 thresholds always maximise "
        "event F1"
    )
    tuning_windows: list[PositiveInt] = Field(
        min_length=1, description="median windows in frames that `tuned_median` tries"
    )
    sebbs_step: list[Positive] = Field(
        min_length=1, description="lengths of the step filter in seconds that `sebbs` tries"
    )
    sebbs_merge_absolute: list[NonNegative] = Field(
        description="differences of scores below which events merge; each is tried without a ratio"
    )
    sebbs_merge_relative: list[NonNegative] = Field(
        description="ratios of scores below which events merge; each is tried without a difference"
    )
    drop_clips_without_events: bool = Field(
        description="`true`: exclude test clips without events, as the authors did"
    )
    trim_to_clip: bool = Field(
        description="`true`: cut detections at the end of a clip that is shorter than "
        "`data.audio_max_len`"
    )
    bootstrap_replicates: Count = Field(
        description="resampled test sets (clips drawn with replacement) of the 95 % intervals; 0: "
        "no intervals"
    )
    report: bool = Field(description="`true`: write a report of each test set, `report.html`")

    @model_validator(mode="after")
    def _check(self) -> "Postprocess":
        self._require_distinct("methods")
        self._require(
            bool(self.sebbs_merge_absolute or self.sebbs_merge_relative),
            "sebbs_merge_absolute",
            "at least 1 value here or in sebbs_merge_relative",
            "sebbs_merge_relative",
            got=0,
        )
        return self


class Config(Settings):
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
    def _check_classes(self) -> "Config":
        classes, windows = self.data.classes, self.postprocess.median_window
        excluded = self.cross_task.excluded_classes
        with_window = [name for name in windows if name != DEFAULT_WINDOW]
        for key, names, otherwise in (
            ("cross_task.excluded_classes", excluded, "[]"),
            ("postprocess.median_window", with_window, "!replace {default: FRAMES}"),
        ):
            unknown = [name + nearest(name, classes) for name in names if name not in classes]
            expected = f"names in data.classes ({shortened(classes)}), or `{otherwise}`"
            self._require(not unknown, key, expected, "data.classes", got=shortened(unknown))
        self._require(
            set(excluded) != set(classes),
            "cross_task.excluded_classes",
            "at least one class that is not excluded",
            "data.classes",
        )
        missing = [name for name in classes if name not in windows]
        self._require(
            not missing or DEFAULT_WINDOW in windows,
            "postprocess.median_window",
            f"a window of {shortened(missing)}, or `{DEFAULT_WINDOW}`",
            "data.classes",
            got="none",
        )
        return self

    @property
    def median_windows(self) -> list[int]:
        """Median windows in frames, in class order."""
        windows = self.postprocess.median_window
        return [windows.get(name) or windows[DEFAULT_WINDOW] for name in self.data.classes]

    @model_validator(mode="after")
    def _check_features(self) -> "Config":
        feats, data, augs = self.feats, self.data, self.augs
        bands = f"feats.n_mels {feats.n_mels}"
        self._require(
            feats.f_max <= data.fs / 2,
            "feats.f_max",
            f"at most half of data.fs {data.fs}",
            "data.fs",
        )
        # A longer hop would skip samples.
        self._require(
            feats.hop_length <= feats.n_window,
            "feats.hop_length",
            f"at most feats.n_window {feats.n_window}",
            "feats.n_window",
        )
        self._require(
            self.grid.n_samples > feats.n_window // 2,
            "data.audio_max_len",
            f"more than half of feats.n_window {feats.n_window} samples",
            "feats.n_window",
            "data.fs",
            got=self.grid.n_samples,
        )
        self._require(
            "Filter" not in augs.aug_methods or augs.filter_bands[1] <= feats.n_mels,
            "augs.filter_bands",
            f"at most {bands}",
            "feats.n_mels",
        )
        self._require(
            "Frequency mask" not in augs.aug_methods
            or augs.frequency_mask * augs.aug_scale <= feats.n_mels,
            "augs.frequency_mask",
            f"at most {bands} / augs.aug_scale {augs.aug_scale}",
            "augs.aug_scale",
            "feats.n_mels",
        )
        return self

    @model_validator(mode="after")
    def _check_pooling(self) -> "Config":
        """Follow the number of bands through the blocks: exactly 1 must reach the SED GRU."""
        net, bands = self.net, self.feats.n_mels
        sources = ("net.pooling", "feats.n_mels")
        for key, pooling in (("net.pooling", net.pooling), ("net.sed_pooling", net.sed_pooling)):
            for number, (_, pool) in enumerate(pooling, start=1):
                divisor = f"a divisor of {bands}, the bands that enter block {number}"
                if key == "net.pooling" and number <= net.subspectral_blocks:
                    fits = bands % net.subspectral_bands == 0
                    self._require(fits, "net.subspectral_bands", divisor, *sources)
                self._require(bands % pool == 0, key, divisor, *sources, got=pool)
                bands //= pool
        expected = f"pooling of feats.n_mels {self.feats.n_mels} bands to exactly 1"
        self._require(bands == 1, "net.sed_pooling", expected, *sources, got=bands)
        frames = self.grid.n_frames
        sources = ("data.audio_max_len", "feats.hop_length")
        self._require(frames >= 1, "net.pooling", "at least 1 frame per clip", *sources, got=frames)
        return self

    @model_validator(mode="after")
    def _check_supervision(self) -> "Config":
        losses, clips = self.losses, self.clips_per_set
        used = [name for name, number in clips.items() if number]
        kept = [name for name in self.training.train_sets if name not in used]
        absent = f" (data.*_folder is null: {', '.join(kept)})" if kept else ""
        labelled = {"synthetic": losses.sed_strong, "weak": losses.sed_weak}
        self._require(
            any(labelled.get(name) for name in used),
            "training.train_sets",
            "a labelled set, synthetic with losses.sed_strong or weak with losses.sed_weak above 0",
            *("losses.sed_strong", "losses.sed_weak", "data.synth_folder", "data.weak_folder"),
            got=Shown((", ".join(used) or "none") + absent),
        )
        return self

    @model_validator(mode="after")
    def _check_freeze(self) -> "Config":
        absent = [part for part in self.training.freeze if part.startswith("sod_")]
        self._require(
            self.net.sod_branch or not absent,
            "training.freeze",
            "only parts of the SED branch without net.sod_branch",
            "net.sod_branch",
            got=absent,
        )
        return self

    @model_validator(mode="after")
    def _check_validation(self) -> "Config":
        """Something selects the best checkpoint and tunes the post-processing."""
        sets, keys = self.data.sets, ("data.synth_val_folder", "data.weak_folder")
        self._require(
            SYNTHETIC_VALIDATION in sets or "weak" in sets,
            keys[0],
            "a synthetic validation set or a weak set, to select the best checkpoint",
            *keys,
            got=Shown("neither"),
        )
        self._require(
            SYNTHETIC_VALIDATION in sets or self.postprocess.methods == ["median"],
            "postprocess.methods",
            "[median] without the synthetic validation set, which tunes the others",
            keys[0],
        )
        return self

    @property
    def clips_per_set(self) -> dict[str, int]:
        """Clips per step of each kind; 0 for an absent set and one outside `train_sets`."""
        used = self.data.sets.keys() & set(self.training.train_sets)
        sizes = zip(TRAINING_SETS, self.training.batch_size, strict=True)
        return {name: size if name in used else 0 for name, size in sizes}

    @property
    def absent_sets(self) -> list[str]:
        """Names of the sets of training and validation that the configuration does not have."""
        needed = [each.name for each in CLIP_SETS if not each.optional]
        return [name for name in needed if name not in self.data.sets]

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
        return dump_yaml(self.model_dump())
