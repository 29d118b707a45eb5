"""An ablation with a stub in place of the training, and results made here."""

import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from desed_task.errors import InputError, Terminated
from desed_task.evaluation import GroundTruth, Scores, evaluate
from desed_task.evaluation.score_files import write_scores
from desed_task.processor import thread_share
from local.config.load import load_config
from local.studies.ablation import main
from local.studies.collect import Collected, collect
from local.studies.differences import CLIP_METRICS, METRIC_TITLES
from local.studies.page import write_pages
from local.studies.pictures import CURVES, learning_curves
from local.studies.runner import LOG, execute, raise_terminated
from local.studies.runs import METRICS, Experiment, Run, plan
from local.studies.variants import Ablation, read_variants
from tests.support.paths import CONFS

# In place of train_sed.py: it writes metrics as the folder's name demands, unless told to fail.
STUB = """
import json, os, pathlib, sys, time
arguments = sys.argv[1:]
given = dict(zip(arguments, arguments[1:]))
log_dir = pathlib.Path(given["--log_dir"])
print("threads", os.environ["OMP_NUM_THREADS"], *arguments)
if "opt.lr=0.5" in arguments:
    sys.exit("error: too fast")
resumed = given.get("--resume_from_checkpoint")
run = pathlib.Path(resumed).parents[1] if resumed else log_dir / "version_0"
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
(run / "checkpoints" / "last.ckpt").touch()
(run / "checkpoints" / "best.ckpt").touch()
if "opt.lr=0.25" in arguments and "--test_from_checkpoint" not in arguments:
    (log_dir / "waits").touch()
    time.sleep(60)
(run / "metrics_test").mkdir()
content = {"config_digest": log_dir.name.rpartition("-")[2]}
(run / "metrics_test" / "metrics.json").write_text(json.dumps(content))
"""
VARIANTS = """
reference: whole
variants:
  whole: {title: All}
  tested: {title: Only tested, test_of: whole, set: [postprocess.score_correction=false]}
  other: {title: Other, set: [losses.cross_task=0]}
"""


def _ablation(tmp_path: Path, text: str = VARIANTS) -> Ablation:
    path = tmp_path / "variants.yaml"
    path.write_text(text)
    return read_variants(path)


def _experiment(tmp_path: Path, *overrides: str) -> Experiment:
    program = (sys.executable, "-S", "-c", STUB)
    return Experiment(CONFS / "demo.yaml", overrides, tmp_path / "out", program)


def _runs(
    tmp_path: Path, *overrides: str, seeds: int = 1, text: str = VARIANTS
) -> tuple[list[Run], Experiment]:
    experiment = _experiment(tmp_path, *overrides)
    return plan(_ablation(tmp_path, text), experiment, range(1, seeds + 1)), experiment


def _log(run: Run) -> str:
    return (run.folder / LOG).read_text()


def test_every_run_is_trained_once_with_its_share_of_threads(tmp_path: Path) -> None:
    runs, experiment = _runs(tmp_path)
    outcome = execute(runs, experiment, jobs=2)
    assert not outcome.failed
    assert set(outcome.done) == {"whole:1", "tested:1", "other:1"}
    log = _log(runs[2])
    assert f"threads {thread_share(2)}" in log
    assert "--set losses.cross_task=0" in log
    assert "--set training.seed=1" in log

    more, _ = _runs(tmp_path, seeds=2)
    assert [run.folder for run in more[:3]] == [run.folder for run in runs]
    outcome = execute(more, experiment, jobs=2)
    assert [name for name, line in outcome.done.items() if line == "kept"] == [
        "whole:1",
        "tested:1",
        "other:1",
    ]
    assert _log(runs[2]) == log


def test_a_variant_that_only_tests_uses_the_best_checkpoint(tmp_path: Path) -> None:
    runs, experiment = _runs(tmp_path)
    execute(runs, experiment, jobs=1)
    whole, tested, _ = runs
    best = whole.folder / "version_0" / "checkpoints" / "best.ckpt"
    assert f"--test_from_checkpoint {best}" in _log(tested)
    assert "--set postprocess.score_correction=false" in _log(tested)


def test_another_configuration_has_other_folders(tmp_path: Path) -> None:
    (before, *_), _ = _runs(tmp_path)
    (after, *_), _ = _runs(tmp_path, "opt.lr=0.1")
    assert before.folder.name.startswith("seed_1-")
    assert before.folder.parent == after.folder.parent
    assert before.folder.name != after.folder.name


def test_a_failure_is_told_and_does_not_stop_the_others(tmp_path: Path) -> None:
    text = VARIANTS.replace("{title: All}", "{title: All, set: [opt.lr=0.5]}")
    runs, experiment = _runs(tmp_path, text=text)
    outcome = execute(runs, experiment, jobs=1)
    assert set(outcome.done) == {"other:1"}
    assert "error: too fast" in outcome.failed["whole:1"]
    assert "whole:1" in outcome.failed["tested:1"]


