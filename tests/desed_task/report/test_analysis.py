import numpy as np
import pytest

from desed_task.evaluation import Boxes, EventTable, OperatingPoints, Predictions, Scores, evaluate
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.evaluation.truth import GroundTruth
from desed_task.report.analysis import (
    best_and_worst,
    best_pairs,
    boundary_errors,
    clip_figures,
    cross_trigger_matrix,
    polyphony_confusion,
    row_shares,
    share_within,
    threshold_curves,
)
from tests.support import cases

Rows = list[tuple[str, float, float, str]]


def table_of(truth: GroundTruth, rows: Rows, level: int = 0) -> EventTable:
    """Events (clip, onset, offset, class)."""
    names = list(truth.events)
    columns = [(names.index(c), truth.classes.index(k), a, b) for c, a, b, k in rows]
    clip, label, onset, offset = np.array(columns, dtype=float).reshape(-1, 4).T
    levels = np.full(len(rows), level)
    return EventTable(levels, clip.astype(int), label.astype(int), onset, offset).ordered()


def task_of(truth: GroundTruth, rows: Rows, *, drop: bool = False) -> ScoringInput:
    predictions = Predictions(table_of(truth, rows), list(truth.events))
    return ScoringInput.prepare(
        None, truth, predictions=predictions, drop_clips_without_events=drop
    )


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
    # At 0.4 no dog is detected: its precision is left out. At 0.6 nothing is.
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


def test_threshold_curves_are_what_evaluate_gives_at_each_threshold() -> None:
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
    assert threshold_curves(task_of(truth, [])) is None
    empty = cases.truth_of({"a": []})
    scores = Scores(cases.scores_of({"a": [(0, 9, "Cat", 0.9)]}), ["a"], cases.GRID)
    assert threshold_curves(ScoringInput.prepare(scores, empty, thresholds=(0.5,))) is None


def test_cross_triggers_as_a_matrix() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat"), (2.0, 3.0, "Dog"), (5.0, 6.0, "Dog")]})
    rows = [("a", 0.0, 1.0, "Dog"), ("a", 2.0, 3.0, "Cat"), ("a", 5.0, 6.0, "Cat")]
    predictions = Predictions(table_of(truth, rows), ["a"])
    matrix = cross_trigger_matrix(evaluate(None, truth, predictions=predictions))
    cat, dog = truth.classes.index("Cat"), truth.classes.index("Dog")
    assert matrix[cat, dog] == 2
    assert matrix[dog, cat] == 1
    assert matrix.sum() == 3
    nothing = evaluate(
        None, truth, operating_points=OperatingPoints(predictions.events, (0.3,), ["a"])
    )
    assert cross_trigger_matrix(nothing).sum() == 0


def test_polyphony_by_hand() -> None:
    truth = cases.truth_of(
        {
            "a": [(0.0, 4.0, "Cat"), (3.0, 5.0, "Dog"), (3.5, 12.0, "Speech")],
            "b": [],
        },
        {"a": 10.0, "b": 2.01},
    )
    detected = [
        ("a", 0.0, 1.0, "Cat"),
        ("a", 0.5, 2.0, "Cat"),  # of one class: counted once
        ("a", 3.0, 4.0, "Cat"),
        ("a", 3.0, 4.0, "Dishes"),
        ("b", 1.0, 9.0, "Cat"),  # counts as far as the clip reaches
    ]
    confusion = polyphony_confusion(task_of(truth, detected))
    assert confusion is not None
    expected = [
        [1.0, 1.01, 0.0],  # b
        [1.0 + 5.0, 2.0, 0.0],  # a: 2-3 and 5-10 s; 0-2 s
        [1.0, 0.0, 1.0],  # 4-5 s; 3-4 s
    ]
    np.testing.assert_allclose(confusion, expected, atol=1e-9)
    dropped = polyphony_confusion(task_of(truth, detected, drop=True))
    assert dropped is not None
    assert dropped.sum() == pytest.approx(10.0)


def test_polyphony_of_random_events_is_that_of_a_slow_count() -> None:
    rng = np.random.default_rng(1)
    truth = cases.random_truth(rng, 6, step=0.1)
    values = cases.random_scores(rng, truth)
    task = ScoringInput.prepare(Scores(values, list(truth.events), cases.GRID), truth)
    confusion = polyphony_confusion(task)
    assert confusion is not None
    assert task.detections is not None
    expected = np.zeros((3, 3))
    for clip, seconds in enumerate(task.durations):
        for step in range(int(np.ceil(seconds / 0.02 - 1e-9))):
            time = (step + 0.5) * 0.02
            said = [
                len(
                    {
                        int(table.label[row])
                        for row in range(len(table))
                        if table.clip[row] == clip and table.onset[row] <= time < table.offset[row]
                    }
                )
                for table in (task.true, task.detections)
            ]
            weight = min(0.02, seconds - step * 0.02)
            expected[min(said[0], 2), min(said[1], 2)] += weight
    np.testing.assert_allclose(confusion, expected, atol=1e-6)
    assert confusion.sum() == pytest.approx(task.total_seconds)


