"""Devices of a run: the CPU, a GPU, or several GPUs with one process for each."""

from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning.plugins.environments import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy

from desed_task import process_group
from desed_task.desed import BY_NAME
from desed_task.errors import InputError
from desed_task.ranks import launched_ranks
from local.config.load import Config
from local.lightning_internals import SingleProcess


@dataclass(frozen=True)
class Machine:
    """Devices to run on.

    Attributes:
        gpus: number of GPUs of each node; 0: the CPU.
    """

    gpus: int

    def precision(self, config: Config) -> Any:
        """Lightning's name of the precision. Raises InputError for one that needs a GPU."""
        wanted = config.training.precision
        if wanted == "auto":
            wanted = "16-mixed" if self.gpus else 32
        if wanted == "16-mixed" and not self.gpus:
            raise InputError(
                "training.precision: 16-mixed needs a GPU: on a CPU use 32 or bf16-mixed"
            )
        return "32-true" if wanted == 32 else wanted

    def check(self, config: Config, *, trains: bool = True) -> None:
        """Raise InputError for settings that the devices or the number of processes rule out."""
        self.precision(config)
        if trains and config.training.compile and not self.gpus:
            raise InputError("training.compile: true needs a GPU: it makes a CPU slower; use false")
        ranks, training = max(self.gpus, process_group.ranks()), config.training
        if ranks > 1 and training.backend is None:
            raise InputError(
                f"training.backend: null is for one process, got {ranks}: "
                "add --set training.backend=ddp"
            )
        if ranks > 1 and training.sync_batchnorm and not self.gpus:
            raise InputError(
                "training.sync_batchnorm: true needs GPUs: PyTorch synchronises batch norm on "
                "GPUs only; on CPUs use false"
            )

    def trainer_options(self, config: Config) -> dict[str, Any]:
        """Options of Lightning's trainer for the devices and the processes.

        DDP does not broadcast buffers in every step: the processes' batch-norm statistics are
        averaged where they are used (`local.rank_state`).
        """
        options: dict[str, Any] = {
            "accelerator": "gpu" if self.gpus else "cpu",
            "precision": self.precision(config),
            "plugins": [
                TorchElasticEnvironment() if process_group.is_joined() else SingleProcess()
            ],
        }
        if config.training.backend is None:
            return options | {"devices": 1}
        strategy = DDPStrategy(
            broadcast_buffers=False, find_unused_parameters=not all_parameters_used(config)
        )
        own = process_group.own_ranks()
        return options | {
            "devices": own.local_ranks,
            "num_nodes": own.nodes,
            "strategy": strategy,
            "sync_batchnorm": config.training.sync_batchnorm and self.gpus > 0,
        }


def all_parameters_used(config: Config) -> bool:
    """Whether every parameter of the student gets a gradient in every step.

    The three supervised terms reach all of the network; without one of them, and with an encoder
    that is trained, DDP has to search for those without.
    """
    if config.encoder is not None and config.encoder.train:
        return False  # an encoder may skip layers in training
    losses = config.losses
    labels = {BY_NAME[name].labels for name, clips in config.clips_per_set.items() if clips}
    strong = losses.sed_strong > 0 and "strong" in labels
    weak = losses.sed_weak > 0 and "weak" in labels
    return strong and weak and (losses.sod > 0 or not config.net.sod_branch)


def choose_gpus(wanted: int | None) -> int:
    """Number of GPUs to use: as wanted; None: one, or the CPU (0) where PyTorch cannot use one.

    Raises InputError where wanted GPUs cannot be used.
    """
    if wanted == 0:
        return 0
    problem = _gpu_problem(wanted or 1)
    if problem is None:
        return wanted or 1
    if wanted is None:
        print(f"Using the CPU: {problem}")
        return 0
    raise InputError(f"--gpus {wanted}: {problem}; or use --gpus 0, the CPU")


def _gpu_problem(wanted: int) -> str | None:
    """Why PyTorch cannot use this process's GPU, or as many as wanted; None: it can."""
    if torch.version.cuda is None:
        return (
            "this build of PyTorch is for CPUs: install one for CUDA, see "
            "https://pytorch.org/get-started/locally"
        )
    own = launched_ranks()
    try:
        torch.cuda.init()
        available = torch.cuda.device_count()
        if wanted > available:
            return f"expected at most {available} GPUs, which PyTorch can use on this node"
        if wanted == 1 or own is not None:  # fails where its memory is used up
            torch.zeros(1, device=torch.device("cuda", own.local_rank if own else 0))
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return None
