"""One run: its folder, its trainer, fitting and testing."""

import itertools
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from desed_task.errors import InputError
from local.callbacks import Checkpoints, Preemption, Progress
from local.checkpoints import (
    add_to_checkpoint,
    checkpoint_config,
    checkpoint_weights,
    is_ours,
    read_checkpoint,
)
from local.config import Config
from local.data import DesedDataModule
from local.postprocessing import (
    CHECKPOINT_KEY,
    covers,
    dump_tuning,
    needs_tuning,
    stored_tuning,
)
from local.runs import CHECKPOINTS, CONFIG_FILE, LAST_CHECKPOINT
from local.scoring import Outcome, report, tune_networks
from local.sed_trainer import SELECTION_METRIC, CrossTaskSED

MISSING_FILE = "missing_clips.txt"
LOG_INTERVAL = 10  # steps
FAST_BATCHES = 2


@dataclass(frozen=True)
class Machine:
    """What to run on.

    Attributes:
        gpus: number of GPUs; 0: the CPU.
        fast: two batches of everything instead of all.
    """

    gpus: int
    fast: bool

    def precision(self, config: Config) -> Any:
        """Lightning's name of the precision. Raises InputError where the device has none such."""
        wanted = config.training.precision
        if config.training.compile and not self.gpus:
            raise InputError("training.compile: needs a GPU (on a CPU it makes training slower)")
        if wanted == "auto":
            wanted = "16-mixed" if self.gpus else 32
        if wanted == "16-mixed" and not self.gpus:
            raise InputError(
                "training.precision: 16-mixed needs a GPU; on a CPU use 32 or bf16-mixed"
            )
        return "32-true" if wanted == 32 else wanted


def choose_gpus(wanted: int) -> int:
    """GPUs to use: as many as wanted, or the CPU (0) where there is none, which it says.

    Raises InputError for more than one: a run uses one device.
    """
    if wanted > 1:
        raise InputError(f"--gpus {wanted}: a run uses one device; allowed: 0 (CPU) and 1")
    if wanted == 1 and not torch.cuda.is_available():
        print("No GPU found: using the CPU.")
        return 0
    return wanted


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
        accelerator="gpu" if machine.gpus else "cpu",
        devices=1,
        precision=machine.precision(config),
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
    )


def fit(
    config: Config, machine: Machine, run: Path, resume: Path | None, *, check: bool = False
) -> Outcome:
    """Train, then test the best checkpoint.

    Args:
        config: the experiment.
        machine: what to run on.
        run: the run's folder.
        resume: a checkpoint of ours to go on from.
        check: ask the libraries for the test's figures as well.
    """
    if resume is not None:
        check_resumable(config, resume)
    trainer = make_trainer(config, machine, run)
    save_config(config, run)
    tune = needs_tuning(config)
    data = DesedDataModule(config, config.grid, run / MISSING_FILE, tune=tune)
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    steps = -(-len(loader) // config.training.accumulate_batches)
    batches = min(len(loader), FAST_BATCHES) if machine.fast else len(loader)
    trainer.log_every_n_steps = min(LOG_INTERVAL, batches)  # type: ignore[attr-defined]
    pl.seed_everything(config.training.seed, workers=True, verbose=False)
    module = CrossTaskSED(config, steps)
    if config.scaler.statistic == "dataset" and resume is None:
        fit_scaler(module, itertools.islice(loader, batches))
    del loader
    print(describe(module, machine, steps))
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    best = trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]
    if not Path(best).is_file():
        raise InputError(
            f"--resume_from_checkpoint {resume}: no epoch was left to train; raise "
            f"training.n_epochs {config.training.n_epochs}, or test it with --test_from_checkpoint"
        )
    print(f"Testing {best}")
    trainer.test(module, datamodule=data, ckpt_path=best, weights_only=True, verbose=False)
    tuned = tune_networks(module, data, config) if tune else {}
    if tuned:
        add_to_checkpoint(Path(best), {CHECKPOINT_KEY: dump_tuning(tuned)})
    return report(module, data, config, run, tuned, check=check)


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


def test(config: Config, machine: Machine, run: Path, checkpoint: Path, *, check: bool) -> Outcome:
    """Test a checkpoint, ours or published.

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
    save_config(config, run)
    tuned = stored_tuning(content, str(checkpoint))
    tune = not covers(tuned, list(module.networks), config)
    data = DesedDataModule(config, config.grid, run / MISSING_FILE, tune=tune)
    trainer.test(module, datamodule=data, verbose=False)
    if tune:
        tuned = tune_networks(module, data, config)
    return report(module, data, config, run, tuned, check=check)


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
    """Take the scaler's statistics from one epoch of training clips."""
    batches = tqdm(loader, desc="Statistics of the training set", unit="batch")
    module.scaler.fit(module.log_mel(batch.with_float_audio().audio) for batch in batches)


def save_config(config: Config, run: Path) -> None:
    """Write the resolved configuration into the run's folder."""
    (run / CONFIG_FILE).write_text(config.to_yaml(), encoding="utf-8")


def describe(module: CrossTaskSED, machine: Machine, steps: int) -> str:
    """What is about to be trained, and on what."""
    config = module.config
    student = module.networks["student"]
    parameters = sum(parameter.numel() for parameter in student.parameters())
    sizes = config.training.clips_per_set
    shares = " + ".join(f"{size} {name}" for name, size in sizes.items() if size)
    device = torch.cuda.get_device_name() if machine.gpus else "CPU"
    lines = [
        f"Parameters      {parameters:,} ({', '.join(module.networks)})",
        f"Multiply-adds   {count_multiply_adds(module) / 1e6:,.1f} million per clip",
        f"Batch           {shares} clips",
        f"Steps per epoch {steps} (of {config.training.n_epochs} epochs)",
        f"Device          {device}, precision {machine.precision(config)}",
    ]
    if not config.net.sod_branch:
        lines.append("SOD task        off, and with it: " + ", ".join(WITHOUT_SOD))
    return "\n".join(lines)


WITHOUT_SOD = (
    "SOD loss and consistency",
    "cross-task consistency",
    "pseudo-label selection",
    "score correction",
)


@torch.no_grad()
def count_multiply_adds(module: CrossTaskSED) -> int:
    """Multiply-adds of the student for one clip (convolutions, matrix products)."""
    grid, network = module.config.grid, module.networks["student"]
    features = torch.zeros(1, module.config.feats.n_mels, grid.n_hops)
    was_training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter:
        network(features)
    network.train(was_training)
    return counter.get_total_flops() // 2


def quiet_lightning() -> None:
    """Leave out Lightning's hints that do not concern this recipe's users."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        ".*isinstance.treespec, LeafSpec.*",  # of Lightning's own code
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
        ".*your dataloader is not resumable.*",  # it is: local.data.EpochLoader
    ):
        warnings.filterwarnings("ignore", message)
