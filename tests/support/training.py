"""Trainings of tests: as the command line trains, with a record of every step."""

import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from desed_task import process_group
from desed_task.dataio.batch import Batch
from local.config.load import Config
from local.run.experiment import prepare_fit
from local.run.machine import Machine
from local.sed_trainer import SELECTION_METRIC, CrossTaskSED

CPU = Machine(gpus=0)


class Recorder(pl.Callback):
    """Records every step and every validation; sends a signal to its process where asked to.

    Args:
        hook: `step` (its start), `validation step` (its start) or `metrics` (of a validation).
        call: number of the call of that hook, from 1, in which the signal is sent.
        weights: whether to record the networks' parameters.
        number: the signal.

    Attributes:
        clips: names of the clips of every step.
        rates: learning rate of every step.
        losses: total loss of every step.
        consistency: consistency weight of every step (where every step is logged).
        metrics: selection metric of every validation.
        seeds: of the global generator and of the augmentations' one.
        student, teacher: parameters before the first step and after every step.
    """

    def __init__(
        self,
        hook: str = "",
        call: int = 0,
        *,
        weights: bool = False,
        number: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.clips: list[tuple[str, ...]] = []
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.consistency: list[float] = []
        self.metrics: list[float] = []
        self.student: list[dict[str, Tensor]] = []
        self.teacher: list[dict[str, Tensor]] = []
        self.seeds: tuple[int, int] = (0, 0)
        self._hook, self._calls_left = hook, call
        self._weights = weights
        self._number = number

    def _signal_if_due(self, hook: str) -> None:
        if hook == self._hook:
            self._calls_left -= 1
            if self._calls_left == 0:
                os.kill(os.getpid(), self._number)

    def on_fit_start(self, trainer: pl.Trainer, module: Any) -> None:
        self.seeds = (torch.initial_seed(), module.generator.initial_seed())

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._record_weights(module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: Any, batch: Batch, *args: Any
    ) -> None:
        self.clips.append(batch.names)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self._signal_if_due("step")

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, *args: Any
    ) -> None:
        self._record_weights(module)
        self.losses.append(float(module.loss))
        if "train/consistency_weight" in trainer.callback_metrics:
            self.consistency.append(float(trainer.callback_metrics["train/consistency_weight"]))

    def on_validation_batch_start(self, *args: Any) -> None:
        self._signal_if_due("validation step")

    def on_validation_epoch_end(self, *args: Any) -> None:
        self._signal_if_due("metrics")

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        self.metrics.append(float(trainer.callback_metrics[SELECTION_METRIC]))

    def _record_weights(self, module: Any) -> None:
        if self._weights:
            for name in ("student", "teacher"):
                parameters = module.networks[name].named_parameters()
                getattr(self, name).append({key: p.detach().clone() for key, p in parameters})


class Trained(NamedTuple):
    """A fit and what happened in it."""

    module: CrossTaskSED
    trainer: pl.Trainer
    recorder: Recorder


def train(
    config: Config,
    run: Path,
    recorder: Recorder | None = None,
    *,
    resume: Path | None = None,
    log_interval: int | None = None,
) -> Trained:
    """Train as the command line does, in this process (which may be one of several)."""
    if process_group.rank() == 0:
        run.mkdir(parents=True, exist_ok=True)
    recorder = recorder or Recorder()
    trainer, module, data = prepare_fit(config, CPU, run, resume)
    if log_interval is not None:
        trainer.log_every_n_steps = log_interval  # type: ignore[attr-defined]
    trainer.callbacks.insert(0, recorder)  # type: ignore[attr-defined]
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return Trained(module, trainer, recorder)


def metrics(trainer: pl.Trainer, prefix: str = "") -> dict[str, float]:
    """Latest values that were logged under names with a prefix."""
    logged = trainer.callback_metrics.items()
    return {name: float(value) for name, value in logged if name.startswith(prefix)}
