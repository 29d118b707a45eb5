"""When Lightning's loop does what, and what follows for a training on DESED."""

import statistics
import time
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from benchmarks.devices import synchronize
from benchmarks.validation import DESED

EPOCHS, STEPS = 200, 236  # of the recipe on DESED


class Projection(NamedTuple):
    """What 200 epochs on DESED would take, from what was measured.

    Attributes:
        step_s: a step, its wait for data included.
        validation_s: a validation of `validated` clips.
        validated: clips.
        between_s: what else an epoch has: checkpoints, starting its loader.
    """

    step_s: float
    validation_s: float
    validated: int
    between_s: float

    @property
    def desed_validation_s(self) -> float:
        """A validation of DESED's clips, in proportion to their number."""
        return self.validation_s * sum(DESED) / self.validated

    @property
    def minutes(self) -> float:
        """All epochs."""
        epoch = STEPS * self.step_s + self.desed_validation_s + self.between_s
        return EPOCHS * epoch / 60


class LoopClock(Callback):
    """Times stretches of steps, validations and whole epochs, from the second epoch on.

    Attributes:
        steps: seconds of a step, the mean of each stretch; what lies between two steps is in it.
        waits: seconds each step waited for its data.
        idle: the same, or 0 where a GPU still had work when the data came: the most it was idle.
        validations, epochs: seconds.
    """

    def __init__(self, stretch: int) -> None:
        self._stretch = stretch
        self.steps: list[float] = []
        self.waits: list[float] = []
        self.idle: list[float] = []
        self.validations: list[float] = []
        self.epochs: list[float] = []
        self._began = self._mark = self._validating = 0.0
        self._event: torch.cuda.Event | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hear of every batch that arrives."""
        data: Any = trainer
        data.datamodule.training.arrived = lambda wait: self._arrived(wait, trainer)

    def _arrived(self, wait: float, trainer: pl.Trainer) -> None:
        if trainer.current_epoch > 0:
            busy = self._event is not None and not self._event.query()
            self.waits.append(wait)
            self.idle.append(0.0 if busy else wait)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The last epoch is over, the next begins."""
        now = self._now(pl_module)
        if trainer.current_epoch > 1:
            self.epochs.append(now - self._began)
        self._began = now

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, n: int
    ) -> None:
        """A stretch may end here, and the next begin."""
        if pl_module.device.type == "cuda":
            self._event = torch.cuda.Event()
            self._event.record()
        if (n + 1) % self._stretch:
            return
        now = self._now(pl_module)
        if trainer.current_epoch > 0 and n >= self._stretch:
            self.steps.append((now - self._mark) / self._stretch)
        self._mark = now

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A validation begins."""
        self._validating = self._now(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A validation is complete, figures included; the checkpoint is not saved yet."""
        if trainer.current_epoch > 0:
            self.validations.append(self._now(pl_module) - self._validating)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The last epoch is over."""
        self.epochs.append(self._now(pl_module) - self._began)

    def _now(self, pl_module: pl.LightningModule) -> float:
        synchronize(pl_module.device)
        return time.perf_counter()

    def projection(self, validated: int, steps: int) -> Projection:
        """From the medians; `steps` is the number of steps in an epoch that was measured."""
        step, validation = statistics.median(self.steps), statistics.median(self.validations)
        rest = statistics.median(self.epochs) - validation - steps * step
        return Projection(step, validation, validated, max(0.0, rest))
