"""The benchmarks in their smallest size, run once as a user runs them."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from tests.support.paths import ROOT
from tests.support.program import run_program

SUBJECTS = ("step", "loading", "inference", "detection", "training", "curves", "evaluation")


class Benchmarks(NamedTuple):
    """Exit status, output, and the JSON file of each subject that wrote one."""

    status: int
    output: str
    results: dict[str, Any]
    folder: Path


FORKED_COMMANDS = """
import sys
from benchmarks import commands
from benchmarks.__main__ import main
from desed_task.errors import run_cli
from tests.support.program import run_program

def run(arguments, output, limit):
    done = run_program(arguments)
    output.write_text(done.stdout + done.stderr)
    return commands.OK if done.returncode == 0 else f"failed: exit status {done.returncode}"

commands._run = run
run_cli(lambda: main(sys.argv[1:]))
"""


def _run(folder: Path, *arguments: str, **environment: str) -> Benchmarks:
    """`python -m benchmarks ARGUMENTS`; its commands import PyTorch once for all."""
    done = run_program(["-c", FORKED_COMMANDS, *arguments], os.environ | environment)
    files = [path for path in folder.glob("*.json") if path.is_file()]
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    return Benchmarks(done.returncode, done.stdout + done.stderr, results, folder)


@pytest.fixture(scope="session")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Benchmarks:
    """All subjects: the first hour as on a machine without a GPU, and the evaluation."""
    folder = tmp_path_factory.mktemp("first_hour")
    first = _run(folder, "first_hour", "--output", str(folder), CUDA_VISIBLE_DEVICES="")
    more = ("--only", "evaluation", "--output", str(folder))
    second = _run(folder, "all", "--tiny", *more)
    status = first.status or second.status
    return Benchmarks(status, first.output + second.output, second.results, folder)


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


def test_step_with_stored_embeddings(tmp_path: Path) -> None:
    """Beside the step without them, which has no such part."""
    file = tmp_path / "step.json"
    options = ["--tiny", "--encoder", "--json", str(file)]
    done = run_program(["-m", "benchmarks", "step", *options])
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text(encoding="utf-8"))
    ours, plain = (result["seconds"][name] for name in ("ours", "without encoder"))
    assert ours.keys() - plain.keys() == {"embeddings"}
    whole = ours["whole step"][0] / plain["whole step"][0]
    assert result["encoder_ratio"]["whole step"] == pytest.approx(whole)
    assert f"{whole:.2f} x" in done.stdout


def test_parts_add_up_to_a_step(benchmarks: Benchmarks) -> None:
    result = benchmarks.results["step"]
    for step in ("ours", "reference"):
        parts = {part: values[0] for part, values in result["seconds"][step].items()}
        whole, network = parts.pop("whole step"), parts.pop("network")
        assert min(parts.values()) > 0
        assert sum(parts.values()) == pytest.approx(whole)
        passes = ("student forward", "teacher forward", "backward")
        assert sum(parts[part] for part in passes) == pytest.approx(network)
    assert set(result["peak_memory_gb"]) == {"ours", "reference"}
    product_speed = 64**3 / median(result["seconds"]["machine"]["product"])
    step_speed = result["multiply_adds"] / median(result["seconds"]["ours"]["whole step"])
    assert result["share_of_peak"] == pytest.approx(step_speed / product_speed)


def test_loading_inference_and_detection(benchmarks: Benchmarks) -> None:
    (speed,) = benchmarks.results["loading"]["clips_per_second"]
    assert f"{speed:.0f} clips/s ({speed:.0f} to {speed:.0f}), 1 workers" in benchmarks.output
    batches = benchmarks.results["inference"]["batches"]
    assert [batch["clips"] for batch in batches] == [1, 3]
    for batch in batches:
        seconds = batch["clips"] * 1.0  # clips of a second
        assert batch["real_time_factor"] == pytest.approx(median(batch["seconds"]) / seconds)
    rows = benchmarks.results["detection"]["rows"]
    # The one long file has the seconds, and so the events, of the one short file.
    assert rows["ours, 32: 1 file"]["events"] == rows["ours, 32: files of 3 s"]["events"]


def test_training(benchmarks: Benchmarks) -> None:
    """Of two epochs with three steps, the first epoch and the first step are not counted."""
    result = benchmarks.results["training"]
    seconds = result["seconds"]
    counts = {name: len(values) for name, values in seconds.items()}
    assert counts == {"step": 1, "gap": 2, "idle": 2, "validation": 1, "epoch": 1}
    assert seconds["epoch"][0] > seconds["validation"][0] + 2 * seconds["step"][0]
    assert seconds["idle"] == seconds["gap"]  # a CPU has no work left when a step has ended
    assert result["idle_share"] == pytest.approx(sum(seconds["gap"]) / 2 / seconds["step"][0])
    # 200 epochs of 236 steps and a validation of 2 500 + 158 clips; 3 + 2 were validated.
    rest = max(0.0, seconds["epoch"][0] - seconds["validation"][0] - 3 * seconds["step"][0])
    epoch = 236 * seconds["step"][0] + 2658 * seconds["validation"][0] / 5 + rest
    assert result["projection"]["minutes"] == pytest.approx(200 * epoch / 60)


def test_curves(benchmarks: Benchmarks) -> None:
    """The same start in both precisions; means of 20 of 22 steps by hand."""
    result = benchmarks.results["curves"]
    losses = result["losses"]
    others = ["float32, other dropout masks", "float32, other dropout masks 2"]
    assert list(losses) == ["float32", "bf16-mixed", *others]
    assert losses["bf16-mixed"][0] == pytest.approx(losses["float32"][0], rel=0.01)
    assert len({tuple(curve) for curve in losses.values()}) == 4
    means = {
        name: np.lib.stride_tricks.sliding_window_view(curve, 20).mean(1)
        for name, curve in losses.items()
    }
    for name, found in result["differences"].items():
        distances = abs(means[name] - means["float32"])
        assert len(distances) == 3
        assert found["largest"] == pytest.approx(max(distances))
        assert found["mean"] == pytest.approx(np.mean(distances))
    seeds = [means["float32"], *(means[name] for name in others)]
    spread = max(abs(seeds[a] - seeds[b]).mean() for a, b in ((0, 1), (0, 2), (1, 2)))
    assert result["spread"] == pytest.approx(spread)
    is_within = result["differences"]["bf16-mixed"]["mean"] <= spread
    assert result["within_spread"] == {"bf16-mixed": is_within}
    assert Image.open(benchmarks.folder / "curves.png").size[0] > 500


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


def test_the_report_of_the_first_hour(benchmarks: Benchmarks) -> None:
    report = (benchmarks.folder / "report.md").read_text()
    assert "**No GPU can be used: " in report
    assert f"| PyTorch | {torch.__version__} |" in report
    for name in ("tests", "step", "loading", "inference", "detection", "training", "curves"):
        assert f"| {name} | ok | " in report
    assert "](curves.png)" in report
    targets = _targets(report)
    assert targets == _targets(benchmarks.output)
    step, training = (benchmarks.results[name] for name in ("step", "training"))
    ratio = step["ratio"]["whole step"]
    assert targets["step: at least 10 times as fast as the reference"] == (
        f"{ratio:.2f} x",
        "yes" if ratio >= 10 else "no",
    )
    measured, met = targets["step of 72 clips: at most 30 ms"]
    seconds = median(training["seconds"]["step"])
    assert measured.startswith(f"{1000 * seconds:.1f} ms")
    assert met == ("yes" if seconds <= 0.03 else "no")
    assert targets["compiled step: faster than the plain one"] == ("not measured", "no")
    documented = _targets((ROOT / "docs" / "gpu.md").read_text())
    assert list(documented) == list(targets)


def _targets(text: str) -> Mapping[str, tuple[str, str]]:
    """Measured value and whether it is met, by target."""
    table = text.partition("| target | measured | met |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {row[0]: (row[1], row[2]) for row in rows[2:]}


FAILING_COMMANDS = """
import json, sys
from pathlib import Path
from benchmarks.commands import run_commands

