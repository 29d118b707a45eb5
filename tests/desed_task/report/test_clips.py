from pathlib import Path

import numpy as np
import pytest

from desed_task.evaluation import Scores, evaluate
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.clips import audio_path, best_and_worst, clip_scores
from tests.support import cases
from tests.support.report_cases import points_only, scoring_input


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
    scoring = scoring_input(truth, detected)
    scores_by_clip = clip_scores(scoring)
    assert scores_by_clip is not None
    names = np.array(list(truth.events))
    best, worst = best_and_worst(scoring, scores_by_clip, number=3)
    assert list(names[best]) == ["two right", "one right", "half"]
    assert list(names[worst]) == ["two missed", "one missed", "late"]
    best, worst = best_and_worst(scoring, scores_by_clip, number=20)
    assert list(names[best]) == ["two right", "one right", "half"]  # others have none right
    assert set(best).isdisjoint(worst)
    assert len(worst) == 3


def test_clips_without_scores_are_neither_best_nor_worst() -> None:
    truth = cases.truth_of({name: [(0.0, 1.0, "Cat")] for name in "abc"})
    scores = Scores(cases.scores_of({"b": [(50, 60, "Cat", 0.9)]}), ["b"], cases.GRID)
    scoring = ScoringInput.prepare(scores, truth)
    scores_by_clip = clip_scores(scoring)
    assert scores_by_clip is not None
    best, worst = best_and_worst(scoring, scores_by_clip)
    assert list(best) == []
    assert list(worst) == [1]


def test_no_clip_scores_without_detections() -> None:
    assert clip_scores(points_only()) is None


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
