"""An ablation: its variants, its commands, and the statistics of results that are made here."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from desed_task.errors import InputError
from desed_task.evaluation import GroundTruth, Scores, evaluate
from desed_task.evaluation.score_files import write_scores
from local.config.data import KEYS
from local.config.load import load_config
from local.studies.ablation import check_scored, main
from local.studies.ablation_page import write_pages
from local.studies.ablation_pictures import CURVES, learning_curves
from local.studies.finished import CLIP_METRICS, METRIC_TITLES, FinishedRuns, read_finished
from local.studies.runs import METRICS, Experiment, Run
from local.studies.variants import Ablation, read_variants
from tests.support.paths import CONFS

VARIANTS = """
reference: whole
variants:
  whole: {title: All}
  tested: {title: Only tested, test_of: whole, set: [postprocess.score_correction=false]}
  other: {title: Other, set: [losses.cross_task=0], reference: [whole, tested]}
"""


TIMED = (
    VARIANTS
    + """
  double: {title: More steps, trained_as: other, set: [training.ema_factor=0.5]}
  timed: {title: Equal time, trained_as: double, cpu_time_of: whole, reference: other}
"""
)


ENCODER = (
    "encoder.source=missing.pt2",
    "encoder.sample_rate=16000",
    "encoder.frame_seconds=0.1",
    "encoder.dimension=4",
)


def _ablation(tmp_path: Path, text: str = VARIANTS) -> Ablation:
    path = tmp_path / "variants.yaml"
    path.write_text(text)
    return read_variants(path)


def _experiment(tmp_path: Path, *overrides: str) -> Experiment:
    return Experiment(CONFS / "demo.yaml", overrides, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (VARIANTS.replace("set: [losses", "sets: [losses"), r"yaml:6: variants.other.sets"),
        (VARIANTS.replace("test_of: whole", "test_of: none"), r"yaml:5: variants.tested.test_of"),
        (TIMED.replace("cpu_time_of: whole", "cpu_time_of: tested"), "variants.timed.cpu_time_of"),
        (TIMED.replace("trained_as: double, ", ""), "variants.timed.cpu_time_of"),
        (VARIANTS.replace("  other:", "  ../other:"), r"yaml:6: variants: expected names"),
        (VARIANTS.replace("[whole, tested]", "[whole, no]"), "yaml:6: variants.other.reference"),
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
        _ablation(tmp_path, VARIANTS.replace("losses.cross_task=0", "losses.cross=0")).plan(
            _experiment(tmp_path), [1]
        )
    with pytest.raises(InputError, match="expected median first"):
        check_scored([_experiment(tmp_path, "postprocess.methods=[sebbs]").run("whole", 1)])
    untested = [f"data.{key}=null" for key in KEYS["test"] if key is not None]
    with pytest.raises(InputError, match=r"data\.test_folder: expected a test set"):
        check_scored([_experiment(tmp_path, *untested).run("whole", 1)])


def test_the_shipped_variants_are_different_experiments(tmp_path: Path) -> None:
    text = "extends: ablation_variants.yaml\nvariants: {mine: {title: Mine, set: [opt.lr=0.1]}}"
    ablation = _ablation(tmp_path, text)
    runs = ablation.plan(_experiment(tmp_path), [1])
    assert {run.variant for run in runs} == set(ablation.variants) >= {"whole", "no_sod", "mine"}
    assert len({run.config.digest for run in runs}) == len(runs)
    assert [run.variant for run in runs if run.trained_by] == ["no_score_correction"]
    assert set(ablation.chosen(["no_sod"]).variants) == {"whole", "no_sod"}
    few = read_variants(CONFS / "ablation_soundbank.yaml")
    assert set(few.variants) == {"whole", "mean_teacher_alone", "synthetic_alone"}
    assert len({run.config.digest for run in few.plan(_experiment(tmp_path), [1])}) == 3
    labels = read_variants(CONFS / "ablation_labels.yaml")
    runs = labels.plan(_experiment(tmp_path, "training.steps_per_epoch=10"), [1])
    assert len({run.config.digest for run in runs}) == len(runs) == 9  # the others need times
    assert sorted({run.config.training.labelled_share for run in runs}) == [0.1, 0.3, 1.0]
    assert len(labels.variants) == 15
    encoder = read_variants(CONFS / "ablation_encoder.yaml")
    runs = encoder.plan(_experiment(tmp_path, *ENCODER), [1])
    assert len({run.config.digest for run in runs}) == len(runs) == 9
    without = {run.variant for run in runs if run.config.encoder is None}
    assert without == {"whole", "no_sod", "no_cross_task", "mean_teacher_alone"}
    for name in set(encoder.variants) - without - {"encoder_sed_branch"}:
        assert encoder.references(name)[0] == name.removeprefix("encoder_")
    with pytest.raises(InputError, match=r"encoder\.source"):
        encoder.plan(_experiment(tmp_path), [1])


def test_a_variant_takes_the_cpu_time_of_another(tmp_path: Path) -> None:
    ablation = _ablation(tmp_path, TIMED)
    assert ablation.overrides("double") == ["losses.cross_task=0", "training.ema_factor=0.5"]
    assert ablation.references("timed") == ("other",)
    assert set(ablation.chosen(["timed"]).variants) == set(ablation.variants)
    experiment = _experiment(tmp_path, "training.steps_per_epoch=100")
    planned = ablation.plan(experiment, [1, 2])
    assert "timed" not in {run.variant for run in planned}  # the times are not known
    for run in planned:
        path = run.folder / "version_0" / METRICS
        path.parent.mkdir(parents=True)
        seconds = {"whole": 30.0, "double": 75.0}.get(run.variant, 1.0) * run.seed
        path.write_text(json.dumps({"test/student/training_cpu_seconds": seconds}))
    again = ablation.plan(experiment, [1, 2, 3])
    timed = [run for run in again if run.variant == "timed"]
    assert [run.seed for run in timed] == [1, 2, 3]
    assert [run.config.training.steps_per_epoch for run in timed] == [40] * 3  # of seed 1
    assert timed[0].config.training.ema_factor == 0.5
    assert [run.name for run in again[:5]] == [
        "whole:1",
        "tested:1",
        "other:1",
        "double:1",
        "timed:1",
    ]
    with pytest.raises(InputError, match=r"steps_per_epoch: expected a number"):
        ablation.plan(_experiment(tmp_path), [1])
    (planned[0].folder / "version_0" / METRICS).write_text("{}")
    with pytest.raises(InputError, match="training_cpu_seconds: expected"):
        ablation.plan(experiment, [1])


Values = Mapping[str, float | None]
Finished = tuple[Path, FinishedRuns, Mapping[str, Values]]
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
    write_scores(
        system / "scores" / "postprocessed", Scores(scores, list(truth.events), axis), CLASSES
    )
    metrics = evaluate(Scores(scores, list(truth.events), axis), truth)
    values = {name: getattr(metrics, name) for name in CLIP_METRICS}
    values |= {"sod_accuracy": quality, "sod_sed_agreement": None}
    content = {f"test/student/{name}": value for name, value in values.items()}
    path = run.folder / "version_0" / METRICS
    path.write_text(json.dumps(content))
    return values


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Three seeds: `other` is much worse than the reference, `tested` equals it."""
    tmp_path = tmp_path_factory.mktemp("ablation")
    truth = _truth_files(tmp_path)
    ablation, experiment = _ablation(tmp_path), _experiment(tmp_path, *_data(tmp_path))
    runs = ablation.plan(experiment, [1, 2, 3])
    quality = {"whole": 0.97, "tested": 0.97, "other": 0.6}
    values = {run.name: _finish(run, truth, quality[run.variant]) for run in runs}
    runs += ablation.plan(experiment, [4])
    found = read_finished(ablation, runs, replicates=50)
    assert found is not None
    return tmp_path, found, values


