"""Training, validation and test of student and teacher, as Lightning's hooks.

This module is the order of events; the computations are in `desed_task.augment`,
`local.objective` and `desed_task.ema` (a step), `local.results.validation` and
`local.results.predictions` (metrics). Source: docs/recipe.md, "One training step".

Shapes: B clips of a batch; R rows after augmentation, R = 3·B with both mixup and an augmentation;
C classes, T frames of the network, F mel bands, T' frames of the spectrogram.
"""

from collections.abc import Mapping
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from desed_task import process_group
from desed_task.augment import AugmentContext, DistortedBatch, distort, prepare_pitch_shift
from desed_task.dataio.batch import FRAME_LABELLED, Batch
from desed_task.ema import MeanTeacher, make_teacher
from desed_task.encoder.alignment import align
from desed_task.encoder.blocks import EncoderPart, keep_untrained_statistics, train_parts
from desed_task.encoder.encoder import FrameEncoder
from desed_task.features import LogMel, Scaler
from desed_task.nnet.crnn import CRNN, SEDOutput
from desed_task.schedules import rampdown_factor, warmup_factor
from desed_task.sod import counted_classes, sod_labels
from local.config.load import Config
from local.embeddings import distorted_embeddings, drop_clips
from local.encoders import DIGEST_KEY
from local.finite import FiniteWatch
from local.freezing import freeze_parameters, keep_statistics
from local.lightning_internals import (
    learning_rate,
    logs_this_step,
    set_fused,
    set_learning_rates,
)
from local.objective import Objective
from local.rank_state import (
    STATE_KEYS,
    add_rank_states,
    average_statistics,
    own_state,
    restore_rank,
    seed_process,
)
from local.results.predictions import SetPredictions
from local.results.validation import ValidationPredictions, selection_metric

SELECTION_METRIC = "val/obj_metric"


