"""Description, devices and memory of a run."""

import platform
import subprocess
import sys

import pytest
import torch

from desed_task.errors import InputError
from local.config.load import load_config, override_config
from local.run.description import describe
from local.run.machine import Machine, all_parameters_used, choose_gpus
from local.sed_trainer import CrossTaskSED
from tests.support.paths import CONFS, ROOT


def test_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    cpu, gpu = Machine(gpus=0), Machine(gpus=1)
    config = load_config(CONFS / "sed.yaml", ["training.precision=32", "data.audio_max_len=1"])
    module = CrossTaskSED(config)
    text = describe(module, cpu, 236)
    for part in ("3,839,737", "6 synthetic + 6 weak + 12 unlabelled clips", "236 (of 200 epochs)"):
        assert part in text
    assert text.endswith("CPU, precision 32-true")
    assert "A GPU, precision 32-true (TF32 in convolutions and GRUs)" in describe(module, gpu, 236)
    assert "SOD task" not in text
    switches = [
        "net.sod_branch=false",
        "training.train_sets=[synthetic]",
        "training.precision=auto",
    ]
    without = CrossTaskSED(override_config(config, switches))
    text = describe(without, cpu, 1666)
    assert "SOD task        off" in text
    assert "6 synthetic clips" in text
    assert "A GPU, precision 16-mixed\n" in describe(without, gpu, 1666)


def test_precision() -> None:
    config = load_config(CONFS / "sed.yaml")
    assert Machine(gpus=1).precision(config) == "16-mixed"
    assert Machine(gpus=0).precision(config) == "32-true"
    half = override_config(config, ["training.precision=bf16-mixed"])
    assert Machine(gpus=0).precision(half) == "bf16-mixed"
    half = override_config(config, ["training.precision=16-mixed"])
    with pytest.raises(InputError, match="16-mixed needs a GPU"):
        Machine(gpus=0).precision(half)


def test_compiling_is_for_training_on_gpus() -> None:
    config = override_config(load_config(CONFS / "sed.yaml"), ["training.compile=true"])
    with pytest.raises(InputError, match=r"training\.compile: true needs a GPU"):
        Machine(gpus=0).check(config)
    Machine(gpus=0).check(config, trains=False)
    Machine(gpus=1).check(config)


class Cuda:
    """Replacement of what is asked of PyTorch: some GPUs, or a problem with them."""

    def __init__(
        self, patch: pytest.MonkeyPatch, gpus: int = 0, build: str | None = "13.0"
    ) -> None:
        self.allocated: list[torch.device] = []
        self.problem: BaseException | None = None
        self.full: BaseException | None = None
        patch.setattr(torch.version, "cuda", build)
        patch.setattr(torch.cuda, "init", self.init)
        patch.setattr(torch.cuda, "device_count", lambda: gpus)
        patch.setattr(torch, "zeros", self.zeros)
        for name in ("RANK", "LOCAL_RANK", "SLURM_STEP_NUM_TASKS"):
            patch.delenv(name, raising=False)

    def init(self) -> None:
        if self.problem is not None:
            raise self.problem

    def zeros(self, size: int, device: torch.device) -> None:
        if self.full is not None:
            raise self.full
        self.allocated.append(device)


def test_gpus(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(monkeypatch, gpus=2)
    assert [choose_gpus(wanted) for wanted in (None, 0, 1, 2)] == [1, 0, 1, 2]
    assert cuda.allocated == [torch.device("cuda", 0)] * 2  # not by the one that starts others
    with pytest.raises(InputError, match="--gpus 4: expected at most 2 GPUs"):
        choose_gpus(4)
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    for name, value in {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_gpus(2) == 2
    assert cuda.allocated[-1] == torch.device("cuda", 1)
    assert capsys.readouterr().out == ""


DRIVER = "The NVIDIA driver on your system is too old (found version 11040)."
PROBLEMS: dict[str, dict[str, BaseException]] = {
    DRIVER: {"problem": RuntimeError(f"{DRIVER}\nPlease update your GPU driver.")},
    "No CUDA GPUs are available": {"problem": RuntimeError("No CUDA GPUs are available")},
    "CUDA out of memory.": {"full": torch.OutOfMemoryError("CUDA out of memory.")},
}


@pytest.mark.parametrize("reason", [*PROBLEMS, "this build of PyTorch is for CPUs"])
def test_a_gpu_that_cannot_be_used(
    reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error where it was asked for; else PyTorch's reason is printed."""
    cuda = Cuda(monkeypatch, gpus=1, build="13.0" if reason in PROBLEMS else None)
    for name, error in PROBLEMS.get(reason, {}).items():
        setattr(cuda, name, error)
    assert choose_gpus(0) == 0
    assert capsys.readouterr().out == ""
    assert choose_gpus(None) == 0
    assert capsys.readouterr().out.startswith(f"Using the CPU: {reason}")
    with pytest.raises(InputError) as caught:
        choose_gpus(1)
    assert str(caught.value).startswith(f"--gpus 1: {reason}")
    assert str(caught.value).endswith("; or use --gpus 0, the CPU")


def test_parameters_without_gradients_are_looked_for_where_there_are_some() -> None:
    config = load_config(CONFS / "sed.yaml")
    assert all_parameters_used(config)
    assert all_parameters_used(override_config(config, ["net.sod_branch=false"]))
    for switch in ("losses.sod=0", "losses.sed_weak=0", "training.train_sets=[synthetic]"):
        assert not all_parameters_used(override_config(config, [switch])), switch


FAULTS = """
import resource, sys
from desed_task.processor import keep_freed_memory
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
