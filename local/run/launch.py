"""Start the processes of a run, and join and leave their process group.

torchrun, `srun` or `start_processes` starts them. The first that fails writes its message and exits
with its status; the launcher then ends the others, which exit without a message.
"""

import contextlib
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.environments import SLURMEnvironment

from desed_task import process_group
from desed_task.errors import InputError, Terminated, exit_status
from desed_task.processor import thread_share
from desed_task.ranks import (
    ADDRESS_VARIABLES,
    RANK_VARIABLES,
    Ranks,
    launched_ranks,
    one_error_per_node,
)

# Process 0 may prepare data or score predictions for hours while the others wait for it.
CONTROL_TIMEOUT = timedelta(days=7)
LAUNCHER_TIMEOUT = 15.0  # seconds in which the launcher ends the others after one has failed
FIRST_PORT = 15_000  # of SLURM jobs


# ---- started by a launcher -------------------------------------------------------------------


def check_ranks(gpus: int) -> None:
    """Raise InputError unless each node has as many processes as GPUs (0: equally many)."""
    own = launched_ranks()
    if own is None:
        return
    if own.ranks % own.local_ranks:
        raise InputError(
            f"{own.ranks} processes: expected equally many on each node, "
            f"got {own.local_ranks} on this one"
        )
    if gpus and gpus != own.local_ranks:
        raise InputError(
            f"--gpus {gpus}: expected {gpus} processes on this node, one per GPU, "
            f"got {own.local_ranks}"
        )


# ---- started by this program -----------------------------------------------------------------


def start_processes(number: int) -> int:
    """Exit status of this command line in `number` processes on this node, once all have ended.

    They are started by `torchrun --standalone`, which ends all when one fails; the status is that
    of the first that failed. torchrun as a command would end with status 1 and a traceback.
    """
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.ERROR)  # torchrun's reports: the processes write their own messages
    os.environ.setdefault("OMP_NUM_THREADS", str(thread_share(number)))  # torchrun would set 1
    options = ["--standalone", "--nproc-per-node", str(number), "--log-dir", os.devnull]
    command = ["--no-python", sys.executable, *sys.orig_argv[1:]]
    try:
        torchrun.run(torchrun.parse_args([*options, *command]))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        print(f"error: process {rank} was ended by {failure.signal_name()}", file=sys.stderr)
        return 128 - failure.exitcode
    except SignalException as error:  # the processes got the same signal from torchrun
        return 128 + error.sigval
    return 0


# ---- the process group -----------------------------------------------------------------------


@contextlib.contextmanager
def joined_process_group(gpus: int) -> Iterator[None]:
    """Join the process group that a launcher started, if any; one message where the block fails.

    Args:
        gpus: GPUs to use on each node; 0: the CPU.

    Raises InputError where the processes do not find each other.
    """
    own = launched_ranks()
    if own is None:
        yield
        return
    _join(own, on_gpu=gpus > 0)
    try:
        yield
    except (SystemExit, KeyboardInterrupt, Terminated) as error:
        # Raised in every process: process 0 writes the message.
        if own.rank > 0:
            _exit(exit_status(error))
        raise
    except RuntimeError as error:
        if _is_lost_connection(error):
            _exit_after_failed_process()
        raise


def _join(own: Ranks, on_gpu: bool) -> None:
    _complete_environment(own)
    if own.local_ranks > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // own.local_ranks))
    device = torch.device("cuda", own.local_rank) if on_gpu else None
    if device is not None:
        torch.cuda.set_device(device)
    with one_error_per_node():
        try:
            dist.init_process_group("nccl" if on_gpu else "gloo", device_id=device)
            control = dist.new_group(backend="gloo", timeout=CONTROL_TIMEOUT)
        except dist.DistError as error:
            address = ":".join(os.environ[name] for name in ADDRESS_VARIABLES)
            reason = str(error).splitlines()[0]
            raise InputError(
                f"the {own.ranks} processes did not meet at {address}: {reason}"
            ) from None
    process_group.join(own, control)
    if own.rank > 0:  # process 0 warns for all
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")


def _complete_environment(own: Ranks) -> None:
    """Set torchrun's variables, which PyTorch and Lightning read, where SLURM started the run."""
    if not all(name in os.environ for name in ADDRESS_VARIABLES):
        nodes = os.environ.get("SLURM_NODELIST", "127.0.0.1")
        os.environ["MASTER_ADDR"] = SLURMEnvironment.resolve_root_node_address(nodes)
        job = int(os.environ.get("SLURM_JOB_ID", "0"))
        os.environ["MASTER_PORT"] = str(FIRST_PORT + job % 10_000)  # the same in all processes
    for name, value in zip(RANK_VARIABLES, own, strict=True):
        os.environ[name] = str(value)
    os.environ["GROUP_RANK"] = str(own.rank // own.local_ranks)


def _is_lost_connection(error: RuntimeError) -> bool:
    """Whether communication failed; gloo raises RuntimeError itself where a process has ended."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _exit_after_failed_process() -> NoReturn:
    """Exit when the launcher asks for it, so that it notices first which process failed."""
    signal.signal(signal.SIGTERM, lambda *_: _exit(1))
    time.sleep(LAUNCHER_TIMEOUT)
    _exit(1)


def _exit(status: int) -> NoReturn:
    """Exit at once: communication that was begun would keep the interpreter from ending."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
