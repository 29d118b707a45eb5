"""A run that SIGTERM ended goes on as if it had not been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch

from desed_task.dataio.batch import Batch
from desed_task.errors import TERMINATED, InputError, Terminated
from local.config.load import Config
from local.data import DesedDataModule
from local.run.experiment import Machine, make_trainer
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT, newest_checkpoint
from local.sed_trainer import CrossTaskSED
from tests.support.paths import CONFS, ROOT
from tests.support.tiny import overrides, tiny_config


class Recorder(pl.Callback):
    """Notes the clips of every completed step and the figures of every validation.

    Sends SIGTERM to its own process in the hook `hook` when it is called the `call`-th time.
    """

    def __init__(self, hook: str = "", call: int = 0) -> None:
        self.clips: list[tuple[str, ...]] = []
        self.figures: list[float] = []
        self._hook, self._left = hook, call

    def _maybe_kill(self, hook: str) -> None:
        if hook == self._hook:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGTERM)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Batch, *args: Any) -> None:
        self.clips.append(batch.names)
        self._maybe_kill("step")

    def on_validation_batch_start(self, *args: Any) -> None:
        self._maybe_kill("validation step")

    def on_validation_epoch_end(self, *args: Any) -> None:
        self._maybe_kill("figures")

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        self.figures.append(float(trainer.callback_metrics["val/obj_metric"]))


def train(
    config: Config, run: Path, recorder: Recorder, resume: Path | None = None
) -> tuple[CrossTaskSED, pl.Trainer]:
    run.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(config.training.seed, workers=True, verbose=False)
    data = DesedDataModule(config, config.grid, run / "missing.txt")
    data.prepare_data()
    data.setup("fit")
    module = CrossTaskSED(config, len(data.train_dataloader()))
    trainer = make_trainer(config, Machine(gpus=0, fast=False), run)
    trainer.callbacks.insert(0, recorder)  # type: ignore[attr-defined]
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return module, trainer


# Where the signal comes: the tiny epoch has 3 steps, its validation 2 batches.
MOMENTS = {
    "first step": ("step", 1),
    "middle of the second epoch": ("step", 5),
    "last step of an epoch": ("step", 3),
    "validation": ("validation step", 2),
    "second validation": ("validation step", 3),
    "validation's figures": ("figures", 1),
    "last validation": ("figures", 2),
}


class Whole(NamedTuple):
    """A run that nothing interrupted."""

    recorder: Recorder
    module: CrossTaskSED
    trainer: pl.Trainer


def train_whole(config: Config, run: Path) -> Whole:
    recorder = Recorder()
    return Whole(recorder, *train(config, run, recorder))


@pytest.fixture(scope="module")
def whole(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The tiny experiment."""
    return train_whole(tiny_config(tiny_data), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupted_run_repeats_no_clip_and_skips_none(
    moment: str, whole: Whole, tiny_data: Path, tmp_path: Path
) -> None:
    _compare(whole, tiny_config(tiny_data), MOMENTS[moment], tmp_path)


def test_other_schedules_are_resumed_too(tiny_data: Path, tmp_path: Path) -> None:
    rare = tiny_config(tiny_data, "training.validation_interval=2", "training.num_workers=1")
    _compare(train_whole(rare, tmp_path / "1"), rare, ("step", 3), tmp_path / "rare")
    sums = tiny_config(tiny_data, "training.accumulate_batches=2")
    _compare(train_whole(sums, tmp_path / "2"), sums, ("step", 4), tmp_path / "accumulating")


def _compare(whole: Whole, config: Config, moment: tuple[str, int], folder: Path) -> None:
    parts = [Recorder(*moment), Recorder()]
    with pytest.raises(Terminated, match="go on with --resume_from_checkpoint"):
        train(config, folder, parts[0])
    last = folder / CHECKPOINTS / LAST_CHECKPOINT
    found, trainer = train(config, folder, parts[1], last)
    assert parts[0].clips + parts[1].clips == whole.recorder.clips
    assert parts[0].figures + parts[1].figures == whole.recorder.figures
    assert trainer.global_step == whole.trainer.global_step
    assert trainer.current_epoch == whole.trainer.current_epoch
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(tensor, found.state_dict()[name]), name
    scores = [t.checkpoint_callback.best_model_score for t in (trainer, whole.trainer)]  # type: ignore[union-attr]
    assert scores[0] == scores[1]


def test_the_last_checkpoint_is_that_of_the_last_epoch(tiny_data: Path, tmp_path: Path) -> None:
    """Also where no epoch is better than the first: at a rate of nothing, none is."""
    config = tiny_config(tiny_data, "opt.lr=1e-12", "training.n_epochs=3")
    _, trainer = train(config, tmp_path, Recorder())
    folder = tmp_path / CHECKPOINTS
    last = torch.load(folder / LAST_CHECKPOINT, weights_only=True)
    assert last["global_step"] == trainer.global_step == 9


def test_the_command_line_ends_soon_and_goes_on(tiny_data: Path, tmp_path: Path) -> None:
    sets = [part for text in overrides(tiny_data) for part in ("--set", text)]
    more = ["--set=training.n_epochs=2000", "--set=training.early_stop_patience=5000"]
    command = [sys.executable, str(ROOT / "train_sed.py"), "--gpus", "0"]
    run = tmp_path / "version_0"
    with subprocess.Popen(
        [*command, "--log_dir", tmp_path, "--conf_file", CONFS / "demo.yaml", *sets, *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        while not (run / CHECKPOINTS / LAST_CHECKPOINT).is_file() and process.poll() is None:
            time.sleep(0.1)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        message = process.communicate(timeout=60)[1]
    assert process.returncode == TERMINATED
    assert time.monotonic() - asked < 10
    assert "Traceback" not in message
    last = run / CHECKPOINTS / LAST_CHECKPOINT
    assert f"terminated: {last} is saved" in message
    before = torch.load(last, weights_only=True)
    end = before["epoch"] + 2
    resume = ["--log_dir", str(tmp_path), "--resume_from_checkpoint", "last"]
    resumed = subprocess.run(
        [*command, *resume, f"--set=training.n_epochs={end}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert torch.load(last, weights_only=True)["global_step"] == 3 * end
    assert (run / "metrics_test" / "metrics.json").is_file()


def test_newest_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run under --log_dir"):
        newest_checkpoint(tmp_path)
    for number in (2, 10, 11):
        folder = tmp_path / f"version_{number}" / CHECKPOINTS
        folder.mkdir(parents=True)
        if number < 11:  # the newest one was a test
            (folder / LAST_CHECKPOINT).touch()
    assert newest_checkpoint(tmp_path).parent.parent.name == "version_10"
