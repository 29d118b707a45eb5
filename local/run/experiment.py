"""One run: its folder, its trainer, fitting and testing."""

import itertools
import logging
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tqdm import tqdm

from desed_task.errors import InputError
from desed_task.process_group import first_rank, part, rank, ranks, summed
from local.config.load import Config
from local.data import DesedDataModule
from local.random_state import seed_everything
from local.rank_state import number_of_ranks
from local.results.files import WrittenResults, write_results
from local.results.postprocessing import (
    CHECKPOINT_KEY,
    dump_tuned,
    is_tuned,
    load_tuned,
    tuned_methods,
)
from local.results.scoring import tune_networks
from local.run.callbacks import Checkpoints, Preemption, Progress
from local.run.checkpoints import (
    add_to_checkpoint,
    checkpoint_config,
    checkpoint_weights,
    is_ours,
    read_checkpoint,
)
from local.run.description import describe
from local.run.folders import CHECKPOINTS, CONFIG_FILE, LAST_CHECKPOINT
from local.run.machine import Machine
from local.sed_trainer import SELECTION_METRIC, CrossTaskSED

MISSING_FILE = "missing_clips.txt"
LOG_INTERVAL = 10  # steps
FAST_BATCHES = 2


def make_trainer(config: Config, machine: Machine, run: Path) -> pl.Trainer:
    """Lightning's trainer with the run's loggers, checkpoints and progress bar."""
    training = config.training
    limit = FAST_BATCHES if machine.fast else 1.0
    tensorboard = TensorBoardLogger(str(run.parent), name="", version=run.name)
    callbacks: list[Callback] = [
        # A bar that shows every step's loss makes a GPU wait for it.
        Progress(refresh_rate=LOG_INTERVAL if machine.gpus else 1),
        Checkpoints(
            dirpath=run / CHECKPOINTS,
            filename="best",
            monitor=SELECTION_METRIC,
            mode="max",
            save_last=True,
            enable_version_counter=False,
        ),
        EarlyStopping(SELECTION_METRIC, mode="max", patience=training.early_stop_patience),
        Preemption(run / CHECKPOINTS / LAST_CHECKPOINT),
    ]
    return pl.Trainer(
        benchmark=bool(machine.gpus),  # convolutions of constant shapes: the fastest ones
        max_epochs=1 if machine.fast else training.n_epochs,
        limit_train_batches=limit,
        limit_val_batches=limit,
        limit_test_batches=limit,
        check_val_every_n_epoch=1 if machine.fast else training.validation_interval,
        accumulate_grad_batches=training.accumulate_batches,
        gradient_clip_val=training.gradient_clip or None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=[tensorboard, CSVLogger(str(run), name="csv")],
        callbacks=callbacks,
        enable_model_summary=False,
        **machine.trainer_options(config),
    )


class Training(NamedTuple):
    """All that a fit takes."""

    trainer: pl.Trainer
    module: CrossTaskSED
    data: DesedDataModule


def fit(
    config: Config, machine: Machine, run: Path, resume: Path | None, *, check: bool = False
) -> WrittenResults | None:
    """Train, then test the best checkpoint; what process 0 judges is None in the others.

    Args:
        config: the experiment.
        machine: what to run on.
        run: the run's folder.
        resume: a checkpoint of ours to go on from.
        check: ask the libraries for the test's figures as well.
    """
    trainer, module, data = get_ready(config, machine, run, resume)
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    best = trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]
    if not Path(best).is_file():
        raise InputError(
            f"--resume_from_checkpoint {resume}: no epoch was left to train; raise "
            f"training.n_epochs {config.training.n_epochs}, or test it with --test_from_checkpoint"
        )
    say(f"Testing {best}")
    trainer.test(module, datamodule=data, ckpt_path=best, weights_only=True, verbose=False)
    part()
    if rank() > 0:
        return None
    predictions = module.test_predictions
    tuned = {}
    if data.tune:
        validation = predictions[len(data.test_sets)]
        tuned = tune_networks(validation, data.validation_truth, config)
        add_to_checkpoint(Path(best), {CHECKPOINT_KEY: dump_tuned(tuned)})
    return write_results(predictions, data.test_sets, config, run, tuned, check=check)


