"""A real system's predictions on the real validation set: metrics known beforehand."""

import json
from pathlib import Path

import pytest

from desed_task.evaluation import (
    PSDS1,
    PSDS2,
    evaluate,
    exact_psds,
    libraries,
    read_predictions,
)
from tests.support.paths import ROOT
from tests.support.real_system import NETWORKS, read_points, read_truth, rebuilt_scores
from tests.support.shared_data import shared_path


@pytest.fixture(scope="module")
def folder() -> Path:
    return shared_path("real_predictions")


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, float]:
    return json.loads((folder / "expected.json").read_text())


@pytest.mark.parametrize("network", NETWORKS)
def test_metrics_of_the_files(folder: Path, expected: dict[str, float], network: str) -> None:
    truth = read_truth(folder)
    metrics = evaluate(
        None,
        truth,
        operating_points=read_points(folder, network),
        predictions=read_predictions(folder / network / "predictions0.5.csv", truth),
    )
    for name in ("event_f1_macro", "segment_f1_macro", "intersection_f1_macro"):
        value = expected[f"{network}/{name}"]
        assert getattr(metrics, name) == pytest.approx(value, abs=1e-9, rel=0)
    for name in ("psds1", "psds2"):
        value = expected[f"{network}/{name}"]
        assert getattr(metrics, f"{name}_psds_eval") == pytest.approx(value, abs=1e-9, rel=0)


@pytest.mark.parametrize("network", NETWORKS)
def test_psds_of_the_rebuilt_scores(folder: Path, expected: dict[str, float], network: str) -> None:
    metrics = evaluate(rebuilt_scores(folder, network), read_truth(folder))
    assert metrics.scoring_input.points is not None
    assert len(metrics.scoring_input.points) == len(read_points(folder, network).events)
    for name in ("psds1", "psds2"):
        value = expected[f"{network}/{name}"]
        assert getattr(metrics, f"{name}_psds_eval") == pytest.approx(value, abs=1e-9, rel=0)


def test_exact_psds_equal_sed_scores_eval(folder: Path) -> None:
    scores, truth = rebuilt_scores(folder, "student"), read_truth(folder)
    for scenario, ours in zip((PSDS1, PSDS2), exact_psds(scores, truth), strict=True):
        theirs = libraries.exact_psds(scores, truth, scenario)
        assert ours == pytest.approx(theirs, abs=1e-9, rel=0)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dropped", [False, True], ids=["kept", "dropped"])
def test_two_conventions_of_psds(folder: Path, network: str, *, dropped: bool) -> None:
    """The table of docs/evaluation.md: clips without events kept or dropped, both definitions."""
    metrics = evaluate(
        rebuilt_scores(folder, network), read_truth(folder), drop_clips_without_events=dropped
    )
    values = (
        metrics.psds1_psds_eval,
        metrics.psds1_sed_scores_eval,
        metrics.psds2_psds_eval,
        metrics.psds2_sed_scores_eval,
    )
    row = f"{network}, clips without events dropped" if dropped else network
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert f"| {row} | {' | '.join(f'{value:.4f}' for value in values)} |" in text
    assert metrics.clips_without_events == 15
    assert metrics.clips_dropped == (15 if dropped else 0)