def test_boundaries_of_best_pairs() -> None:
    truth = cases.truth_of(
        {
            "a": [(1.0, 3.0, "Cat"), (4.0, 5.0, "Cat"), (1.0, 2.0, "Dog")],
            "b": [(0.0, 9.0, "Cat")],
        }
    )
    detected = [
        ("a", 0.9, 4.4, "Cat"),  # 2 s of the first, 0.4 s of the second
        ("a", 4.4, 5.5, "Cat"),  # the second
        ("b", 0.5, 1.0, "Cat"),  # both in one event: the longer one counts
        ("b", 2.0, 9.5, "Cat"),
        ("b", 0.0, 9.0, "Dog"),  # no such event
    ]
    task = task_of(truth, detected)
    assert task.detections is not None
    rows, true = best_pairs(task.detections, task.true)
    pairs = {
        (task.detections.onset[row].item(), task.true.onset[k].item())
        for row, k in zip(rows, true, strict=True)
    }
    assert pairs == {(0.9, 1.0), (4.4, 4.0), (2.0, 0.0)}
    errors = boundary_errors(task)
    assert errors is not None
    assert len(errors) == 3
    np.testing.assert_allclose(sorted(errors.onset), [-0.1, 0.4, 2.0])
    np.testing.assert_allclose(sorted(errors.offset), [0.5, 0.5, 1.4])
    np.testing.assert_allclose(errors.duration, errors.offset - errors.onset)


def test_equal_overlaps_go_to_the_first_event() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat"), (2.0, 3.0, "Cat")]})
    errors = boundary_errors(task_of(truth, [("a", 0.5, 2.5, "Cat")]))
    assert errors is not None
    np.testing.assert_allclose(errors.onset, [0.5])


def test_clips_are_judged_as_if_alone() -> None:
    rng = np.random.default_rng(2)
    truth = cases.random_truth(rng)
    names = list(truth.events)
    values = cases.random_scores(rng, truth)
    figures = clip_figures(ScoringInput.prepare(Scores(values, names, cases.GRID), truth))
    assert figures is not None
    for clip, name in enumerate(names):
        alone = Scores(values[clip : clip + 1], [name], cases.GRID)
        metrics = evaluate(alone, truth.restricted([name]))
        if metrics.event_f1_micro is None:
            assert figures.true[clip] == 0
        else:
            assert figures.f1[clip] == pytest.approx(metrics.event_f1_micro)
        errors = (metrics.event_false_positives or 0) + (metrics.event_false_negatives or 0)
        assert figures.wrong[clip] == errors


def test_shared_time_of_a_clip() -> None:
    truth = cases.truth_of({"a": [(0.0, 2.0, "Cat"), (0.0, 4.0, "Dog")], "b": [], "c": []})
    figures = clip_figures(task_of(truth, [("a", 1.0, 3.0, "Cat"), ("b", 0.0, 1.0, "Cat")]))
    assert figures is not None
    np.testing.assert_allclose(figures.shared, [2 * 1.0 / (6.0 + 2.0), 0.0, np.nan])
    np.testing.assert_allclose(figures.f1, [0.0, 0.0, np.nan])


def test_best_and_worst_clips_and_their_ties() -> None:
    right, wrong = (0.0, 1.0, "Cat"), (5.0, 6.0, "Cat")
    truth = cases.truth_of(
        {
            "one right": [right],
            "two right": [right, wrong],
            "nothing": [],
            "half": [right],
            "two missed": [right, wrong],
            "one missed": [right],
            "late": [right],
        }
    )
    detected = [
        ("one right", *right),
        ("two right", *right),
        ("two right", *wrong),
        ("half", *right),
        ("half", *wrong),
        ("late", 0.5, 1.5, "Cat"),
    ]
    task = task_of(truth, detected)
    figures = clip_figures(task)
    assert figures is not None
    names = np.array(list(truth.events))
    best, worst = best_and_worst(task, figures, number=3)
    assert list(names[best]) == ["two right", "one right", "half"]
    assert list(names[worst]) == ["two missed", "one missed", "late"]
    best, worst = best_and_worst(task, figures, number=20)
    assert list(names[best]) == ["two right", "one right", "half"]  # others have none right
    assert set(best).isdisjoint(worst)
    assert len(worst) == 3


def test_clips_that_scores_were_not_given_for_are_neither_best_nor_worst() -> None:
    truth = cases.truth_of({name: [(0.0, 1.0, "Cat")] for name in "abc"})
    scores = Scores(cases.scores_of({"b": [(50, 60, "Cat", 0.9)]}), ["b"], cases.GRID)
    task = ScoringInput.prepare(scores, truth)
    figures = clip_figures(task)
    assert figures is not None
    best, worst = best_and_worst(task, figures)
    assert list(best) == []
    assert list(worst) == [1]


def test_without_detections_there_is_nothing_to_analyse() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat")]})
    points = OperatingPoints(table_of(truth, [("a", 0.0, 1.0, "Cat")]), (0.3,), ["a"])
    task = ScoringInput.prepare(None, truth, operating_points=points)
    assert task.detections is None
    assert polyphony_confusion(task) is None
    assert boundary_errors(task) is None
    assert clip_figures(task) is None


def test_boxes_are_analysed_as_their_events() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat")]})
    events = table_of(truth, [("a", 0.1, 1.0, "Cat"), ("a", 3.0, 4.0, "Cat")])
    boxes = Boxes(events, np.array([0.9, 0.2]), ["a"], len(truth.classes))
    errors = boundary_errors(ScoringInput.prepare(boxes, truth))
    assert errors is not None
    np.testing.assert_allclose(errors.onset, [0.1])


def test_shares() -> None:
    assert share_within(np.array([-0.2, 0.0, 0.21, 3.0]), 0.2) == 0.5
    assert share_within(np.zeros(0), 0.2) is None
    np.testing.assert_allclose(
        row_shares(np.array([[1, 3], [0, 0]])), [[0.25, 0.75], [np.nan, np.nan]]
    )
