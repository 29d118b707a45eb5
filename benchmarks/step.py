"""The training step by part: time, arithmetic, memory; with --reference a plain step beside it.

python -m benchmarks step [--reference] [--precision 32|bf16] [--clips 24] [--device cuda]
                          [--clock wall|cpu] [--workers N] [--rounds N] [--json FILE]

`loading` is what a step waits for its originals, moved to the device: ours come from
worker processes, which load while the step computes; the plain step reads a WAV file per
clip itself. On a CPU the plain step runs in a process of its own, with the system's allocator.
Files come from the operating system's cache. Workers also load while the yardsticks and the plain
step run; how long a training really waits, `training` measures.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.arithmetic import arithmetic
from benchmarks.devices import Clock, device_name, peak_allocated, seconds
from benchmarks.measure import Pair, Timing, peak_memory
from benchmarks.options import (
    DTYPES,
    RECIPE,
    add_device,
    add_numbers,
    check_least,
    chosen_device,
    subject_parser,
    write_report,
)
from benchmarks.plain_process import CLOCKS, Timer, plain_step, plain_timer
from benchmarks.step_data import StepData
from benchmarks.training_step import (
    WHOLE,
    OurStep,
    TrainingStep,
    batch_shares,
    check_clips,
    random_batch,
    time_step,
)
from desed_task.augment import shift_pitch
from desed_task.dataio.batch import ClipKind
from desed_task.errors import InputError
from local.config.load import Config, load_config
from local.run.memory import keep_freed_memory

MATRIX = 4096  # rows and columns of the product that shows the machine's peak
COPIED = 1 << 26  # float32 numbers of the copy that shows its bandwidth
PITCH_CENTS = 150
PITCH_SHIFT = "pitch shift"


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    args = _arguments(argv)
    device = torch.device(args.device)
    config = load_config(RECIPE)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        ours = _our_step(args, config, Path(folder) / "ours")
        flops, moved = arithmetic(ours)
        yardsticks = _yardsticks(ours, DTYPES[args.precision])
        with _timers(args, config, ours, Path(folder) / "plain") as timers:
            timings = time_steps(timers, yardsticks, args.rounds, device, CLOCKS[args.clock])
    report = {
        "machine": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "clips": args.clips,
        "precision": args.precision,
        "clock": args.clock,
        "workers": args.workers,
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
    write_report(args.json, report)
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = subject_parser("step", __doc__)
    add_device(parser)
    parser.add_argument(
        "--reference", action="store_true", help="time the plain step beside it, in turns"
    )
    parser.add_argument("--precision", choices=list(DTYPES), default="32")
    options = {
        "clips": (24, "clips the network sees, copies included; the recipe's batch is 72"),
        "workers": (2, "loading processes"),
        "rounds": (5, "rounds"),
    }
    add_numbers(parser, options)
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="cpu: processor seconds of all threads, for a machine that is busy with other work; "
        "with OMP_NUM_THREADS=1, since waiting threads count too (default: wall)",
    )
    args = parser.parse_args(argv)
    check_clips(args.clips)
    check_least(args, rounds=1, workers=0)
    if args.clock == "cpu" and args.device != "cpu":
        raise InputError(f"--clock cpu: does not time --device {args.device}; wall is right")
    chosen_device(args.device)
    return args


def _our_step(args: argparse.Namespace, config: Config, folder: Path) -> OurStep:
    """Ours, with a loader of clips that are generated in an empty folder."""
    device = torch.device(args.device)
    ours = OurStep(config, random_batch(args.clips, config, device), args.precision)
    data = StepData(folder, batch_shares(args.clips), config.grid)
    ours.batches = data.batches(args.workers, device)
    return ours


@contextmanager
def _timers(
    args: argparse.Namespace, config: Config, ours: OurStep, folder: Path
) -> Iterator[dict[str, Timer]]:
    """Of ours and, before it, of the plain step."""
    clock = CLOCKS[args.clock]
    timers: dict[str, Timer] = {"ours": lambda: time_step(ours, clock)}
    if not args.reference:
        yield timers
    elif args.device == "cpu":
        with plain_timer(config, args.clips, folder, args.clock) as plain:
            yield {"reference": plain, **timers}
    else:
        step = plain_step(config, args.clips, ours.device, folder)
        yield {"reference": lambda: time_step(step, clock), **timers}


def time_steps(
    timers: Mapping[str, Timer],
    yardsticks: Mapping[str, Callable[[], Any]],
    rounds: int,
    device: torch.device,
    clock: Clock,
) -> dict[str, dict[str, Timing]]:
    """Seconds of every part of every step and, under `machine`, of the yardsticks.

    One round runs each once, in turns; a round before the first is not counted.
    """
    found_s: dict[str, dict[str, list[float]]] = {}
    for number in tqdm(range(rounds + 1), desc="Rounds", leave=False):
        found = {
            "machine": {name: seconds(task, device, clock) for name, task in yardsticks.items()},
            **{name: timer() for name, timer in timers.items()},
        }
        if number == 0:
            continue
        for name, of_round in found.items():
            for part, value in of_round.items():
                found_s.setdefault(name, {}).setdefault(part, []).append(value)
    return {
        name: {part: Timing(tuple(values)) for part, values in of_step.items()}
        for name, of_step in found_s.items()
    }


def _yardsticks(step: TrainingStep, dtype: torch.dtype) -> dict[str, Callable[[], Any]]:
    """A matrix product in float32 and in the step's type, a copy, and a pitch shift.

    Results of products and copy are overwritten. As many clips are shifted in pitch as there are
    unlabelled ones in the batch: 12 in the recipe's.
    """
    device = step.device
    products: dict[str, Callable[[], Any]] = {}
    for name, of_product in (("product, float32", torch.float32), ("product", dtype)):
        a, b = (torch.rand(MATRIX, MATRIX, device=device).to(of_product) for _ in range(2))
        products[name] = _product(a, b, torch.empty_like(a))
    source = torch.rand(COPIED, device=device)
    target = torch.empty_like(source)
    clips, rate = int(step.batch.is_kind(ClipKind.UNLABELLED).sum()), step.config.data.fs
    return {
        **products,
        "copy": lambda: target.copy_(source),
        PITCH_SHIFT: lambda: shift_pitch(step.batch.audio[:clips], PITCH_CENTS, rate),
    }


def _product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> Callable[[], Any]:
    return lambda: torch.mm(a, b, out=out)


def shares(timings: dict[str, dict[str, Timing]], flops: int, moved: int) -> dict[str, Any]:
    """What the step makes of the machine, and the ratios of interleaved pairs."""
    yardsticks, ours = timings["machine"], timings["ours"]
    peak = 2 * MATRIX**3 / yardsticks["product"].median
    bandwidth = 2 * 4 * COPIED / yardsticks["copy"].median
    whole = ours[WHOLE].median
    found: dict[str, Any] = {
        "peak_flops": peak,
        "bandwidth_bytes_per_s": bandwidth,
        "share_of_peak": flops / whole / peak,
        "share_of_bandwidth": moved / whole / bandwidth,
    }
    # Of a pair, the second is the divisor.
    found["pitch_shift_share"] = Pair("", yardsticks[PITCH_SHIFT], ours[WHOLE]).ratio
    found["pitch_shift_s"] = yardsticks[PITCH_SHIFT].seconds
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
    config = load_config(RECIPE)
    step = OurStep(config, random_batch(clips, config, torch.device("cpu")), precision)
    step.run()
    step.run()


def _peak_memory(args: argparse.Namespace, config: Config) -> float:
    """Of our step alone, GB: resident in a fresh process, or allocated on the GPU."""
    device = torch.device(args.device)
    if device.type == "cpu":
        return peak_memory(run_once, args.clips, args.precision)
    step = OurStep(config, random_batch(args.clips, config, device), args.precision)
    return peak_allocated(step.run, device)


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
    clips = batch_shares(report["clips"])[ClipKind.UNLABELLED]
    shifting = timings["machine"][PITCH_SHIFT].median
    print(
        f"pitch shift of {clips} clips {shifting:.4f} s, {report['pitch_shift_share']:.1%} of the "
        "step"
    )
    print(f"peak memory of our step {report['peak_memory_gb']:.2f} GB")
