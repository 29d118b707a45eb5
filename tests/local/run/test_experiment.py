"""Description, devices, memory and folder of a run."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from desed_task.errors import InputError
from local.config.load import load_config, override_config
from local.run.description import describe
from local.run.folders import new_run_folder, run_folder_of
from local.run.machine import Machine, all_parameters_used, choose_gpus
from local.sed_trainer import CrossTaskSED
from tests.support.paths import CONFS, ROOT


def test_description() -> None:
    config = load_config(CONFS / "sed.yaml")
    text = describe(CrossTaskSED(config), Machine(gpus=0, fast=False), 236)
    for part in ("3,839,737", "6 synthetic + 6 weak + 12 unlabelled clips", "236 (of 200 epochs)"):
        assert part in text
    assert "CPU, precision 32-true" in text
    assert "SOD task" not in text
    without = override_config(config, ["net.sod_branch=false", "training.train_sets=[synthetic]"])
    text = describe(CrossTaskSED(without), Machine(gpus=0, fast=False), 1666)
    assert "SOD task        off" in text
    assert "6 synthetic clips" in text


def test_precision() -> None:
    config = load_config(CONFS / "sed.yaml")
    assert Machine(gpus=1, fast=False).precision(config) == "16-mixed"
    assert Machine(gpus=0, fast=False).precision(config) == "32-true"
    half = override_config(config, ["training.precision=bf16-mixed"])
    assert Machine(gpus=0, fast=False).precision(half) == "bf16-mixed"
    half = override_config(config, ["training.precision=16-mixed"])
    with pytest.raises(InputError, match="16-mixed needs a GPU"):
        Machine(gpus=0, fast=False).precision(half)


def test_compiling_is_for_training_on_gpus() -> None:
    config = override_config(load_config(CONFS / "sed.yaml"), ["training.compile=true"])
    with pytest.raises(InputError, match=r"training\.compile: true needs a GPU"):
        Machine(gpus=0, fast=False).check(config)
    Machine(gpus=0, fast=False).check(config, trains=False)
    Machine(gpus=1, fast=False).check(config)


def test_gpus(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_gpus(1) == 0
    assert "No GPU found: using the CPU." in capsys.readouterr().out
    assert choose_gpus(0) == 0
    with pytest.raises(InputError, match=r"--gpus: expected at most .* PyTorch can use, 0, got 2"):
        choose_gpus(2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert (choose_gpus(1), choose_gpus(2)) == (1, 2)
    with pytest.raises(InputError, match="PyTorch can use, 2, got 4"):
        choose_gpus(4)


def test_parameters_without_gradients_are_looked_for_where_there_are_some() -> None:
    config = load_config(CONFS / "sed.yaml")
    assert all_parameters_used(config)
    assert all_parameters_used(override_config(config, ["net.sod_branch=false"]))
    for switch in ("losses.sod=0", "losses.sed_weak=0", "training.train_sets=[synthetic]"):
        assert not all_parameters_used(override_config(config, [switch])), switch


def test_run_folders_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "version_7").mkdir()
    (tmp_path / "version_x").mkdir()
    assert new_run_folder(tmp_path).name == "version_8"
    checkpoint = tmp_path / "version_8" / "checkpoints" / "last.ckpt"
    assert run_folder_of(checkpoint) is None
    (tmp_path / "version_8" / "config.yaml").touch()
    assert run_folder_of(checkpoint) == tmp_path / "version_8"


def test_a_log_dir_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--log_dir"):
        new_run_folder(tmp_path / "file" / "runs")


FAULTS = """
import resource, sys
from local.run.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(10):
    blocks = [b"x" * 80_000_000 for _ in range(2)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_used_again() -> None:
    """Without it every large block is fetched page by page from the system."""
    kept, fetched = (
        int(subprocess.check_output([sys.executable, "-c", FAULTS, mode], cwd=ROOT))
        for mode in ("keep", "give back")
    )
    assert fetched - kept > 20_000
