"""The benchmarks in their smallest size, run as a user runs them."""

import itertools
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.paths import ROOT
from tests.support.program import run_program

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


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_program(arguments, os.environ | environment)


def _results(folder: Path) -> dict[str, Any]:
    files = [path for path in folder.glob("*.json") if path.is_file()]
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def _run_all(folder: Path, *options: str) -> Benchmarks:
    done = _run("-m", "benchmarks", "all", "--tiny", "--json", str(folder), *options)
    return Benchmarks(done.returncode, done.stdout + done.stderr, _results(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks") / "first_hour"


@pytest.fixture(scope="module")
def first_hour(folder: Path) -> Benchmarks:
    """The ten commands as on a machine without a GPU, with all that they printed."""
    done = _run("-m", "benchmarks", "first_hour", "--output", str(folder), CUDA_VISIBLE_DEVICES="")
    printed = "\n".join(path.read_text() for path in folder.glob("*.txt"))
    return Benchmarks(done.returncode, done.stdout + done.stderr + printed, _results(folder))


@pytest.fixture(scope="module")
def benchmarks(first_hour: Benchmarks, tmp_path_factory: pytest.TempPathFactory) -> Benchmarks:
    """All subjects: those of the first hour, and the evaluation, which needs no GPU."""
    more = _run_all(tmp_path_factory.mktemp("bench_results"), "--only", "evaluation")
    status = first_hour.status or more.status
    return Benchmarks(status, first_hour.output + more.output, first_hour.results | more.results)


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
        for round_seconds in _columns(seconds[step]):
            whole = round_seconds["whole step"]
            assert sum(round_seconds[part] for part in STEP_PARTS) == pytest.approx(whole)
            passes = ("student forward", "teacher forward", "backward")
            assert sum(round_seconds[part] for part in passes) == pytest.approx(
                round_seconds["network"]
            )
            assert min(round_seconds.values()) > 0
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
    rows = benchmarks.results["inference"]["detection"]
    plain, ours = "published network, plain forward", "ours, 32: "
    assert set(rows) == {
        plain,
        *(f"{ours}{row}" for row in ("files of 1 s", "1 file", "files of 3 s")),
    }
    for row in rows.values():
        assert row["speed"] == pytest.approx(rows[plain]["seconds"][0] / row["seconds"][0])
    # The one long file has the seconds, and so the events, of the one short file.
    assert rows[f"{ours}1 file"]["events"] == rows[f"{ours}files of 3 s"]["events"]


def test_training(benchmarks: Benchmarks) -> None:
    """Of two epochs with three steps, the first epoch and the first step are not counted."""
    result = benchmarks.results["training"]
    seconds = result["seconds"]
    counts = {name: len(values) for name, values in seconds.items()}
    assert counts == {"step": 1, "gap": 2, "idle": 2, "validation": 1, "epoch": 1}
    assert seconds["epoch"][0] > seconds["validation"][0] + 2 * seconds["step"][0]
    assert 0 < max(seconds["gap"]) < 2 * seconds["step"][0]
    assert seconds["idle"] == seconds["gap"]  # a CPU has no work left when a step has ended
    idle_share = sum(seconds["gap"]) / 2 / seconds["step"][0]
    assert result["idle_share"] == pytest.approx(idle_share)
    assert f"at most {idle_share:.2%} of a step" in benchmarks.output
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
    others = ["float32, other dropout masks", "float32, other dropout masks 2"]
    assert list(losses) == ["float32", "bf16-mixed", *others]
    assert all(len(curve) == 22 for curve in losses.values())
    float32, mixed, *seeds = losses.values()
    assert mixed[0] == pytest.approx(float32[0], rel=0.01)
    assert len({tuple(curve) for curve in losses.values()}) == 4
    for name, found in result["differences"].items():
        sums = [
            abs(sum(losses[name][start : start + 20]) - sum(float32[start : start + 20]))
            for start in range(3)
        ]
        assert found["largest"] == pytest.approx(max(sums) / 20, abs=1e-6)
        assert found["mean"] == pytest.approx(sum(sums) / 3 / 20, abs=1e-6)
        assert f"largest {found['largest']:.4f}, mean {found['mean']:.4f}" in benchmarks.output
    windows = [np.lib.stride_tricks.sliding_window_view(c, 20).mean(1) for c in (float32, *seeds)]
    spread = max(abs(windows[a] - windows[b]).mean() for a, b in ((0, 1), (0, 2), (1, 2)))
    assert result["spread"] == pytest.approx(spread)
    is_within = result["differences"]["bf16-mixed"]["mean"] <= spread
    assert result["within_spread"] == {"bf16-mixed": is_within}
    assert f"bf16-mixed: {'within' if is_within else 'outside'} this spread" in benchmarks.output
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
    done = _run("-m", "benchmarks", "speed")
    assert done.returncode == 2
    assert "subject: expected one of step, loading, " in done.stderr
    assert done.stdout == ""


def _rows(report: str, heading: str) -> list[list[str]]:
    """Cells of the rows of the first table below a heading, its title excluded."""
    lines = report.partition(heading)[2].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 1 :])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_report_of_the_first_hour(first_hour: Benchmarks, folder: Path) -> None:
    assert first_hour.status == 0, first_hour.output
    report = (folder / "report.md").read_text()
    assert "**No GPU can be used: " in report
    assert "Tiny size on the CPU: " in first_hour.output
    machine = dict(_rows(report, "# The first hour on a GPU"))
    assert torch.__version__ == machine["PyTorch"]
    commands = _rows(report, "## Commands")
    assert [row[0] for row in commands] == [str(number) for number in range(1, 11)]
    outcomes = {row[1]: row[3] for row in commands}
    assert outcomes.pop("training_compiled") == "not run: needs a GPU"
    assert set(outcomes.values()) == {"ok"}
    for command in ("train_sed.py --resume_from_checkpoint last --gpus 0 ", "step --reference"):
        assert command in report
    assert "## Loss curves" in report
    assert Image.open(folder / "curves.png").size[0] > 500
    resumed = torch.load(folder / "resumed/version_0/checkpoints/last.ckpt", weights_only=True)
    assert resumed["epoch"] == 1


