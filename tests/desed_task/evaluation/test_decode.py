import json

import numpy as np
import pytest

from desed_task.evaluation import THRESHOLDS, detect_many, to_frame
from desed_task.evaluation.events import EventTable
from desed_task.frames import FrameGrid
from tests.support import cases
from tests.support.classes import CLASSES
from tests.support.paths import GOLDEN
from tests.support.slow_decoding import decode_strong


def rows(table: EventTable, classes: tuple[str, ...]) -> list[tuple[int, int, str, float, float]]:
    return [
        (level, clip, classes[label], onset, offset)
        for level, clip, label, onset, offset in zip(
            table.level.tolist(),
            table.clip.tolist(),
            table.label.tolist(),
            table.onset.tolist(),
            table.offset.tolist(),
            strict=True,
        )
    ]


def test_golden_events() -> None:
    golden = json.loads((GOLDEN / "decoding.json").read_text())
    scores = np.load(GOLDEN / "decoding.npz")["filtered"]
    thresholds = sorted({event[1] for event in golden["events"]})
    found = rows(detect_many(scores, thresholds, FrameGrid()), CLASSES)
    expected = [(thresholds.index(t), c, k, on, off) for c, t, k, on, off in golden["events"]]
    assert sorted(found) == sorted(expected)


def test_equals_decoding_clip_by_clip_with_ties_at_the_thresholds() -> None:
    rng = np.random.default_rng(1)
    scores = rng.choice([0.0, 0.1, 0.3, 0.5, 0.9, 1.0], size=(5, 4, 40))
    thresholds = [0.1, 0.5, 0.9]
    expected = [
        (level, clip, event.event_label, event.onset, event.offset)
        for level, threshold in enumerate(thresholds)
        for clip, clip_scores in enumerate(scores)
        for event in decode_strong(clip_scores > threshold, cases.CLASSES, cases.GRID)
    ]
    assert rows(detect_many(scores, thresholds, cases.GRID), cases.CLASSES) == expected


def test_float32_scores_are_compared_with_the_threshold_as_written() -> None:
    # The float32 next to 0.07 is larger than 0.07, the one next to 0.01 is smaller.
    scores = np.array([0.07, 0.01], dtype=np.float32).reshape(2, 1, 1)
    assert detect_many(scores, [0.07], cases.GRID).clip.tolist() == [0]
    assert detect_many(scores[1:], [0.01], cases.GRID).clip.tolist() == []


def test_a_level_is_what_its_threshold_alone_gives() -> None:
    rng = np.random.default_rng(2)
    scores = cases.random_scores(rng, cases.random_truth(rng))
    table = detect_many(scores, THRESHOLDS, cases.GRID)
    for level in (0, 24, 49):
        alone = detect_many(scores, [THRESHOLDS[level]], cases.GRID)
        assert rows(table.at_level(level), cases.CLASSES) == rows(alone, cases.CLASSES)
        assert len(alone)


def test_to_frame_has_the_columns_the_libraries_read() -> None:
    scores = cases.scores_of({"a.wav": [], "b.wav": [(2, 5, "Dog", 0.8)]})
    frame = to_frame(detect_many(scores, [0.5], cases.GRID), ["a.wav", "b.wav"], cases.CLASSES)
    assert frame.to_dict("records") == [
        {"filename": "b.wav", "onset": 0.128, "offset": 0.32, "event_label": "Dog"}
    ]


def test_an_event_up_to_the_end_ends_with_the_clip() -> None:
    grid = FrameGrid(clip_seconds=9.97)
    assert detect_many(np.ones((1, 1, 156)), [0.5], grid).offset.tolist() == [9.97]


def test_trimming_cuts_and_drops_what_is_past_the_end() -> None:
    scores = cases.scores_of({"a": [(0, 20, "Cat", 1), (30, 40, "Cat", 1), (60, 70, "Dog", 1)]})
    trimmed = detect_many(scores, [0.5], cases.GRID).trimmed(np.array([2.0]))
    assert rows(trimmed, cases.CLASSES) == [
        (0, 0, "Cat", 0.0, 1.28),
        (0, 0, "Cat", 1.92, 2.0),
    ]


def test_refuses_what_is_no_threshold_list_or_no_score_array() -> None:
    for thresholds in ([0.5, 0.5], []):
        with pytest.raises(ValueError, match="expected at least one threshold, ascending"):
            detect_many(np.zeros((1, 1, 3)), thresholds, cases.GRID)
    with pytest.raises(ValueError, match="clips, classes, frames"):
        detect_many(np.zeros((1, 3)), [0.5], cases.GRID)
