"""What goes on beside the training: progress bar, checkpoints, the end that SIGTERM asks for."""

import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, TQDMProgressBar

from desed_task import process_group
from desed_task.errors import Terminated

LOADERS_GRACE = 60  # seconds


class Progress(TQDMProgressBar):
    """A progress bar without the run's number."""

    def get_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Loss, latest and best selection metric."""
        metrics = super().get_metrics(*args, **kwargs)
        metrics.pop("v_num", None)
        trainer = args[0]
        for callback in trainer.checkpoint_callbacks:
            best = getattr(callback, "best_model_score", None)
            if best is not None:
                metrics["best"] = float(best)
        return metrics


class Checkpoints(ModelCheckpoint):
    """Best and last checkpoint, the last one after every validation, the best or not.

    Knows its best one again when the run's folder was moved.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning's, and `last` where the epoch was not the best."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._should_save_on_train_epoch_end(trainer):
            self._keep_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning's, and `last` where the epoch was not the best."""
        super().on_validation_end(trainer, pl_module)
        if not self._should_save_on_train_epoch_end(trainer):
            self._keep_last(trainer)

    def _keep_last(self, trainer: pl.Trainer) -> None:
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a resumed run, its paths in the folder of now."""
        here = Path(str(self.dirpath))

        def moved(path: str) -> str:
            new = here / Path(path).name
            return str(new) if path and new.is_file() else path

        state_dict = dict(state_dict)
        if (here / Path(state_dict["best_model_path"]).name).is_file():
            state_dict["dirpath"] = self.dirpath
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state_dict[key] = moved(state_dict[key])
        best = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        state_dict["best_k_models"] = best
        super().load_state_dict(state_dict)


class Preemption(Callback):
    """SIGTERM during a fit: a checkpoint that loses nothing, then `Terminated`.

    The signal is looked at after every optimiser step and every batch of validation. A step that
    was completed is kept; a validation that was begun is begun anew when the run is resumed.
    After the last batch of an epoch the validation that follows, or where none does the next
    epoch's first step, is waited for: Lightning resumes from there without loss.

    A signal to any process of a run ends all, after the same step: they ask each other whenever
    they look, which all of them do equally often, whatever batches of a validation they have.

    Args:
        path: where to save the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signalled = False
        self._asked = False
        self._validating = False
        self._looks_left = 0  # in the validation that goes on

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signal over from Lightning, which gives it back itself after the fit."""
        signal.signal(signal.SIGTERM, self._note)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A test has nothing to save: it ends at once."""
        signal.signal(signal.SIGTERM, end_at_once)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Save and end after a step, where the epoch has further batches."""
        loop = trainer.fit_loop
        if loop.epoch_loop.batch_progress.is_last_batch or loop._should_accumulate():
            return
        self._end_if_asked(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save and end before a validation."""
        self._validating = True
        self._end_if_asked(trainer)
        self._looks_left = process_group.largest(int(sum(trainer.num_val_batches)))

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Save and end in the middle of a validation."""
        self._looks_left -= 1
        self._end_if_asked(trainer)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look as often as the process with the most batches does."""
        while process_group.ranks() > 1 and self._looks_left > 0:
            self._looks_left -= 1
            self._end_if_asked(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The validation is complete."""
        self._validating = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End between two epochs, where the first one's checkpoint is saved."""
        saved = trainer.checkpoint_callback._last_global_step_saved == trainer.global_step  # type: ignore[union-attr]
        if saved and trainer.global_step > 0 and self._is_asked():
            raise Terminated(self._message())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End after the last epoch."""
        if self._is_asked():
            raise Terminated(self._message())

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A validation that was interrupted begins anew: its predictions are not kept."""
        if self._validating and self._asked:
            begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            progress |= {"total": dict(begun), "current": dict(begun), "is_last_batch": False}

    def _note(self, *args: Any) -> None:
        self._signalled = True

    def _is_asked(self) -> bool:
        self._asked = process_group.any_rank(self._signalled)
        return self._asked

    def _end_if_asked(self, trainer: pl.Trainer) -> None:
        if self._is_asked():
            trainer.save_checkpoint(self._path)
            raise Terminated(self._message())

    def _message(self) -> str:
        return (
            f"terminated: {self._path} is saved; go on with --resume_from_checkpoint {self._path}"
        )


def end_at_once(*args: Any) -> None:
    """Handler of SIGTERM where there is nothing to save."""
    raise Terminated("terminated")


def outlive_sigterm(worker: int) -> None:
    """Let a loading process go on for a while after SIGTERM.

    A signal to all processes of a job must not take the data from a step that is being completed.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LOADERS_GRACE))
