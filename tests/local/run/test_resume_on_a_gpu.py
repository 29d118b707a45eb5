"""A checkpoint of a CPU's training is resumed on another device and in mixed precision."""

import os
from pathlib import Path

import pytest
import torch

from tests.support.paths import CONFS
from tests.support.program import run_program
from tests.support.tiny import overrides

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(
    ("gpus", "precision"),
    [
        pytest.param("0", "bf16-mixed"),
        pytest.param("1", "16-mixed", marks=[pytest.mark.gpu, GPU]),
    ],
)
def test_a_checkpoint_of_a_cpu_is_resumed(
    gpus: str, precision: str, tiny_data: Path, tmp_path: Path
) -> None:
    def train(*more: str) -> str:
        program = run_program(["train_sed.py", "--log_dir", str(tmp_path), *more], os.environ)
        assert program.returncode == 0, program.stderr
        return program.stdout

    sets = [f"--set={text}" for text in overrides(tiny_data, "training.n_epochs=1")]
    train("--conf_file", str(CONFS / "demo.yaml"), "--gpus", "0", *sets)
    more = ("training.n_epochs=2", f"training.precision={precision}")
    resumed = ["--resume_from_checkpoint", "last", "--gpus", gpus]
    output = train(*resumed, *(f"--set={text}" for text in more))
    assert f"precision {precision}" in output
    assert "Epoch 1: loss" in output
    last = torch.load(tmp_path / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 1
    assert (tmp_path / "version_0" / "metrics_test" / "metrics.json").is_file()
