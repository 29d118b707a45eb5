"""The benchmarks compare the same figures, and say what they measured."""

import dataclasses
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from benchmarks import evaluation, loading, step
from benchmarks.__main__ import main
from benchmarks.measure import Pair, Timing
from benchmarks.options import RECIPE
from benchmarks.step_data import StepData
from benchmarks.systems import load_systems
from benchmarks.training_step import OurStep, ReferenceStep, random_batch
from desed_task.errors import InputError
from local.config.load import override_config
from tests.benchmarks.small import narrow


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
def test_loading_reports_speed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    written = tmp_path / "figures.json"
    sizes = ["--clips", "24", "--rounds", "2", "--workers", str(workers)]
    assert loading.main([*sizes, "--json", str(written), "--folder", str(tmp_path)]) == 0
    report = json.loads(written.read_text())
    shown = capsys.readouterr().out
    for name, speed in report["clips_per_second"].items():
        assert 0 < speed["least"] <= speed["median"] <= speed["most"]
        assert f"{name:<16}{speed['median']:9.0f} clips/s" in shown
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
        (["step", "--clips", "20"], "multiple of 12"),
        (["step", "--rounds", "0"], "--rounds 0"),
        (["step", "--workers", "-1"], "--workers -1"),
        (["step", "--device", "tpu"], "--device tpu: cpu or cuda"),
        (["validation", "--clips", "0"], "--clips 0"),
        (["inference", "--batch_sizes", "4", "0"], "--batch_sizes 0"),
        (["memory", "--clips", "20"], "multiple of 12"),
        (["training", "--steps", "3", "--stretch", "2"], "twice --stretch 2"),
        (["epochs", "--epochs", "30", "--warmup", "10"], "leave 24 or more"),
        (["curves", "--precision", "16-mixed"], "16-mixed: needs a GPU"),
        (["all", "--only", "speed"], "--only speed: known are step"),
        (["step", "--clock", "cpu", "--device", "cuda"], "--clock cpu"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(InputError, match=message):
        main()


def _small_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips of a second, a narrow network and little to copy."""
    narrow(monkeypatch, step)
    monkeypatch.setattr(step, "MATRIX", 32)
    monkeypatch.setattr(step, "COPIED", 1000)


def test_step_prints_what_it_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _small_step(monkeypatch)
    monkeypatch.setattr(step, "peak_memory", lambda task, *arguments: task(*arguments) or 0.5)
    written = tmp_path / "figures.json"
    sizes = ["--reference", "--clips", "12", "--rounds", "2"]
    assert step.main([*sizes, "--json", str(written)]) == 0
    report = json.loads(written.read_text())
    parts = set(report["parts_s"]["ours"])
    assert {
        "loading",
        "augmentation",
        "features",
        "losses",
        "optimiser + EMA",
        "whole step",
    } <= parts
    assert set(report["parts_s"]["reference"]) == set(report["ratio"]) == parts
    assert all(len(seconds) == 2 for seconds in report["parts_s"]["ours"].values())
    assert report["flop"] > 1e6
    shown = capsys.readouterr().out
    assert f"{report['ratio']['whole step']:.2f} x" in shown
    assert "network of reference" in shown
    assert f"pitch shift of 2 clips {median(report['pitch_shift_s']):.4f} s" in shown
    for seconds in zip(*report["parts_s"]["ours"].values(), strict=True):
        of_round = dict(zip(report["parts_s"]["ours"], seconds, strict=True))
        whole, _ = of_round.pop("whole step"), of_round.pop("network")
        assert sum(of_round.values()) == pytest.approx(whole)


def test_arithmetic_of_a_known_product() -> None:
    class Product:
        a, b = torch.ones(3, 4), torch.ones(4, 5)

        def run(self) -> None:
            (self.a @ self.b).view(5, 3)

    flops, moved = step.arithmetic(Product())  # type: ignore[arg-type]
    assert flops == 2 * 3 * 4 * 5
    assert moved == 4 * (3 * 4 + 4 * 5 + 3 * 5)


def test_both_steps_have_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole steps one after the other, draws, Adam and teacher included, without dropout."""
    _small_step(monkeypatch)
    still = ["net.dropout=0", "net.dropout_output=0"]
    config = override_config(step.load_config(RECIPE), still)
    batch = random_batch(12, config, torch.device("cpu"))
    torch.manual_seed(0)
    ours = OurStep(config, batch, "32")
    plain = ReferenceStep(config, batch, ours)
    for _ in range(3):
        ours.run()
        plain.run()
        torch.testing.assert_close(plain.loss, ours.loss, rtol=1e-4, atol=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_both_steps_load_the_same_clips(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small_step(monkeypatch)
    data = StepData(tmp_path, (1, 1, 2), step.load_config(RECIPE).grid)
    routes = data.batches(workers, torch.device("cpu")), data.plain_batches(torch.device("cpu"))
    names: list[str] = []
    for _, ours, plain in zip(range(21), *routes, strict=False):  # 10 are an epoch
        assert ours.names == plain.names
        for field in ("audio", "targets", "kind"):
            torch.testing.assert_close(getattr(ours, field), getattr(plain, field))
        names += ours.names
    assert len(set(names)) == 40
    assert ours.kind.tolist() == [0, 1, 2, 2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_step_runs_on_a_gpu(
    precision: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _small_step(monkeypatch)
    sizes = ["--clips", "12", "--rounds", "1", "--device", "cuda", "--precision", precision]
    assert step.main(["--reference", *sizes]) == 0
    assert "whole step" in capsys.readouterr().out
