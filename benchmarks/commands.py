"""Commands of a list, run one after the other, each in a process of its own."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from desed_task.errors import file_error

MINUTES = 15.0  # of a command
OK = "ok"
SUBJECTS = ("step", "loading", "inference", "detection", "training", "curves", "evaluation")
EXTRA = {"step": ["--reference"], "training_compiled": ["--set", "training.compile=true"]}
"""Options of single commands."""

Commands = Mapping[str, Sequence[str]]
"""Arguments after `python` by the name of the command."""


def subject_commands(names: Sequence[str], size: Sequence[str], folder: Path) -> Commands:
    """Commands that measure subjects, or variations of them (`EXTRA`), and write NAME.json.

    Args:
        names: of the subjects; a variation is called SUBJECT_VARIATION.
        size: options of all.
        folder: gets the files.
    """
    return {
        name: [
            *("-m", "benchmarks", name.partition("_")[0], *EXTRA.get(name, ()), *size),
            *("--json", str(folder / f"{name}.json")),
        ]
        for name in names
    }


def shown(arguments: Sequence[str]) -> str:
    """A command as a user types it."""
    return shlex.join(["python", *arguments])


def run_commands(
    commands: Commands, folder: Path, minutes: float = MINUTES
) -> Iterator[tuple[str, str, float]]:
    """Name, `OK` or problem, and seconds of each command, after it has ended.

    Its output is written to `folder`/NAME.txt and printed. One that fails does not stop the others.

    Raises InputError or FaultError for a folder that cannot be written.
    """
    for name, arguments in commands.items():
        print(f"\n== {shown(arguments)}", flush=True)
        start = time.monotonic()
        problem = _run(arguments, folder / f"{name}.txt", 60 * minutes)
        print(*read_output(folder, name), f"{name}: {problem}", sep="\n", flush=True)
        yield name, problem, time.monotonic() - start


def read_output(folder: Path, name: str) -> list[str]:
    """Lines of a command's output without its progress bars."""
    path = folder / f"{name}.txt"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return [line for line in text.splitlines() if "\x1b" not in line and "%|" not in line]


def _run(arguments: Sequence[str], output: Path, limit: float) -> str:
    """Run a command for at most `limit` seconds; `OK`, or the problem."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        file = output.open("wb")
    except OSError as error:
        raise file_error(output, error, "written") from None
    with file:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            return f"failed: stopped after {limit:.0f} s"
        finally:
            if process.poll() is None:  # with its loading processes
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return f"failed: exit status {status}" if status else OK
