"""Class order, changed settings of a resumed run, numbers that are not finite, Ctrl-C, folders."""

import contextlib
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from desed_task.errors import INTERRUPTED, FaultError, InputError, Terminated
from desed_task.report.__main__ import parse_args as evaluation_args
from local.config.load import Config, load_config, override_config
from local.run import checkpoints
from local.run.callbacks import EarlyStopping
from local.run.checkpoints import (
    CheckpointFiles,
    checkpoint_config,
    read_checkpoint,
    write_checkpoint,
)
from local.run.experiment import check_resumable
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT, claimed, new_run_folder
from local.run.preemption import end_interrupted
from local.run.resuming import DOCUMENT, changes, check_changes, document, rule
from tests.support.classes import CLASSES
from tests.support.paths import CONFS, ROOT
from tests.support.tiny import tiny_config
from tests.support.training import Recorder, train
from train_sed import parse_args


@pytest.fixture(scope="module")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`last.ckpt` of a run of one epoch, 3 steps."""
    run = tmp_path_factory.mktemp("trained")
    train(tiny_config(tiny_data, "training.n_epochs=1"), run)
    return run / CHECKPOINTS / LAST_CHECKPOINT


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
    with pytest.raises(InputError, match=r"other\.ckpt: was trained with other classes") as caught:
        checkpoint_config(read_checkpoint(other), str(other))
    assert expected in str(caught.value)


def test_classes_that_the_configuration_swaps_are_noticed(trained: Path, tiny_data: Path) -> None:
    """In a test and on resuming."""
    content, swap = read_checkpoint(trained), f"data.classes=[{', '.join(SWAPPED)}]"
    for chosen, overrides in ((None, [swap]), (tiny_config(tiny_data, swap), [])):
        with pytest.raises(InputError, match=r"output 3 \(expected Dishes, got Cat\)"):
            checkpoints.test_config(content, chosen, overrides, "a.ckpt")
    with pytest.raises(InputError, match=r"was trained with another data\.classes"):
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


@pytest.fixture(scope="module")
def recipe() -> Config:
    return load_config(CONFS / "sed.yaml")


REFUSED = {
    "net.n_RNN_cell=64": "net.n_RNN_cell (expected 128, got 64)",
    "feats.log_floor=1e-4": "feats.log_floor",
    "data.audio_max_len=5.0": "data.audio_max_len (expected 10.0, got 5.0)",
    "training.seed=1": "it orders the clips",
    "training.weak_split=0.5": "would validate",
    "data.weak_folder=null data.weak_folder_44k=null data.weak_tsv=null": "another selection",
    "training.obj_metric_synth_type=psds1": "was selected with the old value",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_settings_that_cannot_be_taken_over_are_refused(setting: str, recipe: Config) -> None:
    changed = override_config(recipe, setting.split())
    with pytest.raises(InputError, match=r"a\.ckpt: was trained with another ") as caught:
        check_changes(recipe, changed, within_epoch=False, source="a.ckpt")
    assert REFUSED[setting] in str(caught.value)


def test_batches_change_at_the_end_of_an_epoch_only(recipe: Config) -> None:
    changed = override_config(recipe, ["training.batch_size=[1,1,1]"])
    told = check_changes(recipe, changed, within_epoch=False, source="a.ckpt")
    assert told == "Resuming with changed settings: training.batch_size [6, 6, 12] -> [1, 1, 1]"
    with pytest.raises(InputError, match="in the middle of an epoch cannot change this"):
        check_changes(recipe, changed, within_epoch=True, source="a.ckpt")
    assert check_changes(recipe, recipe, within_epoch=True, source="a.ckpt") is None


def test_every_key_has_a_rule_and_the_document_shows_it(recipe: Config) -> None:
    for section, content in recipe:
        for key in type(content).model_fields:
            assert rule(f"{section}.{key}").reason
    text = DOCUMENT.read_text(encoding="utf-8")
    assert document(text) == text
    assert changes(recipe, override_config(recipe, ["opt.lr=0.5"])) == {"opt.lr": (0.001, 0.5)}


def test_a_training_that_diverges_ends_with_one_line(tiny_data: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_data, "opt.lr=1e30", "training.n_epochs_warmup=0")
    with pytest.raises(FaultError) as caught:
        train(config, tmp_path)
    message = str(caught.value)
    assert message.startswith("step 2: not finite: ")
    assert "scores of the student" in message
    assert "learning rate 1e+30; no checkpoint was saved" in message
    assert "\n" not in message
    assert not list(tmp_path.rglob("*.ckpt"))


def test_weights_that_are_not_finite_replace_no_checkpoint(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(trained.read_bytes())
    content = torch.load(trained, weights_only=True)
    name = next(name for name in content["state_dict"] if name.endswith("running_var"))
    content["state_dict"][name][0] = float("inf")
    with pytest.raises(FaultError, match=rf"best\.ckpt: not saved: .*{name}"):
        CheckpointFiles().save_checkpoint(content, path)
    assert path.read_bytes() == trained.read_bytes()


def test_ctrl_c_saves_and_says_so(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(Terminated) as caught:
        train(tiny_config(tiny_data), tmp_path, Recorder("step", 2, number=signal.SIGINT))
    assert caught.value.status == INTERRUPTED
    last = tmp_path / CHECKPOINTS / LAST_CHECKPOINT
    assert str(caught.value).startswith(f"interrupted: saved {last}; resume with")
    assert torch.load(last, weights_only=True)["global_step"] == 2
    assert signal.getsignal(signal.SIGINT) is end_interrupted


def test_runs_that_start_together_get_folders_of_their_own(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    folders: list[Path] = []

    def start() -> None:
        barrier.wait()
        folders.append(new_run_folder(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in folders) == [f"version_{number}" for number in range(8)]


RESUME = """
import sys
from pathlib import Path
from desed_task.errors import InputError
from local.run.folders import claimed
try:
    with claimed(Path(sys.argv[1]), new=False):
        print("claimed")
