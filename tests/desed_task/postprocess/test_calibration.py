"""Confidence to probability: scikit-learn's functions directly, and cases by hand."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.isotonic import IsotonicRegression

from desed_task.evaluation import Scores
from desed_task.postprocess.calibration import (
    Calibration,
    Curve,
    FoundEvents,
    fit_calibration,
    found_events,
)
from tests.support import cases

CLASSES = ("Cat", "Dog")


def drawn(n_events: int, label: int = 0, *, power: float = 2.0, seed: int = 0) -> FoundEvents:
    """Events that are right with the probability confidence ** power."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.05, 1, n_events)
    right = rng.uniform(size=n_events) < confidence**power
    return FoundEvents(np.full(n_events, label), confidence, right)


@pytest.mark.parametrize(("n_events", "method"), [(400, "platt"), (4000, "isotonic")])
def test_probabilities_of_drawn_events_are_found(n_events: int, method: str) -> None:
    common = fit_calibration(drawn(n_events), CLASSES).common
    assert common is not None
    assert (common.method, common.events) == (method, n_events)
    score = np.array([0.2, 0.5, 0.8, 0.9])
    np.testing.assert_allclose(common.at(score), score**2, atol=0.08)
    assert np.all(np.diff(common.at(np.linspace(0, 1, 1000))) >= 0)


def test_many_events_have_the_function_of_scikit_learn() -> None:
    events = drawn(3000)
    common = fit_calibration(events, CLASSES).common
    assert common is not None
    expected = IsotonicRegression().fit(events.confidence, events.correct)
    inside = (expected.predict(events.confidence) > 0.01) & (
        expected.predict(events.confidence) < 0.99
    )
    score = events.confidence[inside]
    np.testing.assert_allclose(common.at(score), expected.predict(score), atol=2e-3)


def test_each_class_with_enough_events_has_its_curve() -> None:
    many, few = drawn(400, 0, power=0.5), drawn(40, 1, power=4.0)
    calibration = fit_calibration(FoundEvents.joined([many, few]), CLASSES)
    assert list(calibration.by_class) == ["Cat"]
    assert calibration.common is not None
    assert calibration.probability(0.3, "Cat") == calibration.by_class["Cat"].at(np.array(0.3))
    assert calibration.probability(0.3, "Dog") == calibration.common.at(np.array(0.3))
    both = FoundEvents(np.array([1, 0]), np.array([0.3, 0.3]), np.array([True, True]))
    expected = [calibration.probability(0.3, name) for name in ("Dog", "Cat")]
    np.testing.assert_array_equal(calibration.probabilities(both, CLASSES), expected)


def test_too_few_events_and_useless_confidences_leave_the_score() -> None:
    calibration = fit_calibration(drawn(19), CLASSES)
    assert calibration == Calibration()
    assert calibration.probability(0.3, "Cat") == 0.3
    events = drawn(300)
    turned = events._replace(correct=~events.correct)
    assert fit_calibration(turned, CLASSES) == Calibration()


def test_events_that_are_all_correct_are_not_certain() -> None:
    events = drawn(50)._replace(correct=np.ones(50, dtype=np.bool_))
    common = fit_calibration(events, CLASSES).common
    assert common is not None
    assert 0.9 < common.at(np.array(0.99)) < 1


def test_found_events_are_those_of_the_thresholds_and_lower_ones() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat"), (6.4, 7.68, "Cat")]})
    rows = [(0, 20, "Cat", 0.8), (60, 70, "Cat", 0.6), (100, 120, "Cat", 0.3)]
    rows += [(20, 25, "Cat", 0.4)]  # beside an event: no further one
    scores = Scores(cases.scores_of({"a": rows}), ["a"], cases.GRID)
    found = found_events(scores, truth, [0.5] * 4)
    np.testing.assert_allclose(found.confidence, [0.8, 0.6], atol=1e-6)
    assert found.correct.tolist() == [True, False]
    found = found_events(scores, truth, [0.5] * 4, lower=0.5)
    np.testing.assert_allclose(found.confidence, [0.8, 0.6, 0.3], atol=1e-6)
    assert found.correct.tolist() == [True, False, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"score": (0.5, 0.2)},
        {"score": (0.2,)},
        {"probability": (0.5, 0.2)},
        {"probability": (0.5, 1.2)},
        {"probability": ()},
    ],
)
def test_a_curve_rises(changes: dict[str, object]) -> None:
    fitting = {"method": "platt", "events": 5, "score": (0.2, 0.5), "probability": (0.2, 0.5)}
    assert Curve.model_validate(fitting).at(np.array([0.0, 0.35, 1.0])).tolist() == pytest.approx(
        [0.2, 0.35, 0.5]
    )
    with pytest.raises(ValidationError):
        Curve.model_validate(fitting | changes)
