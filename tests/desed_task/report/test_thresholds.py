import numpy as np
import pytest

from desed_task.evaluation import EventTable, OperatingPoints, Scores, evaluate
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.thresholds import threshold_curves
from tests.support import cases
from tests.support.report_cases import scoring_input, table_of


def test_threshold_curves_by_hand() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat"), (2.0, 3.0, "Cat"), (5.0, 6.0, "Dog")]})
    low = table_of(
        truth,
        # Both cats; one dog half a second late; a false alarm of a class that does not occur.
        [
            ("a", 0.0, 1.0, "Cat"),
            ("a", 2.0, 3.0, "Cat"),
            ("a", 5.3, 6.0, "Dog"),
            ("a", 8.0, 9.0, "Dog"),
            ("a", 8.0, 9.0, "Speech"),
        ],
    )
    middle = table_of(truth, [("a", 0.0, 1.0, "Cat"), ("a", 7.0, 8.0, "Cat")], level=1)
    points = OperatingPoints(_joined([low, middle]), (0.2, 0.4, 0.6), list(truth.events))
    curves = threshold_curves(ScoringInput.prepare(None, truth, operating_points=points))
    assert curves is not None
    np.testing.assert_array_equal(curves.thresholds, [0.2, 0.4, 0.6])
    np.testing.assert_allclose(curves.event.f1, [(1 + 0) / 2, (2 / 4 + 0) / 2, 0])
    np.testing.assert_allclose(curves.event.recall, [(1 + 0) / 2, (1 / 2 + 0) / 2, 0])
    # At 0.4 no dog is detected: its precision is excluded. At 0.6 no class is.
    np.testing.assert_allclose(curves.event.precision, [(1 + 0) / 2, 1 / 2, np.nan])
    np.testing.assert_allclose(curves.intersection.f1, [(1 + 2 / 3) / 2, (2 / 4 + 0) / 2, 0])
    np.testing.assert_allclose(curves.intersection.recall, [1, 1 / 4, 0])
    np.testing.assert_allclose(curves.intersection.precision, [(1 + 1 / 2) / 2, 1 / 2, np.nan])


def _joined(tables: list[EventTable]) -> EventTable:
    columns = (
        np.concatenate([getattr(table, name) for table in tables])
        for name in ("level", "clip", "label", "onset", "offset")
    )
    return EventTable(*columns)


def test_threshold_curves_equal_evaluate_at_each_threshold() -> None:
    rng = np.random.default_rng(0)
    truth = cases.random_truth(rng)
    scores = Scores(cases.random_scores(rng, truth), list(truth.events), cases.GRID)
    curves = threshold_curves(ScoringInput.prepare(scores, truth, thresholds=cases.THRESHOLDS))
    assert curves is not None
    for level, threshold in enumerate(cases.THRESHOLDS):
        metrics = evaluate(scores, truth, f1_threshold=threshold)
        assert curves.event.f1[level] == pytest.approx(metrics.event_f1_macro)
        assert curves.intersection.f1[level] == pytest.approx(
            metrics.intersection_f1_macro_occurring
        )
        found = [m.event_true_positives or 0 for m in metrics.per_class.values()]
        true = [m.true for m in metrics.per_class.values()]
        assert curves.event.recall[level] == pytest.approx(np.mean(np.divide(found, true)))


def test_no_threshold_curves_without_points_or_true_events() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat")]})
    assert threshold_curves(scoring_input(truth, [])) is None
    empty = cases.truth_of({"a": []})
    scores = Scores(cases.scores_of({"a": [(0, 9, "Cat", 0.9)]}), ["a"], cases.GRID)
    assert threshold_curves(ScoringInput.prepare(scores, empty, thresholds=(0.5,))) is None
