"""Interleaved timing of two ways to do the same, in one process, and what is said of it."""

import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated runs."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median, seconds."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return f"{self.median:9.3f} s ({min(self.seconds):.3f} to {max(self.seconds):.3f})"


@dataclass(frozen=True)
class Pair:
    """A plain way and ours, timed in turns; `ratio` is the median of the rounds' ratios."""

    name: str
    plain: Timing
    ours: Timing

    @property
    def ratio(self) -> float:
        """How many times as long the plain way takes."""
        rounds = zip(self.plain.seconds, self.ours.seconds, strict=True)
        return statistics.median(plain / ours for plain, ours in rounds)

    def __str__(self) -> str:
        return f"{self.name:<34}{self.plain}  {self.ours}  {self.ratio:7.1f} x"

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "name": self.name,
            "plain_s": self.plain.seconds,
            "ours_s": self.ours.seconds,
            "ratio": self.ratio,
        }


def interleaved(
    routes: Mapping[str, Callable[[], Result]], rounds: int, title: str
) -> tuple[dict[str, Timing], dict[str, Result]]:
    """Run every route once per round, in turns; the timings, and what each returned last."""
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    results: dict[str, Result] = {}
    with tqdm(total=rounds * len(routes), desc=title, leave=False) as bar:
        for _ in range(rounds):
            for name, route in routes.items():
                results.pop(name, None)
                gc.collect()  # what the other route left is not this one's
                start = time.perf_counter()
                results[name] = route()
                seconds[name].append(time.perf_counter() - start)
                bar.update()
    return {name: Timing(tuple(of_route)) for name, of_route in seconds.items()}, results


def peak_memory(function: Callable[..., Any], *arguments: Any) -> float:
    """Largest resident memory of a fresh process that calls a module's function, in GB.

    The arguments are plain values or paths; only what the function's module imports is loaded.
    """
    module, name = function.__module__, function.__name__
    # VmHWM, because ru_maxrss of a new process begins with that of the process it comes from.
    code = (
        "from pathlib import *; "
        f"from {module} import {name}; {name}(*{arguments!r}); "
        "print(*[line for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-2]) * 1024 / 1e9


def machine() -> str:
    """The processor and the number of cores this process may use."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
