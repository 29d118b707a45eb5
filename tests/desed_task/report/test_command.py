"""`python -m desed_task.evaluation`, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from desed_task.errors import InputError, run_cli
from desed_task.evaluation import (
    THRESHOLDS,
    GroundTruth,
    Scores,
    evaluate,
    to_frame,
    write_scores,
)
from desed_task.report.__main__ import kind_of, main, split_paths
from tests.support import cases
from tests.support.paths import ROOT
from tests.support.required import require_package


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Ground truth, and a system's scores, operating points and events, as files."""
    rng = np.random.default_rng(0)
    truth = cases.random_truth(rng, 12)
    names = list(truth.events)
    scores = Scores(cases.random_scores(rng, truth), names, cases.GRID)
    table(tmp_path / "truth.tsv", [(n, *e) for n, events in truth.events.items() for e in events])
    lengths = "".join(f"{name}\t{seconds}\n" for name, seconds in truth.durations.items())
    (tmp_path / "durations.tsv").write_text(f"filename\tduration\n{lengths}")
    write_scores(tmp_path / "scores", scores, truth.classes)
    (tmp_path / "points").mkdir()
    points = scores.detect(THRESHOLDS)
    for level, threshold in enumerate(THRESHOLDS):
        frame = to_frame(points.at_level(level), names, truth.classes)
        path = tmp_path / "points" / f"predictions_th_{threshold:.2f}.tsv"
        frame.to_csv(path, sep="\t", index=False)
    to_frame(scores.detect([0.5]), names, truth.classes).to_csv(tmp_path / "events.csv")
    return tmp_path


