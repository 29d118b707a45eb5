"""The first hour on a GPU: its tests, all measurements and one report; docs/gpu.md describes them.

python -m benchmarks first_hour [--device auto|cuda|cpu] [--tiny] [--output FOLDER] [--minutes 15]

FOLDER/report.md has the measured values beside their targets, the result and the output of each
command, and the loss curves; it is complete after every command. On a CPU everything runs in the
tiny size, which shows that the commands work. The exit status is 1 if a command failed.
"""

import argparse
import json
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks.commands import (
    MINUTES,
    OK,
    Commands,
    read_output,
    run_commands,
    shown,
    subject_commands,
)
from benchmarks.measure import processor
from desed_task.errors import FAULT, InputError, file_error
from desed_task.files import user_path, write_file
from desed_task.options import command_parser
from desed_task.processor import cores
from local.studies.markdown import markdown_table

EXCERPT = 60  # lines of a command's output in the report
STEP, SPEEDUP, IDLE_SHARE, TRAINING = 0.030, 10, 0.01, 30  # s, x, of a step, minutes
REPORT = "report.md"
Results = Mapping[str, Mapping[str, Any]]
"""Content of the JSON files by the name of the command."""


def main(argv: Sequence[str]) -> int:
    """Run the commands, write the report; returns the exit status."""
    args = parse_args(argv)
    reason = None if args.device == "cpu" else no_gpu()
    if args.device == "cuda" and reason is not None:
        raise InputError(f"--device: cuda is not available: {reason}; expected auto or cpu")
    on_gpu = args.device != "cpu" and reason is None
    note = ""
    if args.tiny or not on_gpu:
        why = f"No GPU can be used: {reason}. " if reason else ""
        note = f"{why}Tiny size: the values show that the commands work, and no speed."
        print(note)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        if any(args.output.iterdir()):
            raise InputError(f"--output {args.output}: expected a new or empty folder")
    except OSError as error:
        raise file_error(f"--output {args.output}", error, "used") from error
    commands = list_commands(args.output, on_gpu, bool(note))
    done: dict[str, tuple[str, float]] = {}
    for name, result, seconds in run_commands(commands, args.output, args.minutes):
        done[name] = result, seconds
        write_file(args.output / REPORT, report(commands, done, args.output, note))
    print("", *target_lines(read_results(args.output, done)), sep="\n")
    failed = [name for name, (result, _) in done.items() if result != OK]
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    print(f"\n{args.output / REPORT}")
    return FAULT if failed else 0


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Options of the command line."""
    parser = command_parser("python -m benchmarks first_hour", __doc__)
    add = parser.add_argument
    add(
        "--device",
        choices=["auto", "cuda", "cpu"],
        default="auto",
        help="auto: the GPU, or the CPU where there is none (default: auto)",
    )
    add("--tiny", action="store_true", help="the smallest size, on a GPU too: does it run?")
    add("--output", type=user_path, default=Path("first_hour"))
    add("--minutes", type=float, default=MINUTES, help="limit of a command (default: %(default)s)")
    return parser.parse_args(argv)


def no_gpu() -> str | None:
    """Why PyTorch cannot use a GPU, in its own words; None where it can."""
    if torch.cuda.is_available():
        return None
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        return str(error).splitlines()[0]
    return "PyTorch finds no GPU"


def list_commands(folder: Path, on_gpu: bool, tiny: bool) -> Commands:
    """The commands in their order; `folder` gets what they write."""
    size = ["--device", "cuda" if on_gpu else "cpu", *(["--tiny"] if tiny else [])]
    compiled = ["training_compiled"] if on_gpu else []
    names = ["step", "loading", "inference", "detection", "training", *compiled, "curves"]
    tests = ["-m", "pytest", "-m", "gpu", *(["tests/local/run"] if tiny else [])]
    return {"tests": tests, **subject_commands(names, size, folder)}


# ---- the report ------------------------------------------------------------------------------


def _step(results: Results) -> tuple[str, bool]:
    steps = results["training"]["seconds"]["step"]
    limits = f"{1000 * min(steps):.1f} to {1000 * max(steps):.1f}"
    return f"{1000 * median(steps):.1f} ms ({limits})", median(steps) <= STEP


def _speedup(results: Results) -> tuple[str, bool]:
    ratio = results["step"]["ratio"]["whole step"]
    return f"{ratio:.2f} x", ratio >= SPEEDUP


def _idle(results: Results) -> tuple[str, bool]:
    share = results["training"]["idle_share"]
    return f"{share:.2%}", share < IDLE_SHARE


def _epochs(results: Results) -> tuple[str, bool]:
    minutes = results["training"]["projection"]["minutes"]
    return f"{minutes:.1f} minutes, projected", minutes <= TRAINING


def _within(precision: str) -> Callable[[Results], tuple[str, bool]]:
    def measure(results: Results) -> tuple[str, bool]:
        curves = results["curves"]
        distance, spread = curves["differences"][precision]["mean"], curves["spread"]
        text = f"mean difference {distance:.4f}, spread {spread:.4f}"
        return text, curves["within_spread"][precision]

    return measure


def _compiled(results: Results) -> tuple[str, bool]:
    names = ("training_compiled", "training")
    compiled, plain = (median(results[name]["seconds"]["step"]) for name in names)
    return f"{1000 * compiled:.1f} ms, plain {1000 * plain:.1f} ms", compiled < plain


TARGETS: Mapping[str, Callable[[Results], tuple[str, bool]]] = {
    "step of 72 clips: at most 30 ms": _step,
    "step: at least 10 times as fast as the reference": _speedup,
    "GPU idle for data: less than 1 % of a step": _idle,
    "200 epochs with validations: at most 30 minutes": _epochs,
    "16-mixed within the float32 seeds' spread": _within("16-mixed"),
    "bf16-mixed within the float32 seeds' spread": _within("bf16-mixed"),
    "compiled step: faster than the plain one": _compiled,
}
"""Target -> the measured value as text, and whether it meets the target; KeyError: not measured."""


def target_lines(results: Results) -> list[str]:
    """Markdown table of the targets."""
    rows = []
    for target, measure in TARGETS.items():
        try:
            measured, met = measure(results)
        except KeyError:  # a command that failed or has not run, or a precision of GPUs alone
            rows.append((target, "not measured", "no"))
        else:
            rows.append((target, measured, "yes" if met else "no"))
    return markdown_table(("target", "measured", "met"), rows)


def read_results(folder: Path, done: Mapping[str, tuple[str, float]]) -> Results:
    """JSON files of the commands that succeeded."""
    paths = {name: folder / f"{name}.json" for name, (result, _) in done.items() if result == OK}
    return {name: json.loads(path.read_bytes()) for name, path in paths.items() if path.is_file()}


def report(
    commands: Commands, done: Mapping[str, tuple[str, float]], folder: Path, note: str
) -> str:
    """The report in Markdown, of the commands that have run so far."""
    lines = ["# The first hour on a GPU", "", *([f"**{note}**", ""] if note else [])]
    lines += markdown_table(("machine", ""), machine().items())
    lines += ["", "## Targets", "", *target_lines(read_results(folder, done))]
    rows = []
    for name, arguments in commands.items():
        result, seconds = done.get(name, ("not run yet", 0.0))
        rows.append((name, result, f"{seconds:.0f}", f"`{shown(arguments)}`"))
    lines += ["", "## Commands", ""]
    lines += markdown_table(("name", "result", "seconds", "command"), rows)
    if (folder / "curves.png").is_file():
        lines += ["", "![Loss of each training](curves.png)"]
    for name in done:
        lines += ["", f"## {name}", "", "```", *read_output(folder, name)[-EXCERPT:], "```"]
    return "\n".join(lines) + "\n"


def machine() -> dict[str, str]:
    """Versions and devices."""
    query = _printed("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv")
    return {
        "processor": f"{processor()}, {cores()} cores",
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "Lightning": pl.__version__,
        "CUDA of PyTorch": str(torch.version.cuda),
        "cuDNN": str(torch.backends.cudnn.version()),
        "GPU, driver, memory": "; ".join(query.splitlines()[1:]) or "none found by nvidia-smi",
        "commit": _printed("git", "describe", "--always", "--dirty") or "unknown",
    }


def _printed(*command: str) -> str:
    """A command's standard output; empty where it fails or is missing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
