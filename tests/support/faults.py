"""Interrupt trainings at random points, resume them, and compare with one that was not interrupted.

`python -m tests.support.faults` (`make faults`): 30 kill -9, spread over preparation, training,
validation, saving, test and report; SIGTERM and Ctrl-C; files that cannot grow, as on a full disk;
50 kills while a checkpoint is saved. It prints a table and ends with status 1 after a loss.

Every process is forked from one that has the imports, so that a run takes a few seconds. A signal
comes in the n-th call of a function of its phase, which is the same in every run.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

import train_sed
from desed_task.errors import FAULT, INTERRUPTED, TERMINATED, run_cli
from local.run import experiment
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT, run_folders
from tests.support.paths import CONFS
from tests.support.tiny import make_data, overrides

# Module, attribute path and number of calls in one run, of each phase.
PHASES: dict[str, tuple[str, str, int]] = {
    "preparation": ("desed_task.dataio.prepare", "_resample_file", 27),
    "training": ("local.sed_trainer", "CrossTaskSED.training_step", 6),
    "optimiser": ("local.sed_trainer", "CrossTaskSED.optimizer_step", 6),
    "validation": ("local.sed_trainer", "CrossTaskSED.validation_step", 4),
    "metrics": ("local.sed_trainer", "CrossTaskSED.on_validation_epoch_end", 2),
    "saving": ("local.run.checkpoints", "CheckpointFiles.save_checkpoint", 3),
    "flushing": ("desed_task.files", "_flush", 8),
    "test": ("local.sed_trainer", "CrossTaskSED.test_step", 2),
    "report": ("desed_task.report.page", "atomic_write", 10),
}
STATUS = {signal.SIGKILL: -9, signal.SIGTERM: TERMINATED, signal.SIGINT: INTERRUPTED}


class Interruption(NamedTuple):
    """What happens to a run.

    Attributes:
        title: for the table.
        status: the run's exit status; negative: the number of a signal.
        context: entered in the run's process.
        prepared: whether the run finds its audio prepared.
    """

    title: str
    status: int
    context: Callable[[], AbstractContextManager[None]]
    prepared: bool = True


def signalled(
    phase: str, call: int, number: signal.Signals = signal.SIGKILL, *, after: bool = False
) -> Interruption:
    """A signal before or after the work of a call."""

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        module, path, _ = PHASES[phase]
        owner: Any = importlib.import_module(module)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        original, calls = getattr(owner, name), 0

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call and not after:
                os.kill(os.getpid(), number)
            result = original(*args, **kwargs)
            if calls == call and after:
                os.kill(os.getpid(), number)
            return result

        setattr(owner, name, counted)
        yield

    title = f"{number.name} {'after' if after else 'before'} call {call} of {phase}"
    return Interruption(title, STATUS[number], context, prepared=phase != "preparation")


def limited(size: int) -> Interruption:
    """Files that cannot grow beyond `size` bytes."""

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        yield

    return Interruption(f"files of at most {size / 1e3:.0f} kB", FAULT, context)


QUICK = (
    signalled("preparation", 5, after=True),
    signalled("training", 5, signal.SIGTERM),
    signalled("flushing", 3, after=True),
    signalled("test", 1, after=True),
    limited(60_000),
)


def all_interruptions(kills: int, seed: int) -> Iterator[Interruption]:
    """`kills` times kill -9, equally often in each phase; signals in five phases; two limits."""
    chosen, names = random.Random(seed), list(PHASES)
    for index in range(kills):
        phase = names[index % len(names)]
        call = chosen.randint(1, PHASES[phase][2])
        yield signalled(phase, call, after=chosen.random() < 0.5)
    for number in (signal.SIGTERM, signal.SIGINT):
        for phase in ("preparation", "training", "validation", "test", "report"):
            yield signalled(phase, 1, number)
    yield from (limited(60_000), limited(150_000))


class Ended(NamedTuple):
    """Exit status of a process (negative: number of the signal) and its standard error."""

    status: int
    message: str


def forked(command: Callable[[], int], log: Path) -> Ended:
    """Run a command line in a process of its own."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # which `nohup` and `&` ignore
            with log.open("w") as errors, open(os.devnull, "w", encoding="utf-8") as nothing:
                os.dup2(errors.fileno(), 2)
                os.dup2(nothing.fileno(), 1)
            run_cli(command)
        except SystemExit as error:
            status = int(error.code or 0)
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, state = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(state), log.read_text(errors="replace"))


