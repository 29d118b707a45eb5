"""Command-line options that the subjects share."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from desed_task.errors import InputError
from desed_task.files import user_path
from desed_task.options import add_overrides, command_parser
from tests.support.tiny import SMALL

ROOT = Path(__file__).parents[1]
RECIPE, DEMO = ROOT / "confs" / "sed.yaml", ROOT / "confs" / "demo.yaml"
PRECISIONS = {"32": "32", "bf16": "bf16-mixed", "16": "16-mixed"}
"""`--precision` -> `training.precision`."""
TINY = (*SMALL, "data.audio_max_len=2")
"""Overrides of `confs/demo.yaml` with `--tiny`."""


class Number(NamedTuple):
    """A whole-number option.

    Attributes:
        tiny, cpu, gpu: its default with `--tiny`, on a CPU, and with `--device cuda`.
        help: its description.
        least: its smallest value.
    """

    tiny: int
    cpu: int
    gpu: int
    help: str
    least: int = 1


def subject_parser(
    module_doc: str | None, numbers: Mapping[str, Number], *, precision: bool = False
) -> argparse.ArgumentParser:
    """Parser with the options of all subjects, those of `numbers` and, if asked, `--precision`."""
    description = str(module_doc)
    command = " ".join(description.partition("python -m ")[2].split()[:2])
    parser = command_parser(command, description)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--tiny", action="store_true", help="the smallest size: does it run?")
    parser.add_argument("--json", type=user_path, help="write the results to this file")
    if precision:
        parser.add_argument(
            "--precision", choices=list(PRECISIONS), help="default: 32; with --device cuda 16"
        )
    for name, number in numbers.items():
        sizes = f"tiny {number.tiny}, cpu {number.cpu}, cuda {number.gpu}"
        parser.add_argument(f"--{name}", type=int, help=f"{number.help} (default: {sizes})")
    return parser


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """Add `--conf_file` and `--set`, for subjects that train a configuration."""
    parser.add_argument(
        "--conf_file", type=user_path, help="default: confs/demo.yaml; with --device cuda sed.yaml"
    )
    add_overrides(parser, "override a key of the configuration")


def parse(
    parser: argparse.ArgumentParser, numbers: Mapping[str, Number], argv: Sequence[str]
) -> argparse.Namespace:
    """Parsed options; `device` is a `torch.device`, missing numbers get the size's defaults.

    Raises InputError for an unusable device, a number that is too small, or a precision that the
    device does not have.
    """
    args = parser.parse_args(argv)
    args.device = _device(args.device)
    on_gpu = args.device.type == "cuda"
    for name, number in numbers.items():
        if getattr(args, name) is None:
            default = number.tiny if args.tiny else number.gpu if on_gpu else number.cpu
            setattr(args, name, default)
        if getattr(args, name) < number.least:
            raise InputError(f"--{name}: expected at least {number.least}, got {vars(args)[name]}")
    if getattr(args, "precision", "32") is None:
        args.precision = "16" if on_gpu else "32"
    if getattr(args, "precision", "32") == "16" and not on_gpu:
        raise InputError("--precision: expected 32 or bf16 on a CPU, got 16; see --device cuda")
    if getattr(args, "conf_file", RECIPE) is None:
        args.conf_file = RECIPE if on_gpu and not args.tiny else DEMO
    return args


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise InputError(
            f"--device: expected cpu or cuda, got {name}; CUDA_VISIBLE_DEVICES chooses a GPU"
        )
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device: {name} is not available on this machine; expected cpu")
    return device
