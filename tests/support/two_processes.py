"""Program of the tests of several processes: `python -m tests.support.two_processes MODE …`.

It starts two processes of itself. `train DATA OUT`: everything that takes a training; each process
saves what it recorded as `OUT/rank_R.pt`; then process 1 makes a mistake. `command …`: the command
line, on the CPU.
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
from desed_task.ranks import launched_ranks
from local.config.load import Config
from local.data import DesedDataModule
from local.run import launch
from local.run.experiment import fit_scaler
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT
from local.sed_trainer import CrossTaskSED
from tests.support.given_batches import PLAIN, given_batch, gradients, half
from tests.support.tiny import tiny_config
from tests.support.tiny_transformer import TRAINED
from tests.support.training import CPU, Recorder, metrics, train
from train_sed import main as command_line

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
# Which process gets SIGTERM, in which call of which hook.
MOMENTS = {
    "in the middle of an epoch": (1, "step", 3),
    "in a batch of validation that only process 0 has": (0, "validation step", 3),
}


def recorded_training(
    config: Config, run: Path, recorder: Recorder | None = None, resume: Path | None = None
) -> dict[str, Any]:
    """Record of a training in this process: clips, metrics, weights, random numbers."""
    module, trainer, recorder = train(config, run, recorder, resume=resume)
    return {
        "clips": recorder.clips,
        "metrics": recorder.metrics,
        "seeds": recorder.seeds,
        "validation": metrics(trainer, "val/"),
        "weights": {name: tensor.clone() for name, tensor in module.state_dict().items()},
        "steps": trainer.global_step,
        "next": (torch.rand(3).tolist(), torch.rand(3, generator=module.generator).tolist()),
    }


def interrupted_training(config: Config, run: Path, moment: tuple[int, str, int]) -> dict[str, Any]:
    """The same with SIGTERM to one process, and resumed."""
    signalled, hook, call = moment
    first = Recorder(hook, call) if process_group.rank() == signalled else Recorder()
    message = ""
    try:
        train(config, run, first)
    except Terminated as error:
        message = str(error)
    last = run / CHECKPOINTS / LAST_CHECKPOINT
    if process_group.rank() == 0:
        shutil.copy(last, run / "interrupted.ckpt")
    rest = recorded_training(config, run, resume=last)
    return rest | {
        "clips": first.clips + rest["clips"],
        "metrics": first.metrics + rest["metrics"],
        "message": message,
    }


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
    with launch.joined_process_group(gpus=0):
        rank = process_group.rank()
        found: dict[str, Any] = {"whole": recorded_training(config, out / "whole")}
        for number, (name, moment) in enumerate(MOMENTS.items()):
            found[name] = interrupted_training(config, out / str(number), moment)
        found["gradients"] = step_gradients(tiny_config(data, *SETTINGS, *PLAIN, *TRAINED))
        found["statistics"] = statistics(tiny_config(data, *SETTINGS, *STANDARD))
        fewer = tiny_config(data, *SETTINGS, *WITHOUT_GRADIENTS, "training.n_epochs=1")
        found["fewer terms"] = recorded_training(fewer, out / "fewer")["weights"]
        torch.save(found, out / f"rank_{rank}.pt")
        if rank == 1:
            raise InputError("clip.wav: cannot be read")
        process_group.gather_all("an answer that never comes")


def main() -> int:
    """Run the chosen mode."""
    signal.signal(signal.SIGALRM, lambda *_: os._exit(99))
    signal.alarm(240)  # a process that hangs ends
    mode, *arguments = sys.argv[1:]
    if launched_ranks() is None:
        return launch.start_processes(2)
    if mode == "command":
        return command_line(arguments)
    train_everything(Path(arguments[0]), Path(arguments[1]))
    return 0


if __name__ == "__main__":
    run_cli(main)
