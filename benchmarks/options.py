"""What the subjects' command lines have in common."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from desed_task.errors import InputError

ROOT = Path(__file__).parents[1]
RECIPE, DEMO = ROOT / "confs" / "sed.yaml", ROOT / "confs" / "demo.yaml"
DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
LIGHTNING_PRECISIONS = {"32": "32", "bf16": "bf16-mixed", "16": "16-mixed"}
"""`training.precision` of each of them."""


def subject_parser(subject: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with `--json`; the description keeps its lines."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {subject}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, help="write the figures there")
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda (default: cpu)")


def add_numbers(
    parser: argparse.ArgumentParser, helps: Mapping[str, tuple[int | None, str]]
) -> None:
    """An option with a whole number for each name: its default, and what it is."""
    for name, (default, of_option) in helps.items():
        shown = of_option if default is None else f"{of_option} (default: {default})"
        parser.add_argument(f"--{name}", type=int, default=default, help=shown)


def check_least(args: argparse.Namespace, **least: int) -> None:
    """Raise InputError naming an option below its least value."""
    for name, smallest in least.items():
        if getattr(args, name) < smallest:
            raise InputError(f"--{name} {getattr(args, name)}: {smallest} or more is right")


def chosen_device(name: str) -> torch.device:
    """The device of `--device`. Raises InputError for one that is not here."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device {name}: cpu or cuda is right") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: cpu or cuda is right")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {name}: no CUDA device here")
    return device


def write_report(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write figures as JSON, if a path is given. Raises InputError where it cannot be written."""
    if path is None:
        return
    try:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--json {path}: cannot be written: {error.strerror}") from error


def save_figure(figure: Any, path: Path) -> None:
    """Write a Matplotlib figure. Raises InputError where it cannot be written."""
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be written: {error}") from error