def _data(tmp_path: Path) -> Sequence[str]:
    return (
        f"data.test_tsv={tmp_path / 'truth.tsv'}",
        f"data.test_dur={tmp_path / 'durations.tsv'}",
    )


def test_differences_are_paired_and_effects_are_found(finished: Finished) -> None:
    _, found, values = finished
    metric = "segment_f1_macro"
    equal = found.comparison("tested", "whole", "student", metric)
    worse = found.comparison("other", "whole", "student", metric)
    assert equal is not None
    assert (equal.difference, equal.low, equal.high) == (0, 0, 0)
    assert worse is not None
    expected = [
        float(values[f"other:{seed}"][metric] or 0) - float(values[f"whole:{seed}"][metric] or 0)
        for seed in (1, 2, 3)
    ]
    assert worse.difference == pytest.approx(np.mean(expected))
    assert worse.found
    assert found.comparison("other", "whole", "teacher", metric) is None
    assert set(found.unfinished) == {"whole:4", "tested:4", "other:4"}


def test_resampled_values_are_stored(finished: Finished) -> None:
    tmp_path, found, _ = finished
    runs = found.ablation.plan(_experiment(tmp_path, *_data(tmp_path)), [1, 2, 3])
    (stored,) = runs[0].folder.rglob("resampled.npz")
    before = stored.stat().st_mtime_ns
    again = read_finished(found.ablation, runs, replicates=50)
    assert again is not None
    assert stored.stat().st_mtime_ns == before
    first = found.results["other"][1].drawn["student"]
    np.testing.assert_array_equal(again.results["other"][1].drawn["student"], first)
    assert first.shape == (50, len(METRIC_TITLES))


def test_the_pages_hold_every_variant(finished: Finished) -> None:
    tmp_path, found, values = finished
    output = tmp_path / "pages"
    output.mkdir()
    page, text = write_pages(found, output)
    markdown = text.read_text()
    mean = np.mean([float(values[f"other:{seed}"]["event_f1_macro"] or 0) for seed in (1, 2, 3)])
    assert "| Other | 3 | " in markdown
    for reference in ("All", "Only tested"):
        assert markdown.count(f"| Other | {reference} | 3 | ") == 2  # difference, smallest
    assert f"{mean:.3f} ± " in markdown
    assert "**−" in markdown
    assert "Not finished: whole:4" in markdown
    assert page.read_text().count("<img") == 2
    assert (output / "seeds_student.png").is_file()


def test_commands_of_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "variants.yaml").write_text(VARIANTS)
    output = tmp_path / "out"
    options = ["--variants_file", str(tmp_path / "variants.yaml"), "--output", str(output)]
    assert main(["--seeds", "2", *options, "--print_commands"]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [line[line.index("--run") + 1 :] for line in lines] == [
        ["whole:1", "tested:1"],
        ["other:1"],
        ["whole:2", "tested:2"],
        ["other:2"],
    ]
    assert not output.exists()
    begin = [sys.executable, "-m", "local.studies.ablation"]
    assert {tuple(line[:3]) for line in lines} == {tuple(begin)}
    assert main(["--seeds", "1", *options, "--print-commands"]) == 0  # the old spelling
    assert "print" not in capsys.readouterr().out
    with pytest.raises(InputError, match="got 'third:1'"):
        main([*lines[0][3:-1], "third:1"])
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
