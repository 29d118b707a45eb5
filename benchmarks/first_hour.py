"""The first hour on a GPU: ten commands and one report; docs/gpu.md describes them.

python -m benchmarks first_hour [--device auto|cuda|cpu] [--tiny] [--output FOLDER] [--minutes 60]

Each command is a process of its own, whose output goes to FOLDER/NAME.txt; one that fails does not
stop the others. FOLDER/report.md has the measured values beside their targets, the outcome of each
command and the loss curves; it is complete after every command. On a CPU everything runs in the
tiny size, which shows that the commands work. The exit status is 1 if a command failed.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from statistics import median
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch

from benchmarks.measure import processor
from benchmarks.options import DEMO, TINY
from desed_task.errors import InputError, file_error
from desed_task.files import user_path, write_file
from desed_task.processor import cores
from local.config.load import load_config
from tests.support.tiny import data_overrides

LONGEST = 15 * 60  # seconds of a command
EXCERPT = 15  # lines of a failed command's output in the report
RECIPE_STEP, SPEEDUP, IDLE_SHARE, TRAINING = 0.030, 10, 0.01, 30  # s, x, of a step, minutes
OK = "ok"


class Command(NamedTuple):
    """A command of the first hour.

    Attributes:
        name: of its output file, and of its JSON file where it writes one.
        purpose: what it shows.
        arguments: after `python`.
        expected: regular expression that its output matches.
    """

    name: str
    purpose: str
    arguments: Sequence[str]
    expected: str


class Outcome(NamedTuple):
    """How a command ended: `OK` or the problem, and after how many seconds."""

    result: str
    seconds: float = 0.0


NOT_RUN = Outcome("not run yet")


class Target(NamedTuple):
    """A row of the table of targets.

    Attributes:
        text: the target.
        commands: names of the commands whose JSON files it needs.
        measure: contents of these files -> the value as text, and whether it meets the target.
    """

    text: str
    commands: Sequence[str]
    measure: Callable[..., tuple[str, bool]]


def main(argv: Sequence[str]) -> int:
    """Run the commands, write the report; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks first_hour",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--device",
        choices=["auto", "cuda", "cpu"],
        default="auto",
        help="auto: the GPU, or the CPU where there is none (default: auto)",
    )
    parser.add_argument(
        "--tiny", action="store_true", help="the smallest size, on a GPU too: does it run?"
    )
    parser.add_argument("--output", type=user_path, default=Path("first_hour"))
    parser.add_argument("--minutes", type=float, default=60, help="for all commands (default: 60)")
    args = parser.parse_args(argv)
    reason = None if args.device == "cpu" else no_gpu()
    if args.device == "cuda" and reason is not None:
        raise InputError(f"--device: cuda is not available: {reason}; expected auto or cpu")
    on_gpu = args.device != "cpu" and reason is None
    tiny = args.tiny or not on_gpu
    note = size_note(on_gpu, tiny, reason)
    if note:
        print(f"{note}\n")
    commands = list_commands(args.output, on_gpu, tiny)
    prepare(args.output, tiny)
    outcomes: dict[str, Outcome] = {}
    end = time.monotonic() + 60 * args.minutes
    for number, command in enumerate(commands, start=1):
        print(f"[{number}/{len(commands)}] {shown_command(command)}", flush=True)
        if command.name == "training_compiled" and not on_gpu:
            outcomes[command.name] = Outcome("not run: needs a GPU")
        else:
            outcomes[command.name] = run(command, args.output, end)
        outcome = outcomes[command.name]
        print(f"    {outcome.result}, {outcome.seconds:.0f} s", flush=True)
        report = report_text(commands, outcomes, args.output, note, tiny)
        write_file(args.output / "report.md", report)
    failed = [name for name, outcome in outcomes.items() if is_failure(outcome)]
    print("\n" + "\n".join(target_lines(commands, outcomes, args.output, tiny)))
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    print(f"\n{args.output / 'report.md'}")
    return int(bool(failed))


def no_gpu() -> str | None:
    """Why PyTorch cannot use a GPU, in its own words; None where it can."""
    if torch.cuda.is_available():
        return None
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        return str(error).splitlines()[0]
    return "PyTorch finds no GPU"


