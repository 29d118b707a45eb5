"""The training loop: what is counted, and the arithmetic of the projection."""

import json
from pathlib import Path

import pytest

from benchmarks import training
from benchmarks.loop_clock import LoopClock, Projection
from benchmarks.real_training import WaitingLoader
from tests.benchmarks.small import DEVICES, tiny_file


def test_projection() -> None:
    """200 epochs of 236 steps of 30 ms and a validation of 1.5 s are 28.6 minutes."""
    projection = Projection(0.03, validation_s=0.75, validated=1329, between_s=0.0)
    assert projection.desed_validation_s == pytest.approx(1.5)
    assert projection.minutes == pytest.approx(200 * (236 * 0.03 + 1.5) / 60)
    assert projection.minutes == pytest.approx(28.6)
    slower = projection._replace(between_s=3.0)
    assert slower.minutes == pytest.approx(projection.minutes + 10)
    assert "28.6 minutes" in training.describe(projection)
    assert "not run" in training.describe(projection)


def test_projection_is_of_the_medians() -> None:
    clock = LoopClock(stretch=1)
    clock.steps, clock.validations, clock.epochs = [1.0, 9.0, 2.0], [5.0], [27.0, 29.0]
    assert clock.projection(validated=20, steps=10) == Projection(2.0, 5.0, 20, 3.0)
    assert clock.projection(validated=20, steps=100).between_s == 0


def test_waits_are_those_of_the_batches() -> None:
    loader = WaitingLoader(["a", "b"])
    heard: list[float] = []
    loader.arrived = heard.append
    assert [*loader, *loader] == ["a", "b", "a", "b"]
    assert heard == loader.waits
    assert len(heard) == 4


@pytest.mark.parametrize("device", DEVICES)
def test_training_prints_what_it_measured(
    device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "figures.json"
    asked = ["--steps", "4", "--stretch", "2", "--epochs", "3", "--clips", "3", "--weak_clips", "2"]
    asked += ["--workers", "1", "--conf_file", str(tiny_file(tmp_path)), "--device", device]
    assert training.main([*asked, "--json", str(written)]) == 0
    report = json.loads(written.read_text())
    seconds = report["seconds"]
    # Of two epochs that count: a stretch each after the first, a wait for each step.
    assert {name: len(values) for name, values in seconds.items()} == {
        "step": 2,
        "of it, data waited for": 8,
        "device idle meanwhile": 8,
        "validation": 2,
    }
    assert len(report["epochs_s"]) == 2
    assert min(report["epochs_s"]) > max(seconds["validation"])
    shown = capsys.readouterr().out
    assert "steps of 1 + 2 + 2 clips" in shown
    assert f"{report['projection']['minutes']:.1f} minutes" in shown
