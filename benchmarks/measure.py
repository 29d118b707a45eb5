"""Time and memory of functions, and the results of a subject."""

import gc
import itertools
import json
import platform
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from desed_task.errors import InputError
from desed_task.processor import cores

Result = TypeVar("Result")
Clock = Callable[[], float]  # seconds


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(
    function: Callable[[], Any], device: torch.device, clock: Clock = time.perf_counter
) -> float:
    """Duration of a call, including its work on a GPU."""
    synchronize(device)
    start = clock()
    function()
    synchronize(device)
    return clock() - start


def part_seconds(
    parts: Mapping[str, Callable[[], Any]], device: torch.device, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Duration of each of several successive calls, including their work on a GPU.

    A GPU is waited for only before the first and after the last call, as in a training, where the
    processor prepares a part while the GPU still computes the one before. Events in the GPU's own
    queue mark the limits of the parts.
    """
    if device.type != "cuda":
        return {name: seconds(part, device, clock) for name, part in parts.items()}
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
    functions: Mapping[str, Callable[[], Result]], rounds: int, title: str
) -> tuple[dict[str, list[float]], dict[str, Result]]:
    """Call every function once per round, in turns.

    Returns: per function the seconds of each round, and the last result.
    """
    durations: dict[str, list[float]] = {name: [] for name in functions}
    results: dict[str, Result] = {}
    with tqdm(total=rounds * len(functions), desc=title, leave=False) as bar:
        for _ in range(rounds):
            for name, function in functions.items():
                results.pop(name, None)
                gc.collect()  # the other function's garbage
                start = time.perf_counter()
                results[name] = function()
                durations[name].append(time.perf_counter() - start)
                bar.update()
    return durations, results


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median of the rounds' ratios of two functions that were called in turns."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def shown(durations: Sequence[float]) -> str:
    """Median and range of durations, as text."""
    middle, low, high = statistics.median(durations), min(durations), max(durations)
    return f"{middle:9.4f} s ({low:.4f} to {high:.4f})"


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
        lines: the table.
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
    for line in lines:
        print(line.rstrip())
    for owner, peaks in memory.items():
        print(f"peak memory, {owner:<22}" + ", ".join(f"{k} {v:.2f} GB" for k, v in peaks.items()))
    if args.json is None:
        return
    report = {"machine": machine, "options": options, **results, "peak_memory_gb": memory}
    try:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--json {args.json}: cannot be written: {error.strerror}") from error
