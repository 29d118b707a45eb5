"""What tests of several processes run: `python -m tests.support.two_processes MODE …`, each rank.

`train DATA OUT`: everything that takes a training, with one group of processes; each saves what it
saw as `OUT/rank_R.pt`. `start`: the first process starts the second, which fails.
"""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from desed_task import process_group
from desed_task.errors import InputError, Terminated, run_cli
from local.config.load import Config
from local.data import DesedDataModule
from local.run import processes
from local.run.experiment import fit_scaler, get_ready
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT
from local.run.machine import Machine
from local.sed_trainer import CrossTaskSED
from tests.local.run.test_preemption import Recorder
from tests.support.given_batches import PLAIN, given_batch, gradients, half
from tests.support.tiny import tiny_config

CPU = Machine(gpus=0, fast=False)
# 2 steps of an epoch; in validation process 0 has 3 batches, process 1 has 2.
SETTINGS = (
    "training.backend=ddp",
    "training.batch_size=[1, 1, 1]",
    "training.batch_size_val=1",
    "training.picture_interval=0",
)
STANDARD = ("scaler.statistic=dataset", "scaler.normtype=standard")
# No term reaches the SOD branch's parameters or those of the weak predictions.
WITHOUT_GRADIENTS = (
    "training.train_sets=[synthetic]",
    "losses.sod=0",
    "losses.sod_consistency=0",
    "losses.cross_task=0",
    "losses.weak_consistency=0",
    "losses.self_consistency=0",
)
# Which process gets SIGTERM, when it is in which hook the how-manieth time.
MOMENTS = {
    "in the middle of an epoch": (1, "step", 3),
    "in a batch of validation that only process 0 has": (0, "validation step", 3),
}


def train(
    config: Config, run: Path, recorder: Recorder, resume: Path | None = None
) -> dict[str, Any]:
    """Train as the command line does; returns what this process saw."""
    if process_group.rank() == 0:
        run.mkdir(parents=True, exist_ok=True)
    trainer, module, data = get_ready(config, CPU, run, resume)
    trainer.callbacks.insert(0, recorder)  # type: ignore[attr-defined]
    drawn = torch.initial_seed(), module.generator.initial_seed()
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {
        "clips": recorder.clips,
        "figures": recorder.figures,
        "validation": {k: v for k, v in figures.items() if k.startswith("val/")},
        "weights": {name: tensor.clone() for name, tensor in module.state_dict().items()},
        "steps": trainer.global_step,
        "drawn": drawn,
        "next": (torch.rand(3).tolist(), torch.rand(3, generator=module.generator).tolist()),
    }


def interrupted(config: Config, run: Path, moment: tuple[int, str, int]) -> dict[str, Any]:
    """The same with SIGTERM to one process, and gone on with."""
    signalled, hook, call = moment
    first, rest = Recorder(), Recorder()
    if process_group.rank() == signalled:
        first = Recorder(hook, call)
    message = ""
    try:
        train(config, run, first)
    except Terminated as error:
        message = str(error)
    last = run / CHECKPOINTS / LAST_CHECKPOINT
    if process_group.rank() == 0:
        shutil.copy(last, run / "interrupted.ckpt")
    found = train(config, run, rest, last)
    clips, figures = first.clips + rest.clips, first.figures + rest.figures
    return found | {"clips": clips, "figures": figures, "message": message}


def step_gradients(config: Config) -> dict[str, dict[str, Tensor]]:
    """Gradients of a step on this process's half of one given batch, and of two."""
    options = CPU.trainer_options(config)
    options = {key: options[key] for key in ("devices", "num_nodes", "strategy", "plugins")}
    halves = [half(given_batch(config, seed), process_group.rank()) for seed in (3, 4)]
    return {
        "one batch": gradients(config, halves[:1], **options),
        "two batches": gradients(config, halves, **options | {"strategy": "ddp"}),
    }


def statistics(config: Config) -> dict[str, Tensor]:
    """The scaler's statistics of the training set."""
    data = DesedDataModule(config, config.grid, "missing.txt")
    data.setup("fit")
    module = CrossTaskSED(config)
    fit_scaler(module, data.train_dataloader())
    return dict(module.scaler.state_dict())


def train_everything(data: Path, out: Path) -> None:
    """One group of processes, one training after the other."""
    config = tiny_config(data, *SETTINGS)
    with processes.together(gpus=0):
        rank = process_group.rank()
        found: dict[str, Any] = {"whole": train(config, out / "whole", Recorder())}
        for number, (name, moment) in enumerate(MOMENTS.items()):
            found[name] = interrupted(config, out / str(number), moment)
        found["gradients"] = step_gradients(tiny_config(data, *SETTINGS, *PLAIN))
        found["statistics"] = statistics(tiny_config(data, *SETTINGS, *STANDARD))
        fewer = tiny_config(data, *SETTINGS, *WITHOUT_GRADIENTS, "training.n_epochs=1")
        found["fewer terms"] = train(fewer, out / "fewer", Recorder())["weights"]
        torch.save(found, out / f"rank_{rank}.pt")
        process_group.part()


def start_and_fail() -> None:
    """Process 0 starts process 1 and waits for it; process 1 makes a mistake."""
    join = processes._join
    processes._join = lambda place, on_gpu: join(place, on_gpu=False)
    with processes.together(gpus=2):
        line = f"all: {process_group.gather_all(process_group.rank())}\n"
        os.write(sys.stdout.fileno(), line.encode())  # at once, so that lines stay whole
        if process_group.rank() == 1:
            raise InputError("clip.wav: cannot be read")
        process_group.gather_all("never")


def main() -> None:
    """Run the chosen mode."""
    signal.signal(signal.SIGALRM, lambda *_: os._exit(99))
    signal.alarm(240)  # a process that hangs does not stay
    if sys.argv[1] == "start":
        start_and_fail()
    else:
        train_everything(Path(sys.argv[2]), Path(sys.argv[3]))


if __name__ == "__main__":
    run_cli(main)