commands = {
    "fails": ["-c", "print('the reason'); raise SystemExit(3)"],
    "hangs": ["-c", "import time; time.sleep(99)"],
    "works": ["-c", ""],
}
done = list(run_commands(commands, Path(sys.argv[1]), minutes=0.05))
print(json.dumps([[name, result] for name, result, _ in done]))
"""


def test_a_failing_command_does_not_stop_the_others(tmp_path: Path) -> None:
    done = run_program(["-c", FAILING_COMMANDS, str(tmp_path)], os.environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        ["fails", "failed: exit status 3"],
        ["hangs", "failed: stopped after 3 s"],
        ["works", "ok"],
    ]
    assert (tmp_path / "fails.txt").read_text() == "the reason\n"


def test_a_failing_subject_is_listed(tmp_path: Path) -> None:
    (tmp_path / "loading.json").mkdir()
    done = _run(tmp_path, "all", "--tiny", "--only", "loading", "--output", str(tmp_path))
    assert done.status == 1
    assert "failed: loading; the other results" in done.output
    assert f"--json {tmp_path / 'loading.json'}: cannot be written" in done.output


def test_unknown_subject(tmp_path: Path) -> None:
    done = _run(tmp_path, "speed")
    assert done.status == 2
    assert "subject: expected one of all, step, loading, " in done.output


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
from benchmarks.measure import part_seconds, peak_memory
from benchmarks.training import LoopClock

device = torch.device("cuda")
found = part_seconds({"one": lambda: work(1, 4)}, device)
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
    done = run_program(["-c", FAKE_GPU], os.environ)
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
    done = _run(tmp_path, "all", "--tiny", "--device", "cuda", "--output", str(tmp_path))
    assert done.status == 0, done.output
    assert set(done.results) == set(SUBJECTS)
    for subject in ("step", "inference", "detection", "training", "curves"):
        assert done.results[subject]["peak_memory_gb"]["ours"]["gpu"] > 0


@pytest.fixture(scope="session")
def own_sounds(tmp_path_factory: pytest.TempPathFactory) -> Benchmarks:
    """Long recordings of bursts of two tones and of a third one without label, in quiet noise."""
    folder = tmp_path_factory.mktemp("own_sounds")
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1e-3, 5 * 16000)
    for label, hertz in (("Low", 300), ("High", 3000), ("Other", 900)):
        for fold in (1, 5):
            path = folder / "sounds" / "foreground" / label / f"{fold}-1.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            burst = np.sin(2 * np.pi * hertz * np.arange(8000) / 16000)
            soundfile.write(path, np.pad(burst, (16000, 16000)), 16000)
    for fold in (1, 5):
        (folder / "sounds" / "background").mkdir(exist_ok=True)
        soundfile.write(folder / "sounds" / "background" / f"{fold}-2.wav", noise, 16000)
    options = ("--sounds", str(folder / "sounds"), "--output", str(folder / "out"), "--tiny")
    more = ("--only", "many_places", "--labelled", "Low", "High")
    return _run(folder, "own_sounds", *options, *more, "--json", str(folder / "own_sounds.json"))


def test_own_sounds(own_sounds: Benchmarks) -> None:
    assert own_sounds.status == 0, own_sounds.output
    (trained,) = own_sounds.results["own_sounds"]["own_sounds"]["many_places"]
    for system in ("student", "teacher", "baseline"):
        assert f"test/{system}/event_f1_macro" in trained["metrics"]
        assert f"many_places  {system}" in own_sounds.output
    folder = own_sounds.folder / "out" / "many_places" / "recordings"
    assert len(list((folder / "train").glob("*.wav"))) == 3
    (path,) = (folder / "test").glob("*.wav")
    audio, rate = soundfile.read(path)
    rows = [line.split("\t") for line in path.with_suffix(".txt").read_text().splitlines()]
    assert {label for _, _, label in rows} == {"Low", "High"}
    for onset, offset, label in rows:
        event = audio[round(float(onset) * rate) : round(float(offset) * rate)]
        peak = np.argmax(np.abs(np.fft.rfft(event))) / len(event) * rate
        assert peak == pytest.approx({"Low": 300, "High": 3000}[label], abs=5)


WINDOWS = """
import json
import torch
from benchmarks.encoders import WindowedEncoder

def windows(audio):  # mean of each step
    assert audio.shape[1] == 100
    return audio.unflatten(1, (10, 10)).mean(dim=2, keepdim=True)

encoder = WindowedEncoder(windows, length=100, step=10, before=30, used=slice(3, 7), at_a_time=2)
times = [torch.arange(1.0, samples + 1) for samples in (1, 40, 41, 397)]
print(json.dumps([encoder(torch.stack([each, -each]))[..., 0].tolist() for each in times]))
"""


def test_windows_of_an_encoder_are_joined_in_time() -> None:
    """The audio is the sample's number and the encoder a mean: steps have the means in order."""
    done = run_program(["-c", WINDOWS], os.environ)
    assert done.returncode == 0, done.stderr
    for samples, found in zip((1, 40, 41, 397), json.loads(done.stdout), strict=True):
        steps = [range(first + 1, min(first + 10, samples) + 1) for first in range(0, samples, 10)]
        means = np.array([sum(step) / 10 for step in steps])  # silence after the end
        np.testing.assert_allclose(found, [means, -means], rtol=1e-6)