class CrossTaskSED(pl.LightningModule):
    """Cross-task collaborative training of a CRNN with a mean teacher.

    Args:
        config: the experiment.
        steps_per_epoch: optimiser steps of an epoch, for the length of the warm-up.
        encoder: of `config.encoder`; None without, and where stored embeddings are enough.
        encoder_digest: its digest, where stored embeddings are enough.

    Attributes:
        networks: `student` and, with `training.mean_teacher`, `teacher`.
        encoders: one for each network where `encoder.train`, else empty.
        encoder_parts: of the student's encoder, with their learning rates.
        counted: `(C,)`, whether the SOD task counts a class.
        loss: total loss of the latest step, detached, on its device.
        finite: checks the numbers of the training, once it has started.
        test_predictions: by name of the set and name of the network.
    """

    counted: Tensor
    loss: Tensor
    finite: FiniteWatch

    def __init__(
        self,
        config: Config,
        steps_per_epoch: int = 1,
        encoder: FrameEncoder | None = None,
        encoder_digest: str | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.log_mel = LogMel(config.feats, config.data.fs)
        self.scaler = Scaler(config.scaler, config.feats.n_mels, config.grid.n_hops)
        self.encoder_digest = encoder_digest if encoder is None else encoder.digest
        trained = encoder is not None and encoder.settings.train
        # In a tuple: no part of this module's state.
        self._frozen_encoder = (None if trained else encoder,)
        student = CRNN(config.net, len(config.data.classes), config.encoder)
        self.networks = nn.ModuleDict({"student": student})
        self.mean_teacher: MeanTeacher | None = None
        if config.training.mean_teacher:
            self.networks["teacher"] = make_teacher(student)
        freeze_parameters(student, config.training.freeze)
        self.encoders = nn.ModuleDict()
        self.encoder_parts: list[EncoderPart] = []
        if encoder is not None and trained:
            self.encoder_parts = train_parts(encoder)
            self.encoders["student"] = encoder
            if "teacher" in self.networks:
                self.encoders["teacher"] = make_teacher(encoder)
        self._keep_statistics()
        counted = counted_classes(config.data.classes, config.cross_task.excluded_classes)
        self.register_buffer("counted", counted, persistent=False)
        seed = config.training.seed + process_group.rank()
        self.generator = torch.Generator().manual_seed(seed)  # of mixup and augmentations
        self._resumed: dict[str, Any] | None = None
        self._validation: dict[str, ValidationPredictions] = {}
        self.test_predictions: dict[str, dict[str, SetPredictions]] = {}

    def features(self, audio: Tensor, mel_gain: Tensor | None = None) -> Tensor:
        """Audio `(clips, samples)` -> scaled log-mel `(clips, F, T')`, float32."""
        with torch.no_grad():
            return self.scaler(self.log_mel(audio, mel_gain))

    def predict(
        self, batch: Batch, *, with_sod: bool = True
    ) -> tuple[Tensor, dict[str, SEDOutput]]:
        """Features `(B, F, T')`, and the outputs of the networks by name."""
        features, embeddings = self.features(batch.audio), self.embeddings(batch)
        return features, {
            name: network(features, with_sod=with_sod, embeddings=embeddings[name])
            for name, network in self.networks.items()
        }

    def embeddings(
        self, batch: Batch, distorted: DistortedBatch | None = None
    ) -> Mapping[str, Tensor | None]:
        """Embeddings by network `(B, T, width)`, of distorted clips `(R, T, width)`.

        The networks share those of a frozen encoder; None without an encoder.
        """
        settings = self.config.encoder
        if settings is None:
            return dict.fromkeys(self.networks)
        with torch.autocast(self.device.type, enabled=False):
            if self.encoders:
                audio = batch.audio if distorted is None else distorted.audio
                found = [self._own_embeddings(name, audio) for name in self.networks]
            else:
                found = [self._frozen_embeddings(batch, distorted)]
            if self.training:
                found = drop_clips(found, settings.dropout, self.generator)
        return dict(zip(self.networks, found * (len(self.networks) // len(found)), strict=True))

    def _own_embeddings(self, name: str, audio: Tensor) -> Tensor:
        """Of the encoder of the student, with gradients, or of the teacher."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and name == "student"):
            embeddings: Tensor = self.encoders[name](audio)
        return embeddings

    @torch.no_grad()
    def _frozen_embeddings(self, batch: Batch, distorted: DistortedBatch | None) -> Tensor:
        settings, (encoder,) = self.config.encoder, self._frozen_encoder
        if settings is not None and settings.mode == "cached":
            assert batch.embeddings is not None
            grid = self.config.grid
            embeddings = align(batch.embeddings, settings, grid)
            if distorted is None:
                return embeddings
            return distorted_embeddings(embeddings, distorted, grid.samples_per_frame)
        assert encoder is not None
        embeddings = encoder(batch.audio if distorted is None else distorted.audio)
        return embeddings

    def network_encoder(self, name: str) -> FrameEncoder | None:
        """Encoder of a network by its name: its own or that of all; None: stored or without one."""
        encoders = cast(Mapping[str, FrameEncoder], self.encoders)
        return encoders[name] if name in encoders else self._frozen_encoder[0]

    def train(self, mode: bool = True) -> "CrossTaskSED":
        """Set training or evaluation mode; frozen batch norms stay in evaluation mode."""
        super().train(mode)
        self._keep_statistics()
        return self

    def _keep_statistics(self) -> None:
        """Let the batch norms that are not trained use their stored statistics."""
        keep_statistics(self.networks.values(), self.config.training.freeze)
        keep_untrained_statistics(list(self.encoders.values()))

    def _with_encoder(self, name: str) -> nn.ModuleList:
        """A network and, where it is trained, its encoder; `name`: `student` or `teacher`."""
        return nn.ModuleList(each[name] for each in (self.networks, self.encoders) if name in each)

    # ---- before training -------------------------------------------------------------------

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam; the learning rates of all groups are scaled by warm-up and ramp-down."""
        optimizer = torch.optim.Adam(
            self._parameter_groups(),
            betas=self.config.opt.betas,
            fused=self._fused(self.device),
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda done: self._rate_factor(done + 1)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters that are trained, and their learning rate after the warm-up, of each group.

        The network, its convolutions where they have their own rate, and the encoder's parts.
        """
        opt, student = self.config.opt, cast(CRNN, self.networks["student"])
        own = set() if opt.convolution_lr is None else set(student.convolution_parameters())
        parameters = list(student.parameters())
        groups = [
            (opt.lr, [p for p in parameters if p not in own]),
            (opt.convolution_lr or opt.lr, [p for p in parameters if p in own]),
            *((part.rate, part.parameters) for part in self.encoder_parts),
        ]
        trained = [(rate, [p for p in group if p.requires_grad]) for rate, group in groups]
        return [{"params": group, "lr": rate * self.rate_scale} for rate, group in trained if group]

    @property
    def rate_scale(self) -> int:
        """Factor of all learning rates."""
        return process_group.ranks() if self.config.opt.scale_lr_with_ranks else 1

    def _fused(self, device: torch.device) -> bool | None:
        """Whether Adam is one kernel, which also unscales fp16 gradients; None: PyTorch's choice.

        Clipping needs gradients that are unscaled before. False would not do instead of None: it
        means one kernel per parameter.
        """
        return True if device.type == "cuda" and not self.config.training.gradient_clip else None

    def _ramp(self, step: int, epochs: int) -> float:
        """Warm-up factor r(n) of a ramp of some epochs in step n = 1, 2, …."""
        exponent = self.config.training.warmup_exponent
        return warmup_factor(step, epochs * self.steps_per_epoch, exponent)

    def _consistency_weight(self, step: int) -> float:
        """Weight w of the consistency terms in step n = 1, 2, …."""
        training = self.config.training
        epochs = training.n_epochs_consistency
        ramp = self._ramp(step, training.n_epochs_warmup if epochs is None else epochs)
        return training.const_max * ramp

    def _rate_factor(self, step: int) -> float:
        """Factor of the learning rate in step n = 1, 2, …."""
        training = self.config.training
        last_step = training.n_epochs * self.steps_per_epoch
        ramp_length = training.n_epochs_rampdown * self.steps_per_epoch
        ramp = self._ramp(step, training.n_epochs_warmup)
        return ramp * rampdown_factor(step, last_step, ramp_length)

    def setup(self, stage: str) -> None:
        """Move the frozen encoder to the device."""
        (encoder,) = self._frozen_encoder
        if encoder is not None:
            encoder.to(self.trainer.strategy.root_device)

    def on_fit_start(self) -> None:
        """Compile the networks, where configured, once they are on their device."""
        if self.config.training.compile:
            for network in self.networks.values():
                cast(CRNN, network).compile_convolutions()

    def on_train_start(self) -> None:
        """Bind the teacher to the student's weights on their device; restore a resumed state."""
        self.finite = FiniteWatch(self.trainer)
        if "Pitch shift" in self.config.augs.aug_methods:
            prepare_pitch_shift(self.config.augs, self.device)
        if "teacher" in self.networks:
            self.mean_teacher = MeanTeacher(
                self._with_encoder("student"),
                self._with_encoder("teacher"),
                self.config.training.ema_factor,
            )
        if self._resumed is not None:
            self._restore(self._resumed)
            self._resumed = None

    def _restore(self, stored: dict[str, Any]) -> None:
        """Restore this process's random generators and statistics; apply a changed schedule."""
        state = own_state(stored)
        if state is not None:
            restore_rank(state, self, self.generator)
        else:
            seed_process(self.config.training.seed, self.global_step, self.generator)
        if self._schedule_changed(stored["hyper_parameters"]):
            rates = [group["lr"] for group in self._parameter_groups()]
            factor = self._rate_factor(self.global_step + 1)
            set_learning_rates(self.trainer, rates, factor, self.config.opt.betas)

    def _schedule_changed(self, stored: dict[str, Any]) -> bool:
        """Whether the optimiser's settings differ from those stored in the resumed checkpoint."""
        ramp = ["n_epochs_warmup", "warmup_exponent", "n_epochs_rampdown"]
        if self.config.training.n_epochs_rampdown:
            ramp.append("n_epochs")
        own = self.config.plain()
        read = {"opt": own["opt"], "encoder": ["lr", "layer_decay"], "training": ramp}
        return any(
            (stored.get(section) or {}).get(key) != (own[section] or {}).get(key)
            for section, keys in read.items()
            for key in keys
        )

    # ---- a training step -------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Total loss of one step on B original clips and their distorted copies."""
        student, teacher, distorted = self.predict_distorted(batch)
        student, teacher = self.finite.check_scores(student, teacher)
        consistency_weight = self._consistency_weight(self.global_step + 1)
        with torch.autocast(self.device.type, enabled=False):
            terms = self.objective.terms(student, teacher, distorted)  # scalars by name
            loss = self.objective.total(terms, consistency_weight)
        self.finite.check_losses(terms | {"loss": loss})
        # Not on Lightning's progress bar, which would make a GPU wait for the value in each step.
        self.loss = loss.detach()
        if logs_this_step(self.trainer):
            self._log_step(terms, consistency_weight, student, teacher, distorted)
        return loss

    def predict_distorted(self, batch: Batch) -> tuple[SEDOutput, SEDOutput | None, DistortedBatch]:
        """Outputs of student and teacher for R clips, original and distorted, and these clips.

        strong `(R, C, T)`, weak `(R, C)`, SOD logits `(R, T, 3)`.
        """
        distorted = distort(batch, self._augment_context())  # audio (R, samples)
        features = self.features(distorted.audio, distorted.mel_gain)  # (R, F, T')
        embeddings = self.embeddings(batch, distorted)  # (R, T, width)
        student: SEDOutput = self.networks["student"](features, embeddings=embeddings["student"])
        teacher: SEDOutput | None = None
        if "teacher" in self.networks:
            with torch.no_grad():
                teacher = self.networks["teacher"](features, embeddings=embeddings["teacher"])
        return student, teacher, distorted

    def _augment_context(self) -> AugmentContext:
        return AugmentContext(
            settings=self.config.augs,
            sample_rate=self.config.data.fs,
            n_frames=self.config.grid.n_frames,
            n_mels=self.config.feats.n_mels,
            generator=self.generator,
        )

    @property
    def objective(self) -> Objective:
        """Weighted loss terms, with their constants on this module's device."""
        return Objective(self.config, self.counted)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Check and log the norm of all gradients together (unscaled, before clipping)."""
        parameters = self._with_encoder("student").parameters()
        norm = self.finite.check_gradients(parameters, scaled=bool(self._fused(self.device)))
        if norm is not None and logs_this_step(self.trainer):
            self.log("train/gradient_norm", norm)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """After optimiser step n the teacher takes its share of the student."""
        super().optimizer_step(*args, **kwargs)
        if self.mean_teacher is not None:
            # Lightning counts the step after this hook.
            self.mean_teacher.update(self.global_step + 1)

    def _log_step(
        self,
        terms: dict[str, Tensor],
        consistency_weight: float,
        student: SEDOutput,
        teacher: SEDOutput | None,
        distorted: DistortedBatch,
    ) -> None:
        values: dict[str, Any] = {f"train/{name}": t.detach() for name, t in terms.items()}
        values["train/loss"] = self.loss
        values["train/consistency_weight"] = consistency_weight
        values["train/learning_rate"] = learning_rate(self.trainer)
        strong = distorted.rows(*FRAME_LABELLED)
        if student.sod_logits is not None and len(strong):
            states = student.sod_logits[strong].argmax(dim=-1)  # (rows with frame labels, T)
            labels = sod_labels(distorted.targets[strong], self.counted)
            values["train/sod_accuracy"] = (states == labels).float().mean()
        agreement = self.objective.selected(teacher) if teacher is not None else None  # (R, T)
        if agreement is not None:
            values["train/teacher_agreement"] = agreement.float().mean()
        self.log_dict(values, batch_size=len(distorted.audio))

    # ---- validation ------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Begin with empty predictions, and the same networks in all processes."""
        if self.trainer.training:
            self.finite.check()
        average_statistics(self)
        self._validation = {
            name: ValidationPredictions(self.config, self._datamodule.validation_truth)
            for name in self.networks
        }

    @property
    def _datamodule(self) -> Any:
        return cast(Any, self.trainer).datamodule

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect the predictions of student and teacher."""
        _, outputs = self.predict(batch, with_sod=False)
        for name, output in outputs.items():
            self._validation[name].add(batch, output)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of both networks and the one that selects the best checkpoint."""
        for name, predictions in self._validation.items():
            predictions.gather()
            metrics = process_group.from_first_rank(predictions.metrics)
            self.log_dict({f"val/{name}/{key}": value for key, value in metrics.items()})
            if name == "student":
                self.log(SELECTION_METRIC, selection_metric(metrics, self.config))
        self._validation = {}

    # ---- test ------------------------------------------------------------------------------

    def on_test_epoch_start(self) -> None:
        """Begin with empty predictions."""
        self.test_predictions = {
            tested.name: {name: SetPredictions(self.config, self.counted) for name in self.networks}
            for tested in self._datamodule.tested_sets
        }

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect the raw and the corrected scores of student and teacher."""
        predictions = self.test_predictions[self._datamodule.tested_sets[dataloader_idx].name]
        _, outputs = self.predict(batch)
        for name, output in outputs.items():
            predictions[name].add(batch, output)

    def on_test_epoch_end(self) -> None:
        """Gather the predictions of all processes in process 0."""
        for set_predictions in self.test_predictions.values():
            for predictions in set_predictions.values():
                predictions.gather()

    # ---- checkpoints -----------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the configuration and the state of the processes, as plain values and tensors."""
        checkpoint["hyper_parameters"] = self.config.plain()
        checkpoint["classes"] = list(self.config.data.classes)
        if self.encoder_digest is not None:
            checkpoint[DIGEST_KEY] = self.encoder_digest
        add_rank_states(checkpoint, self, self.generator)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of the processes until training starts; fuse Adam as on this device."""
        set_fused(checkpoint, self._fused(self.trainer.strategy.root_device))
        restored = (*STATE_KEYS, "hyper_parameters")
        self._resumed = {key: checkpoint[key] for key in restored if key in checkpoint}
