"""One table of peak memory; the tasks themselves run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import inference, memory, step, validation
from tests.benchmarks.small import narrow

SIZES = ["--clips", "12", "--validation_clips", "3", "--inference_clips", "2"]


def _run(
    device: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, float]:
    narrow(monkeypatch, memory, step, validation, inference)
    written = folder / "figures.json"
    assert memory.main([*SIZES, "--device", device, "--json", str(written)]) == 0
    found: dict[str, float] = json.loads(written.read_text())["peak_gb"]
    assert list(found) == ["step", "validation", "inference"]
    shown = capsys.readouterr().out
    for title in ("training step of 12 clips", "validation of 3 + 1 clips", "inference of 2 clips"):
        assert title in shown
    return found


def test_memory_of_all_three(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def in_this_process(task: Any, *arguments: Any) -> float:
        task(*arguments)
        called.append(task)
        return float(len(called))

    monkeypatch.setattr(memory, "peak_memory", in_this_process)
    assert list(_run("cpu", tmp_path, capsys, monkeypatch).values()) == [1, 2, 3]
    assert called == [step.run_once, validation.run_once, inference.run_once]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_on_a_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert min(_run("cuda", tmp_path, capsys, monkeypatch).values()) > 0