def size_note(on_gpu: bool, tiny: bool, reason: str | None) -> str:
    """What the values are worth; empty for the full size on a GPU."""
    why = f"No GPU can be used: {reason}. " if reason else ""
    where = "a GPU" if on_gpu else "the CPU"
    told = "show that the commands work and tell nothing about the targets"
    return f"{why}Tiny size on {where}: the values {told}." if tiny else ""


def prepare(folder: Path, tiny: bool) -> None:
    """Make the folder and write its experiment."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"--output {folder}: is not empty: expected a new folder")
    except OSError as error:
        raise file_error(folder, error, "used") from error
    data = folder / "demo_data"
    config = load_config(DEMO, [*data_overrides(data), *(TINY if tiny else ())])
    write_file(folder / "experiment.yaml", config.to_yaml())


def list_commands(folder: Path, on_gpu: bool, tiny: bool) -> list[Command]:
    """The ten commands in their order; `folder` gets what they write."""
    data, log_dir = str(folder / "demo_data"), ("--log_dir", str(folder / "resumed"))
    gpus = ("--gpus", str(int(on_gpu)))
    train, conf_file = ("train_sed.py",), ("--conf_file", str(folder / "experiment.yaml"))
    precision = "16-mixed" if on_gpu else "bf16-mixed"
    second_epoch = ("--set", "training.n_epochs=2", "--set", f"training.precision={precision}")
    generate = ("-m", "local.generate")
    tests = ("tests/local/run",) if tiny else ()

    def benchmark(subject: str, *more: str, name: str = "") -> Sequence[str]:
        size = ("--tiny",) if tiny else ()
        device = ("--device", "cuda" if on_gpu else "cpu")
        result = ("--json", str(folder / f"{name or subject}.json"))
        return ("-m", "benchmarks", subject, *more, *device, *size, *result)

    small = benchmark("all", "--only", "loading", "inference")[:-1]
    return [
        Command(
            "generate",
            "a data set for the next commands",
            (*generate, "--output", data, "--seed", "1", "--size", "tiny" if tiny else "demo"),
            "",
        ),
        Command(
            "fast_dev_run",
            "training, validation and test work on the device",
            (*train, *conf_file, "--fast_dev_run", *gpus, "--log_dir", str(folder / "fast")),
            r"(?s)Epoch 0: loss.*metrics\.json",
        ),
        Command(
            "cpu_epoch",
            "a checkpoint of the CPU",
            (*train, *conf_file, "--gpus", "0", *log_dir, "--set", "training.n_epochs=1"),
            r"(?s)Epoch 0: loss.*metrics\.json",
        ),
        Command(
            "resume",
            "the device resumes it in mixed precision",
            (*train, "--resume_from_checkpoint", "last", *gpus, *log_dir, *second_epoch),
            r"(?s)Epoch 1: loss.*metrics\.json",
        ),
        Command(
            "tests",
            "no step waits for the GPU; compiled and plain layers agree",
            ("-m", "pytest", "-m", "gpu", *tests),
            r"\d+ passed" if on_gpu else r"\d+ skipped",
        ),
        Command(
            "step",
            "the parts of a step beside the reference's",
            benchmark("step", "--reference"),
            r"whole step .* x",
        ),
        Command(
            "loading_inference",
            "clips loaded per second; real-time factor",
            (*small, str(folder)),
            r"(?s)clips/s.*real-time factor",
        ),
        Command(
            "training",
            "the training loop: step, idle time, 200 epochs projected",
            benchmark("training"),
            r"projection, not run",
        ),
        Command(
            "training_compiled",
            "the same with compiled layers",
            benchmark("training", "--set", "training.compile=true", name="training_compiled"),
            r"projection, not run",
        ),
        Command(
            "curves",
            "losses in float32 and in mixed precision",
            benchmark("curves", *(() if tiny else ("--data", data))),
            r"this spread",
        ),
    ]


def shown_command(command: Command) -> str:
    """The command as a user types it."""
    return " ".join(["python", *map(quote, command.arguments)])


def run(command: Command, folder: Path, end: float) -> Outcome:
    """Run a command, at most until `end` (of `time.monotonic`)."""
    start = time.monotonic()
    limit = min(LONGEST, end - start)
    if limit <= 0:
        return Outcome("failed: not run, no time left")
    output = folder / f"{command.name}.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:  # with its loading processes
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    seconds = time.monotonic() - start
    if status is None:
        return Outcome(f"failed: stopped after {limit:.0f} s", seconds)
    if status:
        return Outcome(f"failed: exit status {status}", seconds)
    if not re.search(command.expected, read_output(output)):
        return Outcome(f"failed: expected `{command.expected}` in its output", seconds)
    return Outcome(OK, seconds)


def read_output(path: Path) -> str:
    """A command's output without the earlier states of its progress bars."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(line for line in lines if "\x1b" not in line)


