"""Intersection-based counts, F-score and PSDS at operating points, against psds_eval."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from desed_task.evaluation import (
    PSDS1,
    PSDS2,
    THRESHOLDS,
    Criteria,
    GroundTruth,
    OperatingPoints,
    Predictions,
    Scenario,
    Scores,
    detect_many,
    intersection,
    libraries,
    psds_points,
    to_frame,
)
from desed_task.evaluation.clip_counts import ClipCounts
from desed_task.evaluation.events import EventTable
from desed_task.evaluation.intersection import compensated_sums
from desed_task.evaluation.psds import F1_CRITERIA, RocCurve, staircase
from desed_task.evaluation.scoring_input import ScoringInput
from tests.support import cases

POINTS = THRESHOLDS[::5]


def match(
    detections: EventTable, truth: GroundTruth, criteria: Criteria, n_levels: int
) -> ClipCounts:
    scoring = cases.scoring_of(truth)
    return intersection.match(scoring, detections, criteria, n_levels=n_levels)


def psds_eval_counts(events: pd.DataFrame, truth: GroundTruth, criteria: Criteria) -> np.ndarray:
    """psds_eval's matrix of counts: detected class by true class, and false alarms last."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = libraries._psds_eval(truth, criteria)
        evaluator.add_operating_point(events)
    return evaluator.operating_points.counts[0]


