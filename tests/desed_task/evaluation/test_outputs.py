"""Scores of clips of different lengths: the same as each clip alone."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from desed_task.evaluation import GroundTruth, Scores, evaluate, read_scores, write_system
from desed_task.evaluation.results import difference_lines
from desed_task.frames import FrameGrid
from desed_task.postprocess.median import median_filter
from desed_task.postprocess.sebbs import BoxParameters, bounding_boxes
from tests.support import cases

SECONDS = {"a.wav": 10.0, "b.wav": 25.0, "c.wav": 4.0, "d.wav": 10.03, "e.wav": 25.0}
GRIDS = [cases.GRID.covering(seconds) for seconds in SECONDS.values()]
WINDOWS = (1, 5, 16, 31)


def some_values(rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """Slowly changing scores with ties, `(classes, frames)` of each clip."""
    walks = [np.cumsum(rng.normal(0, 0.3, (4, grid.n_frames)), axis=1) for grid in GRIDS]
    return [(np.round(20 / (1 + np.exp(1 - walk))) / 20).astype(np.float32) for walk in walks]


def some_truth(rng: np.random.Generator) -> GroundTruth:
    """Events anywhere in the clips, also after the tenth second."""
    events = {}
    for name, seconds in SECONDS.items():
        onsets = np.sort(rng.uniform(0, seconds - 0.5, 5))
        offsets = np.minimum(np.append(onsets[1:], seconds), onsets + rng.uniform(0.3, 2, 5))
        labels = [cases.CLASSES[k] for k in rng.integers(0, 4, 5)]
        events[name] = list(zip(onsets.tolist(), offsets.tolist(), labels, strict=True))
    return cases.truth_of(events, SECONDS)


def alone(values: list[NDArray[np.float32]], clip: int) -> Scores:
    return Scores(values[clip][None], [list(SECONDS)[clip]], GRIDS[clip])


def test_clips_of_one_length_are_an_array() -> None:
    values = [np.full((4, 156), k / 4, dtype=np.float32) for k in range(3)]
    scores = Scores.from_clips(values, "abc", [cases.GRID] * 3)
    assert scores.lengths is None
    np.testing.assert_array_equal(scores.values, np.stack(values))
    np.testing.assert_array_equal(scores.edges, Scores(np.stack(values), "abc", cases.GRID).edges)


def test_the_grid_of_a_longer_clip_is_that_of_its_length() -> None:
    assert GRIDS[0] is GRIDS[2] is cases.GRID
    assert GRIDS[1] == FrameGrid(clip_seconds=25.0)
    assert [grid.n_frames for grid in GRIDS] == [156, 390, 156, 156, 390]


def test_events_of_mixed_lengths_are_those_of_each_clip() -> None:
    values = some_values(np.random.default_rng(0))
    mixed = Scores.from_clips(values, list(SECONDS), GRIDS)
    thresholds = (-1.0, 0.2, 0.5, 0.8)
    found = mixed.detect(thresholds)
    for clip in range(len(SECONDS)):
        expected = alone(values, clip).detect(thresholds)
        own = found.select(found.clip == clip)
        for column in ("level", "label", "onset", "offset"):
            np.testing.assert_array_equal(getattr(own, column), getattr(expected, column))


def test_filters_see_no_padding() -> None:
    values = some_values(np.random.default_rng(1))
    mixed = Scores.from_clips(values, list(SECONDS), GRIDS)
    filtered = mixed.processed(lambda scores: median_filter(scores, WINDOWS))
    for clip, grid in enumerate(GRIDS):
        expected = median_filter(values[clip][None], WINDOWS)[0]
        np.testing.assert_array_equal(filtered.values[clip, :, : grid.n_frames], expected)
        assert np.isneginf(filtered.values[clip, :, grid.n_frames :]).all()


def test_boxes_of_mixed_lengths_are_those_of_each_clip() -> None:
    values = some_values(np.random.default_rng(2))
    parameters = [BoxParameters(0.5, 0.2, np.inf)] * 4
    boxes = bounding_boxes(Scores.from_clips(values, list(SECONDS), GRIDS), parameters)
    for clip in range(len(SECONDS)):
        expected = bounding_boxes(alone(values, clip), parameters)
        rows = boxes.events.clip == clip
        np.testing.assert_array_equal(boxes.events.onset[rows], expected.events.onset)
        np.testing.assert_array_equal(boxes.events.offset[rows], expected.events.offset)
        np.testing.assert_allclose(boxes.confidence[rows], expected.confidence, rtol=0, atol=1e-12)


def test_metrics_of_mixed_lengths_are_the_libraries() -> None:
    rng = np.random.default_rng(3)
    truth, values = some_truth(rng), some_values(rng)
    scores = Scores.from_clips(values, list(SECONDS), GRIDS)
    metrics = evaluate(scores, truth, check=True)
    assert difference_lines({"mixed": metrics}) == []
    assert metrics.psds1_sed_scores_eval is not None
    late = [event for event in truth.events["b.wav"] if event.onset > 10]
    assert late
    perfect = [np.zeros_like(clip) for clip in values]
    for clip, events in enumerate(truth.events.values()):
        for onset, offset, label in events:
            first, end = GRIDS[clip].onset_to_frame(onset), GRIDS[clip].offset_to_frame(offset)
            perfect[clip][cases.CLASSES.index(label), first:end] = 1
    best = evaluate(Scores.from_clips(perfect, list(SECONDS), GRIDS), truth)
    assert best.per_class["Cat"].event_f1 == pytest.approx(1.0)


def test_score_files_end_with_their_clip(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    truth, values = some_truth(rng), some_values(rng)
    scores = Scores.from_clips(values, list(SECONDS), GRIDS)
    metrics = evaluate(scores, truth)
    write_system(tmp_path, metrics, raw_scores=scores)
    for kind in ("raw", "postprocessed"):
        lines = (tmp_path / "scores" / kind / "b.tsv").read_text().splitlines()
        assert len(lines) == 1 + 390
        assert lines[-1].split("\t")[:2] == ["24.896", "24.96"]
        read = read_scores(tmp_path / "scores" / kind, truth)
        again = evaluate(read, truth).as_flat_dict()
        assert again == pytest.approx(metrics.as_flat_dict(), abs=1e-12)


def test_confidence_of_an_event_in_frames_without_length() -> None:
    """A clip that ends within its grid: the last two frames begin and end where it ends."""
    values = np.array([[[0.2, 0.8, 0.1, 0.3, 0.9]]], dtype=np.float32)
    edges = np.array([[0.0, 1.0, 2.0, 2.5, 2.5, 2.5]])
    table, confidence = Scores(values, ["a"], edges).detect_with_confidence([0.25])
    np.testing.assert_allclose(table.onset, [1.0, 2.5])
    np.testing.assert_allclose(confidence, [0.8, 0.6], rtol=1e-6)
