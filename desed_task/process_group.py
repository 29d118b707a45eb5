"""What the processes of a run tell each other; in a single process nothing happens.

`local.run.processes` brings them together. Everything here goes over the CPU, so that no GPU is
waited for, and must be called by all processes equally often and in the same order.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from desed_task.errors import InputError

T = TypeVar("T")


class Place(NamedTuple):
    """Which process this is: `rank` of `ranks`, and `local_rank` of `local_ranks` on its node."""

    rank: int
    ranks: int
    local_rank: int
    local_ranks: int

    @property
    def nodes(self) -> int:
        """Machines that take part, with equally many processes each."""
        return self.ranks // self.local_ranks


_ALONE = Place(0, 1, 0, 1)
_place = _ALONE
_control: dist.ProcessGroup | None = None


def enter(place: Place, control: dist.ProcessGroup) -> None:
    """Be one of several processes from now on, which talk over the group `control` (gloo)."""
    global _place, _control
    _place, _control = place, control


def part() -> None:
    """Take leave of the other processes: nothing more is said. Each keeps its rank."""
    global _control
    if _control is not None:
        dist.barrier(group=_control)
        dist.destroy_process_group()
        _control = None


def place() -> Place:
    """Which process this is; the only one where no others were joined."""
    return _place


def joined() -> bool:
    """Whether this process was started as one of a group (which may be of one)."""
    return _place is not _ALONE


def rank() -> int:
    """The number of this process, from 0. Process 0 writes, prints and decides."""
    return _place.rank


def ranks() -> int:
    """How many processes take part."""
    return _place.ranks


def first_rank(function: Callable[[], T]) -> T:
    """What the function returns in process 0, which alone calls it; there in all processes.

    Raises InputError in all processes where it is raised in process 0.
    """
    if ranks() == 1:
        return function()
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = function()
        except InputError as error:
            outcome[1] = str(error)
    dist.broadcast_object_list(outcome, src=0, group=_control)
    if outcome[1] is not None:
        raise InputError(outcome[1])
    return outcome[0]


def gather(value: T) -> list[T]:
    """The value of every process, by rank, in process 0; an empty list in the others."""
    if ranks() == 1:
        return [value]
    found: list[Any] | None = [None] * ranks() if rank() == 0 else None
    dist.gather_object(value, found, dst=0, group=_control)
    return found or []


def gather_all(value: T) -> list[T]:
    """The value of every process, by rank, in all of them."""
    if ranks() == 1:
        return [value]
    found: list[Any] = [None] * ranks()
    dist.all_gather_object(found, value, group=_control)
    return found


def largest(number: int) -> int:
    """The largest of the processes' numbers."""
    if ranks() == 1:
        return number
    tensor = torch.tensor(number)
    dist.all_reduce(tensor, dist.ReduceOp.MAX, group=_control)
    return int(tensor)


def any_rank(flag: bool) -> bool:
    """Whether any process says so."""
    return bool(largest(int(flag)))


def summed(tensor: Tensor) -> Tensor:
    """Sum over the processes of a tensor of one shape; bit-equal in all."""
    if ranks() == 1:
        return tensor
    total = tensor.detach().cpu().clone()
    dist.all_reduce(total, group=_control)
    return total.to(tensor.device)


def averages(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Mean over the processes of each tensor; bit-equal in all.

    Tensors that are equal already keep their values to the last bit.
    """
    if ranks() == 1 or not tensors:
        return list(tensors)
    # Sums of equal float32 numbers are exact in float64, and so is their mean.
    flat = torch.cat([tensor.detach().flatten().double().cpu() for tensor in tensors])
    means = (summed(flat) / ranks()).split([tensor.numel() for tensor in tensors])
    return [
        mean.view_as(tensor).to(tensor.device, tensor.dtype)
        for mean, tensor in zip(means, tensors, strict=True)
    ]


def share(number: int) -> range:
    """Which of a set's clips this process validates or tests: every `ranks`-th."""
    return range(rank(), number, ranks())
