"""The training step by part: time and memory; with --reference the reference step beside it.

python -m benchmarks step [--conf_file F] [--reference] [--encoder] [--clips 24] [--rounds N]
                          [--precision 32|bf16|16] [--clock wall|cpu] [--workers N]
                          [--device cuda] [--json FILE]

`loading` is the wait for the step's originals on the device: ours are loaded by worker processes
while the last step computes, the reference reads its files itself. Files come from the operating
system's cache. The reference step (tests/support/reference.py) runs in a process of its own, with
the system's allocator settings. Both alternate with a matrix product, which shows the machine's
peak. With --encoder the step has stored embeddings of 62 steps of 768 values, and the step without
them is beside it. The arithmetic of a step is counted as four forward passes: the student's, its
backward pass (two), and the teacher's.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import (
    Clock,
    aligned,
    finish,
    interleaved,
    other_process,
    part_seconds,
    peak_memory,
    ratio,
    shown,
)
from benchmarks.options import RECIPE, Number, parse, subject_parser
from desed_task.augment import prepare_pitch_shift
from desed_task.errors import InputError
from desed_task.files import user_path
from desed_task.nnet.arithmetic import count_multiply_adds
from desed_task.processor import keep_freed_memory
from local.config.load import Config, load_config, override_config
from tests.support.step_data import StepData
from tests.support.training_step import (
    NARROW,
    OurStep,
    ReferenceStep,
    TrainingStep,
    clips_per_kind,
    embeddings_shape,
    random_batch,
)

NUMBERS = {
    "clips": Number(12, 24, 72, "inputs of the network, copies included; the recipe's batch: 72"),
    "rounds": Number(1, 3, 20, "rounds"),
    "workers": Number(0, 2, 6, "loading processes", least=0),
    "matrix": Number(64, 4096, 4096, "rows and columns of the matrix product"),
}
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
ENCODER = "encoder={source: none.onnx, sample_rate: 16000, dimension: 768, mode: cached, "
"""Stored embeddings of BEATs' size; nothing is loaded from the source."""
N_STEPS = 62  # of a clip
WITHOUT = "without encoder"
NETWORK = ("student forward", "teacher forward", "backward")
PASSES = 4  # forward passes of a network that a step is worth
Timer = Callable[[], dict[str, float]]
"""Runs something once; returns the seconds of each part."""


def main(argv: Sequence[str]) -> int:
    """Measure and print; returns the exit status."""
    args = _arguments(argv)
    config = load_config(args.conf_file, NARROW if args.tiny else ())
    with tempfile.TemporaryDirectory() as folder:
        data = StepData(Path(folder, "plain"), clips_per_kind(args.clips), config.grid)
        if args.encoder:
            step = config.data.audio_max_len / N_STEPS
            with_encoder = override_config(config, [f"{ENCODER}frame_seconds: {step}}}"])
            stored = StepData(
                Path(folder, "stored"),
                clips_per_kind(args.clips),
                config.grid,
                embeddings_shape(with_encoder),
            )
            plain = _our_step(args, config, data)
            timer = partial(time_step, plain, args.clock)
            config = with_encoder
            durations = _measure(args, config, stored, {WITHOUT: timer})
            memory = {"ours": peak_memory(args.device)}
        elif args.reference:
            made = args.clips, config, data, args.device
            with other_process(args.device, make_reference, *made) as call:
                timer = partial(call, time_step, args.clock)
                durations = _measure(args, config, data, {"reference": timer})
                memory = {"ours": peak_memory(args.device), "reference": call(_memory)}
        else:
            durations = _measure(args, config, data, {})
            memory = {"ours": peak_memory(args.device)}
    features = config.feats.n_mels, config.grid.n_hops
    per_clip = count_multiply_adds(
        config.net,
        len(config.data.classes),
        *features,
        config.encoder,
        device=args.device.type,
    )
    multiply_adds = PASSES * args.clips * per_clip
    ours, machine = durations["ours"], durations["machine"]
    peak_speed = args.matrix**3 / statistics.median(machine["product"])
    speed = multiply_adds / statistics.median(ours["whole step"])
    results: dict[str, Any] = {
        "seconds": durations,
        "multiply_adds": multiply_adds,
        "share_of_peak": speed / peak_speed,
        "peak_memory_gb": memory,
    }
    if args.reference:
        slow = durations["reference"]
        results["ratio"] = {part: ratio(slow[part], ours[part]) for part in ours}
    if args.encoder:
        less = durations[WITHOUT]
        results["encoder_ratio"] = {part: ratio(ours[part], less[part]) for part in less}
    finish(args, _table(args, results), results)
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = subject_parser(__doc__, NUMBERS, precision=True)
    parser.add_argument(
        "--conf_file", type=user_path, default=RECIPE, help="default: confs/sed.yaml"
    )
    beside = parser.add_mutually_exclusive_group()
    beside.add_argument("--reference", action="store_true", help="measure the reference step too")
    beside.add_argument(
        "--encoder",
        action="store_true",
        help="use stored embeddings of an encoder, and measure the step without them too",
    )
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="cpu: processor seconds of all threads, for a busy machine; use OMP_NUM_THREADS=1, "
        "since waiting threads are included (default: wall)",
    )
    args = parse(parser, NUMBERS, argv)
    clips_per_kind(args.clips)
    if args.clock == "cpu" and args.device.type != "cpu":
        raise InputError(f"--clock: expected wall with --device {args.device}, got cpu")
    return args


