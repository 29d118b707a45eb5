"""The real training loop: its steps, its waiting for data, its validation; 200 epochs projected.

python -m benchmarks training [--steps 30] [--clips N] [--weak_clips N] [--stretch N]
                              [--epochs 3] [--workers N] [--precision auto|32|16-mixed|bf16-mixed]
                              [--conf_file FILE] [--device cuda] [--json FILE]

Trains and validates as `train_sed.py` does, with its loggers and checkpoints, on noise. Nothing
waits for the GPU except at the ends of stretches of `--stretch` steps, whose mean
step is counted. The first epoch of `--epochs` is not. `device idle meanwhile` is the wait of steps
whose data came when the GPU had done all it was given: the most it waited. The projection to 200
epochs of DESED (236 steps and a validation of 2 500 + 158 clips each) follows from the medians; it
is computed, not run. On a CPU the network and batch are the demo's, on a GPU the recipe's, with all
validation clips.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.devices import device_name
from benchmarks.generated import write_noise_sets
from benchmarks.loop_clock import EPOCHS, STEPS, LoopClock, Projection
from benchmarks.measure import Timing
from benchmarks.options import (
    DEMO,
    RECIPE,
    add_device,
    add_numbers,
    check_least,
    chosen_device,
    subject_parser,
    write_report,
)
from benchmarks.real_training import prepare
from benchmarks.validation import DESED, ON_A_CPU
from desed_task.errors import InputError
from local.config.load import Config, load_config


def main(argv: Sequence[str]) -> int:
    """Train, measure, print."""
    args = _arguments(argv)
    device = torch.device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        config = _config(args, Path(folder))
        clock = LoopClock(args.stretch)
        run = Path(folder) / "run"
        run.mkdir()
        prepare(config, device, run, clock).fit()
    projection = clock.projection(args.clips + args.weak_clips, args.steps)
    timings = {
        "step": Timing(tuple(clock.steps)),
        "of it, data waited for": Timing(tuple(clock.waits)),
        "device idle meanwhile": Timing(tuple(clock.idle)),
        "validation": Timing(tuple(clock.validations)),
    }
    report = {
        "machine": device_name(device),
        "torch": torch.__version__,
        "configuration": args.conf_file.name,
        "precision": args.precision,
        "workers": args.workers,
        "steps": args.steps,
        "stretch": args.stretch,
        "validation_clips": [args.clips, args.weak_clips],
        "seconds": {name: timing.seconds for name, timing in timings.items()},
        "epochs_s": clock.epochs,
        "projection": projection._asdict() | {"minutes": projection.minutes},
    }
    shares = " + ".join(map(str, config.training.clips_per_set.values()))
    print(f"{report['machine']}, torch {torch.__version__}, {args.conf_file.name}")
    print(
        f"steps of {shares} clips, precision {args.precision}, {args.workers} workers; "
        f"validation of {args.clips} + {args.weak_clips} clips"
    )
    for name, timing in timings.items():
        print(f"{name:<26}{_spelled(timing)}")
    print(describe(projection))
    write_report(args.json, report)
    return 0


def _spelled(timing: Timing) -> str:
    low, high = min(timing.seconds), max(timing.seconds)
    return f"{timing.median * 1e3:10.2f} ms ({low * 1e3:.2f} to {high * 1e3:.2f})"


def describe(projection: Projection) -> str:
    """The projection and what it is made of."""
    return (
        f"projection by measured steps (not run): {EPOCHS} epochs x ({STEPS} steps of "
        f"{projection.step_s * 1e3:.2f} ms + validation of {DESED[0]} + {DESED[1]} clips, "
        f"{projection.desed_validation_s:.2f} s + rest {projection.between_s:.2f} s) = "
        f"{projection.minutes:.1f} minutes"
    )


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = subject_parser("training", __doc__)
    add_device(parser)
    options = {
        "steps": (30, "steps of an epoch"),
        "epochs": (3, "epochs, the first of which is not counted"),
        "clips": (None, f"strong validation clips (default: {ON_A_CPU[0]}, GPU: {DESED[0]})"),
        "weak_clips": (None, f"weak ones (default: {ON_A_CPU[1]}, GPU: {DESED[1]})"),
        "stretch": (None, "steps between two waits for a GPU (default: 1, GPU: 10)"),
        "workers": (None, "loading processes (default: 1, GPU: the configuration's)"),
    }
    add_numbers(parser, options)
    parser.add_argument(
        "--precision", choices=["auto", "32", "16-mixed", "bf16-mixed"], default="auto"
    )
    parser.add_argument("--conf_file", type=Path, help="default: confs/demo.yaml; cuda: sed.yaml")
    args = parser.parse_args(argv)
    on_gpu = chosen_device(args.device).type == "cuda"
    args.conf_file = args.conf_file or (RECIPE if on_gpu else DEMO)
    sizes = DESED if on_gpu else ON_A_CPU
    workers = load_config(args.conf_file).training.num_workers if on_gpu else 1
    defaults = {
        "clips": sizes[0],
        "weak_clips": sizes[1],
        "stretch": 10 if on_gpu else 1,
        "workers": workers,
    }
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    check_least(args, epochs=2, clips=1, weak_clips=1, stretch=1, workers=0)
    if args.steps < 2 * args.stretch:
        raise InputError(
            f"--steps {args.steps}: twice --stretch {args.stretch} or more is right, since an "
            "epoch's first stretch is not counted"
        )
    return args


def _config(args: argparse.Namespace, folder: Path) -> Config:
    """The experiment on noise: as many clips as its steps take."""
    config = load_config(args.conf_file)
    shares = config.training.clips_per_set
    trained_weak = max(1, shares["weak"] * args.steps)
    sizes = {
        "synthetic_train": max(1, shares["synthetic"] * args.steps),
        "weak": trained_weak + args.weak_clips,
        "unlabelled": max(1, shares["unlabelled"] * args.steps),
        "synthetic_validation": args.clips,
    }
    settings = (
        f"training.weak_split={trained_weak / sizes['weak']!r}",
        f"training.n_epochs={args.epochs}",
        "training.n_epochs_warmup=1",
        f"training.precision={args.precision}",
        f"training.num_workers={args.workers}",
    )
    overrides = write_noise_sets(folder / "sets", sizes, config.grid)
    return load_config(args.conf_file, [*overrides, *settings])
