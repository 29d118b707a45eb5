"""Trainings without the weak, the unlabelled, the synthetic or the synthetic validation set."""

import json
from pathlib import Path

import pytest
import torch

from desed_task.desed import BY_NAME
from desed_task.desed import SYNTHETIC_VALIDATION as VALIDATION
from desed_task.errors import InputError
from desed_task.making.generate import generate_dataset
from desed_task.model import load_model
from local.audio_sets import training_sets
from local.config.data import KEYS
from local.config.load import override_config
from local.data import DesedDataModule
from local.run import experiment
from local.run.checkpoints import read_checkpoint
from local.run.description import describe
from local.run.machine import all_parameters_used
from tests.support.tiny import tiny_config
from tests.support.training import CPU, train

SYNTHETIC_TERMS = {"train/sed_strong", "train/sod"}


def without(*sets: str) -> list[str]:
    """Overrides that remove sets."""
    return [f"data.{key}=null" for name in sets for key in KEYS[name] if key is not None]


ABSENT = {
    ("weak",): ["synthetic", "unlabelled", VALIDATION],
    ("unlabelled",): ["synthetic", "weak", VALIDATION],
    ("weak", "unlabelled"): ["synthetic", VALIDATION],
    ("synthetic",): ["weak", "unlabelled", VALIDATION],
    (VALIDATION,): ["synthetic", "weak", "unlabelled"],
    ("synthetic", "unlabelled", VALIDATION): ["weak"],
}


@pytest.mark.parametrize("absent", ABSENT, ids="+".join)
def test_absent_sets_are_neither_read_nor_in_a_batch(
    absent: tuple[str, ...], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tiny_data, *without(*absent))
    assert list(training_sets(config)) == ABSENT[absent]
    data = DesedDataModule(config, config.grid, tmp_path / "missing.txt")
    data.prepare_data()
    data.setup("fit")
    rows = capsys.readouterr().out.splitlines()[1:-1]
    assert [row.split("  ")[0] for row in rows][: len(ABSENT[absent])] == ABSENT[absent]
    sizes = {"synthetic": 1, "weak": 2, "unlabelled": 2}  # clips of a batch
    kept = [name for name in sizes if name not in absent]
    kinds = [list(sizes).index(name) for name in kept for _ in range(sizes[name])]
    assert next(iter(data.train_dataloader())).kind.tolist() == kinds
    kinds_of_loaders = [next(iter(loader)).kind[0].item() for loader in data.val_dataloader()]
    assert kinds_of_loaders == [1] * ("weak" not in absent) + [0] * (VALIDATION not in absent)


def test_strong_labels_alone_train_and_select(tiny_data: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_data, *without("weak", "unlabelled"), "training.n_epochs=1")
    module, trainer, recorder = train(config, tmp_path)
    logged = trainer.logged_metrics
    assert trainer.logged_metrics.keys() >= SYNTHETIC_TERMS | {"train/sed_consistency"}
    assert "train/sed_weak" not in logged
    assert not [name for name in logged if "weak_f1" in name]
    assert recorder.metrics == [float(logged["val/student/intersection_f1_macro"])]
    assert "Absent sets     weak, unlabelled (" in describe(module, CPU, 4)


def test_weak_labels_alone_train_and_select(tiny_data: Path, tmp_path: Path) -> None:
    absent = without("synthetic", "unlabelled", VALIDATION)
    _, trainer, recorder = train(tiny_config(tiny_data, *absent, "training.n_epochs=1"), tmp_path)
    logged = trainer.logged_metrics
    assert logged.keys() >= {"train/sed_weak", "train/cross_task"}
    assert not logged.keys() & SYNTHETIC_TERMS
    assert not [name for name in logged if "intersection" in name]
    assert recorder.metrics == [float(logged["val/student/weak_f1_macro"])]


def test_without_validation_and_test_the_last_weights_are_the_result(
    tiny_data: Path, tmp_path: Path
) -> None:
    absent = without("weak", "unlabelled", VALIDATION, "test", "eval")
    steps = ("training.validation_interval=2", "training.batch_size=[4, 2, 2]")
    config = tiny_config(tiny_data, *absent, *steps)
    results = experiment.fit(config, CPU, tmp_path, None)
    assert results is not None
    assert "test/student/psds1" not in json.loads(results.metrics_file.read_text())
    best, last = (
        read_checkpoint(tmp_path / "checkpoints" / name) for name in ("best.ckpt", "last.ckpt")
    )
    assert best["global_step"] == last["global_step"] == 2
    weights = load_model(tmp_path / "model").network.state_dict()
    for name, tensor in weights.items():
        assert torch.equal(tensor, last["state_dict"][f"networks.student.{name}"])
    longer = override_config(config, ["training.n_epochs=4"])
    experiment.fit(longer, CPU, tmp_path, tmp_path / "checkpoints" / "last.ckpt")
    assert read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["global_step"] == 4
    with pytest.raises(InputError, match=r"data\.test_folder"):
        experiment.test(
            config, CPU, tmp_path, tmp_path / "checkpoints" / "best.ckpt", check=False, fast=False
        )


def test_a_real_set_with_strong_labels_is_trained_on(tiny_data: Path, tmp_path: Path) -> None:
    """Beside the recipe's sets, and in place of the synthetic one."""
    generate_dataset(tmp_path / "more", seed=7, sizes={"strong": 4})
    clip_set = BY_NAME["strong"]
    strong = (
        f"data.strong_folder={tmp_path / 'more' / clip_set.prepared}",
        f"data.strong_folder_44k={tmp_path / 'more' / clip_set.audio}",
        f"data.strong_tsv={tmp_path / 'more' / clip_set.table}",
        "training.train_sets=[synthetic, weak, unlabelled, strong]",
        "training.batch_size=[1, 2, 2, 1]",
        "training.n_epochs=1",
    )
    for absent in ((), ("synthetic",)):
        config = tiny_config(tiny_data, *strong, *without(*absent))
        module, trainer, _ = train(config, tmp_path / str(len(absent)))
        assert trainer.logged_metrics.keys() >= SYNTHETIC_TERMS | {"train/self_consistency"}
        assert ("1 synthetic + 2 weak" in describe(module, CPU, 4)) == (not absent)
        assert "2 unlabelled + 1 strong clips" in describe(module, CPU, 4)
        assert all_parameters_used(config)