def _measure(
    args: argparse.Namespace, config: Config, data: StepData, timers: Mapping[str, Timer]
) -> dict[str, dict[str, list[float]]]:
    """Seconds per round: of a matrix product (`machine`), of each part of `timers` and our step."""
    if args.device.type == "cpu":
        keep_freed_memory()
    # As a run on a GPU does before training.
    torch.backends.cudnn.benchmark = True
    prepare_pitch_shift(config.augs, args.device)
    ours = _our_step(args, config, data)
    size = args.matrix, args.matrix
    a, b, out = (torch.rand(size, device=args.device).to(ours.dtype) for _ in range(3))
    product = {"product": lambda: torch.mm(a, b, out=out)}
    timers = {
        "machine": lambda: part_seconds(product, args.device, CLOCKS[args.clock]),
        **timers,
        "ours": lambda: time_step(ours, args.clock),
    }
    durations: dict[str, dict[str, list[float]]] = {name: {} for name in timers}

    def record(name: str) -> None:
        for part, value in timers[name]().items():
            durations[name].setdefault(part, []).append(value)

    interleaved({name: partial(record, name) for name in timers}, args.rounds)
    return {
        name: {part: values[1:] for part, values in parts.items()}  # without the warm-up
        for name, parts in durations.items()
    }


def _our_step(args: argparse.Namespace, config: Config, data: StepData) -> OurStep:
    batches = data.batches(args.workers, args.device)
    return OurStep(config, random_batch(args.clips, config, args.device), args.precision, batches)


def time_step(step: TrainingStep, clock: str) -> dict[str, float]:
    """Run a step once; seconds of each part, of the network and of the whole step."""
    parts = part_seconds(step.parts(), step.device, CLOCKS[clock])
    network = sum(parts[name] for name in NETWORK)
    return parts | {"network": network, "whole step": sum(parts.values())}


def make_reference(
    clips: int, config: Config, data: StepData, device: torch.device
) -> ReferenceStep:
    """The reference step, in its process."""
    batch = random_batch(clips, config, device)
    return ReferenceStep(config, batch, data.reference_batches(device))


def _memory(step: TrainingStep) -> dict[str, float]:
    return peak_memory(step.device)


def _table(args: argparse.Namespace, results: Mapping[str, Any]) -> list[str]:
    durations = results["seconds"]
    ratios = results.get("ratio", results.get("encoder_ratio", {}))
    other = "reference" if "ratio" in results else WITHOUT
    rows = [["", "ours, median (range)", *([other, "ratio"] if ratios else [])]]
    for part, ours in durations["ours"].items():
        rows.append([part, shown(ours)])
        if part in ratios:
            rows[-1] += [shown(durations[other][part]), f"{ratios[part]:.2f} x"]
        elif ratios:
            rows[-1] += ["", ""]
    return [
        f"{args.clips} clips before the network, precision {args.precision}, {args.clock} time",
        *aligned(rows),
        f"product of {args.matrix} x {args.matrix}: {shown(durations['machine']['product'])}",
        f"{results['multiply_adds'] / 1e9:.0f} billion multiply-adds per step, "
        f"{results['share_of_peak']:.0%} of the product's speed",
    ]
