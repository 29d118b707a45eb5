"""The LightningModule: student and teacher go through the same code, step by step.

Orchestration only; what happens in a step is in `desed_task.augment`, `local.objective` and
`desed_task.ema`, what is measured in `local.results.validation` and
`local.results.predictions`.
Source: docs/recipe.md, "One training step".
"""

from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from desed_task import process_group
from desed_task.augment import AugmentContext, DistortedBatch, distort
from desed_task.dataio.batch import Batch, ClipKind
from desed_task.ema import MeanTeacher, make_teacher
from desed_task.nnet.crnn import CRNN, SEDOutput
from desed_task.schedules import warmup_factor
from local.build import build_augment_settings, build_log_mel, build_network, build_scaler
from local.classes import CLASSES
from local.config.load import Config
from local.cross_task import counted_classes
from local.objective import Objective, sod_labels
from local.rank_state import (
    STATE_KEYS,
    add_rank_states,
    average_statistics,
    draw_anew,
    own_state,
    restore_rank,
)
from local.results.pictures import ClipPicture
from local.results.predictions import SetPredictions
from local.results.validation import ValidationPredictions, selection_metric

SELECTION_METRIC = "val/obj_metric"


class CrossTaskSED(pl.LightningModule):
    """Cross-task collaborative training of a CRNN with a mean teacher.

    Args:
        config: the experiment.
        steps_per_epoch: optimiser steps of an epoch, for the length of the warm-up.

    `networks` holds `student` and, with `training.mean_teacher`, `teacher`.
    """

    counted: Tensor

    def __init__(self, config: Config, steps_per_epoch: int = 1) -> None:
        super().__init__()
        self.config = config
        self.ramp_length = config.training.n_epochs_warmup * steps_per_epoch
        self.log_mel = build_log_mel(config)
        self.scaler = build_scaler(config)
        student = build_network(config)
        self.networks = nn.ModuleDict({"student": student})
        self.mean_teacher: MeanTeacher | None = None
        if config.training.mean_teacher:
            self.networks["teacher"] = make_teacher(student)
        counted = counted_classes(CLASSES, config.cross_task.excluded_classes)
        self.register_buffer("counted", counted, persistent=False)
        seed = config.training.seed + process_group.rank()
        self.generator = torch.Generator().manual_seed(seed)
        self._resumed: dict[str, Any] | None = None
        self._validation: dict[str, ValidationPredictions] = {}
        self._picture: ClipPicture | None = None
        self.test_predictions: dict[int, dict[str, SetPredictions]] = {}

    # ---- shared ------------------------------------------------------------------------------

    def features(self, audio: Tensor, mel_gain: Tensor | None = None) -> Tensor:
        """Audio `(batch, samples)` -> scaled log-mel `(batch, bands, frames)`, float32."""
        with torch.no_grad():
            return self.scaler(self.log_mel(audio, mel_gain))

    @property
    def objective(self) -> Objective:
        """The weighted loss terms, with their constants on this module's device."""
        return Objective(self.config, self.counted)

    # ---- training ----------------------------------------------------------------------------

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam; the learning rate of step n is scaled by the warm-up factor r(n)."""
        opt = self.config.opt
        rate = opt.lr * (process_group.ranks() if opt.scale_lr_with_ranks else 1)
        optimizer = torch.optim.Adam(
            self.networks["student"].parameters(),
            lr=rate,
            betas=(opt.betas[0], opt.betas[1]),
            fused=self._fuses_optimizer,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: self._ramp(done + 1))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    @property
    def _fuses_optimizer(self) -> bool:
        """Whether Adam is one kernel on a GPU, which unscales fp16 gradients as well.

        Gradients that are clipped must be unscaled before.
        """
        return self.device.type == "cuda" and not self.config.training.gradient_clip

    def on_fit_start(self) -> None:
        """Compile what is to be compiled, once the networks are on their device."""
        if self.config.training.compile:
            for network in self.networks.values():
                cast(CRNN, network).compile_convolutions()

    def on_train_start(self) -> None:
        """Bind the teacher to the student's weights on their device; go on with drawn numbers."""
        if "teacher" in self.networks:
            self.mean_teacher = MeanTeacher(
                self.networks["student"],
                self.networks["teacher"],
                self.config.training.ema_factor,
            )
        if self._resumed is not None:
            state = own_state(self._resumed)
            if state is not None:
                restore_rank(state, self.networks, self.generator)
            else:
                draw_anew(self.config.training.seed, self.global_step, self.generator)
            self._resumed = None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step on originals and distorted copies; returns the total loss."""
        distorted = distort(batch, self._augment_context())
        features = self.features(distorted.audio, distorted.mel_gain)
        student: SEDOutput = self.networks["student"](features)
        teacher: SEDOutput | None = None
        if "teacher" in self.networks:
            with torch.no_grad():
                teacher = self.networks["teacher"](features)
        consistency_weight = self.config.training.const_max * self._ramp(self.global_step + 1)
        with torch.autocast(features.device.type, enabled=False):
            terms = self.objective.terms(student, teacher, distorted)
            loss = self.objective.total(terms, consistency_weight)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(distorted.audio))
        if self._logs_this_step:
            self._log_step(terms, consistency_weight, student, teacher, distorted)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """After optimiser step n the teacher takes its share of the student."""
        super().optimizer_step(*args, **kwargs)
        if self.mean_teacher is not None:
            # Lightning counts the step after this hook.
            self.mean_teacher.update(self.global_step + 1)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the norm of all gradients together (unscaled, before clipping)."""
        if not self._logs_this_step:
            return
        gradients = [p.grad for p in self.networks["student"].parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and self._fuses_optimizer:
            norm = norm / scaler.get_scale()
        self.log("train/gradient_norm", norm)

    @property
    def _logs_this_step(self) -> bool:
        """Whether the loggers take this step's figures; making them may wait for the GPU."""
        return (self.global_step + 1) % cast(Any, self.trainer).log_every_n_steps == 0

    def _ramp(self, step: int) -> float:
        return warmup_factor(step, self.ramp_length, self.config.training.warmup_exponent)

    def _augment_context(self) -> AugmentContext:
        return AugmentContext(
            settings=build_augment_settings(self.config),
            sample_rate=self.config.data.fs,
            n_frames=self.config.grid.n_frames,
            n_mels=self.config.feats.n_mels,
            generator=self.generator,
        )

    def _log_step(
        self,
        terms: dict[str, Tensor],
        consistency_weight: float,
        student: SEDOutput,
        teacher: SEDOutput | None,
        distorted: DistortedBatch,
    ) -> None:
        figures: dict[str, Any] = {f"train/{name}": t.detach() for name, t in terms.items()}
        figures["train/consistency_weight"] = consistency_weight
        figures["train/learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        synthetic = distorted.rows(ClipKind.SYNTHETIC)
        if student.sod_logits is not None and len(synthetic):
            states = student.sod_logits[synthetic].argmax(dim=-1)
            labels = sod_labels(distorted.targets[synthetic], self.counted)
            figures["train/sod_accuracy"] = (states == labels).float().mean()
        agreement = self.objective.selected(teacher) if teacher is not None else None
        if agreement is not None:
            figures["train/teacher_agreement"] = agreement.float().mean()
        self.log_dict(figures, batch_size=len(distorted.audio))

    # ---- validation --------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Begin with empty predictions, and the same networks in all processes."""
        average_statistics(self.networks)
        self._validation = {
            name: ValidationPredictions(self.config, self.datamodule.validation_truth)
            for name in self.networks
        }
        interval = self.config.training.picture_interval
        due = interval > 0 and self.current_epoch // self._validation_interval % interval == 0
        self._picture = ClipPicture(self.config) if due and process_group.rank() == 0 else None

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect the predictions of student and teacher, in evaluation mode."""
        features = self.features(batch.audio)
        outputs: dict[str, SEDOutput] = {}
        for name, network in self.networks.items():
            outputs[name] = network(features, with_sod=self._picture is not None)
            self._validation[name].add(batch, outputs[name])
        if self._picture is not None:
            self._picture.offer(batch, features, outputs)

    def on_validation_epoch_end(self) -> None:
        """Log the figures of both networks and the one that selects the best checkpoint."""
        for name, predictions in self._validation.items():
            predictions.gather()
            metrics = process_group.first_rank(predictions.metrics)
            self.log_dict({f"val/{name}/{key}": value for key, value in metrics.items()})
            if name == "student":
                selection = selection_metric(metrics, self.config)
                self.log(SELECTION_METRIC, selection, prog_bar=True)
        self._validation = {}
        if self._picture is not None:
            self._picture.write(self)
            self._picture = None

    @property
    def datamodule(self) -> Any:
        """The trainer's data module."""
        return cast(Any, self.trainer).datamodule

    @property
    def _validation_interval(self) -> int:
        return self.config.training.validation_interval

    # ---- test --------------------------------------------------------------------------------

    def on_test_epoch_start(self) -> None:
        """Begin with empty predictions."""
        self.test_predictions = {
            number: {name: SetPredictions(self.config, self.counted) for name in self.networks}
            for number in range(len(self.trainer.num_test_batches))
        }

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect raw and corrected scores of student and teacher."""
        features = self.features(batch.audio)
        for name, network in self.networks.items():
            self.test_predictions[dataloader_idx][name].add(batch, network(features))

    def on_test_epoch_end(self) -> None:
        """Process 0 gets the predictions of all."""
        for of_set in self.test_predictions.values():
            for predictions in of_set.values():
                predictions.gather()

    # ---- checkpoints -------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the configuration and the processes' state, as plain values and tensors."""
        checkpoint["hyper_parameters"] = self.config.model_dump()
        add_rank_states(checkpoint, self.networks, "networks.", self.generator)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of the processes until training starts."""
        self._resumed = {key: checkpoint[key] for key in STATE_KEYS if key in checkpoint}
