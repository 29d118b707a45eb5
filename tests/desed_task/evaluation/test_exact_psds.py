"""PSDS over all thresholds, against sed_scores_eval and by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from desed_task.evaluation import (
    PSDS1,
    PSDS2,
    Criteria,
    GroundTruth,
    Scenario,
    Scores,
    libraries,
    psds_exact,
)
from desed_task.evaluation.decode import TimeAxis
from desed_task.evaluation.psds import PsdRoc
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.evaluation.threshold_events import find_threshold_events
from tests.support import cases
from tests.support.required import require_package

SCENARIOS = (PSDS1, PSDS2, Scenario("other", Criteria(0.4, 0.6, 0.2), 1.0, 0.5, 2000.0))


def rocs_of(
    scores: np.ndarray,
    truth: GroundTruth,
    scenarios: Sequence[Scenario],
    *,
    trim: bool = False,
    axis: TimeAxis = cases.GRID,
) -> list[PsdRoc | None]:
    output = Scores(scores, list(truth.events), axis)
    scoring = ScoringInput.prepare(output, truth, trim=trim)
    return [counts.roc() for counts in psds_exact.match(scoring, scenarios)]


def nodes_by_thresholding(rows: np.ndarray) -> set[tuple[int, int, int, float, float]]:
    """Every run of scores at or above one of the scores, with the scores it exists for."""
    nodes: dict[tuple[int, int, int], list[float]] = {}
    for clip, row in enumerate(rows):
        for score in np.unique(row[row > -np.inf]):
            edges = np.flatnonzero(np.diff(row >= score, prepend=False, append=False))
            for first, end in edges.reshape(-1, 2).tolist():
                nodes.setdefault((clip, first, end), []).append(float(score))
    found = set()
    for (clip, first, end), scores in nodes.items():
        lower = [float(s) for s in np.unique(rows[clip]) if s < min(scores)]
        # A node dies at the highest score below it, where it has grown.
        found.add((clip, first, end, max(scores), lower[-1] if lower else -np.inf))
    return found


@pytest.mark.parametrize("levels", [2, 5, 100])
@pytest.mark.parametrize("frames", [1, 2, 3, 17, 32])
def test_nodes_are_all_events_at_any_threshold(frames: int, levels: int) -> None:
    rng = np.random.default_rng(frames + levels)
    rows = rng.integers(0, levels, (20, frames)) / levels
    rows[3] = -np.inf
    rows[4, frames // 2 :] = -np.inf
    frames_as_edges = np.tile(np.arange(frames + 1.0), (20, 1))
    events = find_threshold_events(rows, frames_as_edges, label=3)
    assert set(events.label.tolist()) <= {3}
    columns = (events.clip, events.onset, events.offset, events.birth, events.death)
    found = set(zip(*(column.tolist() for column in columns), strict=True))
    assert len(found) == len(events)
    assert found == nodes_by_thresholding(rows)


@pytest.mark.parametrize("levels", [4, 30, None])
@pytest.mark.parametrize("seed", range(3))
def test_equals_sed_scores_eval(seed: int, levels: int | None) -> None:
    require_package("sed_scores_eval")
    rng = np.random.default_rng(seed)
    truth = cases.random_truth(rng, 25, step=0.064 if seed else None)
    scores = cases.random_scores(rng, truth, levels=levels)
    if seed == 2:
        scores[:, 1] = 0  # a class without any score above 0
        scores[3] = -np.inf  # a clip without scores
    names = list(truth.events)
    rocs = rocs_of(scores, truth, SCENARIOS)
    for scenario, roc in zip(SCENARIOS, rocs, strict=True):
        assert roc is not None
        expected = libraries.exact_psds(Scores(scores, names, cases.GRID), truth, scenario)
        assert roc.psds == pytest.approx(expected, abs=1e-9)
    assert rocs[2] is not None
    assert rocs[2].psds > 0


def test_each_class_equals_sed_scores_eval() -> None:
    require_package("sed_scores_eval")
    from sed_scores_eval.base_modules.scores import create_score_dataframe
    from sed_scores_eval.intersection_based import psds

    rng = np.random.default_rng(7)
    truth = cases.random_truth(rng, 25)
    scores = cases.random_scores(rng, truth, levels=None)
    names = list(truth.events)
    (roc,) = rocs_of(scores, truth, [SCENARIOS[2]])
    assert roc is not None
    times = np.arange(157) * 0.064
    _, by_class, (rate, efpr), curves = psds(
        {n: create_score_dataframe(s.T, times, cases.CLASSES) for n, s in zip(names, scores)},  # noqa: B905
        truth.events,
        truth.durations,
        dtc_threshold=0.4,
        gtc_threshold=0.6,
        cttc_threshold=0.2,
        alpha_ct=1.0,
        alpha_st=0.5,
        max_efpr=2000.0,
    )
    for k, label in enumerate(cases.CLASSES):
        assert roc.class_psds()[k] == pytest.approx(by_class[label], abs=1e-9)
        tpr, fpr, _ = curves[label]
        np.testing.assert_allclose(roc.per_class[k].at(fpr + 1e-9), tpr, atol=1e-9)
    np.testing.assert_allclose(roc.total.at(efpr + 1e-9), rate, atol=1e-9)


def test_trimmed_scores_equal_sed_scores_eval_on_shorter_scores() -> None:
    require_package("sed_scores_eval")
    rng = np.random.default_rng(5)
    truth = cases.random_truth(rng, 25)
    scores = cases.random_scores(rng, truth)
    names = list(truth.events)
    cut = rocs_of(scores, truth, SCENARIOS, trim=True)
    kept = rocs_of(scores, truth, SCENARIOS)
    for scenario, roc in zip(SCENARIOS, cut, strict=True):
        expected = libraries.exact_psds(
            Scores(scores, names, cases.GRID), truth, scenario, trim_to_clip=True
        )
        assert roc is not None
        assert roc.psds == pytest.approx(expected, abs=1e-9)
    assert cut[2] is not None
    assert kept[2] is not None
    assert cut[2].psds != kept[2].psds


def test_two_events_by_hand() -> None:
    """One hour of audio; the better detection is a false alarm, the other one is correct."""
    truth = cases.truth_of({"a": [(0.0, 0.64, "Cat")], "b": []}, 1800.0, ("Cat",))
    scores = cases.scores_of({"a": [(0, 10, "Cat", 0.4)], "b": [(0, 10, "Cat", 0.8)]}, ("Cat",))
    scores[scores == 0] = -np.inf
    scores = np.pad(scores, ((0, 0), (0, 0), (0, 1)), constant_values=-np.inf)
    edges = np.append(np.arange(157) * 0.064, 1800.0)  # one long frame to the end of the clips
    scenario = replace(PSDS1, max_efpr=4.0)
    (roc,) = rocs_of(scores, truth, [scenario], axis=edges)
    assert roc is not None
    # Nothing up to one false alarm per hour, everything from there on: 3 of 4.
    assert roc.psds == pytest.approx(0.75)


def test_touching_true_events_are_two_although_the_library_refuses_them() -> None:
    require_package("sed_scores_eval")
    events: dict[str, list[tuple[float, float, str]]] = {
        "a": [(0.0, 0.64, "Cat"), (0.64, 1.28, "Cat")]
    }
    truth = cases.truth_of(events, 10.0, ("Cat",))
    scores = cases.scores_of({"a": [(0, 10, "Cat", 0.9)]}, ("Cat",))
    with pytest.raises(AssertionError, match="Connected"):
        libraries.exact_psds(Scores(scores, ["a"], cases.GRID), truth, PSDS1)
    (roc,) = rocs_of(scores, truth, [PSDS1])
    assert roc is not None
    assert roc.psds == pytest.approx(0.5)


def test_a_truth_without_events_has_no_curve() -> None:
    truth = cases.truth_of({"a": []})
    scores = np.ones((1, 4, 156))
    assert rocs_of(scores, truth, [PSDS1]) == [None]
