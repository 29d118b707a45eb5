"""Time and memory of work on a device: a GPU is waited for, what it holds is counted."""

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.measure import machine
from benchmarks.options import DTYPES

Clock = Callable[[], float]  # seconds


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(
    task: Callable[[], Any], device: torch.device, clock: Clock = time.perf_counter
) -> float:
    """How long a task takes, its work on a GPU included."""
    synchronize(device)
    start = clock()
    task()
    synchronize(device)
    return clock() - start


def device_name(device: torch.device) -> str:
    """The processor, or the GPU."""
    return machine() if device.type == "cpu" else torch.cuda.get_device_name(device)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """What networks of a precision (a key of `DTYPES`) run under."""
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "32")


def peak_allocated(task: Callable[[], Any], device: torch.device) -> float:
    """Most memory that a task holds on a GPU beyond what was there before, in GB."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    task()
    synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 1e9
