"""Progress of a training: one bar per epoch in a terminal, one line per epoch elsewhere."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny import tiny_config
from tests.support.training import train

SETTINGS = ("training.n_epochs=4", "training.validation_interval=2")


def test_a_log_has_one_line_per_epoch(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = train(tiny_config(tiny_data, *SETTINGS), tmp_path).recorder
    output = capsys.readouterr().out
    assert "\r" not in output
    lines = re.findall(r"^Epoch (\d): loss ([\d.]+)(.*), [\d.]+ s$", output, re.MULTILINE)
    assert output.count("Epoch ") == len(lines) == 4
    best = 0.0
    for epoch, (number, loss, rest) in enumerate(lines):
        assert int(number) == epoch
        expected = np.mean(recorder.losses[3 * epoch : 3 * epoch + 3])
        assert float(loss) == pytest.approx(expected, rel=1e-3)
        if epoch % 2 == 0:
            assert rest == ""
        else:
            metric = recorder.metrics[epoch // 2]
            best = max(best, metric)
            assert rest == f", val/obj_metric {metric:.4g}, best {best:.4g}"


def test_a_terminal_has_one_bar_per_epoch(
    tiny_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    train(tiny_config(tiny_data, *SETTINGS), tmp_path)
    bars = [line for line in capsys.readouterr().out.split("\n") if "Epoch " in line]
    assert len(bars) == 4
    for epoch, bar in enumerate(bars):
        last = bar.split("\r")[-1]
        assert last.startswith(f"Epoch {epoch}: 100%")
        assert "3/3" in last
        assert "loss=" in last
        assert ("val/obj_metric=" in last) == (epoch % 2 == 1)
