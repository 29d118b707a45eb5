"""The processor's cores, how threads wait, and freed memory. Importing this imports no PyTorch."""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h
_NEVER_TRIM = -1
_NO_MAPPED_BLOCKS = 0  # every block comes from the heap, however large


def cores() -> int:
    """Number of cores that this process may use; all where the system has no such limit."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_share(processes: int) -> int:
    """Number of threads of each of several processes that share this process's cores."""
    return max(1, cores() // processes)


def set_thread_waiting() -> None:
    """Let PyTorch's threads wait actively for a moment, then sleep, unless the user chose.

    Threads that wait actively without end take the cores that other work needs; threads that sleep
    at once wake up too late in small operations. Both variables are read when torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step; without effect where there is no glibc.

    glibc returns large blocks to the system when they are freed; a training step on a CPU then
    spends much of its time on getting them back page by page, cleared.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_MAX, _NO_MAPPED_BLOCKS)
    mallopt(_TRIM_THRESHOLD, _NEVER_TRIM)
