"""The configuration: its sections, and the checks that involve several of them.

Sections of parts of the library are the settings of those parts; here are the recipe's own:
training, losses, and keys that belong to no part. The default values are in `confs/sed.yaml`: no
field has one here. docs/configuration.md is made from the descriptions
(`python -m local.config.document`).
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, model_validator

from desed_task.augment import AugmentSettings
from desed_task.desed import BY_NAME, CLIP_SETS, SYNTHETIC_VALIDATION, TRAINING_SETS
from desed_task.encoder.settings import EncoderSettings
from desed_task.errors import nearest, shortened
from desed_task.features import FeatureSettings, ScalerSettings
from desed_task.frames import FrameGrid
from desed_task.nnet.settings import NetworkSettings
from desed_task.postprocess.methods import MEDIAN, Method
from desed_task.postprocess.tuning import TuningSettings
from desed_task.settings import (
    ClassName,
    Count,
    Fraction,
    FractionBelow1,
    InnerFraction,
    Length,
    NonEmpty,
    NonNegative,
    NoResult,
    Pair,
    Positive,
    PositiveFraction,
    PositiveInt,
    Settings,
    Shown,
    Values,
    has_length,
    in_section,
)
from desed_task.sod_settings import CorrectionSettings, CorrectionStrength, CountSettings
from local.config.data import Data
from local.config.yaml_files import dump_yaml

DEFAULT_WINDOW = "default"
# Parts of the network with parameters that every labelled set trains.
SED_PARTS = ("backbone", "sed_fusion", "sed_rnn", "strong_head")

ClipKindName = Literal["synthetic", "weak", "unlabelled", "strong"]
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


class Training(Settings):
    """Batches, schedules, selection of the best checkpoint, devices."""

    train_sets: NonEmpty[ClipKindName] = Field(
        description="sets to train on; `[synthetic]` alone is the supervised baseline",
    )
    labelled_share: PositiveFraction = Field(
        description="fraction of the clips of each labelled training set whose labels are used, at "
        "least one clip; the first ones of an order that is drawn with `seed`, in which every "
        "class comes early. The other clips are unlabelled (not used where `unlabelled` is not in "
        "`train_sets`)"
    )
    batch_size: Annotated[tuple[PositiveInt, ...], has_length(3, 4)] = Field(
        description="clips per step of the synthetic, weak and unlabelled set, and of the set "
        "`strong` where it is trained on (absent sets and those outside `train_sets` have none); "
        "with `ddp`, of each process",
    )
    batch_size_val: Annotated[PositiveInt, NoResult] = Field(
        description="clips per batch of validation and test"
    )
    n_epochs: PositiveInt = Field(
        description="epochs; without `steps_per_epoch` one ends when the smallest training set is "
        "used up"
    )
    steps_per_epoch: PositiveInt | None = Field(
        description="optimiser steps of an epoch, whatever the sizes of the sets: all clips of a "
        "set are drawn before one is drawn again, also across epochs; a set may be smaller than "
        "its share of a batch; `null`: as many as the smallest training set has"
    )
    n_epochs_warmup: Count = Field(
        description="epochs of the ramp of learning rate and consistency weight; 0: no ramp"
    )
    n_epochs_consistency: Count | None = Field(
        description="epochs of the ramp of the consistency weight, where it is not that of the "
        "learning rate (`null`); 0: no ramp. A short training has no good pseudo-labels before it "
        "has almost ended"
    )
    n_epochs_rampdown: Count = Field(
        description="last epochs, over which the learning rate falls along half a cosine to 0; "
        "0: it does not fall"
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
    baseline: bool = Field(
        description="`true`: the test also scores a system `baseline`, logistic regression per "
        "frame of 20 ms on log-mel, fitted on the clips with strong labels (without any: on the "
        "weak ones, tags as events of the whole clip) in seconds; see "
        "[Own data](own_data.md#the-baseline). Its median windows are those of the networks where "
        "`postprocess.window_unit` is seconds"
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
    num_workers: Annotated[Count, NoResult] = Field(
        description="processes that load audio for each training process; 0: the training process "
        "loads"
    )
    freeze: Values[PartName] = Field(
        description="parts of the network that are not trained (with `--init_from_checkpoint`): "
        "their parameters do not change, and their batch norms, in student and teacher, use the "
        "stored statistics, which do not change either; dropout is as in the others; `[]`: all "
        "are trained"
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
    val_thresholds: NonEmpty[FractionBelow1] = Field(
        description="thresholds whose mean intersection and event F1 a validation reports",
    )
    obj_metric_synth_type: Literal["intersection", "event", "psds1", "psds2"] = Field(
        description="metric of the synthetic validation set that, added to the weak F1, selects "
        "the best checkpoint: `intersection` or `event` F1, exact `psds1` or `psds2`"
    )
    early_stop_patience: PositiveInt = Field(
        description="validations without a better selection metric before training stops"
    )
    picture_interval: Annotated[Count, NoResult] = Field(
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


class Opt(Settings):
    """The optimiser, Adam."""

    lr: Positive = Field(description="learning rate after the ramp")
    convolution_lr: Positive | None = Field(
        description="learning rate after the ramp of the convolutional layers and fusions; "
        "`null`: `lr`"
    )
    betas: Pair[FractionBelow1] = Field(
        description="decay of the averages of gradients and squares"
    )
    scale_lr_with_ranks: bool = Field(
        description="`true`: multiply all learning rates by the number of training processes; a "
        "resumed run has the learning rates of its checkpoint"
    )


class Augs(AugmentSettings):
    """Mixup and augmentation; each augmentation draws a level from 1 to `aug_scale`."""

    consis_loss: Literal["mse", "bce"] = Field(description="distance of self-consistency")


class KindShares(Settings):
    """Weight of each kind of clip in self-consistency."""

    synthetic: NonNegative
    weak: NonNegative
    unlabelled: NonNegative
    strong: NonNegative


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
        "`unlabelled`, `strong`"
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


class CrossTask(CountSettings):
    """Comparison of the two tasks, SED and SOD."""

    pseudo_label_selection: bool = Field(
        description="`true`: frames where the teacher's two tasks disagree have less weight in SED "
        "consistency"
    )
    disagreement_weight: NonNegative = Field(description="weight of these frames; others have 1")
    select_sod_consistency: bool = Field(
        description="`true`: SOD consistency on agreeing frames only, as in the paper's figure"
    )


class Postprocess(CorrectionStrength, TuningSettings):
    """From the network's scores to events, and the metrics of the test."""

    methods: NonEmpty[Method] = Field(
        description="methods that the test scores side by side, the first one under the network's "
        "name, others as `student_sebbs`: `median`: `median_window`; "
        "`tuned_median`: windows and F1 thresholds tuned per class; `sebbs`: "
        "[sound event bounding boxes](https://arxiv.org/abs/2406.04212), tuned per class. Tuning "
        "uses the synthetic validation set; the checkpoint stores its result",
    )
    f1_threshold: FractionBelow1 = Field(
        description="threshold of the test's event, segment and intersection F1"
    )
    score_correction: bool = Field(description="`true`: correct SED scores by SOD in the test")
    median_window: dict[ClassName, Length] = Field(
        description="length of the median filter by class, in `window_unit`; `default`: of the "
        "classes without an entry, and of a class named `default`"
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
    report: Annotated[bool, NoResult] = Field(
        description="`true`: write a report of each test set, `report.html`"
    )
    review_labels: Annotated[Count, NoResult] = Field(
        description="labels of the synthetic validation set that the student does not detect, and "
        "as many detections without a label, on the page `review.html` after a training "
        "([own_data.md](own_data.md#labels-worth-a-second-look)); 0: no page"
    )

    @model_validator(mode="after")
    def _check_methods(self) -> "Postprocess":
        self._require_distinct("methods")
        self._require(
            not self.choose_method or len(self.methods) > 1,
            "choose_method",
            "false, or at least 2 methods",
            "methods",
            got=True,
        )
        self._require_frames("median_window", self.median_window.values())
        return self


class Config(Settings):
    """The whole experiment; sections as in `confs/sed.yaml`."""

    training: Training
    scaler: ScalerSettings
    data: Data
    opt: Opt
    feats: FeatureSettings
    net: NetworkSettings
    encoder: EncoderSettings | None
    augs: Augs
    losses: Losses
    cross_task: CrossTask
    postprocess: Postprocess

    @model_validator(mode="after")
    def _check_classes(self) -> "Config":
        classes, windows = self.data.classes, self.postprocess.median_window
        with in_section("cross_task", classes="data.classes"):
            self.cross_task.check_classes(classes)
        unknown = [
            name + nearest(name, classes)
            for name in windows
            if name not in (*classes, DEFAULT_WINDOW)
        ]
        self._require(
            not unknown,
            "postprocess.median_window",
            f"names of classes ({shortened(classes)}), or `!replace {{default: FRAMES}}`",
            "data.classes",
            got=Shown(shortened(unknown)),
        )
        missing = [name for name in classes if name not in windows]
        self._require(
            not missing or DEFAULT_WINDOW in windows,
            "postprocess.median_window",
            f"a window of {shortened(missing)}, or `{DEFAULT_WINDOW}`",
            "data.classes",
            got=Shown("none"),
        )
        return self

    @model_validator(mode="after")
    def _check_input(self) -> "Config":
        """The sections describe one network input."""
        feats, grid = self.feats, self.grid
        with in_section("feats", sample_rate="data.fs", n_samples="data.audio_max_len"):
            feats.check_input(self.data.fs, grid.n_samples)
        with in_section("augs", n_mels="feats.n_mels"):
            self.augs.check_input(feats.n_mels)
        with in_section("net", n_mels="feats.n_mels", n_hops="data.audio_max_len"):
            self.net.check_input(feats.n_mels, grid.n_hops)
        return self

    @model_validator(mode="after")
    def _check_batch(self) -> "Config":
        """Every set that is trained on has its number of clips."""
        sizes, used = self.training.batch_size, self.data.sets.keys() & self.training.train_sets
        missing = used - self.clips_per_set.keys()
        self._require(
            not missing,
            "training.batch_size",
            f"{len(TRAINING_SETS)} values, as training.train_sets has {', '.join(missing)}",
            "training.train_sets",
            "data.strong_folder",
            got=sizes,
        )
        return self

    @model_validator(mode="after")
    def _check_supervision(self) -> "Config":
        losses, clips = self.losses, self.clips_per_set
        used = [name for name, number in clips.items() if number]
        absent = [name for name in self.training.train_sets if name not in used]
        why = f" (data.*_folder is null: {', '.join(absent)})" if absent else ""
        labelled = {"strong": losses.sed_strong, "weak": losses.sed_weak}
        self._require(
            any(labelled.get(BY_NAME[name].labels) for name in used),
            "training.train_sets",
            "a set with strong labels and losses.sed_strong above 0, or weak ones and "
            "losses.sed_weak above 0",
            *("losses.sed_strong", "losses.sed_weak", "data.synth_folder", "data.weak_folder"),
            got=Shown((", ".join(used) or "none") + why),
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
        """Something tunes the post-processing."""
        self._require(
            SYNTHETIC_VALIDATION in self.data.sets or self.postprocess.methods == (MEDIAN,),
            "postprocess.methods",
            "[median] without the synthetic validation set, which tunes the others",
            "data.synth_val_folder",
        )
        self._require(
            SYNTHETIC_VALIDATION in self.data.sets or not self.postprocess.calibrate_confidence,
            "postprocess.calibrate_confidence",
            "false without the synthetic validation set, which it is fitted on",
            "data.synth_val_folder",
        )
        return self

    @property
    def median_windows(self) -> list[int]:
        """Median windows in frames of the network, in class order."""
        return self.median_windows_of(self.grid.frame_seconds)

    def median_windows_of(self, frame_seconds: float) -> list[int]:
        """Median windows in frames of this length, in class order."""
        settings = self.postprocess
        windows = settings.median_window
        return [
            settings.in_frames(windows.get(name) or windows[DEFAULT_WINDOW], frame_seconds)
            for name in self.data.classes
        ]

    @property
    def correction(self) -> CorrectionSettings | None:
        """The score correction of the test; None: switched off, or a network without SOD."""
        if not (self.postprocess.score_correction and self.net.sod_branch):
            return None
        return CorrectionSettings(
            excluded_classes=self.cross_task.excluded_classes,
            active_threshold=self.cross_task.active_threshold,
            correction_gain=self.postprocess.correction_gain,
            correction_floor=self.postprocess.correction_floor,
        )

    @property
    def clips_per_set(self) -> dict[str, int]:
        """Clips per step of each set in `batch_size`; 0 for an absent one and outside `train_sets`.

        Three sizes are those of the recipe's sets, without `strong`: the number of sets is part of
        the sampler's seeds, so that the batches of such a configuration are always the same.
        """
        present = {*self.data.sets, *(["unlabelled"] if self.training.labelled_share < 1 else [])}
        used = present & set(self.training.train_sets)
        sizes = zip(TRAINING_SETS, self.training.batch_size, strict=False)
        return {name: size if name in used else 0 for name, size in sizes}

    @property
    def is_validated(self) -> bool:
        """Whether a set selects the best checkpoint."""
        return SYNTHETIC_VALIDATION in self.data.sets or "weak" in self.data.sets

    @property
    def absent_sets(self) -> list[str]:
        """Names of the sets of training and validation that the configuration does not have."""
        needed = [each.name for each in CLIP_SETS if not each.optional]
        used = self.clips_per_set
        return [name for name in needed if not (name in self.data.sets or used.get(name))]

    @property
    def grid(self) -> FrameGrid:
        """The time axis that follows from rate, hop, pooling and clip length."""
        return FrameGrid(
            sample_rate=self.data.fs,
            hop_length=self.feats.hop_length,
            time_pooling=self.net.time_pooling,
            clip_seconds=self.data.audio_max_len,
        )

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with any value, except of keys with `NoResult`.

        Paths are those that are opened.
        """
        values = self.plain() | {"data": self.data.resolved()}
        for section, settings in self:
            for key in settings.keys_without_result() if settings is not None else ():
                del values[section][key]
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_yaml(self) -> str:
        """The resolved configuration as YAML."""
        return dump_yaml(self.plain())