# Half of the cases lie on a coarse grid: many shares that just reach a criterion.
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "criteria", [PSDS1.criteria, PSDS2.criteria, F1_CRITERIA, Criteria(1, 1, 1)]
)
def test_counts_equal_psds_eval(criteria: Criteria, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = cases.random_truth(rng, 20, step=0.064 if seed % 2 else None, apart=seed < 4)
    scores = cases.random_scores(rng, truth)
    detections = detect_many(scores, cases.THRESHOLDS, cases.GRID)
    counts = match(detections, truth, criteria, len(cases.THRESHOLDS)).total()
    assert counts.cross is not None
    n_found = 0
    for level in range(len(cases.THRESHOLDS)):
        events = to_frame(detections.at_level(level), list(truth.events), truth.classes)
        expected = psds_eval_counts(events, truth, criteria)
        np.testing.assert_array_equal(counts.correct[level], np.diag(expected)[:-1])
        np.testing.assert_array_equal(counts.false[level], expected[:-1, -1])
        np.testing.assert_array_equal(
            counts.cross[level], expected[:-1, :-1] * (1 - np.eye(4, dtype=int))
        )
        n_found += counts.correct[level].sum()
    assert n_found or criteria.dtc == 1


@pytest.mark.parametrize("seed", range(4))
def test_confusion_equals_psds_eval_and_a_slow_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = cases.random_truth(rng, 20, step=0.064 if seed % 2 else None)
    names = list(truth.events)
    scores = Scores(cases.random_scores(rng, truth), names, cases.GRID)
    scoring = ScoringInput.prepare(scores, truth)
    found = intersection.confusion(scoring)
    assert found is not None
    detections = scoring.detections
    assert detections is not None
    events = to_frame(detections, names, truth.classes)
    expected = psds_eval_counts(events, truth, F1_CRITERIA)
    np.testing.assert_array_equal(found[:-1, :-1], expected[:-1, :-1])
    true = np.bincount(scoring.true.label, minlength=4)
    np.testing.assert_array_equal(found[-1], [*(true - np.diag(expected)[:-1]), 0])
    alone = np.zeros(4, dtype=int)
    for clip, label, onset, offset in zip(*list(vars(detections).values())[1:], strict=True):
        shared = dict.fromkeys(truth.classes, 0.0)
        for event in truth.events[names[clip]]:
            seconds = min(offset, event.offset) - max(onset, event.onset)
            shared[event.event_label] += max(0.0, seconds) / (offset - onset)
        own = shared.pop(truth.classes[label])
        is_inside = onset < truth.durations[names[clip]]
        alone[label] += own < 0.5 and max(shared.values()) < 0.3 and is_inside
    np.testing.assert_array_equal(found[:-1, -1], alone)
    assert alone.any()


def test_confusion_by_hand() -> None:
    truth = cases.truth_of(
        {"a": [(0.0, 1.0, "Cat"), (2.0, 3.0, "Dog"), (5.0, 6.0, "Dog")], "b": []}
    )
    detected = {
        "a": [(0.0, 1.0, "Dog"), (2.0, 3.0, "Cat"), (5.0, 6.0, "Dog"), (8.0, 9.0, "Dog")],
        "b": [(1.0, 2.0, "Cat")],
    }
    events = cases.truth_of(detected).table(["a", "b"])
    predictions = Predictions(events, ["a", "b"])
    found = intersection.confusion(ScoringInput.prepare(None, truth, predictions=predictions))
    assert found is not None
    names = {name: truth.classes.index(name) for name in ("Cat", "Dog")} | {"none": -1}
    expected = {("Dog", "Cat"): 1, ("Cat", "Dog"): 1, ("Dog", "Dog"): 1, ("Dog", "none"): 1}
    expected |= {("Cat", "none"): 1, ("none", "Cat"): 1, ("none", "Dog"): 1}
    assert {pair: found[names[pair[0]], names[pair[1]]] for pair in expected} == expected
    assert found.sum() == sum(expected.values())
    points = OperatingPoints(events, (0.3,), ["a", "b"])
    without = ScoringInput.prepare(None, truth, operating_points=points)
    assert intersection.confusion(without) is None


def test_sums_are_pandas_sums_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 40, 3000)
    values = rng.random(3000) * 10.0 ** rng.integers(-8, 3, 3000)
    expected = pd.Series(values).groupby(group).sum().reindex(range(45), fill_value=0.0)
    np.testing.assert_array_equal(compensated_sums(group, values, 45), expected)
    assert compensated_sums(group[:0], values[:0], 2).tolist() == [0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_macro_f1_equals_psds_eval_also_with_a_class_never_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = cases.random_truth(rng, step=0.1 if seed % 2 else None)
    scores = cases.random_scores(rng, truth)
    if seed > 1:
        scores[:, 1] = 0
    detections = detect_many(scores, [0.5], cases.GRID)
    frame = to_frame(detections, list(truth.events), truth.classes)
    expected = libraries.intersection_macro_f1(frame, truth, F1_CRITERIA)
    found = intersection.f_scores(match(detections, truth, F1_CRITERIA, 1).total())
    assert found["intersection_f1_macro"] == pytest.approx(expected, abs=1e-9)
    assert expected


def test_criteria_by_hand() -> None:
    truth = cases.truth_of({"a": [(0.0, 2.0, "Cat"), (5.0, 6.0, "Dog")], "b": []}, 8.0)
    detections = cases.truth_of(
        {
            # More than half of the first lies in the cat's event and covers 1.2 of its 2 s.
            "a": [(0.8, 3.1, "Cat"), (5.0, 5.5, "Speech"), (8.5, 9.0, "Dog")],
            "b": [(7.5, 9.0, "Dog")],
        }
    ).table(["a", "b"])
    counts = match(detections, truth, F1_CRITERIA, 1).total()
    assert counts.cross is not None
    assert counts.correct.tolist() == [[1, 0, 0, 0]]
    # The speech fits the dog; the dog past the clip's end is no false alarm, the other one is.
    assert counts.false.tolist() == [[0, 0, 1, 1]]
    assert counts.cross[0, 3].tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(counts.f1, [[1, np.nan, 0, np.nan]])
    values = intersection.f_scores(counts)
    assert values["intersection_f1_macro"] == 1.0
    assert values["intersection_f1_macro_occurring"] == 0.5
    strict = match(detections, truth, Criteria(0.5, 0.7, 0.3), 1).total()
    assert strict.correct.sum() == 0
    assert intersection.f_scores(strict)["intersection_f1_macro"] == 0.0


@pytest.mark.parametrize("share", [0.0, 1.1, -0.5])
def test_criteria_outside_their_range_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="gtc: expected a share above 0 and at most 1, got"):
        Criteria(0.5, share, 0.3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("base", [PSDS1, PSDS2], ids=["psds1", "psds2"])
def test_psds_from_operating_points_equals_psds_eval(base: Scenario, seed: int) -> None:
    scenario = replace(base, alpha_st=0.5, max_efpr=3000.0)  # the clips last minutes, not hours
    rng = np.random.default_rng(seed)
    truth = cases.random_truth(rng, 40, step=0.064 if seed % 2 else None, apart=seed < 4)
    scores = cases.random_scores(rng, truth)
    if seed == 3:
        scores[:, 2] = 0
    if seed == 5:
        scores *= 0.3  # the upper thresholds detect nothing
    detections = detect_many(scores, POINTS, cases.GRID)
    output = Scores(scores, list(truth.events), cases.GRID)
    scoring = ScoringInput.prepare(output, truth, thresholds=POINTS)
    (counts,) = psds_points.match(scoring, [scenario])
    roc = counts.roc()
    assert roc is not None
    frames = [
        to_frame(detections.at_level(level), list(truth.events), truth.classes)
        for level in range(len(POINTS))
    ]
    expected = libraries.psds_from_operating_points(frames, truth, scenario)
    assert roc.psds == pytest.approx(expected, abs=1e-9)
    assert roc.psds > 0.01


def test_staircase_keeps_the_best_rate_up_to_each_point() -> None:
    curve = staircase(np.array([5.0, 0, 2, 2, 3]), np.array([0.9, 0, 0.4, 0.2, 0.3]))
    assert curve.efpr.tolist() == [0, 2, 5]
    assert curve.rate.tolist() == [0, 0.4, 0.9]
    assert curve.at(np.array([-1.0, 1.9, 2, 4, 9])).tolist() == [0, 0, 0.4, 0.4, 0.9]
    assert curve.area(4) == pytest.approx(0.4 * 2 / 4)
    assert RocCurve(np.array([0.0]), np.array([0.25])).area(100) == pytest.approx(0.25)
