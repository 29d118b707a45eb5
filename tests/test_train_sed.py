"""The command line, as a user runs it."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from desed_task.dataio.annotations import read_strong
from desed_task.detect import Detector
from desed_task.errors import InputError, run_cli
from desed_task.report.__main__ import parse_args as evaluation_args
from local.config.load import load_config
from tests.support.classes import CLASSES
from tests.support.own_classes import OWN, class_overrides, own_classes
from tests.support.paths import CONFS, ROOT
from tests.support.refusal import refusal
from tests.support.required import require_package
from tests.support.tiny import SIZES, overrides
from train_sed import main, parse_args

pytestmark = pytest.mark.usefixtures("one_pixel_pictures")
NETWORKS = ("student", "teacher")
SCORED = (*NETWORKS, "baseline")
QUICK = ("--set=postprocess.report=false", "--set=postprocess.bootstrap_replicates=0")
METHODS = ("", "_tuned_median", "_sebbs")
SYSTEMS = [f"{network}{method}" for network in SCORED for method in METHODS]
TRAINING_METRICS = (
    *("sed_strong", "sed_weak", "sod", "sed_consistency", "weak_consistency", "sod_consistency"),
    *("cross_task", "self_consistency", "loss", "learning_rate", "consistency_weight"),
    *("teacher_agreement", "sod_accuracy", "gradient_norm"),
)
VALIDATION_METRICS = (
    *("weak_f1_macro", "intersection_f1_macro", "event_f1_macro", "psds1", "psds2"),
    *("loss_strong", "loss_weak"),
)
METRICS = (
    "psds1_psds_eval",
    "psds2_psds_eval",
    "psds1_sed_scores_eval",
    "psds2_sed_scores_eval",
    "event_f1_macro",
    "segment_f1_macro",
    "intersection_f1_macro",
    "sod_accuracy",
    "sod_f1_0",
    "sod_f1_1",
    "sod_f1_2+",
    "sod_sed_agreement",
)


def arguments(data: Path, log_dir: Path, *more: str) -> list[str]:
    sets = [part for override in overrides(data) for part in ("--set", override)]
    return ["--conf_file", str(CONFS / "demo.yaml"), "--log_dir", str(log_dir), *sets, *more]


@pytest.fixture(scope="module")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run trained and tested by the command line."""
    log_dir = tmp_path_factory.mktemp("runs")
    more = ["--set=postprocess.methods=[median,tuned_median,sebbs]"]
    more += ["--set=training.picture_interval=2", "--set=training.baseline=true"]
    more += ["--set=postprocess.review_labels=5"]
    assert main(arguments(tiny_data, log_dir, "--gpus", "0", *more)) == 0
    return log_dir / "version_0"


def test_what_a_run_leaves(trained: Path) -> None:
    config = load_config(trained / "config.yaml")
    metrics = json.loads((trained / "metrics_test" / "metrics.json").read_text())
    assert metrics["config_digest"] == config.digest
    assert torch.__version__.startswith(metrics["versions/torch"])
    for name in ("test", "eval"):
        for system in SYSTEMS:
            for metric in METRICS:
                value = metrics[f"{name}/{system}/{metric}"]
                assert value is None or 0 <= value <= 1, metric
    assert metrics["test/clips_expected"] == SIZES["test"]
    assert metrics["test/student/clips_scored"] == SIZES["test"]
    assert metrics["eval/teacher/clips_scored"] == SIZES["eval"]
    seconds = [metrics[f"test/{system}/training_cpu_seconds"] for system in ("student", "baseline")]
    assert 0 < seconds[1] < seconds[0]
    for path in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "pictures/epoch_0000.png"):
        assert (trained / path).stat().st_size > 1000
    assert list(trained.glob("events.out.tfevents.*"))
    assert "<html" in (trained / "review.html").read_text()
    assert list(trained.glob("review/*.flac"))  # two epochs contradict many labels


def test_files_of_the_test(trained: Path) -> None:
    for network in SCORED:
        folder = trained / "metrics_test" / network
        for kind in ("raw", "postprocessed"):
            files = sorted((folder / "scores" / kind).glob("*.tsv"))
            assert len(files) == SIZES["test"]
            scores = pd.read_csv(files[0], sep="\t")
            assert list(scores) == ["onset", "offset", *CLASSES]
            assert scores[list(CLASSES)].to_numpy().min() >= 0
            assert scores[list(CLASSES)].to_numpy().max() <= 1
        assert "Event based metrics" in (folder / "event_f1.txt").read_text()
        assert "Segment based metrics" in (folder / "segment_f1.txt").read_text()
        events = pd.read_csv(folder / "events_0.5.tsv", sep="\t")
        assert list(events) == ["filename", "onset", "offset", "event_label"]
    for network in SCORED:
        for method in ("tuned_median", "sebbs"):
            folder = trained / "metrics_test" / f"{network}_{method}"
            assert list(pd.read_csv(folder / "events_tuned.tsv", sep="\t")) == list(events)
            assert (folder / "boxes.tsv").is_file() == (method == "sebbs")
    student, teacher = (
        sorted((trained / "metrics_test" / network / "scores" / "raw").iterdir())[0].read_text()
        for network in NETWORKS
    )
    assert student != teacher


