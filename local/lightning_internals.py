"""Everything that relies on private or unstable parts of Lightning, read from version 2.6.6.

Names with an underscore, the layout of the loops' progress in a checkpoint, the texts of warnings:
another version may change them without notice. No other file may use them, and
tests/local/test_lightning_internals.py fails with the reason on another version.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from fsspec.implementations.local import LocalFileSystem
from lightning_fabric.utilities import cloud_io
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.trainer.connectors.checkpoint_connector import _CheckpointConnector
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from desed_task.process_group import rank

TESTED_VERSION = "2.6.6"

# ---- nothing but the command line and the configuration decides --------------------------------


class OwnTrainer(pl.Trainer):
    """A trainer that neither the shell's variables nor files outside the run's folder change.

    Lightning reads each of its options from PL_TRAINER_OPTION, and its ranks from the variables of
    SLURM and other clusters. In a SLURM job it resumes a new training from `hpc_ckpt_N.ckpt` of
    the current folder and requeues the job after SIGUSR1. It takes `::` in a path for a chain of
    file systems.

    Args:
        folder: in place of the current folder.
        options: as of Lightning; `plugins` with an environment, as `SingleProcess`.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        read_local_files()
        cast(Any, rank_zero_only).rank = rank()
        without_variables = cast(Any, pl.Trainer.__init__).__wrapped__
        without_variables(self, default_root_dir=str(folder), **options)
        self._checkpoint_connector = _GivenCheckpoint(self)


class _GivenCheckpoint(_CheckpointConnector):
    """Loads the checkpoint that the caller names; without one, none."""

    def _parse_ckpt_path(self, state_fn: Any, ckpt_path: Any, *args: Any, **kwargs: Any) -> Any:
        return ckpt_path


class SingleProcess(LightningEnvironment):
    """The environment of a run without a launcher; reads and changes no variables of one."""

    @property
    def creates_processes_externally(self) -> bool:
        """True, so that Lightning starts no processes."""
        return True

    @property
    def main_address(self) -> str:
        """The address of this machine."""
        return "127.0.0.1"

    def local_rank(self) -> int:
        """The only one."""
        return 0

    def node_rank(self) -> int:
        """The only one."""
        return 0

    def teardown(self) -> None:
        """Change nothing."""


def read_local_files() -> None:
    """Let Lightning take every path for one of this machine, whatever its characters."""
    cast(Any, cloud_io).url_to_fs = lambda path, **_: (LocalFileSystem(), path)


# ---- where training is -----------------------------------------------------------------------


def training_position(trainer: pl.Trainer) -> tuple[int, int]:
    """Current epoch, and number of its batches that were fetched for training.

    Lightning makes the first iterator of a loader before it restores these counters, and it
    announces an epoch to samplers, but not to batch samplers. `local.loading.EpochLoader` therefore
    asks for them when its first batch is due: a resumed run gets the rest of its epoch.
    """
    return trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_progress.current.ready


def stepped_within_epoch(trainer: pl.Trainer) -> bool:
    """Whether the current batch completed an optimiser step and the epoch has further batches.

    A checkpoint of such a moment is resumed without loss. One between accumulated batches would
    lose their gradients; one after the last batch would skip the validation that follows.
    """
    loop = trainer.fit_loop
    return not (loop.epoch_loop.batch_progress.is_last_batch or loop._should_accumulate())


def logs_this_step(trainer: pl.Trainer) -> bool:
    """Whether the loggers write the current step's values; fetching them may wait for the GPU."""
    return (trainer.global_step + 1) % cast(Any, trainer).log_every_n_steps == 0


# ---- learning rate ---------------------------------------------------------------------------


def learning_rate(trainer: pl.Trainer) -> float:
    """Learning rate of the current step, of the first group of parameters."""
    return float(trainer.optimizers[0].param_groups[0]["lr"])


def set_learning_rates(
    trainer: pl.Trainer, rates: Sequence[float], factor: float, betas: Sequence[float]
) -> None:
    """Replace what Lightning restored from a checkpoint.

    Args:
        trainer: with one Adam and one scheduler.
        rates: of each group of parameters, which the scheduler scales.
        factor: scale of the next step.
        betas: of Adam.
    """
    (optimizer,), (scheduler,) = trainer.optimizers, trainer.lr_scheduler_configs
    scheduler.scheduler.base_lrs = list(rates)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group |= {"betas": tuple(betas), "initial_lr": rate, "lr": rate * factor}


