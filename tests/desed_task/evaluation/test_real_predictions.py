"""A real system's predictions on the real validation set: figures known beforehand."""

import json
from functools import cache
from pathlib import Path

import pytest

from benchmarks.systems import rebuilt_scores
from desed_task.evaluation import (
    PSDS1,
    PSDS2,
    GroundTruth,
    Scores,
    evaluate,
    exact_psds,
    libraries,
    read_operating_points,
    read_predictions,
)
from local.classes import CLASSES
from tests.support.shared_data import shared_path

SYSTEMS = ("student", "teacher")


@pytest.fixture(scope="module")
def folder() -> Path:
    return shared_path("real_predictions")


@cache
def truth_in(folder: Path) -> GroundTruth:
    return GroundTruth.read(folder / "validation.tsv", folder / "validation_durations.tsv", CLASSES)


@cache
def expected_in(folder: Path) -> dict[str, float]:
    return json.loads((folder / "expected.json").read_text())


@cache
def rebuilt(folder: Path, system: str) -> tuple[Scores, int]:
    """Scores with 50 levels that give back the nested operating points; and how many events."""
    truth = truth_in(folder)
    points = read_operating_points(folder / system / "predictions_operating_points", truth)
    return rebuilt_scores(points, truth), len(points.events)


@pytest.mark.parametrize("system", SYSTEMS)
def test_figures_of_the_files_are_the_expected_ones(folder: Path, system: str) -> None:
    truth = truth_in(folder)
    metrics = evaluate(
        None,
        truth,
        operating_points=read_operating_points(
            folder / system / "predictions_operating_points", truth
        ),
        predictions=read_predictions(folder / system / "predictions0.5.csv", truth),
    )
    for name in ("event_f1_macro", "segment_f1_macro", "intersection_f1_macro"):
        expected = expected_in(folder)[f"{system}/{name}"]
        assert getattr(metrics, name) == pytest.approx(expected, abs=1e-9, rel=0)
    for name in ("psds1", "psds2"):
        expected = expected_in(folder)[f"{system}/{name}"]
        assert getattr(metrics, f"{name}_psds_eval") == pytest.approx(expected, abs=1e-9, rel=0)


@pytest.mark.parametrize("system", SYSTEMS)
def test_psds_from_scores_are_the_expected_ones(folder: Path, system: str) -> None:
    scores, n_events = rebuilt(folder, system)
    metrics = evaluate(scores, truth_in(folder))
    assert metrics.scoring_input.points is not None
    assert len(metrics.scoring_input.points) == n_events
    for name in ("psds1", "psds2"):
        expected = expected_in(folder)[f"{system}/{name}"]
        assert getattr(metrics, f"{name}_psds_eval") == pytest.approx(expected, abs=1e-9, rel=0)


def test_exact_psds_equal_sed_scores_eval(folder: Path) -> None:
    scores, _ = rebuilt(folder, "student")
    truth = truth_in(folder)
    for scenario, ours in zip((PSDS1, PSDS2), exact_psds(scores, truth), strict=True):
        theirs = libraries.exact_psds(scores, truth, scenario)
        assert ours == pytest.approx(theirs, abs=1e-9, rel=0)


def test_dropping_clips_without_events_moves_exact_psds1_by_0_0006(folder: Path) -> None:
    scores, _ = rebuilt(folder, "student")
    figures = [
        evaluate(scores, truth_in(folder), drop_clips_without_events=drop).psds1_sed_scores_eval
        for drop in (True, False)
    ]
    assert figures[0] is not None
    assert figures[1] is not None
    assert figures[0] - figures[1] == pytest.approx(0.0006, abs=0.0001)
