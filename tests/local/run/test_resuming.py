"""A run that is interrupted is resumed as if it had not been; changed settings; other classes."""

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from desed_task import process_group
from desed_task.errors import INTERRUPTED, InputError, Terminated
from desed_task.settings import section_class
from local.config.load import Config, override_config
from local.run import checkpoints
from local.run.callbacks import EarlyStopping
from local.run.checkpoints import checkpoint_config, read_checkpoint, write_checkpoint
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT
from local.run.preemption import Preemption, end_interrupted
from local.run.resuming import (
    DOCUMENT,
    changes,
    check_changes,
    check_resumable,
    document,
    rule,
)
from tests.support.classes import CLASSES
from tests.support.compare import assert_equal
from tests.support.tiny import tiny_config
from tests.support.training import Recorder, Trained, train

# Hook and call in which the signal comes: an epoch has 3 steps, its validation 2 batches.
MOMENTS = {
    "first step": ("step", 1),
    "middle of the second epoch": ("step", 5),
    "last step of an epoch": ("step", 3),
    "validation": ("validation step", 2),
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
    # Planned steps: the synthetic set of 4 clips is drawn again within each batch.
    plan = tiny_config(tiny_data, "training.steps_per_epoch=2", "training.batch_size=[5, 2, 1]")
    _interrupt_and_compare(train(plan, tmp_path / "3"), plan, ("step", 3), tmp_path / "plan")


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


def test_ctrl_c_saves(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(Terminated) as caught:
        train(tiny_config(tiny_data), tmp_path, Recorder("step", 2, number=signal.SIGINT))
    assert caught.value.status == INTERRUPTED
    last = tmp_path / CHECKPOINTS / LAST_CHECKPOINT
    assert str(caught.value).startswith(f"interrupted: saved {last}; resume with")
    assert torch.load(last, weights_only=True)["global_step"] == 2
    with pytest.raises(Terminated, match="terminated: saved") as caught:
        train(tiny_config(tiny_data), tmp_path, Recorder("step", 1, number=signal.SIGUSR1))
    assert caught.value.status == 138
    assert signal.getsignal(signal.SIGINT) is end_interrupted


def test_the_last_checkpoint_is_that_of_the_last_epoch(tiny_data: Path, tmp_path: Path) -> None:
    """Also where no epoch is better than the first: with such a rate, none is."""
    config = tiny_config(tiny_data, "opt.lr=1e-12", "training.n_epochs=2")
    trainer = train(config, tmp_path).trainer
    folder = tmp_path / CHECKPOINTS
    last = torch.load(folder / LAST_CHECKPOINT, weights_only=True)
    assert last["global_step"] == trainer.global_step == 6


@pytest.fixture(scope="module")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`last.ckpt` of a run of one epoch, 3 steps."""
    run = tmp_path_factory.mktemp("trained")
    train(tiny_config(tiny_data, "training.n_epochs=1"), run)
    return run / CHECKPOINTS / LAST_CHECKPOINT


def test_a_copied_checkpoint_leaves_the_old_run_alone(
    trained: Path, tiny_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Copied alone, beside another run's best checkpoint, or with its own."""
    old = {path: path.read_bytes() for path in trained.parents[1].rglob("*") if path.is_file()}
    config = tiny_config(tiny_data, "training.n_epochs=2")
    own_best = trained.parent / "best.ckpt"
    other = read_checkpoint(own_best)
    state = next(v for v in other["callbacks"].values() if "best_model_score" in v)
    state["best_model_score"] += 1
    for name in ("alone", "foreign", "whole"):
        folder = tmp_path / name / CHECKPOINTS
        folder.mkdir(parents=True)
        copy = folder / LAST_CHECKPOINT
        shutil.copy(trained, copy)
        if name == "foreign":
            write_checkpoint(folder / "best.ckpt", other)
        if name == "whole":
            shutil.copy(own_best, folder)
        caplog.clear()
        trainer = train(config, tmp_path / name, resume=copy).trainer
        callback: Any = trainer.checkpoint_callback
        assert callback.best_model_path == str(folder / "best.ckpt")
        assert ("no best.ckpt of the resumed run" in caplog.text) == (name != "whole")
        if name != "whole":
            assert read_checkpoint(folder / "best.ckpt")["epoch"] == 1
    assert {path: path.read_bytes() for path in old} == old


def test_fewer_epochs_than_trained_are_refused(trained: Path, tiny_data: Path) -> None:
    content = read_checkpoint(trained)
    content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] = 3
    other = trained.parent / "third.ckpt"
    write_checkpoint(other, content)
    with pytest.raises(InputError, match=r"n_epochs: expected at least the 3 epochs .*, got 2"):
        check_resumable(tiny_config(tiny_data, "training.n_epochs=2"), other)
    check_resumable(tiny_config(tiny_data, "training.n_epochs=3"), other)
    other.unlink()


SWAPPED = [*CLASSES[:2], CLASSES[3], CLASSES[2], *CLASSES[4:]]
LISTS = {
    "swapped": (
        SWAPPED,
        "output 3 (expected Cat, got Dishes), output 4 (expected Dishes, got Cat)",
    ),
    "fewer": (list(CLASSES[:9]), "output 10 (expected Vacuum_cleaner, got no class)"),
    "no list": ("Cat", "output 1 (expected Alarm_bell_ringing, got Cat), output 2"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_checkpoint_of_other_classes_is_refused_by_name(
    name: str, trained: Path, tmp_path: Path
) -> None:
    content = read_checkpoint(trained)
    assert content["classes"] == list(CLASSES)
    classes, expected = LISTS[name]
    other = tmp_path / "other.ckpt"
    write_checkpoint(other, content | {"classes": classes})
    with pytest.raises(InputError, match=r"other\.ckpt: ") as caught:
        checkpoint_config(read_checkpoint(other), str(other))
    assert expected in str(caught.value)


def test_classes_that_the_configuration_swaps_are_noticed(trained: Path, tiny_data: Path) -> None:
    """In a test and on resuming."""
    content, swap = read_checkpoint(trained), f"data.classes=[{', '.join(SWAPPED)}]"
    for chosen, overrides in ((None, [swap]), (tiny_config(tiny_data, swap), [])):
        with pytest.raises(InputError, match=r"output 3 \(expected Dishes, got Cat\)"):
            checkpoints.test_config(content, chosen, overrides, "a.ckpt")
    with pytest.raises(InputError, match=r"data\.classes"):
        check_resumable(tiny_config(tiny_data, swap), trained)


def test_changed_settings_take_effect_and_are_printed(
    trained: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ("opt.lr=1e-5", "opt.betas=[0.8,0.9]", "training.early_stop_patience=3")
    config = tiny_config(tiny_data, *sets, "training.n_epochs_rampdown=1")  # 2 epochs
    _, trainer, recorder = train(config, tmp_path, resume=trained)
    factors = [(2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4]  # after the warm-up of one epoch
    assert recorder.rates == pytest.approx([1e-5 * factor for factor in factors])
    assert trainer.optimizers[0].param_groups[0]["betas"] == (0.8, 0.9)
    patience = [each.patience for each in trainer.callbacks if isinstance(each, EarlyStopping)]  # type: ignore[attr-defined]
    assert patience == [3]
    printed = capsys.readouterr().out
    for text in ("training.n_epochs 1 -> 2", "opt.lr ", " -> 1e-05", "early_stop_patience "):
        assert text in printed


def test_a_run_that_had_stopped_early_trains_no_further_epoch(
    trained: Path, tiny_data: Path, tmp_path: Path
) -> None:
    content = torch.load(trained, weights_only=True)
    (name,) = (name for name in content["callbacks"] if name.startswith("EarlyStopping"))
    config = tiny_config(tiny_data)
    content["callbacks"][name]["wait_count"] = config.training.early_stop_patience
    stopped = tmp_path / "stopped.ckpt"
    write_checkpoint(stopped, content)
    assert train(config, tmp_path, resume=stopped).recorder.losses == []


# Settings that a resumed run cannot change: of weights, features, order of clips and selection.
REFUSED = (
    "net.n_RNN_cell=64",
    "feats.log_floor=1e-4",
    "data.audio_max_len=5.0",
    "training.seed=1",
    "training.weak_split=0.5",
    "data.weak_folder=null data.weak_folder_44k=null data.weak_tsv=null",
    "training.obj_metric_synth_type=psds1",
)


@pytest.mark.parametrize("setting", REFUSED)
def test_settings_that_cannot_be_taken_over_are_refused(setting: str, recipe: Config) -> None:
    changed = override_config(recipe, setting.split())
    with pytest.raises(InputError, match=r"^--resume_from_checkpoint a\.ckpt: ") as caught:
        check_changes(recipe, changed, within_epoch=False, source="a.ckpt")
    key = setting.partition("=")[0]
    assert f" {key} (expected " in str(caught.value)


def test_encoder_settings_of_a_resumed_run(recipe: Config) -> None:
    settings = ["source=a.onnx", "sample_rate=16000", "frame_seconds=0.02", "dimension=4"]
    with_encoder = override_config(recipe, [f"encoder.{each}" for each in settings])
    for before, now in ((recipe, with_encoder), (with_encoder, recipe)):
        with pytest.raises(InputError, match=r"another encoder \(expected .*\): the weights fit"):
            check_changes(before, now, within_epoch=False, source="a.ckpt")
    wider = override_config(with_encoder, ["encoder.frame_seconds=0.04"])
    with pytest.raises(InputError, match=r"encoder\.frame_seconds \(expected 0\.02, got 0\.04\)"):
        check_changes(with_encoder, wider, within_epoch=False, source="a.ckpt")
    moved = override_config(with_encoder, ["encoder.source=b.onnx", "encoder.dropout=0.5"])
    printed = check_changes(with_encoder, moved, within_epoch=True, source="a.ckpt")
    assert printed is not None
    assert "encoder.source a.onnx -> b.onnx, encoder.dropout 0.0 -> 0.5" in printed
    assert changes(with_encoder, override_config(with_encoder, ["encoder=null"])).keys() == {
        "encoder"
    }


def test_batches_change_at_the_end_of_an_epoch_only(recipe: Config) -> None:
    changed = override_config(recipe, ["training.batch_size=[1,1,1]"])
    printed = check_changes(recipe, changed, within_epoch=False, source="a.ckpt")
    assert printed == "Resuming with changed settings: training.batch_size [6, 6, 12] -> [1, 1, 1]"
    with pytest.raises(
        InputError, match=r"^--resume_from_checkpoint a\.ckpt: .*training\.batch_size"
    ):
        check_changes(recipe, changed, within_epoch=True, source="a.ckpt")
    assert check_changes(recipe, recipe, within_epoch=True, source="a.ckpt") is None


def test_every_key_has_a_rule_and_the_document_shows_it(recipe: Config) -> None:
    for section, field in Config.model_fields.items():
        for key in section_class(field.annotation).model_fields:  # type: ignore[union-attr]
            assert rule(f"{section}.{key}").reason
    text = DOCUMENT.read_text(encoding="utf-8")
    assert document(text) == text
    assert changes(recipe, override_config(recipe, ["opt.lr=0.5"])) == {"opt.lr": (0.001, 0.5)}


@pytest.mark.parametrize("interval", [1, 2])
def test_a_training_whose_output_nobody_reads_saves(
    interval: int, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a signal; also where the epoch that is printed has no validation."""
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(sys, "stdout", os.fdopen(write, "w"))
    config = tiny_config(tiny_data, f"training.validation_interval={interval}")
    with pytest.raises(Terminated, match=r"output was closed: saved .*; resume") as caught:
        train(config, tmp_path)
    assert caught.value.status == 141
    steps = {1: 3, 2: 4}[interval]
    last = tmp_path / CHECKPOINTS / LAST_CHECKPOINT
    assert torch.load(last, weights_only=True)["global_step"] == steps


def test_a_checkpoint_holds_plain_values(trained: Path) -> None:
    """Else nothing that refuses to run code from a file could load it."""

    def check(value: Any) -> None:
        if isinstance(value, dict):
            assert type(value).__name__ in ("dict", "OrderedDict")
            check([*value, *value.values()])
        elif isinstance(value, list | tuple):
            for each in value:
                check(each)
        else:
            assert type(value) in (int, float, str, bool, type(None), torch.Tensor)

    check(torch.load(trained, weights_only=True))


def test_a_signal_that_comes_while_processes_communicate_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    preemption = Preemption(Path("last.ckpt"))

    def largest(number: int) -> int:
        preemption._note(signal.SIGTERM, None)
        return number

    monkeypatch.setattr(process_group, "largest", largest)
    assert not preemption._is_any_signalled()
    assert preemption._is_any_signalled()
