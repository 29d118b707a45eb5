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

Commands = Mapping[str, Sequence[str]]
"""Arguments after `python` by the name of the command."""


def subject_command(subject: str, options: Sequence[str], json_file: Path) -> list[str]:
    """The command that measures a subject and writes its results to a file."""
    return ["-m", "benchmarks", subject, *options, "--json", str(json_file)]


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
