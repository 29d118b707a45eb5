"""Kill a training at random points, resume it, and compare with one that was not interrupted.

`python -m tests.support.faults` (`make faults`): 30 kill -9, spread over preparation, training,
validation, saving, test and report; SIGTERM and SIGINT; a full disk; 50 kills while a checkpoint is
saved. It prints a table and ends with status 1 after a loss.

Every process is forked from one that has the imports, so that a run takes a few seconds. A kill is
the n-th call of a function of its phase (a point), which is the same in every run.
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
from pathlib import Path
from typing import Any, NamedTuple

import torch

import train_sed
from desed_task.errors import run_cli
from local.run import experiment, launch
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT, run_folders
from tests.support.paths import CONFS
from tests.support.tiny import make_data, overrides

assert experiment
assert launch  # imported before the first fork

# Module, attribute path and number of calls in one run, of each phase.
PHASES: dict[str, tuple[tuple[str, str], int]] = {
    "preparation": (("desed_task.dataio.prepare", "_resample_file"), 27),
    "training": (("local.sed_trainer", "CrossTaskSED.training_step"), 6),
    "optimiser": (("local.sed_trainer", "CrossTaskSED.optimizer_step"), 6),
    "validation": (("local.sed_trainer", "CrossTaskSED.validation_step"), 4),
    "metrics": (("local.sed_trainer", "CrossTaskSED.on_validation_epoch_end"), 2),
    "saving": (("local.run.checkpoints", "CheckpointFiles.save_checkpoint"), 3),
    "flushing": (("desed_task.files", "_flush"), 8),
    "test": (("local.sed_trainer", "CrossTaskSED.test_step"), 2),
    "report": (("desed_task.report.page", "atomic_write"), 10),
}
METRICS = Path("metrics_test") / "metrics.json"


class Point(NamedTuple):
    """The call of a phase's function in which a signal comes, before or after its work."""

    phase: str
    call: int
    after: bool
    number: signal.Signals = signal.SIGKILL

    def __str__(self) -> str:
        moment = "after" if self.after else "before"
        return f"{self.number.name} {moment} call {self.call} of {self.phase}"


QUICK = (
    Point("preparation", 5, after=True),
    Point("training", 5, after=False),
    Point("validation", 3, after=False),
    Point("flushing", 3, after=True),
    Point("test", 1, after=True),
)
QUICK_CTRL_C = Point("training", 2, after=False, number=signal.SIGINT)
LIMITS = (60_000, 150_000)  # bytes


def points(number: int, seed: int) -> list[Point]:
    """Points to kill at, equally many of each phase, chosen by a seed."""
    chosen = random.Random(seed)
    names = list(PHASES)
    return [
        Point(
            names[index % len(names)],
            chosen.randint(1, PHASES[names[index % len(names)]][1]),
            chosen.random() < 0.5,
        )
        for index in range(number)
    ]


class Ended(NamedTuple):
    """Exit status of a process (negative: number of the signal) and its standard error."""

    status: int
    message: str


def forked(function: Callable[[], int | None], log: Path) -> Ended:
    """Run a command line in a process of its own."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which `nohup` and `&` ignore
        with log.open("w") as file:
            os.dup2(file.fileno(), 2)
        with open(os.devnull, "w", encoding="utf-8") as nothing:
            os.dup2(nothing.fileno(), 1)
        status = 1
        try:
            run_cli(function)
        except SystemExit as error:
            status = int(error.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, state = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(state), log.read_text(errors="replace"))


@contextlib.contextmanager
def signalled(point: Point) -> Iterator[None]:
    """Send this process the point's signal when it is reached."""
    (module, path), _ = PHASES[point.phase]
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls = getattr(owner, name), 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == point.call and not point.after:
            os.kill(os.getpid(), point.number)
        result = original(*args, **kwargs)
        if calls == point.call and point.after:
            os.kill(os.getpid(), point.number)
        return result

    setattr(owner, name, counted)
    try:
        yield
    finally:
        setattr(owner, name, original)