except InputError as error:
    print(error)
"""


def test_a_run_is_written_by_one_process(tmp_path: Path) -> None:
    def resumed(run: Path) -> str:
        command = [sys.executable, "-c", RESUME, str(run)]
        return subprocess.check_output(command, cwd=ROOT, text=True)

    run = new_run_folder(tmp_path)
    (run / ".raw.partial-new").mkdir()
    with claimed(run, new=True):
        assert f"{run}: another process is writing it" in resumed(run)
    assert resumed(run) == "claimed\n"
    assert [path.name for path in tmp_path.rglob("*")] == [run.name]


def test_only_an_unused_folder_is_removed(tmp_path: Path) -> None:
    for files, kept in ((["config.yaml"], False), (["config.yaml", "last.ckpt"], True)):
        folder = new_run_folder(tmp_path)
        with contextlib.suppress(KeyboardInterrupt), claimed(folder, new=True):
            for name in files:
                (folder / name).touch()
            raise KeyboardInterrupt
        assert folder.exists() == kept


def test_home_folders_in_command_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    options = ("--conf_file", "--log_dir", "--resume_from_checkpoint")
    parsed = vars(parse_args([f"{option}=~/x" for option in options]))
    for option in options:
        assert parsed[option.strip("-")] == Path("/home/me/x")
    given = ("--ground_truth", "--durations", "--output", "--scores", "--predictions", "--audio")
    parsed = vars(evaluation_args([f"{option}=~/x" for option in given]))
    for option in given:
        assert parsed[option.strip("-")] == Path("/home/me/x")
    config = load_config(CONFS / "demo.yaml", ["data.test_folder=~/x"])
    assert config.data.test_folder == "/home/me/x"
    with pytest.raises(InputError, match=r"data\.test_folder: ~nobody_at_all/x: .* no such home"):
        load_config(CONFS / "demo.yaml", ["data.test_folder=~nobody_at_all/x"])