def test_targets_of_the_first_hour(first_hour: Benchmarks, folder: Path) -> None:
    """Each row from the JSON files again."""
    report = (folder / "report.md").read_text()
    assert report.partition("## Targets")[2].partition("Further")[0].strip() in first_hour.output
    rows = _rows(report, "## Targets")
    documented = _rows((ROOT / "docs" / "gpu.md").read_text(), "## The targets")
    assert [(row[0], row[3]) for row in rows] == [(row[0], row[3]) for row in documented]
    training, step, curves = (first_hour.results[name] for name in ("training", "step", "curves"))
    seconds = median(training["seconds"]["step"])
    ratio, share = step["ratio"]["whole step"], training["idle_share"]
    minutes, distance = training["projection"]["minutes"], curves["differences"]["bf16-mixed"]
    expected = [
        (f"{1000 * seconds:.1f} ms", seconds <= 0.03),
        (f"{ratio:.2f} x", ratio >= 10),
        (f"{share:.2%}", share < 0.01),
        (f"{minutes:.1f} minutes, projected", minutes <= 30),
        ("not measured (needs a GPU)", None),  # 16-mixed
        (f"mean difference {distance['mean']:.4f}", distance["mean"] <= curves["spread"]),
        ("not measured (not run: needs a GPU)", None),  # compiled
    ]
    for (_, measured, met, _), (text, is_met) in zip(rows, expected, strict=True):
        assert measured.startswith(text)
        assert met == {True: "yes (tiny size)", False: "no (tiny size)", None: "no"}[is_met]


FAILING_COMMANDS = """
import sys, time
from benchmarks import first_hour

real_commands, real_run = first_hour.list_commands, first_hour.run
codes = {
    "generate": "print('the reason'); raise SystemExit(3)",
    "fast_dev_run": "print('another text')",
    "cpu_epoch": "import time; time.sleep(999)",
}

def commands(*arguments):
    for command in real_commands(*arguments):
        if command.name in codes:
            yield command._replace(arguments=("-c", codes[command.name]))
        else:
            yield command._replace(arguments=("-c", ""), expected="")

def run(command, folder, end):
    return real_run(command, folder, time.monotonic() + 1 if command.name == "cpu_epoch" else end)

first_hour.list_commands = lambda *arguments: list(commands(*arguments))
first_hour.run = run
sys.exit(first_hour.main(["--device", "cpu", "--output", sys.argv[1]]))
"""


