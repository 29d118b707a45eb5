"""The recipe's own training on generated sets: Lightning's loop, callbacks and loggers."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from desed_task.dataio.batch import Batch
from local.config.load import Config
from local.data import DesedDataModule
from local.lightning_internals import silence_lightning
from local.run.experiment import LOG_INTERVAL, MISSING_FILE, Machine, make_trainer
from local.run.memory import keep_freed_memory
from local.sed_trainer import CrossTaskSED

TINY_NETWORK = (
    "training.batch_size=[1, 2, 2]",
    "training.batch_size_val=4",
    "training.n_epochs_warmup=1",
    "training.num_workers=0",
    "training.weak_split=0.75",
    "feats.n_mels=16",
    "feats.hop_length=1024",
    "feats.n_window=1024",
    "net.nb_filters=[4, 4, 8]",
    "net.kernel_size=[3, 3, 3]",
    "net.pooling=[[1, 2], [1, 2], [1, 2]]",
    "net.sed_filters=[8]",
    "net.sed_kernel_size=[3]",
    "net.sed_pooling=[[1, 2]]",
    "net.subspectral_blocks=1",
    "net.rnn_layers=1",
    "net.n_RNN_cell=8",
)
TINY = (*TINY_NETWORK, "data.audio_max_len=2", "training.picture_interval=10")
"""What makes an epoch of `TINY_SETS` take part of a second; of `confs/demo.yaml`."""
TINY_SETS = {
    "synthetic_train": 4,
    "weak": 8,
    "unlabelled": 6,
    "synthetic_validation": 3,
    "validation": 1,
    "public": 1,
}


class WaitingLoader:
    """A loader that notes how long each of its batches was waited for.

    Attributes:
        waits: seconds, one per batch since the beginning.
        arrived: called with the seconds when a batch is there.
    """

    arrived: Callable[[float], None] | None = None

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self.waits: list[float] = []

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        start = time.perf_counter()
        for batch in self._loader:
            self.waits.append(time.perf_counter() - start)
            if self.arrived is not None:
                self.arrived(self.waits[-1])
            yield batch
            start = time.perf_counter()


class WatchedData(DesedDataModule):
    """The recipe's data module, whose loaders tell what they were waited for, and stay."""

    training: WaitingLoader
    validation: tuple[WaitingLoader, ...] = ()

    def train_dataloader(self) -> Any:
        """The training batches."""
        self.training = WaitingLoader(super().train_dataloader())
        return self.training

    def val_dataloader(self) -> Any:
        """Both validation sets, by the same worker processes whenever they are asked for."""
        if not self.validation:
            self.validation = tuple(map(WaitingLoader, super().val_dataloader()))
        return list(self.validation)

    def waited_in_validation(self) -> float:
        """Seconds that validations have waited for clips since the beginning."""
        return sum(sum(loader.waits) for loader in self.validation)


class Training(NamedTuple):
    """All that a fit or a validation needs."""

    trainer: pl.Trainer
    module: CrossTaskSED
    data: WatchedData

    def fit(self) -> None:
        """Train and validate as configured; progress bars go to the standard error."""
        with redirect_stdout(sys.stderr):
            self.trainer.fit(self.module, datamodule=self.data)

    def validate(self) -> None:
        """Validate once; progress bars go to the standard error."""
        with redirect_stdout(sys.stderr):
            self.trainer.validate(self.module, datamodule=self.data, verbose=False)


def prepare(
    config: Config,
    device: torch.device,
    run: Path,
    *callbacks: Callback,
    module: type[CrossTaskSED] = CrossTaskSED,
) -> Training:
    """As `local.run.experiment.fit` begins: trainer, prepared data, and a module from its seed.

    Args:
        config: the experiment, its sets generated.
        device: `cpu` or a GPU.
        run: an empty folder.
        callbacks: beside the recipe's own.
        module: the class of the module.
    """
    silence_lightning()
    if device.type == "cpu":
        keep_freed_memory()
    trainer = make_trainer(config, Machine(gpus=int(device.type == "cuda"), fast=False), run)
    trainer.callbacks += callbacks  # type: ignore[attr-defined]
    data = WatchedData(config, config.grid, run / MISSING_FILE)
    with redirect_stdout(sys.stderr):
        data.prepare_data()
        data.setup("fit")
    batches = len(data.train_dataloader())
    steps = -(-batches // config.training.accumulate_batches)
    trainer.log_every_n_steps = min(LOG_INTERVAL, batches)  # type: ignore[attr-defined]
    pl.seed_everything(config.training.seed, workers=True, verbose=False)
    return Training(trainer, module(config, steps), data)
