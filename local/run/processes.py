"""The processes of a run: how they are started, find each other, and end together.

They are started by torchrun, by `srun`, or, on one machine, by the first of them. Whatever ends one
of them ends all: the first that fails says why, the others leave with its status, in silence.
"""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.environments import SLURMEnvironment

from desed_task import process_group
from desed_task.errors import InputError, exit_status
from desed_task.process_group import Place

# Of the group that talks over the CPU: process 0 may prepare data or judge for hours meanwhile.
PATIENCE = timedelta(days=7)
MEETING = timedelta(minutes=10)
GRACE = 10.0  # seconds to end by itself after another process has failed
FAREWELL = 3.0  # seconds in which the others can learn why process 0 ends
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launched_place() -> Place | None:
    """Which process of a group torchrun or `srun` started this one as; None: as none."""
    env = os.environ
    if all(name in env for name in _TORCHRUN):
        return Place(*(int(env[name]) for name in _TORCHRUN[:4]))
    tasks = int(env.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks == 1:
        return None
    nodes = int(env.get("SLURM_STEP_NUM_NODES", "1"))
    return Place(int(env["SLURM_PROCID"]), tasks, int(env["SLURM_LOCALID"]), tasks // nodes)


@contextlib.contextmanager
def said_once() -> Iterator[None]:
    """Around checks that every process makes before they have joined: one message per node."""
    try:
        yield
    except InputError as error:
        place = launched_place()
        if place is not None and place.local_rank > 0:
            sys.exit(exit_status(error))
        raise


@contextlib.contextmanager
def together(gpus: int) -> Iterator[None]:
    """Join the other processes of a run, where there are any; end as they do.

    Where nobody started the others, and there is more than one GPU to use, this process starts
    them: each runs its command line again.

    Args:
        gpus: GPUs to use on each machine; 0: the CPU.

    Raises InputError where the GPUs are not as many as the processes of a machine, or the
    processes do not find each other.
    """
    place, children = launched_place(), _Children()
    with said_once():
        _check(place, gpus)
    if place is None and gpus > 1:
        children.start(gpus)
        place = Place(0, gpus, 0, gpus)
    if place is None:
        yield
        return
    store: dist.Store | None = None
    try:
        store = _join(place, on_gpu=gpus > 0)
        yield
    except BaseException as error:
        status = _first_failure(store, place, exit_status(error))
        children.end()
        if status is not None:
            _leave(status)
        raise
    children.wait()


def _check(place: Place | None, gpus: int) -> None:
    if place is None:
        return
    if place.ranks % place.local_ranks:
        raise InputError(
            f"{place.ranks} processes, {place.local_ranks} of them on this machine: every machine "
            "must have equally many"
        )
    if gpus and gpus != place.local_ranks:
        raise InputError(
            f"--gpus {gpus}: {place.local_ranks} process(es) were started on this machine; "
            "one for each GPU is right"
        )


def _join(place: Place, on_gpu: bool) -> dist.Store:
    """Meet the other processes; returns the store they share."""
    _name_place(place)
    if place.local_ranks > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // place.local_ranks))
    device = torch.device("cuda", place.local_rank) if on_gpu else None
    if device is not None:
        torch.cuda.set_device(device)
    try:
        store, rank, ranks = next(dist.rendezvous("env://", timeout=MEETING))
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=store,
            rank=rank,
            world_size=ranks,
            device_id=device,
        )
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
    except dist.DistError as error:
        meeting_place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the {place.ranks} processes did not meet at {meeting_place}: {reason}"
        ) from None
    process_group.enter(place, control)
    if place.rank > 0:  # process 0 speaks for all
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")
    return store


def _name_place(place: Place) -> None:
    """Say in the environment, as torchrun does, which process this is and where all meet."""
    if "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ:
        slurm = SLURMEnvironment()
        os.environ["MASTER_ADDR"] = slurm.main_address
        os.environ["MASTER_PORT"] = str(slurm.main_port)
    for name, value in zip(_TORCHRUN, place, strict=False):
        os.environ[name] = str(value)
    os.environ["GROUP_RANK"] = str(place.rank // place.local_ranks)


def _first_failure(store: dist.Store | None, place: Place, status: int) -> int | None:
    """Tell the others that this process fails; the status of the one that did before, or None."""
    try:
        if store is None:
            return None
        if store.add("failures", 1) > 1:
            return int(store.get("status"))
        store.set("status", str(status))
        if place.rank == 0:  # the store may end with this process
            end = time.monotonic() + FAREWELL
            while store.add("failures", 0) < place.ranks and time.monotonic() < end:
                time.sleep(0.05)
    except RuntimeError:  # no store: the process that held it has ended
        return status
    return None


def _leave(status: int) -> NoReturn:
    """End at once, without waiting for what the others will not do any more."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Children:
    """The processes that this one started on its machine."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._over = threading.Event()

    def start(self, ranks: int) -> None:
        """Start ranks 1, 2, …: this command line again; watch over them."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, *sys.orig_argv[1:]]
        for rank in range(1, ranks):
            names = zip(_TORCHRUN, Place(rank, ranks, rank, ranks), strict=False)
            env = os.environ | {name: str(value) for name, value in names}
            self._processes.append(subprocess.Popen(command, env=env))
        threading.Thread(target=self._watch, daemon=True).start()

    def wait(self) -> None:
        """Wait for their end."""
        for process in self._processes:
            process.wait()
        self._over.set()

    def end(self) -> None:
        """End those that are still there: what they do has become useless."""
        self._over.set()
        for process in self._processes:
            process.kill()

    def _watch(self) -> None:
        """End this process as well where one fails and it has not noticed."""
        while not self._over.wait(0.5):
            failed = [process.returncode for process in self._processes if process.poll()]
            if failed and not self._over.wait(GRACE):
                self.end()
                _leave(failed[0] if failed[0] > 0 else 128 - failed[0])
