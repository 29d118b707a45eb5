"""Programs that tests start, forked from a process that has imported PyTorch and Lightning.

These imports take 4 s, and the programs of the tests otherwise little more. Everything else is as
for a program that a shell starts: arguments, environment, signals, output, exit status.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.paths import ROOT

LIMIT = 300  # seconds; far more than any program needs that does not hang

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["local.run.experiment", "torch.utils.tensorboard"])


class Program:
    """A running `python ARGUMENTS` in the project's folder, in a session of its own.

    Args:
        arguments: a script, `-m module` or `-c code`, and its arguments.
        environment: all variables; None: those of this process.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._arguments = list(arguments)
        self._folder = tempfile.TemporaryDirectory()
        variables = dict(os.environ if environment is None else environment)
        self._process = _context.Process(
            target=_run, args=(self._arguments, variables, self._folder.name)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process number."""
        assert self._process.pid is not None
        return self._process.pid

    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Its exit status and output; a program that hangs is killed."""
        self._process.join(LIMIT)
        self._process.kill()
        self._process.join()
        status = self._process.exitcode
        assert status is not None
        output, errors = (
            Path(self._folder.name, name).read_text(encoding="utf-8", errors="replace")
            for name in ("output", "errors")
        )
        self._folder.cleanup()
        return subprocess.CompletedProcess(self._arguments, status, output, errors)

    def wait_for(self, path: Path) -> None:
        """Wait until it has written a file, or has ended."""
        while not path.is_file() and self.runs():
            time.sleep(0.05)


def run_program(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` to its end."""
    return Program(arguments, environment).wait()


def _run(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """The program, in the forked process."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    for number, name in ((1, "output"), (2, "errors")):
        descriptor = os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, number)
    sys.orig_argv = [sys.executable, *arguments]
    kind, *rest = arguments
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(kind, run_name="__main__")
