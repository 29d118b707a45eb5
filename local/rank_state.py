"""State that each process of a run has for itself: random generators and batch-norm statistics.

Each process draws its own augmentations and dropout masks and, without `training.sync_batchnorm`,
normalises its own batches. A checkpoint holds the mean of the running statistics, to test with, and
the state of each process, to resume with.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from desed_task import process_group

# Keys of a checkpoint: one state per process, where there are several; process 0's generators.
RANKS, RANDOM_STATE = "ranks", "random_state"
STATE_KEYS = (RANKS, RANDOM_STATE)

# ---- random generators -----------------------------------------------------------------------


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch.

    Lightning's function of this name also writes the seed into the environment, from where it seeds
    a second time under DDP.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global one
    torch.manual_seed(seed)


def seed_process(seed: int, step: int, generator: torch.Generator) -> None:
    """Seed the global generators and the given one: differently in each process and step."""
    words = np.random.SeedSequence([seed, process_group.rank(), step]).generate_state(1)
    seed_everything(int(words[0]))
    generator.manual_seed(int(words[0]))


def random_state(generator: torch.Generator) -> dict[str, Any]:
    """State of the global generators and of the given one.

    Lists, numbers and tensors only: such a checkpoint is loaded without running code.
    """
    version, internal, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - the global one
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
    return {
        "python": [version, list(internal), gauss],
        "numpy": numpy_state,
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
        "augment": generator.get_state(),
    }


def restore_random_state(state: Mapping[str, Any], generator: torch.Generator) -> None:
    """Restore what `random_state` returned (of the GPUs: as many as there are now)."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    numpy_state = dict(state["numpy"])
    key = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    numpy_state["state"] = dict(numpy_state["state"]) | {"key": key}
    np.random.set_state(numpy_state)  # noqa: NPY002 - the global one
    torch.set_rng_state(state["torch"].cpu())
    available = torch.cuda.device_count()
    torch.cuda.set_rng_state_all([tensor.cpu() for tensor in state["cuda"][:available]])
    generator.set_state(state["augment"].cpu())


# ---- batch-norm statistics -------------------------------------------------------------------


def running_statistics(module: nn.Module) -> dict[str, Tensor]:
    """Running means and variances of all batch norms, by name."""
    return {
        name: buffer
        for name, buffer in module.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    }


def average_statistics(module: nn.Module) -> None:
    """Set the running statistics of all processes to their mean."""
    if process_group.ranks() == 1:
        return
    own = list(running_statistics(module).values())
    for buffer, mean in zip(own, process_group.averages(own), strict=True):
        buffer.copy_(mean)


# ---- checkpoints -----------------------------------------------------------------------------


def add_rank_states(
    checkpoint: dict[str, Any], module: nn.Module, generator: torch.Generator
) -> None:
    """Add the state of all processes to a checkpoint, and the mean statistics to its weights.

    Args:
        checkpoint: Lightning's, with `state_dict`.
        module: whose `state_dict` it is; not changed.
        generator: what this process draws its augmentations from.
    """
    generators = random_state(generator)
    checkpoint[RANDOM_STATE] = generators
    if process_group.ranks() == 1:
        return
    own = running_statistics(module)
    statistics = {name: buffer.detach().cpu().clone() for name, buffer in own.items()}
    checkpoint[RANKS] = process_group.gather_all(
        {RANDOM_STATE: generators, "statistics": statistics}
    )
    for name, mean in zip(own, process_group.averages(list(own.values())), strict=True):
        checkpoint["state_dict"][name] = mean


def number_of_ranks(checkpoint: Mapping[str, Any]) -> int:
    """Number of processes that trained a checkpoint."""
    return len(checkpoint.get(RANKS, [None]))


def own_state(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """State of this process in a checkpoint; None where another number of processes trained it."""
    single = {RANDOM_STATE: checkpoint[RANDOM_STATE], "statistics": {}}
    states: list[dict[str, Any]] = checkpoint.get(RANKS, [single])
    return states[process_group.rank()] if len(states) == process_group.ranks() else None


def restore_rank(state: Mapping[str, Any], module: nn.Module, generator: torch.Generator) -> None:
    """Restore the generators and the statistics of a checkpoint's `own_state`."""
    restore_random_state(state[RANDOM_STATE], generator)
    own = running_statistics(module)
    for name, stored in state["statistics"].items():
        # Older checkpoints have the names without that of the networks.
        own[name if name in own else f"networks.{name}"].copy_(stored)