def test_logged_values(trained: Path) -> None:
    rows = list(csv.DictReader((trained / "csv" / "version_0" / "metrics.csv").open()))
    assert {f"train/{name}" for name in TRAINING_METRICS} <= rows[0].keys()
    for network in NETWORKS:
        assert {f"val/{network}/{name}" for name in VALIDATION_METRICS} <= rows[0].keys()
    validations = [row for row in rows if row["val/obj_metric"]]
    assert len(validations) == 2
    for row in validations:
        expected = float(row["val/student/weak_f1_macro"]) + float(
            row["val/student/intersection_f1_macro"]
        )
        assert float(row["val/obj_metric"]) == pytest.approx(expected)
        assert row["val/student/loss_strong"] != row["val/teacher/loss_strong"]


def test_report_and_metrics_of_the_libraries(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One library metric is replaced: it differs, and the others do not."""
    require_package("sed_scores_eval")
    monkeypatch.setattr("desed_task.evaluation.libraries.intersection_macro_f1", lambda *args: 2.0)
    best = str(trained / "checkpoints" / "best.ckpt")
    given = ["--test_from_checkpoint", best, "--log_dir", str(tmp_path), "--check"]
    methods = "--set=postprocess.methods=[median, sebbs]"
    assert main([*given, methods, "--set=postprocess.report=true"]) == 1
    printed = capsys.readouterr()
    differ = re.findall(r"^ *(\S+): (\S+): expected (\S+) ", printed.err, re.MULTILINE)
    systems = [f"{n}/{s}" for n in ("test", "eval") for s in SYSTEMS if not s.endswith("_median")]
    assert differ == [(system, "intersection_f1_macro", "2.0") for system in systems]
    run = tmp_path / "version_0"
    metrics = json.loads((run / "metrics_test" / "metrics.json").read_text())
    for name in ("test", "eval"):
        report = run / f"metrics_{name}" / "report.html"
        assert str(report) in printed.out or name == "eval"
        for system in (name for name in SYSTEMS if not name.endswith("_tuned_median")):
            assert system in report.read_text()
            for metric in ("event_f1_macro", "psds1_sed_scores_eval", "psds2_psds_eval"):
                ours = metrics[f"{name}/{system}/{metric}"]
                assert metrics[f"{name}/{system}/library/{metric}"] == pytest.approx(ours, abs=1e-9)


def test_a_tested_checkpoint_has_the_same_metrics_and_tuned_post_processing(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The test of a checkpoint uses the stored parameters, and tunes those that are missing."""
    best = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    written = yaml.safe_load((trained / "metrics_test" / "postprocessing.yaml").read_text())
    assert best["postprocessing"] == written
    assert set(written) == set(SCORED)
    window = best["postprocessing"]["student"]["tuned_median"]["window"]
    assert set(window.values()) <= {1, 5}
    for network in SCORED:  # not what tuning would choose
        best["postprocessing"][network]["tuned_median"]["window"] = dict.fromkeys(CLASSES, 9)
    changed, without = tmp_path / "changed.ckpt", tmp_path / "without.ckpt"
    torch.save(best, changed)
    del best["postprocessing"]
    torch.save(best, without)
    before = without.read_bytes()
    used = []
    for path, more in ((changed, QUICK), (without, ())):
        assert main(["--test_from_checkpoint", str(path), "--log_dir", str(tmp_path), *more]) == 0
        newest = sorted(tmp_path.glob("version_*"))[-1] / "metrics_test"
        used.append(yaml.safe_load((newest / "postprocessing.yaml").read_text()))
    assert used[0]["student"]["tuned_median"]["window"] == dict.fromkeys(CLASSES, 9)
    assert used[1] == written
    assert without.read_bytes() == before
    assert capsys.readouterr().out.splitlines()[-1] == str(newest / "metrics.json")
    again, first = (
        json.loads((folder / "metrics.json").read_text())
        for folder in (newest, trained / "metrics_test")
    )
    assert again == first


def test_score_correction_shows_in_postprocessed_scores_only(trained: Path, tmp_path: Path) -> None:
    best = str(trained / "checkpoints" / "best.ckpt")
    switch = [*QUICK, "--set", "postprocess.methods=[median]"]
    switch += ["--set", "postprocess.score_correction=false"]
    switch += [f"--set=postprocess.median_window.{name}=1" for name in CLASSES]
    assert main(["--test_from_checkpoint", best, "--log_dir", str(tmp_path), *switch]) == 0
    folder = tmp_path / "version_0" / "metrics_test" / "student" / "scores"
    for raw in (folder / "raw").glob("*.tsv"):
        assert raw.read_text() == (folder / "postprocessed" / raw.name).read_text()


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(
    ("gpus", "precision"),
    [
        ("0", "bf16-mixed"),
        pytest.param("1", "16-mixed", marks=[pytest.mark.gpu, GPU]),
    ],
)
def test_resuming_writes_to_the_same_folder(
    gpus: str,
    precision: str,
    tiny_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A training in float32 on the CPU, resumed in mixed precision, also on another device."""
    assert main(arguments(tiny_data, tmp_path, "--gpus", "0", "--set", "training.n_epochs=1")) == 0
    run = tmp_path / "version_0"
    before = (run / "csv" / "version_0" / "metrics.csv").read_text()
    given = ["--resume_from_checkpoint", "last", "--log_dir", str(tmp_path), "--gpus", gpus]
    sets = ("training.n_epochs=2", f"training.precision={precision}")
    assert main([*given, *(f"--set={text}" for text in sets)]) == 0
    assert f"precision {precision}" in capsys.readouterr().out
    assert not (tmp_path / "version_1").exists()
    assert (run / "csv" / "version_0" / "metrics.csv").read_text() == before
    assert (run / "csv" / "version_1" / "metrics.csv").exists()
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6


def test_a_moved_run_keeps_its_best_checkpoint(trained: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(trained, moved)
    before = (moved / "checkpoints" / "best.ckpt").read_bytes()
    last = str(moved / "checkpoints" / "last.ckpt")
    assert main(["--resume_from_checkpoint", last, "--gpus", "0"]) == 0  # nothing left to train
    assert (moved / "checkpoints" / "best.ckpt").read_bytes() == before
    first, again = (
        json.loads((folder / "metrics_test" / "metrics.json").read_text())
        for folder in (trained, moved)
    )
    assert again == first


def test_resuming_with_another_network_is_refused_before_anything_is_written(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "config.yaml").read_text()
    last = str(trained / "checkpoints" / "last.ckpt")
    given = ["--resume_from_checkpoint", last, "--set", "net.n_RNN_cell=4"]
    assert " net.n_RNN_cell " in refusal(lambda: main(given), capsys)
    assert (trained / "config.yaml").read_text() == before


def test_fast_dev_run_goes_through_everything(
    tiny_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With own classes, from training to detection."""
    sets = ["scaler.statistic=dataset", "scaler.normtype=standard", "training.batch_size_val=1"]
    sets += own_classes(tiny_data, tmp_path / "tables")
    runs = tmp_path / "runs"
    more = ["--fast_dev_run", "--gpus", "0", *(f"--set={text}" for text in sets)]
    assert main(arguments(tiny_data, runs, *more, "--set=postprocess.report=true")) == 0
    run = runs / "version_0"
    for name in ("test", "eval"):
        report = (run / f"metrics_{name}" / "report.html").read_text(encoding="utf-8")
        assert all(text in report for text in ("student", *OWN))
    metrics = json.loads((run / "metrics_test" / "metrics.json").read_text())
    assert metrics["test/student/clips_scored"] == metrics["eval/student/clips_scored"] == 2
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["classes"] == list(OWN)
    weights = last["state_dict"]
    assert weights["networks.teacher.strong_head.bias"].shape == (3,)
    assert weights["scaler.mean"] != 0
    assert weights["scaler.deviation"] > 1  # dB
    rows = list(csv.DictReader((run / "csv" / "version_0" / "metrics.csv").open()))
    assert [row["train/loss"] for row in rows if row["train/loss"]]
    _compare_detection(run, load_config(run / "config.yaml").data.sets["test"].folder)
    others = class_overrides(("A", "B", "C"))
    test = ["--test_from_checkpoint", str(run / "checkpoints" / "last.ckpt")]
    message = refusal(lambda: main([*test, *(f"--set={text}" for text in others)]), capsys)
    assert f"output 1 (expected A, got {OWN[0]})" in message
    for path, problem in (("last", "no run under"), (test[1], "got one of --fast_dev_run")):
        with pytest.raises(InputError, match=problem):
            main(["--resume_from_checkpoint", path, "--log_dir", str(runs)])


def _compare_detection(run: Path, audio: str) -> None:
    """The run's model finds in a file the scores and events of the run's test."""
    folder = run / "metrics_test" / "student"
    found = pd.read_csv(folder / "events_0.5.tsv", sep="\t")
    detector = Detector.load(run / "model")
    for path in (folder / "scores" / "postprocessed").iterdir():
        written = pd.read_csv(path, sep="\t")
        assert list(written) == ["onset", "offset", *OWN]
        result = detector(Path(audio) / f"{path.stem}.wav")
        assert result.seconds == 10.0  # a shorter one would be filled up otherwise
        np.testing.assert_allclose(result.values, written[list(OWN)].to_numpy().T, atol=1e-4)
        own = found[found.filename == f"{path.stem}.wav"].sort_values(["onset", "event_label"])
        assert list(result.events.event_label) == list(own.event_label)


def test_published_checkpoint_is_tested(
    published_checkpoint: Path, tiny_data: Path, tmp_path: Path
) -> None:
    data = [text for text in overrides(tiny_data) if text.startswith("data.")]
    mine = tmp_path / "mine.yaml"
    mine.write_text(load_config(CONFS / "sed.yaml", data).to_yaml())
    log_dir = str(tmp_path / "runs")
    given = ["--conf_file", str(mine), "--log_dir", log_dir, "--gpus", "0"]
    assert main([*given, *QUICK, "--test_from_checkpoint", str(published_checkpoint)]) == 0
    config = load_config(tmp_path / "runs" / "version_0" / "config.yaml")
    assert config.net.nb_filters == (32, 64, 128, 256, 256)
    scores = tmp_path / "runs" / "version_0" / "metrics_test" / "student" / "scores" / "raw"
    truth = read_strong(str(config.data.sets["test"].tsv), CLASSES)
    assert {path.stem for path in scores.iterdir()} == {Path(name).stem for name in truth}


# Mistakes of a run that are found late; tests/test_bad_inputs.py has the others.
MISTAKES = {
    ("--set", "training.precision=16-mixed", "--gpus", "0"): "training.precision",
    ("--gpus", "2"): "--gpus 2: ",
    ("--set", "data.synth_tsv=nothing.tsv", "--gpus", "0"): "nothing.tsv",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=" ".join)
def test_mistakes_end_with_one_message_and_status_2(
    mistake: tuple[str, ...], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(tiny_data, tmp_path, *mistake)
    assert MISTAKES[mistake] in refusal(lambda: main(given), capsys)
    assert not list(tmp_path.iterdir())  # nothing was made, so no folder is left


TORCHRUN = dict.fromkeys(("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT"), "3")
SRUN = {"SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "0"}


@pytest.mark.parametrize("launched", [True, False])
@pytest.mark.parametrize("variable", ["LOCAL_RANK", "SLURM_LOCALID"])
def test_one_process_of_a_node_reports_a_mistake(
    variable: str,
    launched: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every process that no launcher started does, whatever variables were left in the shell."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)  # tests of torch.distributed leave it set
    if launched:
        launcher = SRUN if variable.startswith("SLURM") else TORCHRUN | {"MASTER_ADDR": "a"}
        for name, value in launcher.items():
            monkeypatch.setenv(name, value)
    for number in range(3):
        monkeypatch.setenv(variable, str(number))
        with pytest.raises(SystemExit) as caught:
            run_cli(lambda: main(["--gpus", "-1"]))
        assert caught.value.code == 2
        assert ("a number of GPUs" in capsys.readouterr().err) == (number == 0 or not launched)


def test_published_checkpoint_cannot_be_resumed(
    published_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--resume_from_checkpoint", str(published_checkpoint), "--gpus", "0"]
    assert "--test_from_checkpoint" in refusal(lambda: main(given), capsys)


def test_home_folders_in_command_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    options = ("--conf_file", "--log_dir", "--resume_from_checkpoint")
    parsed = vars(parse_args([f"{option}=~/x" for option in options]))
    for option in options:
        assert parsed[option.strip("-")] == Path("/home/me/x")
    given = ("--ground_truth", "--durations", "--output", "--scores", "--predictions", "--audio")
    parsed = vars(evaluation_args([f"{option}=~/x" for option in given]))
    for option in given:
        assert parsed[option.strip("-")] == Path("/home/me/x")
    config = load_config(CONFS / "demo.yaml", ["data.test_folder=~/x"])
    assert config.data.test_folder == "/home/me/x"
    with pytest.raises(InputError, match=r"data\.test_folder: ~nobody_at_all/x: .* no such home"):
        load_config(CONFS / "demo.yaml", ["data.test_folder=~nobody_at_all/x"])


def test_how_threads_wait_is_set_by_the_time_torch_is_imported() -> None:
    code = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
            sys.exit(0)
sys.meta_path.insert(0, Watch())
import train_sed
train_sed.main([])
"""
    for given, expected in ((None, "passive 3000"), ("active", "active None")):
        variables = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
        environment = {name: os.environ[name] for name in os.environ if name not in variables}
        if given is not None:
            environment["OMP_WAIT_POLICY"] = given
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == expected, done.stderr
