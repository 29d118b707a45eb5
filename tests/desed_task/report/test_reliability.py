"""The section on confidence: bins by hand, and a page with and without it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from desed_task.postprocess.calibration import Calibration, Curve, FoundEvents
from desed_task.report import page as page_module
from desed_task.report import write_report
from desed_task.report.reliability import binned, reliability_section, wilson
from tests.support.report_cases import Page, single_system

HALF = Curve(method="platt", events=30, score=(0.0, 1.0), probability=(0.0, 0.5))


def test_events_are_counted_in_steps_of_their_confidence() -> None:
    right = np.array([True, False, True, True])
    events = FoundEvents(np.zeros(4, dtype=np.int64), np.array([0.5, 0.5, 1.0, 0.9]), right)
    found = binned(events, np.array([0.25, 0.29, 1.0, 0.95]))
    assert found.events.tolist() == [0, 0, 2, 0, 0, 0, 0, 0, 0, 2]
    assert found.correct.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 2]
    assert found.confidence[[2, 9]] == pytest.approx([0.27, 0.975])
    assert found.brier == pytest.approx((0.75**2 + 0.29**2 + 0 + 0.05**2) / 4)
    assert found.brier_score == pytest.approx((0.5**2 + 0.5**2 + 0 + 0.1**2) / 4)


def test_intervals_are_those_of_scipy() -> None:
    low, high = wilson(np.array([0, 3, 20]), np.array([4, 10, 20]))
    for k, (right, count) in enumerate([(0, 4), (3, 10), (20, 20)]):
        expected = binomtest(right, count).proportion_ci(method="wilson")
        assert (low[k], high[k]) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_a_calibrated_system_has_the_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "SECTIONS", (reliability_section,))
    system = single_system({"a": [(0.0, 9.984, "Cat")], "b": []}, 0.9)
    write_report(tmp_path, [system], title="t")
    assert not list((tmp_path / "report_pictures").iterdir())
    calibrated = replace(system, calibration=Calibration(common=HALF))
    written = write_report(tmp_path, [calibrated], title="t")
    assert [p.name for p in (tmp_path / "report_pictures").iterdir()] == ["reliability.png"]
    page = Page(written.read_text("utf-8"))
    # Two events, one is right; the confidence of both is half the score of 0.9.
    values = ["0.4500", "0.5000", f"{(0.55**2 + 0.45**2) / 2:.4f}", f"{(0.1**2 + 0.9**2) / 2:.4f}"]
    assert page.row(0, "only") == ["30", "2", *values]
    silent = single_system({"a": [(0.0, 9.984, "Cat")]}, 0.1)
    write_report(tmp_path, [replace(silent, calibration=Calibration(common=HALF))], title="t")
