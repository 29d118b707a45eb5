"""A system's files on DESED's validation set: metrics that the libraries gave beforehand."""

import json
from pathlib import Path

import pytest

from desed_task.evaluation import evaluate, read_predictions
from tests.support.desed import EXPECTED, NETWORKS, read_points, read_truth, rebuilt_scores


@pytest.fixture(scope="module")
def expected() -> dict[str, float]:
    return json.loads(EXPECTED.read_text())


@pytest.mark.parametrize("network", NETWORKS)
def test_metrics_of_the_files(desed_system: Path, expected: dict[str, float], network: str) -> None:
    truth = read_truth(desed_system)
    metrics = evaluate(
        None,
        truth,
        operating_points=read_points(desed_system, network),
        predictions=read_predictions(desed_system / network / "predictions0.5.csv", truth),
    )
    for name in ("event_f1_macro", "segment_f1_macro", "intersection_f1_macro"):
        value = expected[f"{network}/{name}"]
        assert getattr(metrics, name) == pytest.approx(value, abs=1e-9, rel=0)
    for name in ("psds1", "psds2"):
        value = expected[f"{network}/{name}"]
        assert getattr(metrics, f"{name}_psds_eval") == pytest.approx(value, abs=1e-9, rel=0)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dropped", [False, True], ids=["kept", "dropped"])
def test_two_conventions_of_psds_from_the_rebuilt_scores(
    desed_system: Path, expected: dict[str, float], network: str, *, dropped: bool
) -> None:
    """Clips without events kept or dropped, psds_eval's and sed_scores_eval's definition."""
    scores, truth = rebuilt_scores(desed_system, network), read_truth(desed_system)
    metrics = evaluate(scores, truth, drop_clips_without_events=dropped)
    end = "_dropped" if dropped else ""
    for name in ("psds1", "psds2"):
        found = (getattr(metrics, f"{name}_psds_eval"), getattr(metrics, f"{name}_sed_scores_eval"))
        wanted = (expected[f"{network}/{name}{end}"], expected[f"{network}/{name}_exact{end}"])
        assert found == pytest.approx(wanted, abs=1e-9, rel=0)
    assert metrics.clips_without_events == expected["clips_without_events"]
    assert metrics.clips_dropped == (expected["clips_without_events"] if dropped else 0)
    if not dropped:
        points = read_points(desed_system, network)
        assert metrics.scoring_input.points is not None
        assert len(metrics.scoring_input.points) == len(points.events)
