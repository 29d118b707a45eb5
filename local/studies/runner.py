"""Runs an ablation's runs, each in a process of its own with its share of the cores."""

import json
import os
import subprocess
import time
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tqdm import tqdm

from desed_task.errors import Terminated, file_error
from desed_task.processor import thread_share
from local.studies.runs import METRICS, Experiment, Run, command

LOG = "output.txt"
POLL = 0.2  # seconds
GRACE = 120  # seconds for a training to save its checkpoint


@dataclass
class Outcome:
    """What became of the runs, by name: a line each; a run that was finished before is `kept`."""

    done: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass
class _Process:
    run: Run
    process: "subprocess.Popen[bytes]"
    log: IO[bytes]
    start: float


def execute(runs: Sequence[Run], experiment: Experiment, jobs: int) -> Outcome:
    """Run what is not finished, `jobs` at a time; a run that fails does not stop the others.

    Prints a line per run. When this process is interrupted, the trainings save their checkpoints
    and end; the next call resumes them.

    Raises Terminated or KeyboardInterrupt where it is interrupted, FaultError for a folder that
    cannot be written.
    """
    outcome = Outcome()
    waiting = list(runs)
    running: list[_Process] = []
    names = {run.name for run in runs}
    trainings = [run for run in runs if run.trained_by is None]
    with tqdm(total=len(trainings), desc="trainings", unit="run", smoothing=0) as bar:
        try:
            while waiting or running:
                for each in [each for each in running if each.process.poll() is not None]:
                    running.remove(each)
                    _tell(each, outcome)
                    bar.update(each.run.trained_by is None)
                for run in _ready(waiting, names, outcome):
                    if run.result is not None:
                        waiting.remove(run)
                        outcome.done[run.name] = "kept"
                        bar.total = (bar.total or 0) - (run.trained_by is None)
                        bar.refresh()
                    elif len(running) < jobs:
                        waiting.remove(run)
                        running.append(_start(run, experiment, thread_share(jobs)))
                time.sleep(POLL if running else 0)
        except BaseException:
            _end(running)
            raise
    return outcome


def _ready(waiting: list[Run], names: Container[str], outcome: Outcome) -> list[Run]:
    """Runs that can start; those whose training is missing are noted and stop waiting."""
    ready = []
    for run in list(waiting):
        trained_by = run.trained_by
        if trained_by is None or trained_by.result is not None:
            ready.append(run)
        elif trained_by.name in outcome.failed or trained_by.name not in names:
            outcome.failed[run.name] = f"expected a finished run {trained_by.name}, got none"
            waiting.remove(run)
    return ready


def _start(run: Run, experiment: Experiment, n_threads: int) -> _Process:
    environment = dict(os.environ) | {"OMP_NUM_THREADS": str(n_threads)}
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        log = (run.folder / LOG).open("ab")
        # A session of its own: Ctrl-C in the terminal reaches this process alone.
        process = subprocess.Popen(
            command(run, experiment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise file_error(run.folder, error, "written") from None
    return _Process(run, process, log, time.monotonic())


def _tell(ended: _Process, outcome: Outcome) -> None:
    """Print and note what became of a run."""
    ended.log.close()
    run, status = ended.run, ended.process.returncode
    seconds = time.monotonic() - ended.start
    result = run.result
    if status == 0 and result is not None:
        line = f"{seconds:.0f} s, {_headline(result / METRICS)}"
        outcome.done[run.name] = line
    else:
        line = f"FAILED with exit status {status}: {_last_line(run.folder / LOG)}"
        outcome.failed[run.name] = f"{line}; {run.folder / LOG}"
    tqdm.write(f"{run.name}: {line}")


def _headline(metrics: Path) -> str:
    content: Mapping[str, float | None] = json.loads(metrics.read_bytes())
    values = {
        network: content.get(f"test/{network}/psds1_sed_scores_eval")
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
    """Let the trainings save their checkpoints and end; end those that do not."""
    for each in running:
        with suppress(OSError):
            each.process.terminate()
    limit = time.monotonic() + GRACE
    for each in running:
        try:
            each.process.wait(max(0.0, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            each.process.kill()
        each.log.close()


def raise_terminated(*args: object) -> None:
    """Handle SIGTERM: end the runs as Ctrl-C does."""
    raise Terminated("terminated: the same command continues")
