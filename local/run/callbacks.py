"""Beside the training loop: pictures, checkpoints, the end of a training that improves no more."""

import logging
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import callbacks
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from local.config.load import Config
from local.lightning_internals import move_checkpoint_paths, save_last, saves_at_epoch_end
from local.results.pictures import ClipPicture
from local.run.checkpoints import read_checkpoint

logger = logging.getLogger(__name__)


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


class TrainingTime(Callback):
    """CPU seconds of a training with its validations, in this process and all its threads.

    A resumed run continues at the seconds of its checkpoint.

    Attributes:
        seconds: up to the latest checkpoint.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._measured = 0.0  # CPU seconds of the process that are included

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to measure."""
        self._measured = time.process_time()

    def state_dict(self) -> dict[str, Any]:
        """Seconds for the checkpoint."""
        now = time.process_time()
        self.seconds += now - self._measured
        self._measured = now
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Seconds of the checkpoint that is resumed."""
        self.seconds = state_dict["seconds"]


class Checkpoints(ModelCheckpoint):
    """Best and last checkpoint; the last one after every validation, the best or not.

    Finds its best one again when the run's folder was moved or copied.
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
        """Restore the state of a resumed run, where its best checkpoint is in the run's folder.

        A copied checkpoint has the paths of the old run, whose files are not read or replaced.
        """
        state = move_checkpoint_paths(state_dict, Path(str(self.dirpath)))
        if state is not None and self._is_best(state):
            super().load_state_dict(state)
        elif state_dict["best_model_path"]:
            text = "%s: no %s of the resumed run: the best of the further epochs becomes the best"
            logger.warning(text, self.dirpath, Path(state_dict["best_model_path"]).name)

    def _is_best(self, state: dict[str, Any]) -> bool:
        """Whether the best checkpoint's file is the one of the state, not that of another run."""
        content = read_checkpoint(state["best_model_path"])
        stored = content.get("callbacks", {}).get(self.state_key, {})
        return bool(stored.get("best_model_score") == state["best_model_score"])


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
