"""Beside the training loop: progress, checkpoints, the end of a run after SIGTERM or Ctrl-C."""

import signal
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning import callbacks
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from tqdm import tqdm

from desed_task import process_group
from desed_task.errors import INTERRUPTED, TERMINATED, Terminated
from local.config.load import Config
from local.lightning_internals import (
    move_checkpoint_paths,
    restart_validation,
    save_last,
    saved_at_this_step,
    saves_at_epoch_end,
    skip_sigterm_broadcast,
    stepped_within_epoch,
)
from local.results.pictures import ClipPicture


class Progress(Callback):
    """In a terminal one bar per epoch, else one line per epoch, on the standard output.

    A line has the epoch's mean loss, the selection metric where there was a validation, and the
    time. The loss stays on its device until it is shown: fetching it makes a GPU finish its work.

    Args:
        metric: name of the selection metric.
        interval: steps between two updates of the bar.
    """

    def __init__(self, metric: str, interval: int) -> None:
        self._metric = metric
        self._interval = interval
        self._bar: tqdm[Any] | None = None
        self._losses: list[torch.Tensor] = []
        self._validated = False
        self._start = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the time of a line: a run resumed within an epoch does not start that one."""
        self._start = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a bar, or the time of a line."""
        self._losses = []
        self._validated = False
        self._start = time.monotonic()
        title = f"Epoch {trainer.current_epoch}"
        self._bar = self._open(trainer, title, trainer.num_training_batches)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss on its device; show it from time to time."""
        self._losses.append(pl_module.loss)
        done = batch_idx + 1
        if self._bar is not None and (done % self._interval == 0 or done == self._bar.total):
            self._bar.set_postfix(loss=f"{self._fetch(pl_module.loss):.3g}", refresh=False)
            self._bar.update(done - self._bar.n)

    def on_validation_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Show in the bar that the networks are validated."""
        if self._bar is not None:
            self._bar.set_description(f"Epoch {trainer.current_epoch}, validation")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that the metric has a new value."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Complete the bar, or write the line."""
        if not trainer.is_global_zero:
            return
        values: dict[str, float] = {}
        if self._losses:  # none where the run was resumed at the validation
            values["loss"] = self._fetch(torch.stack(self._losses).mean())
        if self._validated:
            values[self._metric] = float(trainer.callback_metrics[self._metric])
            before = cast(Any, trainer.checkpoint_callback).best_model_score
            best = values[self._metric] if before is None else float(before)
            values["best"] = max(best, values[self._metric])
        if self._bar is not None:
            self._bar.set_description(f"Epoch {trainer.current_epoch}")
            self._bar.set_postfix(values)
            self._bar.close()
            self._bar = None
        else:
            seconds = time.monotonic() - self._start
            shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            print(f"Epoch {trainer.current_epoch}: {shown}, {seconds:.1f} s", flush=True)

    def on_exception(self, *args: Any) -> None:
        """Leave the terminal's line."""
        self.on_test_end()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the bar of a test."""
        self._bar = self._open(trainer, "Test", int(sum(trainer.num_test_batches)))

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update()

    def on_test_end(self, *args: Any) -> None:
        """Complete the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open(self, trainer: pl.Trainer, title: str, total: float) -> "tqdm[Any] | None":
        if not (trainer.is_global_zero and sys.stdout.isatty()):
            return None
        return tqdm(total=total, desc=title, unit="batch", file=sys.stdout, dynamic_ncols=True)

    def _fetch(self, loss: torch.Tensor) -> float:
        """Number in a tensor; on a GPU this waits for all work that was begun."""
        return float(loss)


class Pictures(Callback):
    """Draws a clip of one of every `training.picture_interval` validations, in process 0."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._picture: ClipPicture | None = None

    def on_validation_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Begin a picture, if one is due."""
        training = self._config.training
        validation = trainer.current_epoch // training.validation_interval
        due = training.picture_interval > 0 and validation % training.picture_interval == 0
        self._picture = ClipPicture(self._config) if due and trainer.is_global_zero else None

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Take a clip, with its number of sounds, which a validation does not predict."""
        if self._picture is not None:
            self._picture.offer(batch, lambda: pl_module.predict(batch))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the picture."""
        if self._picture is not None:
            self._picture.write(pl_module)
            self._picture = None