def is_failure(outcome: Outcome) -> bool:
    """Whether a command ran and failed, or had no time."""
    return outcome.result.startswith("failed")


# ---- the report ------------------------------------------------------------------------------


def _step(training: Mapping[str, Any]) -> tuple[str, bool]:
    steps = training["seconds"]["step"]
    limits = f"{1000 * min(steps):.1f} to {1000 * max(steps):.1f}"
    return f"{1000 * median(steps):.1f} ms ({limits})", median(steps) <= RECIPE_STEP


def _speedup(step: Mapping[str, Any]) -> tuple[str, bool]:
    ratio = step["ratio"]["whole step"]
    return f"{ratio:.2f} x", ratio >= SPEEDUP


def _idle(training: Mapping[str, Any]) -> tuple[str, bool]:
    share = training["idle_share"]
    return f"{share:.2%}", share < IDLE_SHARE


def _epochs(training: Mapping[str, Any]) -> tuple[str, bool]:
    minutes = training["projection"]["minutes"]
    return f"{minutes:.1f} minutes, projected", minutes <= TRAINING


def _within(precision: str) -> Callable[..., tuple[str, bool]]:
    def measure(curves: Mapping[str, Any]) -> tuple[str, bool]:
        distance, spread = curves["differences"][precision]["mean"], curves["spread"]
        text = f"mean difference {distance:.4f}, spread {spread:.4f}"
        return text, curves["within_spread"][precision]

    return measure


def _compiled(compiled: Mapping[str, Any], plain: Mapping[str, Any]) -> tuple[str, bool]:
    steps = [median(result["seconds"]["step"]) for result in (compiled, plain)]
    return f"{1000 * steps[0]:.1f} ms, plain {1000 * steps[1]:.1f} ms", steps[0] < steps[1]


TARGETS = (
    Target("step of 72 clips: at most 30 ms", ["training"], _step),
    Target("step: at least 10 times as fast as the reference", ["step"], _speedup),
    Target("GPU idle for data: less than 1 % of a step", ["training"], _idle),
    Target("200 epochs with validations: at most 30 minutes", ["training"], _epochs),
    Target("16-mixed within the float32 seeds' spread", ["curves"], _within("16-mixed")),
    Target("bf16-mixed within the float32 seeds' spread", ["curves"], _within("bf16-mixed")),
    Target(
        "compiled step: faster than the plain one", ["training_compiled", "training"], _compiled
    ),
)


def target_lines(
    commands: Sequence[Command], outcomes: Mapping[str, Outcome], folder: Path, tiny: bool
) -> list[str]:
    """Markdown table of the targets; a value that was not measured does not meet its target."""
    numbers = {command.name: number for number, command in enumerate(commands, start=1)}
    lines = ["| target | measured | met | command |", "|---|---|---|---|"]
    for target in TARGETS:
        results = [read_result(folder, name, outcomes) for name in target.commands]
        try:
            measured, is_met = target.measure(*results)
        except KeyError:  # a subject that failed, or a precision that the device does not have
            results_of = (outcomes.get(name, NOT_RUN).result for name in target.commands)
            reason = next((result for result in results_of if result != OK), "needs a GPU")
            measured, met = f"not measured ({reason})", "no"
        else:
            met = ("yes" if is_met else "no") + (" (tiny size)" if tiny else "")
        lines.append(f"| {target.text} | {measured} | {met} | {numbers[target.commands[0]]} |")
    return lines