def set_fused(checkpoint: Mapping[str, Any], fused: bool | None) -> None:
    """Let a checkpoint's Adam run as one kernel or several, as on this device.

    The optimiser would take its kernel from the checkpoint, whatever the device, and keep its step
    counts on the device that this kernel needs.
    """
    for state in checkpoint.get("optimizer_states", []):
        for group in state["param_groups"]:
            group["fused"] = fused


# ---- checkpoints -----------------------------------------------------------------------------


def last_checkpoint(trainer: pl.Trainer) -> str:
    """Path of `last`; empty where none was saved."""
    return getattr(trainer.checkpoint_callback, "last_model_path", "")


def saved_at_this_step(trainer: pl.Trainer) -> bool:
    """Whether the first checkpoint callback saved after the latest optimiser step."""
    saved = cast(Any, trainer.checkpoint_callback)._last_global_step_saved
    return saved == trainer.global_step > 0


def saves_at_epoch_end(callback: ModelCheckpoint, trainer: pl.Trainer) -> bool:
    """Whether the callback saves at the end of a training epoch; else at that of a validation."""
    return callback._should_save_on_train_epoch_end(trainer)


def save_last(callback: ModelCheckpoint, trainer: pl.Trainer) -> None:
    """Save `last`, unless it was saved after this optimiser step.

    With `save_last=True` Lightning saves `last` only together with a checkpoint that is among the
    best; a run would be resumed from the best epoch, not from the latest.
    """
    if not callback._should_skip_saving_checkpoint(trainer):
        callback._save_last_checkpoint(trainer, callback._monitor_candidates(trainer))


def move_checkpoint_paths(state: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """State of a `ModelCheckpoint` that holds one best checkpoint, with its paths in `folder`.

    None where the best checkpoint is not there. Lightning drops the best checkpoint's score when a
    run's folder was moved, and tests and replaces the one in the old folder.
    """
    if not (state["best_model_path"] and (folder / Path(state["best_model_path"]).name).is_file()):
        return None

    def moved(path: str) -> str:
        return str(folder / Path(path).name) if path else ""

    state = dict(state) | {"dirpath": str(folder)}
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = moved(state[key])
    state["best_k_models"] = {moved(path): score for path, score in state["best_k_models"].items()}
    return state


def trained_epochs(checkpoint: Mapping[str, Any]) -> int:
    """Number of epochs of a checkpoint whose last batch was trained on."""
    return checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]


def ended_with_epoch(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint was saved after the last batch of an epoch."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    return progress["is_last_batch"]


def restart_validation(checkpoint: dict[str, Any]) -> None:
    """Let a run that is resumed from the checkpoint repeat the validation from its first batch.

    Lightning would continue with the next batch, without the predictions of those before. With
    these counters it takes the validation for begun, and no batch for processed.
    """
    begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    progress |= {"total": dict(begun), "current": dict(begun), "is_last_batch": False}


# ---- several processes -----------------------------------------------------------------------


def skip_sigterm_broadcast(trainer: pl.Trainer) -> None:
    """Let no process ask before every batch whether process 0 got SIGTERM.

    Lightning does it with a tensor on the GPU and waits for its value. `local.run.preemption`
    handles the signal.
    """
    epoch_loop: Any = trainer.fit_loop.epoch_loop
    epoch_loop._broadcast_sigterm_tensor = lambda: None


# ---- mixed precision -------------------------------------------------------------------------


def has_loss_scale(trainer: pl.Trainer) -> bool:
    """Whether fp16's scaler multiplies the loss, and skips steps that are not finite."""
    return getattr(trainer.precision_plugin, "scaler", None) is not None


def loss_scale(trainer: pl.Trainer) -> float:
    """What fp16's scaler multiplies the loss by; 1 in other precisions."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return scaler.get_scale() if scaler is not None else 1.0


# ---- messages --------------------------------------------------------------------------------

IRRELEVANT_WARNINGS = (
    r"Found \d+ module\(s\) in eval mode at the start of training",  # training.freeze
    ".*isinstance.treespec, LeafSpec.*",  # a deprecation within Lightning's own code
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
    ".*your dataloader is not resumable.*",  # it is: local.loading.EpochLoader
    ".*when logging on epoch level in distributed setting.*",  # all processes log the same value
    ".*Total length of .* across ranks is zero.*",  # local.data checks every process's share
)


def silence_lightning() -> None:
    """Hide Lightning's hints and those of its warnings that do not apply to this recipe."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for message in IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", message)