def test_a_failing_command_does_not_stop_the_first_hour(tmp_path: Path) -> None:
    done = _run("-c", FAILING_COMMANDS, str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert "failed: generate, fast_dev_run, cpu_epoch\n" in done.stdout
    report = (tmp_path / "report.md").read_text()
    results = {row[1]: row[3] for row in _rows(report, "## Commands")}
    assert results.pop("generate") == "failed: exit status 3"
    assert results.pop("fast_dev_run").startswith("failed: expected `(?s)Epoch 0: loss.*")
    assert results.pop("cpu_epoch") == "failed: stopped after 1 s"
    assert results.pop("training_compiled") == "not run: needs a GPU"
    assert set(results.values()) == {"ok"}
    for name, text in {"generate": "the reason", "fast_dev_run": "another text"}.items():
        assert f"## {name}: the end of its output\n\n```\n{text}\n```" in report
    assert {row[2] for row in _rows(report, "## Targets")} == {"no"}


FAKE_GPU = """
import json, time
from types import SimpleNamespace
import torch

now, gpu_end, waits = 0.0, 0.0, 0  # seconds of the processor, end of the GPU's queue

class Event:
    def __init__(self, enable_timing):
        assert enable_timing
    def record(self):
        self.time = max(now, gpu_end)
    def elapsed_time(self, end):
        assert now >= end.time, "the GPU has not come so far"
        return 1000 * (end.time - self.time)

def synchronize(device):
    global now, waits
    now, waits = max(now, gpu_end), waits + 1

def work(processor, gpu):  # the processor prepares, then the GPU has work
    global now, gpu_end
    now += processor
    gpu_end = max(now, gpu_end) + gpu

torch.cuda.Event, torch.cuda.synchronize = Event, synchronize
torch.cuda.max_memory_allocated = lambda device: 3e9
from benchmarks.measure import part_seconds, peak_memory, seconds
from benchmarks.training import LoopClock

device = torch.device("cuda")
found = {"one": seconds(lambda: work(1, 4), device, lambda: now)}
waits = 0
found["parts"] = part_seconds(
    {"a": lambda: work(1, 4), "b": lambda: work(2, 3), "c": lambda: work(6, 1)}, device
)
found["waits"] = waits
found["gpu"] = peak_memory(device)["gpu"]
time.perf_counter = lambda: now
clock, module = LoopClock(), SimpleNamespace(device=device)
trainer = SimpleNamespace(current_epoch=1, num_training_batches=4)
clock.on_train_epoch_start(trainer, module)
for gap, gpu in ((0, 10), (2, 10), (2, 1), (10, 10)):
    now += gap
    clock.on_train_batch_start(trainer, None, 0)
    work(1, gpu)
    clock.on_train_batch_end(trainer, module)
clock.on_validation_start(trainer, module)
print(json.dumps(found | {key: clock.durations[key] for key in ("step", "gap", "idle")}))
"""


def test_durations_on_a_gpu() -> None:
    """A fake GPU with a queue of work: what is measured is the GPU's time, by hand here."""
    done = _run("-c", FAKE_GPU)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["one"] == 5
    # b waits in the queue until a has ended at 5; c is prepared while b computes, until 9.
    assert found["parts"] == {"a": 5, "b": 3, "c": 2}
    assert found["waits"] == 2
    assert found["gpu"] == 3
    assert found["gap"] == [2, 2, 10]
    # The second step has work until 10 s after its start, the third 1 s more.
    assert found["idle"] == [2, 0, 2]
    assert found["step"] == [pytest.approx((2 + 1 + 10 + 1 + 2 + 1 + 10) / 3)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_all_subjects_on_a_gpu(tmp_path: Path) -> None:
    done = _run_all(tmp_path, "--device", "cuda")
    assert done.status == 0, done.output
    assert set(done.results) == set(SUBJECTS)
    for subject in ("step", "inference", "training", "curves"):
        assert done.results[subject]["peak_memory_gb"]["ours"]["gpu"] > 0
