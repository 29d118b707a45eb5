"""Checkpoints: ours and the published layout; nothing in a file is executed."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from desed_task.errors import FaultError, InputError
from local.config.load import load_config, override_config
from local.run.checkpoints import (
    CheckpointFiles,
    checkpoint_config,
    checkpoint_weights,
    is_ours,
    newest_checkpoint,
    read_checkpoint,
    test_config,
)
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT
from local.run.weights import load_weights
from local.sed_trainer import CrossTaskSED
from tests.golden import weights as golden
from tests.support.paths import CONFS

test_config.__test__ = False  # type: ignore[attr-defined]


def test_published_checkpoint(published_checkpoint: Path) -> None:
    content, source = read_checkpoint(published_checkpoint), str(published_checkpoint)
    assert not is_ours(content)
    config = checkpoint_config(content, source)
    assert config.net == load_config(CONFS / "sed.yaml").net
    module = CrossTaskSED(config)
    load_weights(
        module, checkpoint_weights(content, str(published_checkpoint)), str(published_checkpoint)
    )
    for name, prefix in (("student", ""), ("teacher", "teacher.")):
        expected = golden.state_dict(prefix)["dense.weight"]
        loaded = module.state_dict()[f"networks.{name}.strong_head.weight"]
        assert (loaded.numpy() == expected).all()


class Anything:
    """A class that a file may name; making one would leave a trace."""

    trace: ClassVar[list[str]] = []

    def __init__(self) -> None:
        Anything.trace.append("made")

    def __reduce__(self) -> Any:
        return (_leave_a_trace, ("called",))


def _leave_a_trace(text: str) -> str:
    Anything.trace.append(text)
    return text


def test_classes_and_code_in_a_checkpoint_are_not_executed(
    published_checkpoint: Path, tmp_path: Path
) -> None:
    """The weights are read nevertheless; callbacks may be keyed by their classes."""
    content = torch.load(published_checkpoint, weights_only=True)
    content["callbacks"] = {Anything: {"best_model_score": torch.tensor(1.0)}, "evil": Anything()}
    Anything.trace.clear()
    path = tmp_path / "evil.ckpt"
    torch.save(content, path)
    loaded = read_checkpoint(path)
    expected = content["state_dict"]["sed_student.dense.weight"]
    assert torch.equal(loaded["state_dict"]["sed_student.dense.weight"], expected)
    assert next(iter(loaded["callbacks"])) is not Anything
    assert dict(loaded["callbacks"]["evil"]) == {}
    assert Anything.trace == []


# Content of a file, and what the message names beside the file; tests/support/hostile.py has more.
BROKEN = {
    "missing": (None, ""),
    "cut": (None, ""),
    "other": ({"weights": 1}, "state_dict"),
    "names": ({"state_dict": {"a": torch.ones(1)}, "hyper_parameters": {}}, "networks"),
    "parameter": (
        {"state_dict": {"sed_student.dense9.weight": torch.ones(1)}, "hyper_parameters": {}},
        "sed_student.dense9.weight",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_checkpoint(kind: str, tmp_path: Path, published_checkpoint: Path) -> None:
    path = tmp_path / "broken.ckpt"
    content, named = BROKEN[kind]
    if kind == "cut":
        path.write_bytes(published_checkpoint.read_bytes()[:5000])
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError) as caught:
        checkpoint_weights(read_checkpoint(path), str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit(published_checkpoint: Path) -> None:
    content = read_checkpoint(published_checkpoint)
    module = CrossTaskSED(load_config(CONFS / "sed.yaml", ["net.n_RNN_cell=64"]))
    with pytest.raises(InputError, match=r"^x\.ckpt: .*networks\..*expected .*, got "):
        load_weights(module, checkpoint_weights(content, "x.ckpt"), "x.ckpt")


def test_chosen_configuration_keeps_the_network(published_checkpoint: Path) -> None:
    content = read_checkpoint(published_checkpoint)
    chosen = load_config(CONFS / "demo.yaml", ["data.test_folder=/mine", "training.seed=5"])
    config = test_config(content, chosen, [], "x.ckpt")
    assert config.net.nb_filters == (32, 64, 128, 256, 256)
    assert config.feats.n_mels == 128
    assert (config.data.test_folder, config.training.seed) == ("/mine", 5)


@pytest.mark.parametrize("seconds", [5.0, 30.0])
def test_a_test_may_use_other_windows_but_not_other_frames(
    published_checkpoint: Path, seconds: float
) -> None:
    content = read_checkpoint(published_checkpoint)
    chosen = load_config(CONFS / "demo.yaml")
    length = f"data.audio_max_len={seconds}"
    by_file = test_config(content, override_config(chosen, [length]), [], "x.ckpt")
    assert by_file == test_config(content, chosen, [length], "x.ckpt")
    assert by_file.grid.clip_seconds == seconds
    assert test_config(content, None, [length], "x.ckpt").grid == by_file.grid
    for override in ("data.fs=44100", "feats.hop_length=128"):
        with pytest.raises(InputError, match=r"^x\.ckpt: "):
            test_config(content, chosen, [override], "x.ckpt")
    # The network's features are those of the checkpoint, whatever a file says.
    with pytest.raises(InputError, match=r"data\.fs 16000 .*, got data\.fs 44100"):
        test_config(content, override_config(chosen, ["data.fs=44100"]), [], "x.ckpt")


def test_keys_newer_than_a_checkpoint_have_the_recipe_s_values() -> None:
    config = load_config(CONFS / "demo.yaml")
    stored = config.plain()
    del stored["postprocess"]["methods"], stored["postprocess"]["tuning_metric"]
    old = checkpoint_config({"hyper_parameters": stored}, "old.ckpt")
    assert old.postprocess.methods == ("median",)
    changed = config.postprocess.model_copy(update={"methods": ("median",)})
    assert old == config.model_copy(update={"postprocess": changed})
    stored["postprocess"]["volume"] = 11
    with pytest.raises(InputError, match=r"postprocess\.volume: "):
        checkpoint_config({"hyper_parameters": stored}, "old.ckpt")


def test_weights_that_are_not_finite_replace_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"the old one")
    content = {"state_dict": {"a.norm.running_var": torch.tensor([1.0, float("inf")])}}
    with pytest.raises(FaultError, match=r"best\.ckpt: not saved: .*a\.norm\.running_var"):
        CheckpointFiles().save_checkpoint(content, path)
    assert path.read_bytes() == b"the old one"


def test_newest_checkpoint(tmp_path: Path) -> None:
    """Of a training: not of a test, which saves none, and not of `--fast_dev_run`."""
    with pytest.raises(InputError, match="no run under --log_dir"):
        newest_checkpoint(tmp_path)
    content: dict[str, Any] = {"state_dict": {}, "hyper_parameters": {}}
    for number in (2, 10, 11, 12):
        folder = tmp_path / f"version_{number}" / CHECKPOINTS
        folder.mkdir(parents=True)
        if number < 12:
            files = CheckpointFiles(fast=number == 11)
            files.save_checkpoint(content, folder / LAST_CHECKPOINT)
    assert newest_checkpoint(tmp_path).parent.parent.name == "version_10"
