"""The numbers behind the report's sections, by hand and by slow counts."""

from pathlib import Path

import numpy as np
import pytest

from desed_task.evaluation import (
    Boxes,
    EventTable,
    OperatingPoints,
    Predictions,
    Scores,
    evaluate,
)
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.boundaries import best_pairs, boundary_errors, share_within
from desed_task.report.clips import audio_path, clip_scores, worst_clips
from desed_task.report.confusion import confusion_shares, most_confused
from desed_task.report.polyphony import polyphony_confusion, row_shares
from desed_task.report.size import class_origins, size_blocks
from desed_task.report.systems import ReportInput, ReportSystem
from desed_task.report.thresholds import threshold_curves
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
    assert len(errors["onset"]) == 3
    np.testing.assert_allclose(sorted(errors["onset"]), [-0.1, 0.4, 2.0])
    np.testing.assert_allclose(sorted(errors["offset"]), [0.5, 0.5, 1.4])


def test_equal_overlaps_go_to_the_first_event() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat"), (2.0, 3.0, "Cat")]})
    errors = boundary_errors(scoring_input(truth, [("a", 0.5, 2.5, "Cat")]))
    assert errors is not None
    np.testing.assert_allclose(errors["onset"], [0.5])


def test_boxes_are_analysed_as_their_events() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat")]})
    events = table_of(truth, [("a", 0.1, 1.0, "Cat"), ("a", 3.0, 4.0, "Cat")])
    boxes = Boxes(events, np.array([0.9, 0.2]), ["a"], len(truth.classes))
    errors = boundary_errors(ScoringInput.prepare(boxes, truth))
    assert errors is not None
    np.testing.assert_allclose(errors["onset"], [0.1])


def test_share_within_a_collar() -> None:
    assert share_within(np.array([-0.2, 0.0, 0.21, 3.0]), 0.2) == 0.5
    assert share_within(np.zeros(0), 0.2) is None


def test_the_classes_with_most_errors_are_shown() -> None:
    matrix = np.diag(np.full(101, 9))
    matrix[7, 90], matrix[90, 3], matrix[50, 100], matrix[100, 60] = 5, 4, 2, 3
    assert most_confused(matrix, most=4) == [3, 7, 60, 90]
    assert most_confused(matrix[-3:, -3:]) == [0, 1]


def test_shares_of_a_confusion() -> None:
    matrix = np.array([[2, 0, 3], [1, 0, 0], [2, 1, 0]])
    expected = [[0.5, np.nan, 0.6], [0.25, np.nan, np.nan], [0.5, 1.0, np.nan]]
    np.testing.assert_allclose(confusion_shares(matrix, np.array([4, 1])), expected)


@pytest.mark.parametrize("known", [True, False])
def test_size_of_a_small_and_of_a_large_set(known: bool) -> None:
    cats = [(float(k), k + 0.5, "Cat") for k in range(9)]
    dogs = [(float(k), k + 0.5, "Dog") for k in range(10)]
    truth = cases.truth_of({str(k): [*(cats if k < 2 else ()), *dogs] for k in range(24)})
    metrics = evaluate(None, truth, predictions=Predictions(table_of(truth, []), []))
    origins = {str(k): f"night {k // 3}" for k in range(24)} if known else None
    report = ReportInput([ReportSystem("s", metrics)], recordings=origins)
    first, note = size_blocks(report)
    clips = "24 clips of 8 recordings" if known else "24 clips"
    assert first == f"Ground truth: 258 events of 2 classes in {clips}, 4.0 minutes of audio."
    assert ("8 recordings" in note) == known
    assert "less than 30 events of a class (Cat 18)" in note
    counts = class_origins(report)[[truth.classes.index(name) for name in ("Cat", "Dog")]]
    assert counts.tolist() == ([1, 8] if known else [2, 24])
    many = cases.truth_of({str(k): dogs for k in range(20)})
    metrics = evaluate(None, many, predictions=Predictions(table_of(many, []), []))
    assert len(size_blocks(ReportInput([ReportSystem("s", metrics)]))) == 1


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
    np.testing.assert_allclose(curves["event-based"]["F1"], [(1 + 0) / 2, (2 / 4 + 0) / 2, 0])
    np.testing.assert_allclose(curves["event-based"]["recall"], [(1 + 0) / 2, (1 / 2 + 0) / 2, 0])
    # At 0.4 no dog is detected: its precision is excluded. At 0.6 no class is.
    np.testing.assert_allclose(curves["event-based"]["precision"], [(1 + 0) / 2, 1 / 2, np.nan])
    np.testing.assert_allclose(
        curves["intersection-based"]["F1"], [(1 + 2 / 3) / 2, (2 / 4 + 0) / 2, 0]
    )
    np.testing.assert_allclose(curves["intersection-based"]["recall"], [1, 1 / 4, 0])
    np.testing.assert_allclose(
        curves["intersection-based"]["precision"], [(1 + 1 / 2) / 2, 1 / 2, np.nan]
    )


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
        assert curves["event-based"]["F1"][level] == pytest.approx(metrics.event_f1_macro)
        assert curves["intersection-based"]["F1"][level] == pytest.approx(
            metrics.intersection_f1_macro_occurring
        )
        found = [m.event_true_positives or 0 for m in metrics.per_class.values()]
        true = [m.true for m in metrics.per_class.values()]
        assert curves["event-based"]["recall"][level] == pytest.approx(
            np.mean(np.divide(found, true))
        )


