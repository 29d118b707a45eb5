"""Memory over epochs: what is read, the fitted line, the verdict."""

import json
import mmap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import epochs
from benchmarks.epochs import RESIDENT, measure, resident_kb
from benchmarks.trend import BLOCKS, fit_trend


def _steps(rng: np.random.Generator, number: int) -> np.ndarray:
    """Memory that moves up and down in steps, as an allocator's does, kB."""
    return 4000.0 * (rng.random(number // 5).repeat(5) > 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_leak_is_found_and_its_slope(seed: int) -> None:
    values = 900_000 + 100.0 * np.arange(200) + _steps(np.random.default_rng(seed), 200)
    trend = fit_trend(values.tolist())
    assert trend.grows
    assert abs(trend.slope - 100) < trend.quantile * trend.error


@pytest.mark.parametrize("seed", range(5))
def test_steps_without_a_trend_are_none(seed: int) -> None:
    assert not fit_trend(_steps(np.random.default_rng(seed), 200).tolist()).grows


def test_exact_lines() -> None:
    rising = fit_trend([3.0 * number for number in range(60)])
    assert rising.slope == pytest.approx(3)
    assert rising.error == pytest.approx(0, abs=1e-6)
    assert not fit_trend([7.0] * 60).grows
    assert not fit_trend([-float(number) for number in range(60)]).grows


def test_too_few_values() -> None:
    with pytest.raises(ValueError, match=f"{2 * BLOCKS} or more"):
        fit_trend([1.0] * (2 * BLOCKS - 1))


def test_resident_memory_sees_what_is_written() -> None:
    before = resident_kb()
    with mmap.mmap(-1, 64 << 20) as fresh:  # never memory that the process has already
        fresh.write(b"x" * (64 << 20))
        assert resident_kb() - before > 60 << 10


def test_real_epochs_are_recorded() -> None:
    kb = measure(2, torch.device("cpu"))
    assert list(kb) == [RESIDENT]
    assert len(kb[RESIDENT]) == 2
    assert min(kb[RESIDENT]) > 100_000


@pytest.mark.parametrize(("slope", "status"), [(50.0, 1), (0.0, 0)])
def test_verdict_picture_and_file(
    slope: float,
    status: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted = [900_000 + slope * number for number in range(60)]
    monkeypatch.setattr(epochs, "measure", lambda number, device, overrides: {RESIDENT: planted})
    picture, written = tmp_path / "curve.png", tmp_path / "figures.json"
    asked = ["--epochs", "60", "--picture", str(picture), "--json", str(written)]
    assert epochs.main(asked) == status
    assert Image.open(picture).size[0] > 500
    report = json.loads(written.read_text())
    assert report["kb"] == {RESIDENT: planted}
    assert report["grows"] == bool(status)
    assert report["trends"][RESIDENT]["slope"] == pytest.approx(slope)
    assert ("GROWS" if status else "no trend") in capsys.readouterr().out


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_epochs_on_a_gpu() -> None:
    kb = measure(2, torch.device("cuda"))
    assert all(len(values) == 2 for values in kb.values())
    assert len(kb) == 2
