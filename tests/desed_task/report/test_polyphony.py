import numpy as np
import pytest

from desed_task.evaluation import Scores
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.polyphony import polyphony_confusion, row_shares
from tests.support import cases
from tests.support.report_cases import points_only, scoring_input


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
        ("a", 0.5, 2.0, "Cat"),  # the same class: counted once
        ("a", 3.0, 4.0, "Cat"),
        ("a", 3.0, 4.0, "Dishes"),
        ("b", 1.0, 9.0, "Cat"),  # cut at the end of the clip
    ]
    confusion = polyphony_confusion(scoring_input(truth, detected))
    assert confusion is not None
    expected = [
        [1.0, 1.01, 0.0],  # b
        [1.0 + 5.0, 2.0, 0.0],  # a: 2-3 and 5-10 s; 0-2 s
        [1.0, 0.0, 1.0],  # 4-5 s; 3-4 s
    ]
    np.testing.assert_allclose(confusion, expected, atol=1e-9)
    dropped = polyphony_confusion(scoring_input(truth, detected, drop=True))
    assert dropped is not None
    assert dropped.sum() == pytest.approx(10.0)


def test_polyphony_of_random_events_equals_a_slow_count() -> None:
    rng = np.random.default_rng(1)
    truth = cases.random_truth(rng, 6, step=0.1)
    values = cases.random_scores(rng, truth)
    scoring = ScoringInput.prepare(Scores(values, list(truth.events), cases.GRID), truth)
    confusion = polyphony_confusion(scoring)
    assert confusion is not None
    assert scoring.detections is not None
    expected = np.zeros((3, 3))
    for clip, seconds in enumerate(scoring.durations):
        for step in range(int(np.ceil(seconds / 0.02 - 1e-9))):
            time = (step + 0.5) * 0.02
            n_active = [
                len(
                    {
                        int(table.label[row])
                        for row in range(len(table))
                        if table.clip[row] == clip and table.onset[row] <= time < table.offset[row]
                    }
                )
                for table in (scoring.true, scoring.detections)
            ]
            weight = min(0.02, seconds - step * 0.02)
            expected[min(n_active[0], 2), min(n_active[1], 2)] += weight
    np.testing.assert_allclose(confusion, expected, atol=1e-6)
    assert confusion.sum() == pytest.approx(scoring.durations.sum())


def test_no_polyphony_without_detections() -> None:
    assert polyphony_confusion(points_only()) is None


def test_row_shares() -> None:
    np.testing.assert_allclose(
        row_shares(np.array([[1, 3], [0, 0]])), [[0.25, 0.75], [np.nan, np.nan]]
    )
