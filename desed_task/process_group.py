"""Communication between the processes of a run; without effect in a single process.

`local.run.launch` starts and joins the processes. Every function that communicates does so over the
CPU, so that it waits for no GPU, and must be called by all processes equally often and in the same
order.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from desed_task.errors import FaultError, InputError, as_fault, exit_status
from desed_task.ranks import Ranks

T = TypeVar("T")


_SINGLE = Ranks(0, 1, 0, 1)
_own = _SINGLE
_control: dist.ProcessGroup | None = None


def join(own: Ranks, control: dist.ProcessGroup) -> None:
    """Make this process a member of the process group, which communicates over `control` (gloo)."""
    global _own, _control
    _own, _control = own, control


def leave() -> None:
    """Leave the process group after all have arrived here; ranks do not change."""
    global _control
    if _control is not None:
        dist.barrier(group=_control)
        dist.destroy_process_group()
        _control = None


def own_ranks() -> Ranks:
    """Ranks of this process."""
    return _own


def is_joined() -> bool:
    """Whether this process has joined a process group (which may have one member)."""
    return _own is not _SINGLE


def rank() -> int:
    """Number of this process, from 0. Process 0 writes, prints and decides."""
    return _own.rank


def ranks() -> int:
    """Number of processes."""
    return _own.ranks


def from_first_rank(function: Callable[[], T]) -> T:
    """Result of a function that process 0 alone calls, in all processes.

    Where it raises InputError or a fault of the system, process 0 raises it and the others exit
    with the same status, so that there is one message.
    """
    if ranks() == 1:
        return function()
    outcome: list[Any] = [None, None]
    failure: Exception | None = None
    if rank() == 0:
        try:
            outcome[0] = function()
        except (InputError, FaultError, OSError, RuntimeError) as error:
            if not isinstance(error, InputError) and as_fault(error) is None:
                raise
            failure, outcome[1] = error, exit_status(error)
    dist.broadcast_object_list(outcome, src=0, group=_control)
    if failure is not None:
        raise failure
    if outcome[1] is not None:
        sys.exit(outcome[1])
    return outcome[0]


def first_rank_first(function: Callable[[], T]) -> T:
    """Result of a function that every process calls, process 0 before the others.

    A mistake that all would find is reported once, as by `from_first_rank`.
    """
    own: list[T] = []
    from_first_rank(lambda: own.append(function()))
    return own[0] if own else function()


def gather(value: T) -> list[T]:
    """Values of all processes, by rank, in process 0; an empty list in the others."""
    if ranks() == 1:
        return [value]
    values: list[Any] | None = [None] * ranks() if rank() == 0 else None
    dist.gather_object(value, values, dst=0, group=_control)
    return values or []


def gather_all(value: T) -> list[T]:
    """Values of all processes, by rank, in each of them."""
    if ranks() == 1:
        return [value]
    values: list[Any] = [None] * ranks()
    dist.all_gather_object(values, value, group=_control)
    return values


def largest(number: int) -> int:
    """The largest of the numbers that the processes pass."""
    if ranks() == 1:
        return number
    tensor = torch.tensor(number)
    dist.all_reduce(tensor, dist.ReduceOp.MAX, group=_control)
    return int(tensor)


def summed(tensor: Tensor) -> Tensor:
    """Sum over the processes of a tensor that has one shape in all; bit-equal in all."""
    if ranks() == 1:
        return tensor
    total = tensor.detach().cpu().clone()
    dist.all_reduce(total, group=_control)
    return total.to(tensor.device)


def averages(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Mean over the processes of each tensor; bit-equal in all.

    Tensors that are equal in all processes keep their values to the last bit.
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


def own_share(number: int) -> range:
    """Indices of the clips, of `number`, that this process evaluates: every `ranks`-th."""
    return range(rank(), number, ranks())
