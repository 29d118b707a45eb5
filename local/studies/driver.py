"""The driver of all studies: their common options, and runs, each in a process of its own."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tqdm import tqdm

from desed_task.errors import (
    CLOSED,
    INTERRUPTED,
    OUTPUT_CLOSED,
    TERMINATED,
    Terminated,
    file_error,
    output_closed,
)
from desed_task.files import user_path
from desed_task.options import add_overrides
from desed_task.processor import thread_share
from local.studies.runs import Run

LOG = "output.txt"
CONTINUES = "the same command continues"
POLL = 0.2  # seconds
GRACE = 120  # seconds for a training to save its checkpoint
_STOPS: dict[int, tuple[str, int]] = {
    signal.SIGTERM: ("terminated", TERMINATED),
    signal.SIGINT: ("interrupted", INTERRUPTED),
}


def add_run_options(parser: argparse.ArgumentParser, *, output: str, seeds: int) -> None:
    """Add the options of a study that trains.

    Args:
        parser: the command's parser.
        output: default of `--output`.
        seeds: default of `--seeds`.
    """
    add = parser.add_argument
    add_overrides(parser, "override a key in all runs, as for train_sed.py")
    add(
        "--seeds", type=int, default=seeds, metavar="N",
        help="trainings of each variant (default: %(default)s)",
    )  # fmt: skip
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: %(default)s)")
    add("--gpus", type=int, metavar="N", help="of each run, as for train_sed.py")
    add(
        "--output", type=user_path, default=Path(output), metavar="DIR",
        help="runs and result (default: %(default)s)",
    )  # fmt: skip


@dataclass
class _Process:
    run: Run
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]
    start: float


def execute(runs: Sequence[Run], jobs: int) -> dict[str, str]:
    """Run what is not finished, `jobs` at a time; a run that fails does not stop the others.

    Prints a line at the start and at the end of each run; its output is in `LOG` of its folder.
    After Ctrl-C or SIGTERM the trainings save their checkpoints and end; the next call resumes
    them.

    Returns: the problem of each failed run by its name.

    Raises Terminated where it is interrupted, FaultError for a folder that cannot be written.
    """
    failed: dict[str, str] = {}
    waiting = [run for run in runs if run.result is None]
    running: list[_Process] = []
    with _signals(), tqdm(total=len(waiting), desc="runs", unit="run", smoothing=0) as bar:
        try:
            while waiting or running:
                for ended in [each for each in running if each.process.poll() is not None]:
                    running.remove(ended)
                    if problem := _problem(ended):
                        failed[ended.run.name] = problem
                    bar.update()
                unfinished = {*waiting, *(each.run for each in running)}
                for run in list(waiting):
                    needed = run.trained_by
                    if needed in unfinished:
                        continue
                    if needed is not None and needed.result is None:
                        waiting.remove(run)
                        failed[run.name] = f"expected a finished run {needed.name}, got none"
                        bar.update()
                    elif len(running) < jobs:
                        waiting.remove(run)
                        running.append(_start(run, jobs))
                time.sleep(POLL if running else 0)
        except BaseException:
            _end(running)
            raise
    for name, problem in failed.items():
        print(f"failed: {name}: {problem}", file=sys.stderr)
    return failed


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Raise Terminated after SIGTERM and after Ctrl-C."""

    def stop(number: int, frame: object) -> None:
        word, status = _STOPS[number]
        raise Terminated(f"{word}: {CONTINUES}", status)

    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except BrokenPipeError as error:
        if not output_closed(error):
            raise
        raise Terminated(f"{CLOSED}: {CONTINUES}", OUTPUT_CLOSED) from None
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _start(run: Run, jobs: int) -> _Process:
    environment = dict(os.environ)
    if jobs > 1:
        environment.setdefault("OMP_NUM_THREADS", str(thread_share(jobs)))
    log = run.folder / LOG
    tqdm.write(f"{run.name}: started, output in {log}")
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        file = log.open("ab")
        # A session of its own: Ctrl-C in the terminal reaches this process alone.
        process = subprocess.Popen(
            run.command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise file_error(run.folder, error, "written") from None
    return _Process(run, process, file, time.monotonic())


def _problem(ended: _Process) -> str | None:
    """Print the result of a run; why it failed, or None."""
    ended.log.close()
    run, status = ended.run, ended.process.returncode
    if status == 0 and run.result is not None:
        tqdm.write(f"{run.name}: {time.monotonic() - ended.start:.0f} s, {_headline(run)}")
        return None
    log = run.folder / LOG
    tqdm.write(f"{run.name}: failed")
    return f"exit status {status}: {_last_line(log)}; {log}"


def _headline(run: Run) -> str:
    metrics = run.metrics
    values = {
        network: metrics.get(f"test/{network}/psds1_sed_scores_eval")
        for network in ("student", "teacher")
    }
    shown = [f"{name} {value:.4f}" for name, value in values.items() if value is not None]
    return f"PSDS1 {', '.join(shown)}"


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _end(running: Sequence[_Process]) -> None:
    """Let the trainings save their checkpoints and end; kill those that do not."""
    for each in running:
        with contextlib.suppress(OSError):
            each.process.terminate()
    limit = time.monotonic() + GRACE
    for each in running:
        try:
            each.process.wait(max(0.0, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            each.process.kill()
        each.log.close()
