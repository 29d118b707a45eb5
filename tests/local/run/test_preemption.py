"""A run that SIGTERM ended is resumed as if it had not been interrupted."""

import re
import signal
import time
from pathlib import Path

import pytest
import torch

from desed_task.errors import TERMINATED, InputError, Terminated
from local.config.load import Config
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT, newest_checkpoint
from tests.support.compare import assert_equal
from tests.support.paths import CONFS, ROOT
from tests.support.program import Program
from tests.support.tiny import overrides, tiny_config
from tests.support.training import Recorder, Trained, train
from train_sed import main

# Hook and call in which the signal comes: an epoch has 3 steps, its validation 2 batches.
MOMENTS = {
    "first step": ("step", 1),
    "middle of the second epoch": ("step", 5),
    "last step of an epoch": ("step", 3),
    "validation": ("validation step", 2),
    "second validation": ("validation step", 3),
    "metrics of a validation": ("metrics", 1),
    "last validation": ("metrics", 2),
}


@pytest.fixture(scope="module")
def whole(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run that nothing interrupted."""
    return train(tiny_config(tiny_data), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupted_run_repeats_no_clip_and_skips_none(
    moment: str,
    whole: Trained,
    tiny_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begin = time.monotonic()
    _interrupt_and_compare(whole, tiny_config(tiny_data), MOMENTS[moment], tmp_path)
    elapsed = time.monotonic() - begin
    shown = re.findall(r"^Epoch .*, ([\d.]+) s$", capsys.readouterr().out, re.MULTILINE)
    assert shown
    assert all(float(seconds) <= elapsed + 0.1 for seconds in shown)


def test_other_schedules_are_resumed_too(tiny_data: Path, tmp_path: Path) -> None:
    rare = tiny_config(tiny_data, "training.validation_interval=2", "training.num_workers=1")
    _interrupt_and_compare(train(rare, tmp_path / "1"), rare, ("step", 3), tmp_path / "rare")
    sums = tiny_config(tiny_data, "training.accumulate_batches=2")
    _interrupt_and_compare(train(sums, tmp_path / "2"), sums, ("step", 4), tmp_path / "sums")


def _interrupt_and_compare(
    whole: Trained, config: Config, moment: tuple[str, int], folder: Path
) -> None:
    first = Recorder(*moment)
    with pytest.raises(Terminated, match="resume with --resume_from_checkpoint"):
        train(config, folder, first)
    last = folder / CHECKPOINTS / LAST_CHECKPOINT
    module, trainer, rest = train(config, folder, resume=last)
    assert first.clips + rest.clips == whole.recorder.clips
    assert first.metrics + rest.metrics == whole.recorder.metrics
    assert trainer.global_step == whole.trainer.global_step
    assert trainer.current_epoch == whole.trainer.current_epoch
    assert_equal(whole.module.state_dict(), module.state_dict())
    scores = [t.checkpoint_callback.best_model_score for t in (trainer, whole.trainer)]  # type: ignore[union-attr]
    assert scores[0] == scores[1]


def test_the_last_checkpoint_is_that_of_the_last_epoch(tiny_data: Path, tmp_path: Path) -> None:
    """Also where no epoch is better than the first: with such a rate, none is."""
    config = tiny_config(tiny_data, "opt.lr=1e-12", "training.n_epochs=3")
    trainer = train(config, tmp_path).trainer
    folder = tmp_path / CHECKPOINTS
    last = torch.load(folder / LAST_CHECKPOINT, weights_only=True)
    assert last["global_step"] == trainer.global_step == 9


def test_the_command_line_ends_and_resumes(tiny_data: Path, tmp_path: Path) -> None:
    sets = [f"--set={text}" for text in overrides(tiny_data)]
    more = ["--set=training.n_epochs=2000", "--set=training.early_stop_patience=5000"]
    program = [str(ROOT / "train_sed.py"), "--conf_file", str(CONFS / "demo.yaml")]
    options = ["--gpus", "0", "--log_dir", str(tmp_path)]
    run = tmp_path / "version_0"
    last = run / CHECKPOINTS / LAST_CHECKPOINT
    running = Program([*program, *options, *sets, *more])
    running.wait_for(last)
    running.send_signal(signal.SIGTERM)
    ended = running.wait()
    assert ended.returncode == TERMINATED
    assert "Traceback" not in ended.stderr
    assert "weights_only" not in ended.stderr
    assert f"terminated: saved {last}; resume with" in ended.stderr
    end = torch.load(last, weights_only=True)["epoch"] + 2
    resume = ["--resume_from_checkpoint", "last", f"--set=training.n_epochs={end}"]
    assert main([*options, *resume]) == 0
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
