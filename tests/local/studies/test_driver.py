"""The driver of all studies, with a stub in place of the training."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from desed_task.errors import INTERRUPTED, TERMINATED, Terminated
from desed_task.processor import thread_share
from local.config.load import load_config
from local.studies.driver import LOG, execute
from local.studies.runs import Experiment, Run
from tests.support.paths import CONFS
from tests.support.stub_training import STUB


def _experiment(tmp_path: Path, *overrides: str, gpus: int | None = None) -> Experiment:
    return Experiment(CONFS / "demo.yaml", overrides, tmp_path / "out", gpus, STUB)


def _runs(tmp_path: Path, *whole_overrides: str) -> list[Run]:
    """A training, a test of it, and another training."""
    experiment = _experiment(tmp_path)
    whole = experiment.run("whole", 1, whole_overrides)
    corrected = ["postprocess.score_correction=false", *whole_overrides]
    tested = experiment.run("tested", 1, corrected, whole)
    return [whole, tested, experiment.run("other", 1, ["losses.cross_task=0"])]


def _log(run: Run) -> list[str]:
    return (run.folder / LOG).read_text().splitlines()


def test_every_run_is_executed_once_with_its_share_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    whole, tested, other = runs = _runs(tmp_path)
    assert not execute(runs, jobs=2)
    (line,) = _log(other)
    assert line.startswith(f"threads {thread_share(2)} ")
    assert "--set losses.cross_task=0 --set training.seed=1" in line
    best = whole.folder / "version_0" / "checkpoints" / "best.ckpt"
    assert f"--test_from_checkpoint {best}" in _log(tested)[0]
    assert "--set postprocess.score_correction=false" in _log(tested)[0]

    again = _runs(tmp_path)
    more = _experiment(tmp_path, gpus=0).run("whole", 2)
    assert not execute([*again, more], jobs=1)
    assert [len(_log(run)) for run in again] == [1, 1, 1]
    assert _log(more)[0].startswith("threads None ")
    assert "--gpus 0" in _log(more)[0]


def test_another_configuration_or_checkpoint_has_another_folder(tmp_path: Path) -> None:
    before = _experiment(tmp_path).run("whole", 1).folder
    after = _experiment(tmp_path, "opt.lr=0.1").run("whole", 1).folder
    assert before.name.startswith("seed_1-")
    assert before.parent == after.parent == tmp_path / "out" / "runs" / "whole"
    assert before != after
    folders = set()
    for content in (b"one", b"another"):
        (tmp_path / "some.ckpt").write_bytes(content)
        folders.add(_experiment(tmp_path).test_run(tmp_path / "some.ckpt").folder)
    assert len(folders) == 2


def test_a_folder_of_an_earlier_version_is_found(tmp_path: Path) -> None:
    """With another digest in its name, or without one; by the configuration that it stores."""
    for seed, older in {1: "runs/whole/seed_1-0123456789ab", 2: "seed_2"}.items():
        config = load_config(CONFS / "demo.yaml", [f"training.seed={seed}"])
        stored = config.plain() | {"data": config.data.resolved()}  # without the newer `data.root`
        run = tmp_path / "out" / older / "version_0"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(yaml.safe_dump(stored))
    with_workers = tmp_path / "out" / "runs/whole/seed_1-f123456789ab" / "version_0"
    (with_workers / "metrics_test").mkdir(parents=True)
    (with_workers / "metrics_test" / "metrics.json").write_text("{}")
    config = load_config(CONFS / "demo.yaml", ["training.seed=1", "training.num_workers=3"])
    (with_workers / "config.yaml").write_text(config.to_yaml())
    first, second = (_experiment(tmp_path).run("whole", seed).folder for seed in (1, 2))
    assert (first.name, second.name) == ("seed_1-f123456789ab", "seed_2")  # the finished one
    changed = _experiment(tmp_path, "opt.lr=0.1").run("whole", 1).folder
    assert changed.name not in (first.name, second.name, "seed_1-0123456789ab")


def test_a_failed_run_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, tested, other = _runs(tmp_path, "opt.lr=0.5")
    failed = execute([whole, tested, other], jobs=1)
    assert other.result == other.folder / "version_0"
    assert "error: too fast" in failed["whole:1"]
    assert "whole:1" in failed["tested:1"]
    assert set(failed) == {"whole:1", "tested:1"}
    assert "failed: whole:1: exit status 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)]
)
def test_an_interrupted_study_ends_its_trainings_and_resumes_them(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    runs = _runs(tmp_path, "opt.lr=0.25")
    _interrupt_at(runs[0].folder / "waits", number)
    before: Sequence[object] = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Terminated, match="the same command continues") as caught:
        execute(runs, jobs=1)
    assert caught.value.status == status
    assert before == [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    assert runs[0].result is None

    assert not execute(runs, jobs=1)
    last = runs[0].folder / "version_0" / "checkpoints" / "last.ckpt"
    assert f"--resume_from_checkpoint {last}" in _log(runs[0])[1]


def _interrupt_at(path: Path, number: signal.Signals) -> None:
    """Send this process a signal as soon as a file exists."""

    def wait() -> None:
        while not path.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait, daemon=True).start()
