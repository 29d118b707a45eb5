"""The training step by part: time, arithmetic, memory; with --reference a plain step beside it.

python -m benchmarks step [--reference] [--precision 32|bf16] [--clips 24] [--device cuda]
                          [--clock wall|cpu] [--rounds N] [--json FILE]
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Pair, Timing, machine, peak_memory
from benchmarks.training_step import (
    COPIES,
    PARTS_OF_BATCH,
    OurStep,
    ReferenceStep,
    TrainingStep,
    random_batch,
)
from desed_task.errors import InputError
from local.config import Config, load_config
from local.memory import keep_freed_memory

Clock = Callable[[], float]  # seconds

CONFIG = Path(__file__).parents[1] / "confs" / "sed.yaml"
MATRIX = 4096  # rows and columns of the product that shows the machine's peak
COPIED = 1 << 26  # float32 numbers of the copy that shows its bandwidth
DTYPES = {"32": torch.float32, "bf16": torch.bfloat16}
NETWORK = ("student forward", "teacher forward", "backward")
WHOLE = "whole step"
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    args = _arguments(argv)
    device = torch.device(args.device)
    config = load_config(CONFIG)
    keep_freed_memory()
    batch = random_batch(args.clips, config, device)
    ours = OurStep(config, batch, args.precision)
    steps: dict[str, TrainingStep] = {"ours": ours}
    if args.reference:
        steps = {"reference": ReferenceStep(config, batch, ours), "ours": ours}
    flops, moved = arithmetic(ours)
    timings = time_steps(steps, args.rounds, DTYPES[args.precision], CLOCKS[args.clock])
    report = {
        "machine": machine() if device.type == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "clips": args.clips,
        "precision": args.precision,
        "clock": args.clock,
        "flop": flops,
        "bytes": moved,
        "parts_s": {
            name: {part: timing.seconds for part, timing in of_step.items()}
            for name, of_step in timings.items()
        },
        **shares(timings, flops, moved),
        "peak_memory_gb": _peak_memory(args, config),
    }
    _print(report, timings)
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks step",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--reference", action="store_true", help="time the plain step beside it, in turns"
    )
    parser.add_argument("--precision", choices=list(DTYPES), default="32")
    parser.add_argument(
        "--clips",
        type=int,
        default=24,
        help="clips the network sees, copies included; the recipe's batch is 72 (default: 24)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda (default: cpu)")
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="cpu: processor seconds of all threads, for a machine that is busy with other work; "
        "with OMP_NUM_THREADS=1, since waiting threads count too (default: wall)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write the figures there")
    args = parser.parse_args(argv)
    unit = COPIES * sum(PARTS_OF_BATCH)
    if args.clips < 1 or args.clips % unit:
        raise InputError(f"--clips {args.clips}: a multiple of {unit} is right")
    if args.rounds < 1:
        raise InputError(f"--rounds {args.rounds}: 1 or more is right")
    if args.clock == "cpu" and args.device != "cpu":
        raise InputError(f"--clock cpu: does not time --device {args.device}; wall is right")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {args.device}: no CUDA device here")
    return args


def time_steps(
    steps: dict[str, TrainingStep], rounds: int, dtype: torch.dtype, clock: Clock
) -> dict[str, dict[str, Timing]]:
    """Seconds of every part of every step and, under `machine`, of a matrix product and a copy.

    One round runs each once, in turns; a round before the first is not counted.
    """
    device = next(iter(steps.values())).device
    yardsticks = _yardsticks(device, dtype)
    seconds: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds + 1):
        found = {
            "machine": {name: _seconds(task, device, clock) for name, task in yardsticks.items()},
            **{name: _time_step(step, clock) for name, step in steps.items()},
        }
        if number == 0:
            continue
        for name, of_round in found.items():
            for part, value in of_round.items():
                seconds.setdefault(name, {}).setdefault(part, []).append(value)
    return {
        name: {part: Timing(tuple(values)) for part, values in of_step.items()}
        for name, of_step in seconds.items()
    }


def _time_step(step: TrainingStep, clock: Clock) -> dict[str, float]:
    found = {name: _seconds(part, step.device, clock) for name, part in step.parts().items()}
    found["network"] = sum(found[name] for name in NETWORK)
    found[WHOLE] = sum(found[name] for name in step.parts())
    return found


def _seconds(task: Callable[[], Any], device: torch.device, clock: Clock) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    task()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def _yardsticks(device: torch.device, dtype: torch.dtype) -> dict[str, Callable[[], Any]]:
    """A matrix product in float32 and in the step's type, and a copy; results are overwritten."""
    products: dict[str, Callable[[], Any]] = {}
    for name, of_product in (("product, float32", torch.float32), ("product", dtype)):
        a, b = (torch.rand(MATRIX, MATRIX, device=device).to(of_product) for _ in range(2))
        products[name] = _product(a, b, torch.empty_like(a))
    source = torch.rand(COPIED, device=device)
    target = torch.empty_like(source)
    return {**products, "copy": lambda: target.copy_(source)}


