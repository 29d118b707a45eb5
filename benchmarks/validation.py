"""A validation epoch by part: loading, features, networks, figures.

python -m benchmarks validation [--clips 72] [--weak_clips 12] [--precision 32|bf16|16]
                                [--workers N] [--rounds N] [--device cuda] [--json FILE]

Runs the recipe's validation (`CrossTaskSED.validation_step` and the figures of student and
teacher) on generated clips, with Lightning's loop. On a GPU the default is
DESED's 2 500 + 158 clips. Each round validates twice: as it is, for the whole epoch, and with a
stop watch that waits for the GPU after each part. `loading` is what the loop waits for clips;
`figures` decodes and scores; `rest` is all else: moving clips, gathering scores, Lightning. The
weights are fresh, so that scores are near 0.5: a trained network's have fewer events.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.devices import device_name, synchronize
from benchmarks.generated import write_noise_sets
from benchmarks.measure import Timing
from benchmarks.options import (
    LIGHTNING_PRECISIONS,
    RECIPE,
    add_device,
    add_numbers,
    check_least,
    chosen_device,
    subject_parser,
    write_report,
)
from benchmarks.real_training import Training, prepare
from local.config.load import Config, load_config
from local.sed_trainer import CrossTaskSED

DESED = (2500, 158)  # strong and weak validation clips
ON_A_CPU = (72, 12)
PARTS = ("loading", "features", "networks", "figures")
REST, WHOLE = "rest", "whole epoch"


class TimedModule(CrossTaskSED):
    """The recipe's module with a stop watch, which is off until `parts` is a dictionary."""

    parts: dict[str, float] | None = None

    def __init__(self, config: Config, steps_per_epoch: int = 1) -> None:
        super().__init__(config, steps_per_epoch)
        self._started = 0.0
        for network in self.networks.values():
            network.register_forward_pre_hook(self._start)
            network.register_forward_hook(self._stop)

    def features(self, audio: Tensor, mel_gain: Tensor | None = None) -> Tensor:
        """As it is, timed."""
        with self._timed("features"):
            return super().features(audio, mel_gain)

    def on_validation_epoch_end(self) -> None:
        """As it is, timed."""
        with self._timed("figures"):
            super().on_validation_epoch_end()

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        self._start()
        yield
        self._stop(part=part)

    def _start(self, *args: Any) -> None:
        if self.parts is not None:
            synchronize(self.device)
            self._started = time.perf_counter()

    def _stop(self, *args: Any, part: str = "networks") -> None:
        if self.parts is not None:
            synchronize(self.device)
            self.parts[part] += time.perf_counter() - self._started


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    args = _arguments(argv)
    device = torch.device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        overrides = write_sets(Path(folder), args.clips, args.weak_clips)
        training = prepare_validation(Path(folder), overrides, device, args.precision, args.workers)
        timings = measure(training, device, args.rounds)
    report = {
        "machine": device_name(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "clips": args.clips,
        "weak_clips": args.weak_clips,
        "precision": args.precision,
        "workers": args.workers,
        "parts_s": {part: timing.seconds for part, timing in timings.items()},
    }
    print(f"{report['machine']}, torch {torch.__version__}, {report['threads']} threads")
    print(
        f"validation of {args.clips} + {args.weak_clips} clips, student and teacher, precision "
        f"{args.precision}, {args.workers} workers"
    )
    for part, timing in timings.items():
        print(f"{part:<20}{timing}")
    write_report(args.json, report)
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = subject_parser("validation", __doc__)
    add_device(parser)
    strong, weak = (
        f"{n} clips (default: {a}, on a GPU {b})"
        for n, a, b in zip(("strong", "weak"), ON_A_CPU, DESED, strict=True)
    )
    options = {
        "clips": (None, strong),
        "weak_clips": (None, weak),
        "workers": (2, "loading processes"),
        "rounds": (3, "rounds"),
    }
    add_numbers(parser, options)
    parser.add_argument("--precision", choices=list(LIGHTNING_PRECISIONS), default="32")
    args = parser.parse_args(argv)
    sizes = DESED if chosen_device(args.device).type == "cuda" else ON_A_CPU
    for name, size in zip(("clips", "weak_clips"), sizes, strict=True):
        if getattr(args, name) is None:
            setattr(args, name, size)
    check_least(args, clips=1, weak_clips=1, workers=0, rounds=1)
    return args


def write_sets(folder: Path, clips: int, weak_clips: int) -> list[str]:
    """Generated sets whose validation has so many clips; the overrides that name them."""
    config = load_config(RECIPE)
    sizes = {"synthetic_validation": clips, "weak": weak_clips + 1}
    split = f"training.weak_split={1 / (weak_clips + 1)!r}"  # one is left for training
    return [*write_noise_sets(folder / "sets", sizes, config.grid), split]


def prepare_validation(
    folder: Path, overrides: Sequence[str], device: torch.device, precision: str, workers: int
) -> Training:
    """The recipe's network with fresh weights, ready to validate on generated sets."""
    settings = (
        f"training.precision={LIGHTNING_PRECISIONS[precision]}",
        f"training.num_workers={workers}",
        "training.batch_size=[1, 1, 1]",
        "training.picture_interval=0",
    )
    config = load_config(RECIPE, [*overrides, *settings])
    run = folder / "run"
    run.mkdir()
    return prepare(config, device, run, module=TimedModule)


def measure(training: Training, device: torch.device, rounds: int) -> dict[str, Timing]:
    """Seconds of each part and of the whole; a round before the first is not counted."""
    seconds: dict[str, list[float]] = {part: [] for part in (*PARTS, REST, WHOLE)}
    for number in tqdm(range(rounds + 1), desc="Rounds", leave=False):
        whole, parts = _validate(training, device), _validate_by_part(training, device)
        if number:
            for part, value in (parts | {WHOLE: whole}).items():
                seconds[part].append(value)
    return {part: Timing(tuple(values)) for part, values in seconds.items()}


def _validate(training: Training, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    training.validate()
    synchronize(device)
    return time.perf_counter() - start


def _validate_by_part(training: Training, device: torch.device) -> dict[str, float]:
    module: Any = training.module
    waited = training.data.waited_in_validation()
    module.parts = dict.fromkeys(PARTS, 0.0)
    whole = _validate(training, device)
    parts: dict[str, float] = module.parts
    module.parts = None
    parts["loading"] = training.data.waited_in_validation() - waited
    return parts | {REST: whole - sum(parts.values())}


def run_once(folder: Path, overrides: list[str], precision: str) -> None:
    """One validation on the CPU, for its peak memory."""
    prepare_validation(folder, overrides, torch.device("cpu"), precision, workers=0).validate()
