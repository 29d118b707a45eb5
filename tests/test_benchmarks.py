"""The benchmarks in their smallest size, run as a user runs them."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image

from tests.support.paths import ROOT

SUBJECTS = ("step", "loading", "inference", "training", "curves", "evaluation")
STEP_PARTS = {
    "loading",
    "augmentation",
    "features",
    "student forward",
    "teacher forward",
    "losses",
    "backward",
    "optimiser + EMA",
}


class Benchmarks(NamedTuple):
    """Exit status, output, and the results of each subject that wrote some."""

    status: int
    output: str
    results: dict[str, Any]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _run_all(folder: Path, *options: str) -> Benchmarks:
    done = _run("all", "--tiny", "--json", str(folder), *options)
    files = [path for path in folder.glob("*.json") if path.is_file()]
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    return Benchmarks(done.returncode, done.stdout + done.stderr, results)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench_results")


@pytest.fixture(scope="module")
def benchmarks(folder: Path) -> Benchmarks:
    return _run_all(folder)


def test_all_subjects_succeed(benchmarks: Benchmarks) -> None:
    assert benchmarks.status == 0, benchmarks.output
    assert set(benchmarks.results) == set(SUBJECTS)
    for result in benchmarks.results.values():
        assert {"machine", "options"} <= set(result)
        # A process with PyTorch loaded needs at least 100 MB.
        peaks = [peak["resident"] for peak in result["peak_memory_gb"].values()]
        assert all(0.1 < peak < 100 for peak in peaks)
        for peak in peaks:
            assert f"resident {peak:.2f} GB" in benchmarks.output


def _columns(rounds: Mapping[str, list[float]]) -> list[dict[str, float]]:
    """One dictionary per round."""
    return [dict(zip(rounds, values, strict=True)) for values in zip(*rounds.values(), strict=True)]


def test_step(benchmarks: Benchmarks) -> None:
    result = benchmarks.results["step"]
    seconds = result["seconds"]
    for step in ("ours", "reference"):
        assert set(seconds[step]) == {*STEP_PARTS, "network", "whole step"}
        for of_round in _columns(seconds[step]):
            whole = of_round["whole step"]
            assert sum(of_round[part] for part in STEP_PARTS) == pytest.approx(whole)
            passes = ("student forward", "teacher forward", "backward")
            assert sum(of_round[part] for part in passes) == pytest.approx(of_round["network"])
            assert min(of_round.values()) > 0
    for part, value in result["ratio"].items():
        assert value == pytest.approx(seconds["reference"][part][0] / seconds["ours"][part][0])
    assert f"{result['ratio']['whole step']:.2f} x" in benchmarks.output
    assert set(result["peak_memory_gb"]) == {"ours", "reference"}
    product_speed = 64**3 / median(seconds["machine"]["product"])
    step_speed = result["multiply_adds"] / median(seconds["ours"]["whole step"])
    assert result["share_of_peak"] == pytest.approx(step_speed / product_speed)


def test_loading(benchmarks: Benchmarks) -> None:
    (speed,) = benchmarks.results["loading"]["clips_per_second"]
    assert speed > 0
    assert f"{speed:.0f} clips/s ({speed:.0f} to {speed:.0f}), 1 workers" in benchmarks.output


def test_inference(benchmarks: Benchmarks) -> None:
    batches = benchmarks.results["inference"]["batches"]
    assert [batch["clips"] for batch in batches] == [1, 3]
    for batch in batches:
        audio = batch["clips"] * 1.0  # clips of a second
        assert batch["real_time_factor"] == pytest.approx(median(batch["seconds"]) / audio)
        assert f"real-time factor {batch['real_time_factor']:.6f}" in benchmarks.output


def test_training(benchmarks: Benchmarks) -> None:
    """Of two epochs with three steps, the first epoch and the first step are not counted."""
    result = benchmarks.results["training"]
    seconds = result["seconds"]
    counts = {name: len(values) for name, values in seconds.items()}
    assert counts == {"step": 1, "gap": 2, "idle": 2, "validation": 1, "epoch": 1}
    assert seconds["epoch"][0] > seconds["validation"][0] + 2 * seconds["step"][0]
    assert 0 < max(seconds["gap"]) < 2 * seconds["step"][0]
    assert seconds["idle"] == seconds["gap"]  # a CPU has no work left when a step has ended
    assert "steps of 1 + 2 + 2 clips" in benchmarks.output
    # 200 epochs of 236 steps and a validation of 2 500 + 158 clips; 3 + 2 were validated.
    rest = max(0.0, seconds["epoch"][0] - seconds["validation"][0] - 3 * seconds["step"][0])
    epoch = 236 * seconds["step"][0] + 2658 * seconds["validation"][0] / 5 + rest
    assert result["projection"]["minutes"] == pytest.approx(200 * epoch / 60)
    assert f"{result['projection']['minutes']:.1f} minutes" in benchmarks.output


def test_curves(benchmarks: Benchmarks) -> None:
    """The same start in both precisions; means of 20 of 22 steps by hand."""
    result = benchmarks.results["curves"]
    losses = result["losses"]
    assert list(losses) == ["float32", "bf16-mixed", "float32, other dropout masks"]
    assert all(len(curve) == 22 for curve in losses.values())
    float32, mixed, other = losses.values()
    assert mixed[0] == pytest.approx(float32[0], rel=0.01)
    assert mixed != float32
    assert other != float32
    for name, found in result["differences"].items():
        sums = [
            abs(sum(losses[name][start : start + 20]) - sum(float32[start : start + 20]))
            for start in range(3)
        ]
        assert found["largest"] == pytest.approx(max(sums) / 20, abs=1e-6)
        assert found["mean"] == pytest.approx(sum(sums) / 3 / 20, abs=1e-6)
        assert f"largest {found['largest']:.4f}, mean {found['mean']:.4f}" in benchmarks.output
    assert Image.open(result["options"]["output"]).size[0] > 500


def test_evaluation(benchmarks: Benchmarks) -> None:
    """Every metric of the libraries, compared here again."""
    result = benchmarks.results["evaluation"]
    assert result["source"] == "generated scores"
    assert result["largest_difference"] <= 1e-9
    decoding, *metrics = result["comparisons"].values()
    assert decoding["values"]["ours"] == decoding["values"]["plain"]
    assert decoding["values"]["ours"][0] > 100  # events
    compared = set()
    for comparison in metrics:
        for ours, plain in zip(*comparison["values"].values(), strict=True):
            assert ours == pytest.approx(plain, abs=1e-9, rel=0)
            compared |= {name for name, value in plain.items() if value}
    f_scores = {"event_f1_macro", "event_f1_micro", "segment_f1_macro", "segment_f1_micro"}
    psds = {f"psds{n}_{library}" for n in (1, 2) for library in ("psds_eval", "sed_scores_eval")}
    assert compared == f_scores | psds | {"intersection_f1_macro", "weak_f1_macro"}
    for comparison in result["comparisons"].values():
        assert f"{comparison['ratio']:.1f} x" in benchmarks.output


def test_a_failing_subject_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "loading.json").mkdir()
    done = _run_all(tmp_path, "--only", "loading", "inference")
    assert done.status == 1
    assert "failed: loading; the other results" in done.output
    assert f"--json {tmp_path / 'loading.json'}: cannot be written" in done.output
    assert set(done.results) == {"inference"}


def test_unknown_subject() -> None:
    done = _run("speed")
    assert done.returncode == 2
    assert "subject: expected one of step, loading, " in done.stderr
    assert done.stdout == ""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_all_subjects_on_a_gpu(tmp_path: Path) -> None:
    done = _run_all(tmp_path, "--device", "cuda")
    assert done.status == 0, done.output
    assert set(done.results) == set(SUBJECTS)
    for subject in ("step", "inference", "training", "curves"):
        assert done.results[subject]["peak_memory_gb"]["ours"]["gpu"] > 0