def table(path: Path, rows: list[tuple[str, float, float, str]]) -> None:
    lines = ["filename\tonset\toffset\tevent_label", *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def run(files: Path, *arguments: str) -> int:
    truth = ["--ground_truth", str(files / "truth.tsv")]
    durations = ["--durations", str(files / "durations.tsv")]
    quick = [] if "--bootstrap" in arguments else ["--bootstrap", "0"]
    return main([*truth, *durations, "--output", str(files / "out"), *quick, *arguments])


def written(files: Path) -> dict[str, float | None]:
    return json.loads((files / "out" / "metrics.json").read_text())


def evaluated(files: Path) -> dict[str, float | None]:
    truth = GroundTruth.read(files / "truth.tsv", files / "durations.tsv", cases.CLASSES)
    names = list(truth.events)
    rng = np.random.default_rng(0)
    scores = cases.random_scores(rng, cases.random_truth(rng, 12))
    return evaluate(Scores(scores, names, cases.GRID), truth).as_flat_dict()


def test_scores_give_every_metric(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_package("sed_scores_eval")
    assert run(files, "--scores", str(files / "scores"), "--check", "--no_report") == 0
    found, expected = written(files), evaluated(files)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    libraries = {name for name in found if name not in expected}
    assert len(libraries) == 9
    for name in libraries:
        assert found[name] == pytest.approx(found[name.removeprefix("library/")], abs=1e-9)
    shown = capsys.readouterr().out
    assert f"{found['psds1_sed_scores_eval']:.4f}" in shown
    assert "Every metric that a library defines equals the library's." in shown


def test_a_report_is_written(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "--predictions", str(files / "events.csv")) == 0
    assert str(files / "out" / "report.html") in capsys.readouterr().out
    assert "<html" in (files / "out" / "report.html").read_text()
    assert (files / "out" / "report_pictures" / "boundaries.png").is_file()


def test_the_number_of_recordings_is_above_the_first_table(files: Path) -> None:
    names = [
        line.split("\t")[0] for line in (files / "durations.tsv").read_text().split("\n")[1:-1]
    ]
    rows = [f"{name}\tr{k % 3}\n" for k, name in enumerate(names)]
    clips = files / "clips.tsv"
    clips.write_text("filename\trecording\n" + "".join(rows))
    given = ["--predictions", str(files / "events.csv"), f"--recordings={clips}"]
    assert run(files, *given) == 0
    head = (files / "out" / "report.html").read_text().split("<table>")[0]
    assert "in 12 clips of 3 recordings" in head
    assert "Few data: 3 recordings" in head
    clips.write_text("filename\trecording\n" + "".join(rows[:-1]))
    with pytest.raises(InputError, match=rf"clips\.tsv: expected all clips .* none of {names[-1]}"):
        run(files, *given)


def test_hidden_files_do_not_decide_what_a_folder_has(files: Path) -> None:
    for folder in (files / "scores", files / "points"):
        (folder / "._0.5.tsv").write_bytes(b"\0\xff")
    assert kind_of(files / "scores") == ("scores", files / "scores")
    assert kind_of(files / "points") == ("operating_points", files / "points")


def test_operating_points_and_events_together(files: Path) -> None:
    paths = [
        "--operating_points",
        str(files / "points"),
        "--predictions",
        str(files / "events.csv"),
    ]
    assert run(files, *paths, "--check", "--no_report") == 0
    found, expected = written(files), evaluated(files)
    assert found["psds1_sed_scores_eval"] is None
    for name in ("psds1_psds_eval", "psds2_psds_eval", "event_f1_macro", "segment_f1_micro"):
        assert found[name] == pytest.approx(expected[name], abs=1e-12)


def test_csv_operating_points_in_a_folder_with_a_comma(files: Path) -> None:
    points = files / "seed 1, points"
    points.mkdir()
    for path in (files / "points").iterdir():
        text = path.read_text().replace("\t", ",")
        (points / path.with_suffix(".csv").name).write_text(text)
    assert run(files, "--system", f"tsv={files / 'points'},{files / 'events.csv'}") == 0
    as_tsv = written(files)
    assert run(files, "--system", f"tsv={points},{files / 'events.csv'}") == 0
    assert written(files) == as_tsv
    assert split_paths(f"{points},no,such") == [points, Path("no"), Path("such")]


def test_systems_side_by_side_with_intervals(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    systems = [f"--system=ours={files / 'scores'}"]
    systems += [f"--system=other={files / 'points'},{files / 'events.csv'}"]
    assert run(files, *systems, "--bootstrap", "30", "--seed", "4", "--no_report") == 0
    found = written(files)
    assert found["ours/psds1_psds_eval"] == found["other/psds1_psds_eval"]
    low, high = found["ours/event_f1_macro/low"], found["ours/event_f1_macro/high"]
    assert low is not None
    assert high is not None
    assert low < (found["ours/event_f1_macro"] or 0) < high
    assert found["difference/ours/other/event_f1_macro"] == 0
    assert found["difference/ours/other/event_f1_macro/high"] == 0
    assert found["difference/ours/other/psds1_sed_scores_eval"] is None
    assert "ours" in capsys.readouterr().out


def test_a_folder_that_the_test_wrote_is_a_system(files: Path) -> None:
    inner = files / "student" / "scores"
    inner.mkdir(parents=True)
    (files / "scores").rename(inner / "postprocessed")
    assert run(files, f"--system=student={files / 'student'}", "--no_report") == 0
    assert written(files)["student/psds2_sed_scores_eval"] == pytest.approx(
        evaluated(files)["psds2_sed_scores_eval"]
    )


def test_options_reach_the_evaluation(files: Path) -> None:
    more = ["--f1_threshold", "0.3", "--drop_clips_without_events", "--trim_to_clip"]
    more += ["--no_report"]
    assert run(files, "--scores", str(files / "scores"), *more) == 0
    found = written(files)
    assert found["f1_threshold"] == 0.3
    assert found["clips_dropped"] == 2
    assert found["event_f1_macro"] != evaluated(files)["event_f1_macro"]


def test_a_clip_without_predictions_is_counted_as_missing(files: Path) -> None:
    removed = sorted((files / "scores").iterdir())[:3]
    for path in removed:
        path.unlink()
    assert run(files, "--scores", str(files / "scores"), "--no_report") == 0
    assert written(files)["clips_missing"] == 3


def test_a_difference_from_the_libraries_is_status_1(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from desed_task.evaluation import libraries

    monkeypatch.setattr(libraries, "intersection_macro_f1", lambda *args: 0.125)
    assert run(files, "--predictions", str(files / "events.csv"), "--check", "--no_report") == 1
    assert (
        "system: intersection_f1_macro: expected 0.125 (the library's), got 0."
        in capsys.readouterr().err
    )


def without_class(files: Path, label: str) -> list[str]:
    """Remove a class from the ground truth; arguments that name all others and it."""
    path = files / "truth.tsv"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(row for row in rows if not row.endswith(f"\t{label}\n")))
    return ["--classes", ",".join(cases.CLASSES)]


def test_classes_without_true_events_are_those_of_the_score_files(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = without_class(files, cases.CLASSES[0])
    assert run(files, "--scores", str(files / "scores"), "--no_report", *named) == 0
    expected = written(files)
    capsys.readouterr()
    assert run(files, "--scores", str(files / "scores"), "--no_report") == 0
    assert written(files) == expected
    line = f"1 classes of the score files have no true event: {cases.CLASSES[0]}"
    assert line in capsys.readouterr().out


def test_a_class_that_only_the_predictions_have_is_refused_with_the_option(files: Path) -> None:
    named = without_class(files, cases.CLASSES[0])
    arguments = ["--predictions", str(files / "events.csv"), "--no_report"]
    with pytest.raises(
        InputError, match=r"unknown class: (.|\n)*; name all classes with --classes"
    ):
        run(files, *arguments)
    assert run(files, *arguments, *named) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--system=x"], "--system x: expected NAME=PATH"),
        (["--system=a=scores", "--system=a=points"], "expected a name of its own, got 'a' again"),
        (["--system=a=scores,scores"], "expected one path of scores, got scores and scores"),
        (["--system=a/b=scores"], "expected a name without /"),
        (["--system=a=nowhere"], "nowhere: no such file or folder"),
        (["--system=a=empty"], "empty: expected score files"),
        (
            ["--scores", "scores", "--classes", "Cat,Cat"],
            "--classes Cat,Cat: expected names",
        ),
        (
            ["--scores", "scores", "--classes", "Cat,Dog"],
            "unknown class: expected one of Cat, Dog, got ",
        ),
        (["--scores", "scores", "--audio", "nowhere"], "--audio nowhere: no such folder"),
        (["--scores", "empty"], "empty: expected one CLIP.tsv per clip, got no file"),
        (["--operating_points", "empty"], "empty: expected one file per threshold"),
        (["--predictions", "nowhere.tsv"], "nowhere.tsv: no such file"),
    ],
)
def test_bad_input(
    files: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(files)
    (files / "empty").mkdir()
    with pytest.raises(InputError) as error:
        run(files, *arguments)
    assert message in str(error.value)
    assert not (files / "out" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --scores, --operating_points, --predictions or --system"),
        (
            ["--scores", "x", "--f1_threshold", "1.5"],
            "expected at least 0 and below 1, got 1.5",
        ),
        (["--scores", "x", "--bootstrap", "-1"], "--bootstrap and --seed: expected at least 0"),
    ],
)
def test_wrong_usage_is_status_2(
    files: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_cli(lambda: run(files, *arguments))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_the_module_runs_without_network_libraries(files: Path) -> None:
    """As a process of its own: status, one line of error, and its imports."""
    code = (
        "import sys; from desed_task.report.__main__ import main; "
        f"main(['--ground_truth', {str(files / 'truth.tsv')!r}, '--durations', "
        f"{str(files / 'durations.tsv')!r}, '--output', {str(files / 'out')!r}, '--bootstrap', "
        f"'0', '--no_report', '--scores', {str(files / 'scores')!r}]); "
        "print([m for m in ('torch', 'pytorch_lightning', 'local') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    command = [sys.executable, "-m", "desed_task.evaluation", "--ground_truth", "no.tsv"]
    command += ["--durations", "no.tsv", "--output", str(files / "o"), "--scores", str(files)]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: no.tsv: cannot be read")
    assert len(failed.stderr.splitlines()) == 1
