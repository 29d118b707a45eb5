"""Choosing a method by cross-validation, on generated scores."""

import numpy as np
import pytest

from desed_task.evaluation import GroundTruth, Scores, evaluate
from desed_task.evaluation.outputs import joined
from desed_task.labels import Event
from desed_task.postprocess.methods import (
    MedianParameters,
    SebbsParameters,
    TunedParameters,
    class_thresholds,
)
from desed_task.postprocess.selection import Tuned, held_out, make_folds, tune_methods
from desed_task.postprocess.tuning import TuningSettings
from tests.support import cases

MEDIAN = MedianParameters(window=dict.fromkeys(cases.CLASSES, 1), f1_threshold=0.5)
SEBBS = SebbsParameters(
    step_seconds=dict.fromkeys(cases.CLASSES, 0.4),
    merge_absolute=dict.fromkeys(cases.CLASSES, 0.2),
    merge_relative=dict.fromkeys(cases.CLASSES, float("inf")),
    f1_threshold=dict.fromkeys(cases.CLASSES, 0.4),
)


def settings(**changes: object) -> TuningSettings:
    values: dict[str, object] = {
        "tuning_metric": "event_f1_psds1",
        "tuning_shrinkage": 10.0,
        "choose_method": True,
        "calibrate_confidence": True,
        "window_unit": "frames",
        "tuning_windows": (1, 5),
        "sebbs_step": (0.4,),
        "sebbs_merge_absolute": (0.2,),
        "sebbs_merge_relative": (2.0,),
    }
    return TuningSettings(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def truth() -> GroundTruth:
    return cases.random_truth(np.random.default_rng(1), 20)


@pytest.fixture(scope="module")
def scores(truth: GroundTruth) -> Scores:
    values = cases.random_scores(np.random.default_rng(2), truth, levels=None)
    return Scores(values, list(truth.events), cases.GRID)


@pytest.mark.parametrize("parameters", [MEDIAN, SEBBS])
def test_a_method_without_tuning_has_the_metrics_of_the_whole_set(
    parameters: MedianParameters | SebbsParameters, truth: GroundTruth, scores: Scores
) -> None:
    """However the clips are divided."""
    found = held_out([parameters] * 3, scores, truth, np.arange(20) % 3)
    output = parameters.apply(scores, truth.classes)
    bounds = class_thresholds(parameters, truth.classes)
    expected = evaluate(output, truth, f1_threshold=bounds)
    classes = expected.per_class.values()
    assert found.values["event_f1"] == pytest.approx(expected.event_f1_macro)
    areas = [each.psds1_sed_scores_eval for each in classes]
    assert found.values["psds1"] == pytest.approx(np.mean(areas))  # type: ignore[arg-type]
    assert found.events.correct.sum() >= (expected.event_true_positives or 0)
    turned = joined([output_of(parameters, scores, k) for k in (1, 0, 2)])
    assert turned.names[0] == scores.names[1]
    again = evaluate(turned, truth, f1_threshold=bounds)
    assert again.as_flat_dict() == expected.as_flat_dict()


def output_of(parameters: MedianParameters | SebbsParameters, scores: Scores, fold: int):  # type: ignore[no-untyped-def]
    return parameters.apply(scores.clips(np.arange(fold, 20, 3)), cases.CLASSES)


def test_a_clip_has_parameters_that_were_tuned_on_others() -> None:
    """In a single clip, scores are low: the threshold tuned on the others misses its event."""
    names = [f"{k}.wav" for k in range(6)]
    truth = cases.truth_of({name: [(0.0, 1.28, "Dog")] for name in names})
    rows = {name: [(0, 20, "Dog", 0.3 if k == 0 else 0.9)] for k, name in enumerate(names)}
    rows = {k: [*v, (60, 70, "Dog", 0.5)] for k, v in rows.items()}  # a false alarm
    scores = Scores(cases.scores_of(rows), names, cases.GRID)
    found = tune_methods(
        scores,
        truth,
        settings(tuning_shrinkage=0.0),
        methods=["tuned_median"],
        fixed={"median": MEDIAN.model_copy(update={"f1_threshold": 0.6})},
        default_threshold=0.5,
        title="test",
    )
    assert found.folds == 5
    # Five of six events, by the tuned thresholds as by the fixed one.
    assert found.values["tuned_median"]["event_f1"] == pytest.approx(10 / 11)
    assert found.values["median"]["event_f1"] == pytest.approx(10 / 11)
    stored = found.stored(settings())
    assert stored.selection is not None
    assert stored.selection.method == "median"  # the first of equal ones
    assert "median: event F1 0.909" in str(stored.selection)
    assert TunedParameters.model_validate(stored.plain()) == stored


def test_what_is_not_asked_for_is_not_done(truth: GroundTruth, scores: Scores) -> None:
    plain = settings(choose_method=False, calibrate_confidence=False, tuning_shrinkage=0.0)
    arguments = {"methods": ["sebbs"], "fixed": {"median": MEDIAN}, "default_threshold": 0.5}
    found = tune_methods(scores, truth, plain, **arguments, title="test")  # type: ignore[arg-type]
    assert (found.values, found.calibration, found.folds) == ({}, {}, 1)
    full = tune_methods(
        scores,
        truth,
        settings(tuning_shrinkage=0.0),
        **arguments,  # type: ignore[arg-type]
        title="test",
    )
    assert full.parameters == found.parameters  # folds do not change what is tuned on all clips
    assert full.values.keys() == full.calibration.keys() == {"median", "sebbs"}


def test_folds_have_whole_groups_and_equal_numbers_of_events() -> None:
    events = {f"{k:02}.wav": [Event(0, 1, "Dog")] * (k % 3) for k in range(40)}
    truth = GroundTruth(("Dog",), events, dict.fromkeys(events, 10.0))
    groups = [str(k // 4) for k in range(40)]
    folds = make_folds(truth, groups)
    assert set(folds) == {0, 1, 2, 3, 4}
    assert all(len({*folds[4 * g : 4 * g + 4]}) == 1 for g in range(10))
    counts = np.bincount(folds, [len(each) for each in events.values()])
    assert counts.max() - counts.min() <= 4
    np.testing.assert_array_equal(folds, make_folds(truth, groups))
    assert len(set(make_folds(truth, ["one"] * 40))) == 5  # one group: by clips
    alone = truth.restricted(["01.wav", "00.wav"])
    assert set(make_folds(alone, list(alone.events))) == {0}


@pytest.mark.parametrize(
    ("gain", "n_events", "chosen"),
    [(0.08, 25, "median"), (0.12, 25, "sebbs"), (0.08, 100, "sebbs"), (-0.1, 100, "median")],
)
def test_another_method_must_gain_more_than_chance(gain: float, n_events: int, chosen: str) -> None:
    values = {"median": {"event_f1": 0.5, "psds1": 0.4}, "sebbs": {"event_f1": 0.5 + gain}}
    values["sebbs"]["psds1"] = 0.4 + gain
    tuned = Tuned({}, values, clips=9, folds=3, n_events=n_events, calibration={})
    assert tuned.best(settings()) == chosen
