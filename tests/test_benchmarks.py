"""The benchmarks compare the same figures, and say what they measured."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import evaluation, loading
from benchmarks.__main__ import main
from benchmarks.measure import Pair, Timing
from benchmarks.systems import load_systems
from desed_task.errors import InputError


def test_the_plain_route_gives_the_same_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "SHARED", tmp_path / "nowhere")
    written = tmp_path / "figures.json"
    sizes = ["--clips", "12", "--validation_clips", "15", "--rounds", "1"]
    assert evaluation.main([*sizes, "--json", str(written)]) == 0
    report = json.loads(written.read_text())
    assert report["source"] == "generated scores"
    assert report["largest_difference"] <= 1e-9
    assert [len(pair["plain_s"]) for pair in report["pairs"]] == [1, 1, 1]
    assert 0 < report["peak_memory_gb"] < 100
    shown = capsys.readouterr().out
    for pair in report["pairs"]:
        assert f"{pair['ratio']:.1f} x" in shown


def test_a_figure_that_differs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluation.evaluate

    def off(*args: Any) -> Any:
        metrics = whole(*args)
        return dataclasses.replace(metrics, psds2_psds_eval=(metrics.psds2_psds_eval or 0) + 1e-6)

    monkeypatch.setattr(evaluation, "evaluate", off)
    _, difference = evaluation.metrics(load_systems(None, 8), rounds=1)
    assert difference == pytest.approx(1e-6)


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_reports_speed_and_the_cost_of_an_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    written = tmp_path / "figures.json"
    sizes = ["--clips", "24", "--rounds", "2", "--workers", str(workers), "--entries", "30", "300"]
    assert loading.main([*sizes, "--json", str(written), "--folder", str(tmp_path)]) == 0
    report = json.loads(written.read_text())
    shown = capsys.readouterr().out
    for name, speed in report["clips_per_second"].items():
        assert 0 < speed["least"] <= speed["median"] <= speed["most"]
        assert f"{name:<16}{speed['median']:9.0f} clips/s" in shown
    small, large = report["large_sets"]
    assert (small["entries"], large["entries"]) == (30, 300)
    for of_set in (small, large):
        assert len(of_set["worker_mb"]) == workers
        assert of_set["index_bytes"] / of_set["entries"] < 60
        assert of_set["dataset_bytes"] / of_set["entries"] < 200
    assert list(tmp_path.iterdir()) == [written]  # what it generated is gone


def test_ratio_is_the_median_of_the_rounds() -> None:
    pair = Pair("x", Timing((4.0, 9.0, 10.0)), Timing((1.0, 3.0, 2.0)))
    assert pair.ratio == 4.0
    assert pair.plain.median == 9.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "unknown subject 'speed'"),
        (["evaluation", "--rounds", "0"], "--rounds 0"),
        (["loading", "--clips", "5"], "--clips 5: 24 or more"),
        (["loading", "--entries", "100", "5"], "--entries 5: 24 or more"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(InputError, match=message):
        main()