def test_an_interrupted_ablation_ends_its_trainings_and_resumes_them(tmp_path: Path) -> None:
    text = VARIANTS.replace("{title: All}", "{title: All, set: [opt.lr=0.25]}")
    runs, experiment = _runs(tmp_path, text=text)
    waits = runs[0].folder / "waits"

    def interrupt() -> None:
        while not waits.exists():
            time.sleep(0.01)
        signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, raise_terminated)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(Terminated, match="the same command continues"):
            execute(runs, experiment, jobs=1)
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
    assert runs[0].result is None

    outcome = execute(runs, experiment, jobs=1)
    assert not outcome.failed
    last = runs[0].folder / "version_0" / "checkpoints" / "last.ckpt"
    assert f"--resume_from_checkpoint {last}" in _log(runs[0]).split("\n")[1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (VARIANTS.replace("set: [losses", "sets: [losses"), r"yaml:6: variants.other.sets"),
        (VARIANTS.replace("test_of: whole", "test_of: none"), r"yaml:5: variants.tested.test_of"),
        (VARIANTS.replace("  other:", "  ../other:"), r"yaml:6: variants: expected names"),
        (VARIANTS.replace("reference: whole", "reference: all"), r"yaml:2: reference: expected"),
    ],
)
def test_a_wrong_variants_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        _ablation(tmp_path, text)


def test_wrong_names_and_overrides_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected some of whole, tested, other; got 'third'"):
        _ablation(tmp_path).chosen(["third"])
    with pytest.raises(InputError, match=r"losses\.cross"):
        _runs(tmp_path, text=VARIANTS.replace("losses.cross_task=0", "losses.cross=0"))
    with pytest.raises(InputError, match="expected median first"):
        _runs(tmp_path, "postprocess.methods=[sebbs]")


def test_the_shipped_variants_are_different_experiments(tmp_path: Path) -> None:
    text = "extends: ablation_variants.yaml\nvariants: {mine: {title: Mine, set: [opt.lr=0.1]}}"
    ablation = _ablation(tmp_path, text)
    runs = plan(ablation, _experiment(tmp_path), [1])
    assert {run.variant for run in runs} == set(ablation.variants) >= {"whole", "no_sod", "mine"}
    assert len({run.config.digest for run in runs}) == len(runs)
    assert [run.variant for run in runs if run.trained_by] == ["no_score_correction"]
    assert set(ablation.chosen(["no_sod"]).variants) == {"whole", "no_sod"}
    few = read_variants(CONFS / "ablation_soundbank.yaml")
    assert set(few.variants) == {"whole", "mean_teacher_alone", "synthetic_alone"}
    assert len({run.config.digest for run in plan(few, _experiment(tmp_path), [1])}) == 3


Values = Mapping[str, float | None]
Finished = tuple[Path, Collected, Mapping[str, Values]]
CLASSES = tuple(load_config(CONFS / "demo.yaml").data.classes)
CLIPS = 12


def _truth_files(tmp_path: Path) -> GroundTruth:
    (tmp_path / "truth.tsv").write_text(
        "filename\tonset\toffset\tevent_label\n"
        + "".join(f"c{k}.wav\t{k % 3}\t{k % 3 + 3}\t{CLASSES[k % 10]}\n" for k in range(CLIPS))
    )
    (tmp_path / "durations.tsv").write_text(
        "filename\tduration\n" + "".join(f"c{k}.wav\t10\n" for k in range(CLIPS))
    )
    return GroundTruth.read(tmp_path / "truth.tsv", tmp_path / "durations.tsv", CLASSES)


def _scores(truth: GroundTruth, quality: float, seed: int) -> NDArray[np.float64]:
    """Scores in frames of 1 s; `quality` is the share of frames with the true state."""
    rng = np.random.default_rng(seed)
    active = np.zeros((CLIPS, len(CLASSES), 10))
    for clip, events in enumerate(truth.events.values()):
        for event in events:
            label = CLASSES.index(event.event_label)
            active[clip, label, int(event.onset) : int(event.offset)] = 1
    kept = rng.random(active.shape) < quality
    return np.where(kept, active, 1 - active) * 0.5 + 0.5 * rng.random(active.shape)