def test_no_threshold_curves_without_points_or_true_events() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat")]})
    assert threshold_curves(scoring_input(truth, [])) is None
    empty = cases.truth_of({"a": []})
    scores = Scores(cases.scores_of({"a": [(0, 9, "Cat", 0.9)]}), ["a"], cases.GRID)
    assert threshold_curves(ScoringInput.prepare(scores, empty, thresholds=(0.5,))) is None


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


def test_row_shares() -> None:
    np.testing.assert_allclose(
        row_shares(np.array([[1, 3], [0, 0]])), [[0.25, 0.75], [np.nan, np.nan]]
    )


def test_clip_scores_equal_an_evaluation_of_that_clip_alone() -> None:
    rng = np.random.default_rng(2)
    truth = cases.random_truth(rng)
    names = list(truth.events)
    values = cases.random_scores(rng, truth)
    scores_by_clip = clip_scores(ScoringInput.prepare(Scores(values, names, cases.GRID), truth))
    assert scores_by_clip is not None
    for clip, name in enumerate(names):
        alone = Scores(values[clip : clip + 1], [name], cases.GRID)
        metrics = evaluate(alone, truth.restricted([name]))
        if metrics.event_f1_micro is None:
            assert scores_by_clip.true[clip] == 0
        else:
            assert scores_by_clip.f1[clip] == pytest.approx(metrics.event_f1_micro)
        errors = (metrics.event_false_positives or 0) + (metrics.event_false_negatives or 0)
        assert scores_by_clip.errors[clip] == errors


def test_overlap_by_hand() -> None:
    truth = cases.truth_of({"a": [(0.0, 2.0, "Cat"), (0.0, 4.0, "Dog")], "b": [], "c": []})
    scores_by_clip = clip_scores(
        scoring_input(truth, [("a", 1.0, 3.0, "Cat"), ("b", 0.0, 1.0, "Cat")])
    )
    assert scores_by_clip is not None
    np.testing.assert_allclose(scores_by_clip.overlap, [2 * 1.0 / (6.0 + 2.0), 0.0, np.nan])
    np.testing.assert_allclose(scores_by_clip.f1, [0.0, 0.0, np.nan])


def test_worst_clips_and_their_ties() -> None:
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
    scoring = scoring_input(truth, detected)
    scores_by_clip = clip_scores(scoring)
    assert scores_by_clip is not None
    names = np.array(list(truth.events))
    worst = worst_clips(scoring, scores_by_clip)
    assert list(names[worst]) == ["two missed", "one missed", "late", "half"]  # others are right
    assert list(worst_clips(scoring, scores_by_clip, number=2)) == list(worst[:2])


def test_clips_without_scores_are_not_the_worst() -> None:
    truth = cases.truth_of({name: [(0.0, 1.0, "Cat")] for name in "abc"})
    scores = Scores(cases.scores_of({"b": [(50, 60, "Cat", 0.9)]}), ["b"], cases.GRID)
    scoring = ScoringInput.prepare(scores, truth)
    scores_by_clip = clip_scores(scoring)
    assert scores_by_clip is not None
    assert list(worst_clips(scoring, scores_by_clip)) == [1]


def test_no_numbers_without_detections() -> None:
    for function in (boundary_errors, polyphony_confusion, clip_scores):
        assert function(points_only()) is None


def test_audio_files_are_searched_in_their_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    (folder / "inner").mkdir(parents=True)
    inside = [folder / "a.wav", folder / "inner" / "b.wav", folder / "..c.wav"]
    for path in [*inside, tmp_path / "outside.wav"]:
        path.write_bytes(b"")
    assert audio_path(folder, "a.wav") == audio_path(folder, "a") == inside[0]
    assert audio_path(folder, "inner/b") == inside[1]
    assert audio_path(folder, "..c.wav") == inside[2]
    assert audio_path(folder, "missing") is None
    for name in ("../outside.wav", "../outside", "inner/../../outside", str(inside[0])):
        assert audio_path(folder, name) is None
