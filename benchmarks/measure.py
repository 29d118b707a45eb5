"""Time and memory of functions, and the results of a subject."""

import gc
import itertools
import json
import multiprocessing
import platform
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from desed_task.errors import file_error
from desed_task.processor import cores

Result = TypeVar("Result")
Clock = Callable[[], float]  # seconds


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def part_seconds(
    parts: Mapping[str, Callable[[], Any]], device: torch.device, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Duration of each of several successive calls, including their work on a GPU.

    A GPU is waited for only before the first and after the last call, as in a training, where the
    processor prepares a part while the GPU still computes the one before. Events in the GPU's own
    queue mark the limits of the parts.
    """
    if device.type != "cuda":
        times = [clock()]
        for part in parts.values():
            part()
            times.append(clock())
        return {name: b - a for name, (a, b) in zip(parts, itertools.pairwise(times), strict=True)}
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(len(parts) + 1)]
    synchronize(device)
    marks[0].record()
    for part, mark in zip(parts.values(), marks[1:], strict=True):
        part()
        mark.record()
    synchronize(device)
    limits = zip(parts, itertools.pairwise(marks), strict=True)
    return {name: start.elapsed_time(end) / 1000 for name, (start, end) in limits}


def interleaved(
    functions: Mapping[str, Callable[[], Result]],
    rounds: int,
    title: str = "Rounds",
    *,
    warm_up: bool = True,
) -> tuple[dict[str, list[float]], dict[str, Result]]:
    """Call every function once per round, in turns.

    Args:
        functions: by name; they wait for their work on a GPU.
        rounds: number of counted rounds.
        title: of the progress bar.
        warm_up: whether a round before the first is not counted.

    Returns: per function the seconds of each counted round, and the last result.
    """
    durations: dict[str, list[float]] = {name: [] for name in functions}
    results: dict[str, Result] = {}
    for number in tqdm(range(rounds + warm_up), desc=title, leave=False):
        for name, function in functions.items():
            results.pop(name, None)
            gc.collect()  # the other function's garbage
            start = time.perf_counter()
            results[name] = function()
            if number or not warm_up:
                durations[name].append(time.perf_counter() - start)
    return durations, results


@contextmanager
def other_process(
    device: torch.device, make: Callable[..., Any], *arguments: Any
) -> Iterator[Callable[..., Any]]:
    """A process of its own with an object that `make(*arguments)` returned there.

    It begins before anything is computed here: a process with threads must not be forked, and
    this process's memory settings are not inherited.

    Yields: a function that calls another one there, with the object and its own arguments.
    """
    method = "fork" if device.type == "cpu" else "spawn"  # CUDA does not survive a fork
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        pool.submit(_make, make, arguments).result()
        yield lambda function, *more: pool.submit(_call, function, more).result()


_made: Any
"""The object of `other_process`, in that process."""


def _make(make: Callable[..., Any], arguments: Sequence[Any]) -> None:
    global _made
    _made = make(*arguments)


def _call(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    return function(_made, *arguments)


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median of the rounds' ratios of two functions that were called in turns."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def shown(durations: Sequence[float]) -> str:
    """Median and range of durations, as text."""
    middle, low, high = statistics.median(durations), min(durations), max(durations)
    return f"{middle:9.4f} s ({low:.4f} to {high:.4f})"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of as many cells each as lines whose columns are aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def peak_memory(device: torch.device) -> dict[str, float]:
    """Peak memory of this process in GB: `resident`, and `gpu` where one is used."""
    # Not ru_maxrss, which a forked process inherits.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    peaks = {"resident": int(kilobytes) * 1024 / 1e9}
    if device.type == "cuda":
        peaks["gpu"] = torch.cuda.max_memory_allocated(device) / 1e9
    return peaks


def processor() -> str:
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def finish(args: Namespace, lines: Sequence[str], results: Mapping[str, Any]) -> None:
    """Print the machine, the lines and the peak memory; write all of it to `--json`.

    Args:
        args: parsed options; the numbers among them are recorded.
        lines: the tables.
        results: values for the JSON file; `peak_memory_gb` may be given.
    """
    device = args.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    machine = {
        "device": name,
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    options = {
        name: value if isinstance(value, int | float | list) else str(value)
        for name, value in vars(args).items()
        if value is not None
    }
    memory = results.get("peak_memory_gb") or {"ours": peak_memory(device)}
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print(*lines, sep="\n")
    for owner, peaks in memory.items():
        shown_peaks = ", ".join(f"{kind} {peak:.2f} GB" for kind, peak in peaks.items())
        print(f"peak memory, {owner}: {shown_peaks}")
    if args.json is None:
        return
    report = {"machine": machine, "options": options, **results, "peak_memory_gb": memory}
    try:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise file_error(f"--json {args.json}", error, "written") from None