class Runs:
    """Trainings of the tiny experiment in an existing folder, with or without a report."""

    def __init__(self, folder: Path, *, report: bool) -> None:
        self.folder = folder
        self.source = make_data(folder / "source")
        self.report = report
        self._number = 0
        self.whole = self._complete(self._arguments(prepared=False))

    def interrupted(self, interruption: Interruption) -> tuple[Ended, bool]:
        """The end of an interrupted run, and whether resuming it loses nothing."""
        arguments = self._arguments(prepared=interruption.prepared)

        def command() -> int:
            with interruption.context():
                return train_sed.main(arguments)

        ended = forked(command, self.folder / "stderr.txt")
        log_dir = self._log_dir(arguments)
        checkpoints = [run / CHECKPOINTS / LAST_CHECKPOINT for run in run_folders(log_dir).values()]
        if any(path.is_file() for path in checkpoints):
            arguments = ["--log_dir", str(log_dir), "--gpus", "0"]
            arguments += ["--resume_from_checkpoint", "last"]
        return ended, self._complete(arguments) == self.whole

    def _arguments(self, *, prepared: bool) -> list[str]:
        """The command line of a new experiment with its own copy of the data."""
        self._number += 1
        data = self.folder / f"data_{self._number}"
        shutil.copytree(self.folder / "data_1" if prepared else self.source, data)
        settings = [*overrides(data), f"postprocess.report={str(self.report).lower()}"]
        log_dir = self.folder / f"runs_{self._number}"
        given = ["--conf_file", str(CONFS / "demo.yaml"), "--log_dir", str(log_dir), "--gpus", "0"]
        return [*given, *(f"--set={text}" for text in settings)]

    def _log_dir(self, arguments: list[str]) -> Path:
        return Path(arguments[arguments.index("--log_dir") + 1])

    def _complete(self, arguments: list[str]) -> dict[str, Any] | None:
        """Metrics of a run to its end, without paths and times; None after a failure."""
        ended = forked(partial(train_sed.main, arguments), self.folder / "stderr.txt")
        if ended.status != 0:
            print(ended.message, file=sys.stderr)
            return None
        newest = list(run_folders(self._log_dir(arguments)).values())[-1]
        content = json.loads((newest / "metrics_test" / "metrics.json").read_text())
        for key in [k for k in content if k.endswith(("config_digest", "training_cpu_seconds"))]:
            del content[key]
        partial_files = list(newest.rglob("*.partial-*"))
        assert not partial_files, partial_files
        return content


def killed_while_saving(folder: Path, times: int, seed: int) -> int:
    """How often a checkpoint was the old or the new one after a kill at a random time."""
    chosen, whole = random.Random(seed), 0
    path = folder / "last.ckpt"
    contents = [{"state_dict": {"a": torch.full((200_000,), float(value))}} for value in range(2)]
    writer = experiment.CheckpointFiles()
    for _ in range(times):
        writer.save_checkpoint(contents[0], path)
        ready, started = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(started, b"x")
            while True:
                writer.save_checkpoint(contents[1], path)
        os.read(ready, 1)
        signal.sigtimedwait([], chosen.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for descriptor in (ready, started):
            os.close(descriptor)
        found = torch.load(path, weights_only=True)["state_dict"]["a"]
        whole += any(torch.equal(found, content["state_dict"]["a"]) for content in contents)
    return whole


def main() -> int:
    """Print the table; 1 after a loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--saves", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="five interruptions, without report")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lost = 0
    with tempfile.TemporaryDirectory() as name:
        runs = Runs(Path(name), report=not args.quick)
        assert runs.whole is not None
        for each in QUICK if args.quick else all_interruptions(args.kills, args.seed):
            ended, same = runs.interrupted(each)
            lost += not same or ended.status != each.status
            last_line = (ended.message.strip().splitlines() or [""])[-1]
            result = "same" if same else "LOST"
            print(f"{each.title:<48} status {ended.status:>4}  {result}  {last_line}", flush=True)
        intact = killed_while_saving(Path(name), args.saves, args.seed)
        lost += args.saves - intact
        print(f"checkpoint after a kill while saving: old or new {intact} of {args.saves} times")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
