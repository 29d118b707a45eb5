"""What differs between the processes of a run: drawn numbers, and statistics of batch norm.

Each process draws its own augmentations and dropout, and, without `training.sync_batchnorm`,
normalises its own batches. A checkpoint holds the running statistics' mean, to test with, and what
each process had, to go on with.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from desed_task import process_group
from local.random_state import random_state, restore_random_state, seed_everything

RANKS, RANDOM_STATE = "ranks", "random_state"
STATE_KEYS = (RANKS, RANDOM_STATE)  # of a checkpoint


def running_statistics(networks: nn.Module) -> dict[str, Tensor]:
    """The networks' batch-norm statistics, by name."""
    return {name: buffer for name, buffer in networks.named_buffers() if buffer.is_floating_point()}


def average_statistics(networks: nn.Module) -> None:
    """Give all processes the mean of their running statistics."""
    if process_group.ranks() == 1:
        return
    own = list(running_statistics(networks).values())
    for buffer, mean in zip(own, process_group.averages(own), strict=True):
        buffer.copy_(mean)


def add_rank_states(
    checkpoint: dict[str, Any], networks: nn.Module, prefix: str, generator: torch.Generator
) -> None:
    """Add the state of all processes to a checkpoint; its weights get the mean statistics.

    Args:
        checkpoint: Lightning's, with `state_dict`.
        networks: the networks, which stay as they are.
        prefix: of their names in the `state_dict`.
        generator: what this process draws its augmentations from.
    """
    drawn = random_state(generator)
    checkpoint[RANDOM_STATE] = drawn
    if process_group.ranks() == 1:
        return
    own = running_statistics(networks)
    kept = {name: buffer.detach().cpu().clone() for name, buffer in own.items()}
    checkpoint[RANKS] = process_group.gather_all({RANDOM_STATE: drawn, "statistics": kept})
    for name, mean in zip(own, process_group.averages(list(own.values())), strict=True):
        checkpoint["state_dict"][prefix + name] = mean


def number_of_ranks(checkpoint: Mapping[str, Any]) -> int:
    """How many processes trained what a checkpoint holds."""
    return len(checkpoint.get(RANKS, [None]))


def own_state(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """What this process goes on from; None: as many processes as now did not train it."""
    alone = {RANDOM_STATE: checkpoint[RANDOM_STATE], "statistics": {}}
    states: list[dict[str, Any]] = checkpoint.get(RANKS, [alone])
    return states[process_group.rank()] if len(states) == process_group.ranks() else None


def restore_rank(state: Mapping[str, Any], networks: nn.Module, generator: torch.Generator) -> None:
    """Go on with the numbers and the statistics of a checkpoint's `own_state`."""
    restore_random_state(state[RANDOM_STATE], generator)
    own = running_statistics(networks)
    for name, kept in state["statistics"].items():
        own[name].copy_(kept)


def draw_anew(seed: int, step: int, generator: torch.Generator) -> None:
    """Draw numbers of this process's own, others in every process and after every step."""
    words = np.random.SeedSequence([seed, process_group.rank(), step]).generate_state(1)
    seed_everything(int(words[0]))
    generator.manual_seed(int(words[0]))
