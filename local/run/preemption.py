"""The end of a run after SIGTERM, SIGUSR1 or Ctrl-C, or without a standard output."""

import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from desed_task import process_group
from desed_task.errors import CLOSED, INTERRUPTED, OUTPUT_CLOSED, Terminated
from local.lightning_internals import (
    restart_validation,
    saved_at_this_step,
    skip_sigterm_broadcast,
    stepped_within_epoch,
)

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
_CLOSED = OUTPUT_CLOSED - 128  # SIGPIPE, which Python ignores
_WORDS = {signal.SIGINT: "interrupted", _CLOSED: CLOSED}


class Preemption(Callback):
    """After a signal during a fit: a checkpoint that loses nothing, then `Terminated`.

    The signals are SIGTERM, SIGUSR1 (which queues send some time before it, if asked to) and
    Ctrl-C; where the reader of the standard output left, the run ends as after a signal.

    The signal is noticed after every optimiser step and every batch of validation. No completed
    step is lost; a validation that was begun starts again when the run is resumed. After the last
    batch of an epoch the run continues to the validation that follows, or without one to the first
    step of the next epoch: Lightning resumes from there without loss.

    A signal to any process ends all, after the same step: every check communicates, and all
    processes check equally often, whatever their numbers of validation batches. A second Ctrl-C
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
        for number in ENDING:
            signal.signal(number, self._note if stage == "fit" else end_at_once)
        if stage != "fit" and self._signalled:  # after the fit
            end_at_once()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace Lightning's handler, which would end this process alone."""
        skip_sigterm_broadcast(trainer)
        for number in (signal.SIGINT, *ENDING):
            signal.signal(number, self._note)

    def note_closed_output(self) -> None:
        """End as after a signal, since nobody reads the progress."""
        self._signalled = _CLOSED

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
        signalled = process_group.largest(self._signalled)
        if signalled:  # 0 must not replace a signal that came while the processes communicated
            self._signalled = signalled
        self._ending = signalled > 0
        return self._ending

    def _end_if_signalled(self, trainer: pl.Trainer) -> None:
        if self._is_any_signalled():
            trainer.save_checkpoint(self._path, weights_only=False)
            raise self._end()

    def _end(self) -> Terminated:
        word = _WORDS.get(self._signalled, "terminated")
        message = f"{word}: saved {self._path}; resume with --resume_from_checkpoint {self._path}"
        return Terminated(message, 128 + self._signalled)


def end_interrupted(*args: Any) -> None:
    """Handle Ctrl-C where there is nothing to save."""
    raise Terminated("interrupted", INTERRUPTED)


def end_at_once(number: int = signal.SIGTERM, frame: Any = None) -> None:
    """Handle SIGTERM and SIGUSR1 where there is nothing to save."""
    raise Terminated("terminated", 128 + number)
