"""Event-based and segment-based F-scores against sed_eval and by hand."""

import numpy as np
import pytest

from desed_task.evaluation import (
    GroundTruth,
    detect_many,
    event_based,
    libraries,
    segment_based,
    to_frame,
)
from desed_task.evaluation.clip_counts import Counts
from desed_task.evaluation.events import EventTable
from tests.support import cases


def table(truth: GroundTruth) -> EventTable:
    return truth.table(list(truth.events))


def detections_of(events: dict[str, list[tuple[float, float, str]]]) -> EventTable:
    return table(cases.truth_of(events))


def detected(counts: Counts) -> list[int]:
    """Detected events or segments of each class."""
    return (counts.correct + counts.false)[0].tolist()


def counts_of(metrics: object) -> list[list[float]]:
    """Reference, system and correct counts of each class in sed_eval's metrics."""
    by_class = metrics.class_wise  # type: ignore[attr-defined]
    return [[by_class[k][key] for k in cases.CLASSES] for key in ("Nref", "Nsys", "Ntp")]


def f_scores_of(metrics: object) -> list[float]:
    averages = metrics.results_class_wise_average_metrics()  # type: ignore[attr-defined]
    overall = metrics.results_overall_metrics()  # type: ignore[attr-defined]
    return [averages["f_measure"]["f_measure"], overall["f_measure"]["f_measure"]]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["events", "segments"])
def test_counts_and_f_scores_equal_sed_eval(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = cases.random_truth(rng, 20, step=[None, 0.064, 0.5][seed % 3], apart=seed % 2 == 0)
    scores = cases.random_scores(rng, truth)
    if seed == 1:
        scores[:, 0] = 0  # a class that is never detected
    if seed == 2:
        scores[:] = 0
    names = list(truth.events)
    detections = detect_many(scores, [0.5], cases.GRID)
    frame = to_frame(detections, names, truth.classes)
    if kind == "events":
        ours = event_based.match(cases.scoring_of(truth), detections).total()
        reference = libraries.event_based(frame, truth)
    else:
        ours = segment_based.match(cases.scoring_of(truth), detections).total()
        reference = libraries.segment_based(frame, truth)
    assert [ours.true.tolist(), detected(ours), ours.correct[0].tolist()] == counts_of(reference)
    values = ours.f_scores("x")
    found = [values["x_f1_macro"], values["x_f1_micro"]]
    assert found == pytest.approx(f_scores_of(reference), abs=1e-9)


def test_crowded_events_are_paired_as_sed_eval_pairs_them() -> None:
    """Many events within each other's collars: a greedy pairing would miss some."""
    rng = np.random.default_rng(0)
    true: dict[str, list[tuple[float, float, str]]] = {}
    said: dict[str, list[tuple[float, float, str]]] = {}
    for clip in range(40):
        for events in (true, said):
            onsets = rng.uniform(0, 0.8, 6)
            events[f"{clip}.wav"] = [(t, t + rng.uniform(0.1, 0.4), "Dog") for t in onsets.tolist()]
    truth, detections = cases.truth_of(true), detections_of(said)
    ours = event_based.match(cases.scoring_of(truth), detections).total()
    frame = to_frame(detections, list(true), cases.CLASSES)
    reference = libraries.event_based(frame, truth)
    assert ours.correct[0].tolist() == counts_of(reference)[2]
    assert detected(ours) == counts_of(reference)[1]
    assert 100 < ours.correct[0, 2] < 240


def test_event_based_counts_at_several_thresholds_are_those_of_each() -> None:
    rng = np.random.default_rng(4)
    truth = cases.random_truth(rng, 20, step=0.064)
    scores = cases.random_scores(rng, truth)
    points = detect_many(scores, cases.THRESHOLDS, cases.GRID)
    together = event_based.match(
        cases.scoring_of(truth), points, n_levels=len(cases.THRESHOLDS)
    ).total()
    for level in range(len(cases.THRESHOLDS)):
        alone = event_based.match(cases.scoring_of(truth), points.at_level(level)).total()
        np.testing.assert_array_equal(together.correct[level], alone.correct[0])
        np.testing.assert_array_equal(together.false[level], alone.false[0])
    assert len(set(together.correct.sum(axis=1).tolist())) > 2


def test_a_hit_needs_the_onset_collar_and_the_offset_tolerance() -> None:
    truth = cases.truth_of({"a": [(1.0, 6.0, "Cat")], "b": []})
    for onset, offset, hit in (
        (1.19, 6.0, 1),
        (1.21, 6.0, 0),
        (0.81, 5.01, 1),
        (1.0, 7.01, 0),
    ):
        detections = detections_of({"a": [(onset, offset, "Cat")], "b": []})
        counts = event_based.match(cases.scoring_of(truth), detections).total()
        assert counts.correct.tolist() == [[hit, 0, 0, 0]]
        assert counts.false.tolist() == [[1 - hit, 0, 0, 0]]
    elsewhere = detections_of({"a": [(1.0, 6.0, "Dog")], "b": [(1.0, 6.0, "Cat")]})
    assert event_based.match(cases.scoring_of(truth), elsewhere).total().correct.sum() == 0


def test_segments_an_event_touches_count() -> None:
    truth = cases.truth_of({"a": [(0.5, 1.1, "Cat"), (3.0, 4.0, "Dog")]})
    detections = detections_of({"a": [(1.9, 2.0, "Cat"), (2.9, 3.1, "Dog")]})
    counts = segment_based.match(cases.scoring_of(truth), detections).total()
    assert counts.true.tolist() == [2, 0, 1, 0]
    assert detected(counts) == [1, 0, 2, 0]
    assert counts.correct.tolist() == [[1, 0, 1, 0]]


def test_f_scores_by_hand() -> None:
    counts = Counts(np.array([4, 2, 0]), np.array([[1, 0, 0]]), np.array([[1, 0, 3]]))
    np.testing.assert_allclose(counts.f1, [[2 / 6, 0, np.nan]])
    assert counts.f_scores("x") == {
        "x_f1_macro": pytest.approx(1 / 6),
        "x_f1_micro": pytest.approx(2 / 11),
        "x_true_positives": 1,
        "x_false_positives": 4,
        "x_false_negatives": 5,
    }
    nothing = Counts(np.zeros(3, int), np.zeros((1, 3), int), np.array([[1, 0, 0]]))
    undefined = nothing.f_scores("x")
    assert undefined["x_f1_macro"] is undefined["x_f1_micro"] is None
