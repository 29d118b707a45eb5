import numpy as np

from desed_task.evaluation import Boxes
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.boundaries import best_pairs, boundary_errors, share_within
from tests.support import cases
from tests.support.report_cases import points_only, scoring_input, table_of


def test_errors_of_best_pairs() -> None:
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
    scoring = scoring_input(truth, detected)
    assert scoring.detections is not None
    rows, true = best_pairs(scoring.detections, scoring.true)
    pairs = {
        (scoring.detections.onset[row].item(), scoring.true.onset[k].item())
        for row, k in zip(rows, true, strict=True)
    }
    assert pairs == {(0.9, 1.0), (4.4, 4.0), (2.0, 0.0)}
    errors = boundary_errors(scoring)
    assert errors is not None
    assert len(errors) == 3
    np.testing.assert_allclose(sorted(errors.onset), [-0.1, 0.4, 2.0])
    np.testing.assert_allclose(sorted(errors.offset), [0.5, 0.5, 1.4])
    np.testing.assert_allclose(errors.duration, errors.offset - errors.onset)


def test_equal_overlaps_go_to_the_first_event() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat"), (2.0, 3.0, "Cat")]})
    errors = boundary_errors(scoring_input(truth, [("a", 0.5, 2.5, "Cat")]))
    assert errors is not None
    np.testing.assert_allclose(errors.onset, [0.5])


def test_boxes_are_analysed_as_their_events() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat")]})
    events = table_of(truth, [("a", 0.1, 1.0, "Cat"), ("a", 3.0, 4.0, "Cat")])
    boxes = Boxes(events, np.array([0.9, 0.2]), ["a"], len(truth.classes))
    errors = boundary_errors(ScoringInput.prepare(boxes, truth))
    assert errors is not None
    np.testing.assert_allclose(errors.onset, [0.1])


def test_no_boundary_errors_without_detections() -> None:
    assert boundary_errors(points_only()) is None


def test_share_within_a_collar() -> None:
    assert share_within(np.array([-0.2, 0.0, 0.21, 3.0]), 0.2) == 0.5
    assert share_within(np.zeros(0), 0.2) is None