def read_result(folder: Path, name: str, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """A command's JSON file; empty where it failed or has not run."""
    path = folder / f"{name}.json"
    if (name in outcomes and outcomes[name].result != OK) or not path.is_file():
        return {}
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def further_lines(folder: Path, outcomes: Mapping[str, Outcome]) -> list[str]:
    """Values without a target, of the subjects that have them."""
    lines = []
    names = ("step", "training", "training_compiled", "curves")
    results = {name: read_result(folder, name, outcomes) for name in names}
    for name, result in results.items():
        for owner, peaks in result.get("peak_memory_gb", {}).items():
            memory = ", ".join(f"{kind} {value:.2f} GB" for kind, value in peaks.items())
            lines.append(f"- peak memory of {name}, {owner}: {memory}")
    if step := results["step"]:
        whole = 1000 * median(step["seconds"]["ours"]["whole step"])
        lines.append(
            f"- a single step, precision {step['options']['precision']}: {whole:.1f} ms, "
            f"{step['share_of_peak']:.0%} of the speed of a matrix product"
        )
    # Both are subjects of one command, which may have failed for one of them.
    for batch in read_result(folder, "inference", {}).get("batches", []):
        factor = batch["real_time_factor"]
        lines.append(f"- inference, batch of {batch['clips']}: real-time factor {factor:.6f}")
    if loading := read_result(folder, "loading", {}):
        speed = median(loading["clips_per_second"])
        workers = loading["options"]["workers"]
        lines.append(f"- loading: {speed:.0f} clips per second with {workers} workers")
    return lines


def report_text(
    commands: Sequence[Command],
    outcomes: Mapping[str, Outcome],
    folder: Path,
    note: str,
    tiny: bool,
) -> str:
    """The report in Markdown, of the commands that have run so far."""
    lines = ["# The first hour on a GPU", "", *([f"**{note}**", ""] if note else [])]
    failed = [
        command for command in commands if is_failure(outcomes.get(command.name, Outcome(OK)))
    ]
    if failed:
        lines += [f"**Failed: {', '.join(command.name for command in failed)}**", ""]
    lines += ["| machine | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in machine().items()]
    lines += ["", "## Targets", "", *target_lines(commands, outcomes, folder, tiny)]
    lines += ["", "Further values:", "", *further_lines(folder, outcomes)]
    lines += [
        "",
        "## Commands",
        "",
        "| # | name | shows | result | seconds |",
        "|---|---|---|---|---|",
    ]
    for number, command in enumerate(commands, start=1):
        result, seconds = outcomes.get(command.name, NOT_RUN)
        lines.append(
            f"| {number} | {command.name} | {command.purpose} | {result} | {seconds:.0f} |"
        )
    lines += ["", "```sh", *map(shown_command, commands), "```"]
    if (folder / "curves.png").is_file():
        lines += ["", "## Loss curves", "", "![Loss of each training](curves.png)"]
    for command in failed:
        output = folder / f"{command.name}.txt"
        last = read_output(output).splitlines()[-EXCERPT:] if output.is_file() else []
        title = f"## {command.name}: the end of its output"
        lines += ["", title, "", "```", *last, "```"]
    return "\n".join(lines) + "\n"


def machine() -> dict[str, str]:
    """Versions and devices."""
    rows = {
        "processor": f"{processor()}, {cores()} cores",
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "Lightning": pl.__version__,
        "CUDA of PyTorch": str(torch.version.cuda),
        "cuDNN": str(torch.backends.cudnn.version()),
    }
    query = _printed("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv")
    gpus = query.splitlines()[1:]  # below the header
    rows["GPU, driver, memory"] = "; ".join(gpus) or "none found by nvidia-smi"
    rows["commit"] = _printed("git", "describe", "--always", "--dirty") or "unknown"
    return rows


def _printed(*command: str) -> str:
    """A command's standard output; empty where it fails or is missing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