def _product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> Callable[[], Any]:
    return lambda: torch.mm(a, b, out=out)


class _Bytes(TorchDispatchMode):
    """Sums what operations read and write, as if nothing stayed in a cache; views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            for leaf in tree_leaves((args, kwargs, result)):
                if isinstance(leaf, torch.Tensor):
                    self.total += leaf.numel() * leaf.element_size()
        return result


def arithmetic(step: TrainingStep) -> tuple[int, int]:
    """Floating point operations of one step (products and convolutions), and bytes moved."""
    counter, moved = FlopCounterMode(display=False), _Bytes()
    with moved, counter:
        step.run()
    return counter.get_total_flops(), moved.total


def shares(timings: dict[str, dict[str, Timing]], flops: int, moved: int) -> dict[str, Any]:
    """What the step makes of the machine, and the ratios of interleaved pairs."""
    yardsticks, ours = timings["machine"], timings["ours"]
    peak = 2 * MATRIX**3 / yardsticks["product"].median
    bandwidth = 2 * 4 * COPIED / yardsticks["copy"].median
    seconds = ours[WHOLE].median
    found: dict[str, Any] = {
        "peak_flops": peak,
        "bandwidth_bytes_per_s": bandwidth,
        "share_of_peak": flops / seconds / peak,
        "share_of_bandwidth": moved / seconds / bandwidth,
    }
    for name in ("ours", "reference"):
        if name in timings:
            product = yardsticks["product, float32"]
            in_products = Pair(name, timings[name]["network"], product).ratio
            found[f"{name}_network_in_products"] = in_products
    if "reference" in timings:
        found["ratio"] = {
            part: Pair(part, timings["reference"][part], timing).ratio
            for part, timing in ours.items()
        }
    return found


def run_once(clips: int, precision: str) -> None:
    """Two of our steps on the CPU, for their peak memory."""
    keep_freed_memory()
    config = load_config(CONFIG)
    step = OurStep(config, random_batch(clips, config, torch.device("cpu")), precision)
    step.run()
    step.run()


def _peak_memory(args: argparse.Namespace, config: Config) -> float:
    """Of our step alone, GB: resident in a fresh process, or allocated on the GPU."""
    device = torch.device(args.device)
    if device.type == "cpu":
        return peak_memory(run_once, args.clips, args.precision)
    step = OurStep(config, random_batch(args.clips, config, device), args.precision)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step.run()
    return (torch.cuda.max_memory_allocated(device) - before) / 1e9


def _print(report: dict[str, Any], timings: dict[str, dict[str, Timing]]) -> None:
    print(f"{report['machine']}, torch {report['torch']}, {report['threads']} threads")
    print(
        f"{report['clips']} clips of 10 s before the network, precision {report['precision']}, "
        f"{report['clock']} time"
    )
    ratios = report.get("ratio", {})
    print(f"{'':<20}{'ours, median (range)':<34}{'reference':<34}{'ratio' if ratios else ''}")
    for part, ours in timings["ours"].items():
        line = f"{part:<20}{ours!s:<34}"
        if ratios:
            line += f"{timings['reference'][part]!s:<34}{ratios[part]:6.2f} x"
        print(line.rstrip())
    product, copy = (timings["machine"][name].median for name in ("product", "copy"))
    print(
        f"{report['flop'] / 1e12:.3f} TFLOP, {report['share_of_peak']:.0%} of the peak of "
        f"{report['peak_flops'] / 1e12:.3f} TFLOP/s ({MATRIX}³ product of the same type: "
        f"{product:.3f} s)"
    )
    print(
        f"{report['bytes'] / 1e9:.1f} GB read and written, {report['share_of_bandwidth']:.0%} of "
        f"the copy bandwidth of {report['bandwidth_bytes_per_s'] / 1e9:.1f} GB/s "
        f"({8 * COPIED / 1e9:.2f} GB: {copy:.3f} s)"
    )
    for name in ("ours", "reference"):
        if f"{name}_network_in_products" in report:
            value = report[f"{name}_network_in_products"]
            print(f"network of {name}: {value:.1f} times one {MATRIX}³ float32 product")
    print(f"peak memory of our step {report['peak_memory_gb']:.2f} GB")