def get_ready(config: Config, machine: Machine, run: Path, resume: Path | None) -> Training:
    """Prepare the data, make networks and trainer, and say so; arguments as of `fit`.

    Process 0 checks and writes before the others read.
    """
    data = DesedDataModule(
        config, config.grid, run / MISSING_FILE, tune=bool(tuned_methods(config))
    )

    def prepare() -> None:
        if resume is not None:
            check_resumable(config, resume)
        save_config(config, run)
        data.prepare_data()
        data.setup("fit")

    first_rank(prepare)
    data.setup("fit")
    trainer = make_trainer(config, machine, run)
    loader = data.train_dataloader()
    steps = -(-len(loader) // config.training.accumulate_batches)
    batches = min(len(loader), FAST_BATCHES) if machine.fast else len(loader)
    trainer.log_every_n_steps = min(LOG_INTERVAL, batches)  # type: ignore[attr-defined]
    seed_everything(config.training.seed)
    module = CrossTaskSED(config, steps)
    if rank() > 0:  # the same weights, but other dropout
        seed_everything(config.training.seed + rank())
    if config.scaler.statistic == "dataset" and resume is None:
        fit_scaler(module, itertools.islice(loader, batches))
    say(describe(module, machine, steps))
    return Training(trainer, module, data)


def check_resumable(config: Config, checkpoint: Path) -> None:
    """Raise InputError for a checkpoint that training cannot go on from with a configuration."""
    content = read_checkpoint(checkpoint)
    if not is_ours(content):
        raise InputError(
            f"--resume_from_checkpoint {checkpoint}: the published layout holds no state that "
            "training could go on from; test it with --test_from_checkpoint"
        )
    own = checkpoint_config(content, str(checkpoint))
    same = {
        "net": own.net == config.net,
        "feats": own.feats == config.feats,
        "scaler": own.scaler == config.scaler,
        "training.mean_teacher": own.training.mean_teacher == config.training.mean_teacher,
        "data.fs and data.audio_max_len": own.grid == config.grid,
    }
    changed = [name for name, is_same in same.items() if not is_same]
    if changed:
        raise InputError(
            f"--resume_from_checkpoint {checkpoint}: was trained with another "
            f"{', '.join(changed)}; what shapes the network stays as it was"
        )
    before, now = number_of_ranks(content), ranks()
    progress = content["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    if before != now and not progress["is_last_batch"]:
        raise InputError(
            f"--resume_from_checkpoint {checkpoint}: was saved in the middle of an epoch that "
            f"{before} process(es) shared; {now} cannot go on with it: use {before}, or a "
            "checkpoint of an epoch's end"
        )


def test(
    config: Config, machine: Machine, run: Path, checkpoint: Path, *, check: bool
) -> WrittenResults | None:
    """Test a checkpoint, ours or published; what process 0 judges is None in the others.

    Post-processing that the checkpoint holds no parameters for is tuned first, on the synthetic
    validation set; the checkpoint stays as it is.
    """
    content = read_checkpoint(checkpoint)
    weights = checkpoint_weights(content, str(checkpoint))
    has_teacher = any(name.startswith("networks.teacher.") for name in weights)
    if config.training.mean_teacher != has_teacher:
        training = config.training.model_copy(update={"mean_teacher": has_teacher})
        config = config.model_copy(update={"training": training})
    module = CrossTaskSED(config)
    load_weights(module, weights, str(checkpoint))
    trainer = make_trainer(config, machine, run)
    if rank() == 0:
        save_config(config, run)
    tuned = load_tuned(content, str(checkpoint))
    tune = not is_tuned(tuned, module.networks, config)
    data = DesedDataModule(config, config.grid, run / MISSING_FILE, tune=tune)
    trainer.test(module, datamodule=data, verbose=False)
    part()
    if rank() > 0:
        return None
    predictions = module.test_predictions
    if tune:
        validation = predictions[len(data.test_sets)]
        tuned = tune_networks(validation, data.validation_truth, config)
    return write_results(predictions, data.test_sets, config, run, tuned, check=check)


def load_weights(module: CrossTaskSED, weights: dict[str, torch.Tensor], source: str) -> None:
    """Load weights by our names. Raises InputError naming what does not fit."""
    own = module.state_dict()
    # The front end follows from the configuration; the published layout names it otherwise.
    wanted = {name for name in own if name.startswith(("networks.", "scaler."))}
    missing = sorted(wanted - weights.keys())
    misfits = [
        f"{name}: {tuple(weights[name].shape)} in the file, {tuple(own[name].shape)} in the network"
        for name in sorted(wanted & weights.keys())
        if weights[name].shape != own[name].shape
    ]
    if missing or misfits:
        problem = misfits[0] if misfits else f"{missing[0]} is missing"
        raise InputError(
            f"{source}: does not fit the network of the configuration "
            f"({len(missing)} tensors missing, {len(misfits)} of another shape): {problem}"
        )
    module.load_state_dict({name: weights[name] for name in wanted}, strict=False)


def fit_scaler(module: CrossTaskSED, loader: Any) -> None:
    """Take the scaler's statistics from one epoch of training clips, those of all processes."""
    title = "Statistics of the training set"
    batches = tqdm(loader, desc=title, unit="batch", disable=rank() > 0)
    features = (module.log_mel(batch.with_float_audio().audio) for batch in batches)
    module.scaler.fit(features, summed)


def say(text: str) -> None:
    """Print it, once for all processes."""
    if rank() == 0:
        print(text)


def save_config(config: Config, run: Path) -> None:
    """Write the resolved configuration into the run's folder."""
    (run / CONFIG_FILE).write_text(config.to_yaml(), encoding="utf-8")


def quiet_lightning() -> None:
    """Leave out Lightning's hints that do not concern this recipe's users."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        ".*isinstance.treespec, LeafSpec.*",  # of Lightning's own code
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
        ".*your dataloader is not resumable.*",  # it is: local.data.EpochLoader
        ".*when logging on epoch level in distributed setting.*",  # all processes log the same
        ".*Total length of .* across ranks is zero.*",
    ):
        warnings.filterwarnings("ignore", message)
