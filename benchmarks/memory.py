"""Peak memory of a training step, of a validation and of inference, in one table.

python -m benchmarks memory [--clips 24] [--validation_clips N] [--inference_clips 36]
                            [--precision 32|bf16|16] [--device cuda] [--json FILE]

On a CPU the largest resident memory of a fresh process for each, what it imports (about 0.5 GB)
included; on a GPU what is allocated there, weights included. On a GPU the defaults are the
recipe's batch of 72 and DESED's 2 500 + 158 clips.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import inference, step, validation
from benchmarks.devices import device_name, peak_allocated
from benchmarks.inference import Inference
from benchmarks.measure import peak_memory
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
from benchmarks.training_step import OurStep, check_clips, random_batch
from local.config.load import load_config

WEAK_SHARE = 16  # strong validation clips to a weak one, as in DESED


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    args = _arguments(argv)
    device = torch.device(args.device)
    weak = max(1, args.validation_clips // WEAK_SHARE)
    with tempfile.TemporaryDirectory() as folder:
        overrides = validation.write_sets(Path(folder), args.validation_clips, weak)
        measured = _on_a_cpu if device.type == "cpu" else _on_a_gpu
        found = measured(args, Path(folder), overrides)
    titles = {
        "step": f"training step of {args.clips} clips",
        "validation": f"validation of {args.validation_clips} + {weak} clips",
        "inference": f"inference of {args.inference_clips} clips",
    }
    report = {
        "machine": device_name(device),
        "torch": torch.__version__,
        "precision": args.precision,
        "tasks": titles,
        "peak_gb": found,
    }
    kind = "resident, a fresh process each" if device.type == "cpu" else "allocated"
    print(f"{report['machine']}, torch {torch.__version__}, precision {args.precision}")
    print(f"{'peak memory':<38}{kind}")
    for name, title in titles.items():
        print(f"{title:<38}{found[name]:.2f} GB")
    write_report(args.json, report)
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = subject_parser("memory", __doc__)
    add_device(parser)
    options = {
        "clips": (None, "the network sees in a step (default: 24, on a GPU 72)"),
        "validation_clips": (None, "strong ones (default: 72, on a GPU 2500)"),
        "inference_clips": (36, "of inference"),
    }
    add_numbers(parser, options)
    parser.add_argument("--precision", choices=list(DTYPES), default="32")
    args = parser.parse_args(argv)
    on_gpu = chosen_device(args.device).type == "cuda"
    if args.clips is None:
        args.clips = 72 if on_gpu else 24
    if args.validation_clips is None:
        args.validation_clips = (validation.DESED if on_gpu else validation.ON_A_CPU)[0]
    check_clips(args.clips)
    check_least(args, validation_clips=1, inference_clips=1)
    return args


def _on_a_cpu(args: argparse.Namespace, folder: Path, overrides: list[str]) -> dict[str, float]:
    precision = args.precision
    return {
        "step": peak_memory(step.run_once, args.clips, precision),
        "validation": peak_memory(validation.run_once, folder, overrides, precision),
        "inference": peak_memory(inference.run_once, args.inference_clips, precision),
    }


def _on_a_gpu(args: argparse.Namespace, folder: Path, overrides: list[str]) -> dict[str, float]:
    device, precision = torch.device(args.device), args.precision

    def train() -> None:
        config = load_config(RECIPE)
        task = OurStep(config, random_batch(args.clips, config, device), precision)
        task.run()
        task.run()

    def validate() -> None:
        validation.prepare_validation(folder, overrides, device, precision, workers=2).validate()

    def infer() -> None:
        task = Inference(device, precision)
        task(task.audio(args.inference_clips))

    tasks = {"step": train, "validation": validate, "inference": infer}
    return {name: peak_allocated(task, device) for name, task in tasks.items()}