class Runs:
    """Trainings of the tiny experiment in a folder.

    Args:
        folder: an existing one.
        report: whether the test writes its report.
    """

    def __init__(self, folder: Path, *, report: bool) -> None:
        self.folder = folder
        self.source = make_data(folder / "source")
        self.report = report
        self._number = 0

    def arguments(self, *, prepared: bool = False) -> list[str]:
        """The command line of a new experiment with its own copy of the data, prepared or not."""
        self._number += 1
        data = self.folder / f"data_{self._number}"
        shutil.copytree(self.folder / "data_1" if prepared else self.source, data)
        settings = [*overrides(data), f"postprocess.report={str(self.report).lower()}"]
        log_dir = self.folder / f"runs_{self._number}"
        given = ["--conf_file", str(CONFS / "demo.yaml"), "--log_dir", str(log_dir), "--gpus", "0"]
        return [*given, *(f"--set={text}" for text in settings)]

    def log_dir(self, arguments: list[str]) -> Path:
        """Where the runs of a command line are."""
        return Path(arguments[arguments.index("--log_dir") + 1])

    def run(self, arguments: list[str], point: Point | None = None) -> Ended:
        """Run a command line in a process, to its end or to a point."""
        stop = signalled(point) if point is not None else contextlib.nullcontext()

        def command() -> int:
            with stop:
                return train_sed.main(arguments)

        return forked(command, self.folder / "stderr.txt")

    def resumed(self, arguments: list[str]) -> dict[str, Any] | None:
        """Metrics of an interrupted run that is resumed, or begun anew where nothing was saved."""
        log_dir = self.log_dir(arguments)
        saved = any(
            (run / CHECKPOINTS / LAST_CHECKPOINT).is_file() for run in run_folders(log_dir).values()
        )
        again = ["--log_dir", str(log_dir), "--gpus", "0", "--resume_from_checkpoint", "last"]
        ended = self.run(again if saved else arguments)
        if ended.status != 0:
            print(ended.message, file=sys.stderr)
            return None
        return self.metrics(arguments)

    def metrics(self, arguments: list[str]) -> dict[str, Any]:
        """All metrics of the newest run, without the digest of its paths."""
        newest = list(run_folders(self.log_dir(arguments)).values())[-1]
        content: dict[str, Any] = json.loads((newest / METRICS).read_text())
        del content["config_digest"]
        left = list(newest.rglob("*.partial-*"))
        assert not left, left
        return content

    def whole(self) -> dict[str, Any]:
        """Metrics of a run that was not interrupted."""
        arguments = self.arguments()
        ended = self.run(arguments)
        assert ended.status == 0, ended.message
        return self.metrics(arguments)


def interrupted(runs: Runs, whole: dict[str, Any], point: Point) -> tuple[Ended, bool]:
    """How a run ended at a point, and whether it was resumed without loss."""
    arguments = runs.arguments(prepared=point.phase != "preparation")
    ended = runs.run(arguments, point)
    return ended, runs.resumed(arguments) == whole


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


def full_disk(runs: Runs, whole: dict[str, Any], limit: int) -> tuple[Ended, bool]:
    """How a run ends whose files may not grow beyond `limit` bytes, and whether it is resumed."""
    arguments = runs.arguments(prepared=True)

    def limited() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return train_sed.main(arguments)

    ended = forked(limited, runs.folder / "stderr.txt")
    return ended, runs.resumed(arguments) == whole


def main() -> int:
    """Print the table; 1 after a loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=30)
    parser.add_argument("--saves", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="five points, one signal, five saves")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lost = 0
    with tempfile.TemporaryDirectory() as name:
        runs = Runs(Path(name), report=not args.quick)
        whole = runs.whole()
        polite = [
            Point(phase, 1, after=False, number=number)
            for number in (signal.SIGTERM, signal.SIGINT)
            for phase in ("preparation", "training", "validation", "test", "report")
        ]
        hard, saves = points(args.points, args.seed), args.saves
        limits: tuple[int, ...] = LIMITS
        if args.quick:
            hard, polite, saves = list(QUICK), [QUICK_CTRL_C], 5
            limits = LIMITS[:1]
        for point in [*hard, *polite]:
            ended, same = interrupted(runs, whole, point)
            lost += not same
            lines = ended.message.strip().splitlines()
            told = lines[-1] if lines and point in polite else ""
            print(
                f"{point!s:<48} status {ended.status:>4}  {'same' if same else 'LOST'}  {told}",
                flush=True,
            )
        for limit in limits:
            ended, same = full_disk(runs, whole, limit)
            lost += not same
            told = (ended.message.strip().splitlines() or [""])[-1]
            title = f"files of at most {limit / 1e3:.0f} kB"
            print(
                f"{title:<48} status {ended.status:>4}  {'same' if same else 'LOST'}  {told}",
                flush=True,
            )
        kept = killed_while_saving(Path(name), saves, args.seed)
        lost += saves - kept
        print(f"checkpoint after a kill while saving: old or new {kept} of {saves} times")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
