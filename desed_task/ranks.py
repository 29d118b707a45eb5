"""Number of this process among those that torchrun or `srun` started. Imports no PyTorch."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

from desed_task.errors import USAGE_ERROR, InputError

RANK_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # as `Ranks`
ADDRESS_VARIABLES = ("MASTER_ADDR", "MASTER_PORT")


class Ranks(NamedTuple):
    """A process's rank among all processes, and its local rank among those of its node."""

    rank: int
    ranks: int
    local_rank: int
    local_ranks: int

    @property
    def nodes(self) -> int:
        """Number of nodes; each has equally many processes."""
        return self.ranks // self.local_ranks


def launched_ranks() -> Ranks | None:
    """Rank of this process by torchrun's or `srun`'s variables; None without a launcher.

    Variables of a SLURM job that `srun` did not start, and some of torchrun's alone, as an earlier
    program left them, are no launcher. Raises InputError for variables that are no numbers.
    """
    if all(name in os.environ for name in (*RANK_VARIABLES, *ADDRESS_VARIABLES)):
        return Ranks(*map(_number, RANK_VARIABLES))
    tasks = _number("SLURM_STEP_NUM_TASKS", "1")
    if tasks == 1:
        return None
    nodes = _number("SLURM_STEP_NUM_NODES", "1")
    return Ranks(_number("SLURM_PROCID"), tasks, _number("SLURM_LOCALID"), tasks // nodes)


def _number(name: str, default: str = "") -> int:
    text = os.environ.get(name, default)
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{name}: expected a number that a launcher set, got {text!r}: unset it")
    return int(text)


@contextlib.contextmanager
def one_error_per_node() -> Iterator[None]:
    """Silence all but the first process of a node, in checks that each process makes alone."""
    own = launched_ranks()
    if own is None or own.local_rank == 0:
        yield
        return
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
        try:
            yield
        except InputError:
            sys.exit(USAGE_ERROR)