class Checkpoints(ModelCheckpoint):
    """Best and last checkpoint; the last one after every validation, the best or not.

    Finds its best one again when the run's folder was moved.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As Lightning, and `last` where the epoch was not the best."""
        super().on_train_epoch_end(trainer, pl_module)
        if saves_at_epoch_end(self, trainer):
            save_last(self, trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As Lightning, and `last` where the epoch was not the best."""
        super().on_validation_end(trainer, pl_module)
        if not saves_at_epoch_end(self, trainer):
            save_last(self, trainer)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a resumed run, with the run's current folder."""
        super().load_state_dict(move_checkpoint_paths(state_dict, Path(str(self.dirpath))))


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, with the patience of the configuration, and no further epoch after the end.

    Lightning restores a resumed run's patience from its checkpoint, and trains another epoch before
    it stops again. The name is part of the checkpoints.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore all but the patience."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End a run that had stopped when it was interrupted, in its test."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Preemption(Callback):
    """After SIGTERM or Ctrl-C during a fit: a checkpoint that loses nothing, then `Terminated`.

    The signal is noticed after every optimiser step and every batch of validation. No completed
    step is lost; a validation that was begun starts again when the run is resumed. After the last
    batch of an epoch the run continues to the validation that follows, or without one to the first
    step of the next epoch: Lightning resumes from there without loss.

    A signal to any process ends all, after the same step: they ask each other whenever they check,
    and all check equally often, whatever number of validation batches each has. A second Ctrl-C
    ends a single process at once.

    Args:
        path: where to save the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signalled = 0  # number of the signal to this process
        self._ending = False  # any process
        self._validating = False
        self._checks_left = 0  # in the current validation

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Handle the signals: note them in a fit; end at once in a test, which has nothing to save.

        Lightning puts its own handler over the one that it finds here, and restores this one at the
        end of the fit, also after an exception. A launcher's SIGTERM then does not disturb a
        process that is leaving.
        """
        # Lightning would turn KeyboardInterrupt into exit status 1.
        signal.signal(signal.SIGINT, end_interrupted)
        if stage == "fit":
            signal.signal(signal.SIGTERM, self._note)
        else:
            signal.signal(signal.SIGTERM, end_at_once)
            if self._signalled:  # after the fit
                end_at_once()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace Lightning's handler, which would end this process alone."""
        skip_sigterm_broadcast(trainer)
        signal.signal(signal.SIGINT, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Save and end after a step, where the epoch has further batches."""
        if stepped_within_epoch(trainer):
            self._end_if_signalled(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save and end before a validation."""
        self._validating = True
        self._end_if_signalled(trainer)
        self._checks_left = process_group.largest(int(sum(trainer.num_val_batches)))

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Save and end in the middle of a validation."""
        self._checks_left -= 1
        self._end_if_signalled(trainer)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check as often as the process with the most batches."""
        while process_group.ranks() > 1 and self._checks_left > 0:
            self._checks_left -= 1
            self._end_if_signalled(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The validation is complete."""
        self._validating = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End between two epochs, where the first one's checkpoint is saved."""
        if saved_at_this_step(trainer) and self._is_any_signalled():
            raise self._end()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End after the last epoch."""
        if self._is_any_signalled():
            raise self._end()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let an interrupted validation start again: its predictions are not saved."""
        if self._validating and self._ending:
            restart_validation(checkpoint)

    def _note(self, number: int, frame: Any) -> None:
        if number == self._signalled == signal.SIGINT and not process_group.is_joined():
            end_interrupted()
        self._signalled = number

    def _is_any_signalled(self) -> bool:
        self._signalled = process_group.largest(self._signalled)
        self._ending = self._signalled > 0
        return self._ending

    def _end_if_signalled(self, trainer: pl.Trainer) -> None:
        if self._is_any_signalled():
            trainer.save_checkpoint(self._path, weights_only=False)
            raise self._end()

    def _end(self) -> Terminated:
        word = "interrupted" if self._signalled == signal.SIGINT else "terminated"
        message = f"{word}: saved {self._path}; resume with --resume_from_checkpoint {self._path}"
        return Terminated(message, 128 + self._signalled)


def end_interrupted(*args: Any) -> None:
    """Handle Ctrl-C where there is nothing to save."""
    raise Terminated("interrupted", INTERRUPTED)


def end_at_once(*args: Any) -> None:
    """Handle SIGTERM where there is nothing to save."""
    raise Terminated("terminated", TERMINATED)
