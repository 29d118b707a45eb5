"""Loss curves: same seed, same curve; what is compared and written."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import curves
from benchmarks.curves import SMOOTHED, distance, smooth
from benchmarks.generated import data_overrides
from benchmarks.real_training import TINY
from local.config.load import load_config
from tests.benchmarks.small import DEVICES, tiny_file
from tests.support.paths import CONFS


def test_smoothing_and_distance() -> None:
    ramp = [float(number) for number in range(50)]
    middle = (SMOOTHED - 1) / 2
    np.testing.assert_allclose(smooth(ramp), np.arange(50 - SMOOTHED + 1) + middle)
    shifted = [value + 0.5 for value in ramp]
    shifted[-1] += SMOOTHED
    found = distance(ramp, shifted)
    assert found["largest"] == pytest.approx(1.5)
    assert found["mean"] == pytest.approx(0.5 + 1 / (50 - SMOOTHED + 1))


def test_weights_and_draws_are_the_same(tiny_data: Path) -> None:
    config = load_config(CONFS / "demo.yaml", [*data_overrides(tiny_data), *TINY])
    cpu = torch.device("cpu")
    first, again, other = (curves.losses(config, 32, cpu, 4, seed) for seed in (1, 1, 2))
    assert len(first) == 4
    assert first == again
    # Dropout alone differs: the first loss is near, but another.
    assert first != other
    assert first[0] == pytest.approx(other[0], rel=0.2)


@pytest.mark.parametrize("device", DEVICES)
def test_curves_are_written_and_drawn(
    device: str,
    tiny_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(curves, "SMOOTHED", 3)
    picture, written = tmp_path / "curves.png", tmp_path / "curves.json"
    asked = ["--steps", "4", "--device", device, "--data", str(tiny_data)]
    asked += ["--conf_file", str(tiny_file(tmp_path)), "--output", str(picture)]
    assert curves.main([*asked, "--json", str(written)]) == 0
    report = json.loads(written.read_text())
    assert list(report["losses"]) == [curves.FLOAT32, "bf16-mixed", curves.OTHER_MASKS]
    assert all(len(curve) == 4 for curve in report["losses"].values())
    assert Image.open(picture).size[0] > 500
    shown = capsys.readouterr().out
    for found in report["differences"].values():
        assert f"largest {found['largest']:.4f}, mean {found['mean']:.4f}" in shown
