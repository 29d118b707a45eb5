"""Validation by part: the figures are the recipe's, the parts add up."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import validation
from benchmarks.real_training import prepare
from benchmarks.validation import PARTS, REST, WHOLE, TimedModule
from local.sed_trainer import CrossTaskSED
from tests.benchmarks.small import DEVICES, narrow


def test_a_watched_validation_has_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch, validation)
    sets = validation.write_sets(tmp_path, 5, 3)
    device, found = torch.device("cpu"), []
    for name, kind in (("plain", CrossTaskSED), ("timed", TimedModule)):
        config = validation.load_config(
            Path(), [*sets, "training.batch_size=[1, 1, 1]", "training.num_workers=0"]
        )
        (tmp_path / name).mkdir()
        training = prepare(config, device, tmp_path / name, module=kind)
        if isinstance(training.module, TimedModule):
            parts = training.module.parts = dict.fromkeys(PARTS, 0.0)
        training.validate()
        found.append(
            {key: float(value) for key, value in training.trainer.callback_metrics.items()}
        )
        assert len(training.data.synth_validation.clips) == 5
        assert len(training.data.weak_validation) == 3
    assert found[0] == found[1]
    assert {"val/student/psds1", "val/teacher/weak_f1_macro"} <= found[0].keys()
    assert parts["features"] * parts["networks"] * parts["figures"] > 0


@pytest.mark.parametrize("device", DEVICES)
def test_validation_prints_what_it_measured(
    device: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow(monkeypatch, validation)
    written = tmp_path / "figures.json"
    sizes = ["--clips", "4", "--weak_clips", "2", "--rounds", "1", "--workers", "1"]
    assert validation.main([*sizes, "--device", device, "--json", str(written)]) == 0
    parts = {
        name: seconds[0] for name, seconds in json.loads(written.read_text())["parts_s"].items()
    }
    assert set(parts) == {*PARTS, REST, WHOLE}
    assert all(0 < seconds < parts[WHOLE] * 50 for seconds in parts.values())
    shown = capsys.readouterr().out
    assert "validation of 4 + 2 clips" in shown
    assert f"{parts[WHOLE]:.3f}" in shown