def _finish(run: Run, truth: GroundTruth, quality: float) -> dict[str, float | None]:
    """Write the files of a finished run; returns its metrics."""
    system = run.folder / "version_0" / "metrics_test" / "student"
    scores = _scores(truth, quality, run.seed)
    axis: NDArray[np.float64] = np.arange(11, dtype=np.float64)
    write_scores(system / "scores" / "postprocessed", scores, list(truth.events), CLASSES, axis)
    metrics = evaluate(Scores(scores, list(truth.events), axis), truth)
    values = {name: getattr(metrics, name) for name in CLIP_METRICS}
    values |= {"sod_accuracy": quality, "sod_sed_agreement": None}
    content = {f"test/student/{name}": value for name, value in values.items()}
    path = run.folder / "version_0" / METRICS
    path.write_text(json.dumps(content | {"config_digest": run.config.digest}))
    return values


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    """Three seeds: `other` is much worse than the reference, `tested` equals it."""
    tmp_path = tmp_path_factory.mktemp("ablation")
    truth = _truth_files(tmp_path)
    runs, _ = _runs(tmp_path, *_data(tmp_path), seeds=3)
    quality = {"whole": 0.97, "tested": 0.97, "other": 0.6}
    values = {run.name: _finish(run, truth, quality[run.variant]) for run in runs}
    runs += plan(_ablation(tmp_path), _experiment(tmp_path, *_data(tmp_path)), [4])
    collected = collect(_ablation(tmp_path), runs, replicates=50)
    assert collected is not None
    return tmp_path, collected, values


def _data(tmp_path: Path) -> Sequence[str]:
    return (
        f"data.test_tsv={tmp_path / 'truth.tsv'}",
        f"data.test_dur={tmp_path / 'durations.tsv'}",
    )


def test_differences_are_paired_and_effects_are_found(
    finished: Finished,
) -> None:
    _, collected, values = finished
    metric = "segment_f1_macro"
    equal = collected.comparison("tested", "student", metric)
    worse = collected.comparison("other", "student", metric)
    assert equal is not None
    assert (equal.difference, equal.low, equal.high) == (0, 0, 0)
    assert worse is not None
    expected = [
        float(values[f"other:{seed}"][metric] or 0) - float(values[f"whole:{seed}"][metric] or 0)
        for seed in (1, 2, 3)
    ]
    assert worse.difference == pytest.approx(np.mean(expected))
    assert worse.found
    assert collected.comparison("other", "teacher", metric) is None
    assert set(collected.unfinished) == {"whole:4", "tested:4", "other:4"}


def test_resampled_values_are_kept(
    finished: Finished,
) -> None:
    _, collected, _ = finished
    runs = [run for by_seed in collected.runs.values() for run in by_seed.values()]
    (stored,) = runs[0].folder.rglob("resampled.npz")
    before = stored.stat().st_mtime_ns
    again = collect(collected.ablation, runs, replicates=50)
    assert again is not None
    assert stored.stat().st_mtime_ns == before
    first = collected.results["other"][1].drawn["student"]
    np.testing.assert_array_equal(again.results["other"][1].drawn["student"], first)
    assert first.shape == (50, len(METRIC_TITLES))


def test_the_pages_hold_every_variant(
    finished: Finished,
) -> None:
    tmp_path, collected, values = finished
    output = tmp_path / "pages"
    output.mkdir()
    page, text = write_pages(collected, output)
    markdown = text.read_text()
    mean = np.mean([float(values[f"other:{seed}"]["event_f1_macro"] or 0) for seed in (1, 2, 3)])
    assert "| Other | 3 | " in markdown
    assert f"{mean:.3f} ± " in markdown
    assert "**−" in markdown
    assert "Not finished: whole:4" in markdown
    assert page.read_text().count("<img") == 2
    assert (output / "seeds_student.png").is_file()


def test_commands_of_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "variants.yaml").write_text(VARIANTS)
    output = tmp_path / "out"
    options = ["--variants_file", str(tmp_path / "variants.yaml"), "--output", str(output)]
    assert main(["--seeds", "2", *options, "--print-commands"]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [line[line.index("--run") + 1 :] for line in lines] == [
        ["whole:1", "tested:1"],
        ["other:1"],
        ["whole:2", "tested:2"],
        ["other:2"],
    ]
    assert not output.exists()
    begin = [sys.executable, "-m", "local.studies.ablation"]
    assert {tuple(line[:4]) for line in lines} == {tuple(begin)}
    with pytest.raises(InputError, match="got 'third:1'"):
        main([*lines[0][4:-1], "third:1"])
    with pytest.raises(InputError, match="expected at least 1 finished run, got 0"):
        main([*options, "--collect"])
    with pytest.raises(InputError, match="--jobs: expected at least 1, got 0"):
        main([*options, "--jobs", "0"])


def test_the_curve_of_a_resumed_training_is_whole(tmp_path: Path) -> None:
    column = "val/student/psds1"
    for version, rows in enumerate(("0,0.1\n1,0.2\n1,\n", "1,0.3\n2,0.4\n")):
        folder = tmp_path / "csv" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(f"epoch,{column}\n{rows}")
    assert learning_curves(tmp_path)[column] == {0: 0.1, 1: 0.3, 2: 0.4}
    assert learning_curves(tmp_path / "csv") == {name: {} for name in CURVES}
