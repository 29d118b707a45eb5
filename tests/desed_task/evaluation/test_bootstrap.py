"""Bootstrap intervals, against `evaluate` on sets in which clips are copied."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from desed_task.evaluation import (
    PSDS1,
    PSDS2,
    Boxes,
    GroundTruth,
    OperatingPoints,
    Predictions,
    Scores,
    SystemMetrics,
    evaluate,
    psds_exact,
)
from desed_task.evaluation.bootstrap import bootstrap, draw, resampled_values
from desed_task.evaluation.events import EventTable
from desed_task.evaluation.results import HEADLINE_METRICS
from desed_task.evaluation.scoring_input import ScoringInput
from tests.support import cases
from tests.support.desed import read_truth, rebuilt_scores

OF_SCORES = [name for name in HEADLINE_METRICS if name.endswith("sed_scores_eval")]
WIDE = {"psds1": replace(PSDS1, max_efpr=2000.0), "psds2": replace(PSDS2, max_efpr=2000.0)}
ODD = {
    "psds1": replace(PSDS1, alpha_ct=1.0, alpha_st=0.3, max_efpr=700.0),
    "psds2": replace(PSDS2, alpha_st=0.0, max_efpr=300.0),
}
Output = Scores | Boxes | OperatingPoints | Predictions
System = dict[str, Output]


def copied(truth: GroundTruth, weights: np.ndarray) -> tuple[GroundTruth, dict[str, list[str]]]:
    """The truth with every clip as often as its weight says, and the copies' names."""
    copies = {
        name: [f"{name}#{k}" for k in range(int(times))]
        for name, times in zip(truth.events, weights, strict=True)
    }
    events = {new: truth.events[name] for name, news in copies.items() for new in news}
    durations = {new: truth.durations[name] for name, news in copies.items() for new in news}
    return GroundTruth(truth.classes, events, durations), copies


def copied_output(output: Output, copies: dict[str, list[str]]) -> Output:
    """A system's output for the copies."""
    old = [k for k, name in enumerate(output.names) for _ in copies[name]]
    names = [new for name in output.names for new in copies[name]]
    if isinstance(output, Scores):
        return Scores(output.values[old], names, output.edges[old])
    rows = [np.flatnonzero(output.events.clip == k) for k in old]
    chosen = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
    clip = np.repeat(np.arange(len(old)), [len(clip_rows) for clip_rows in rows])
    events = replace(output.events.select(chosen), clip=clip)
    if isinstance(output, Boxes):
        return replace(output, events=events, confidence=output.confidence[chosen], names=names)
    order = np.lexsort((events.onset, events.label, events.clip, events.level))
    return replace(output, events=events.select(order), names=names)


def evaluate_system(system: System, truth: GroundTruth, options: dict[str, Any]) -> SystemMetrics:
    rest = {key: output for key, output in system.items() if key != "scores"}
    return evaluate(system.get("scores"), truth, **rest, **options)  # type: ignore[arg-type]


def evaluate_copies(
    system: System, truth: GroundTruth, options: dict[str, Any], weights: np.ndarray
) -> SystemMetrics:
    many, copies = copied(truth, weights)
    outputs = {key: copied_output(output, copies) for key, output in system.items()}
    return evaluate_system(outputs, many, options)


def headlines(metrics: SystemMetrics) -> dict[str, float | None]:
    return {name: getattr(metrics, name) for name in HEADLINE_METRICS}


def assert_same(found: dict[str, float | None], expected: dict[str, float | None]) -> None:
    assert found.keys() == expected.keys()
    undefined = {name for name, value in expected.items() if value is None}
    assert {name for name, value in found.items() if value is None} == undefined
    defined = [name for name in expected if name not in undefined]
    difference = [abs((found[name] or 0) - (expected[name] or 0)) for name in defined]
    assert max(difference, default=0.0) <= 1e-9, dict(zip(defined, difference, strict=True))


def scores_in(
    rng: np.random.Generator, truth: GroundTruth, levels: int | None = 12, n_named: int = 100
) -> System:
    names = list(truth.events)[:n_named]
    values = cases.random_scores(rng, truth, levels=levels)[: len(names)]
    return {"scores": Scores(values, names, cases.GRID)}


def boxes_in(rng: np.random.Generator, truth: GroundTruth) -> System:
    """Boxes near the true events, some wrong, some beyond the clip's end, many ties."""
    names = list(truth.events)
    true = truth.table(names)
    rows = rng.random(len(true)) < 0.8
    onset = np.maximum(true.onset + rng.normal(0, 0.1, len(true)), 0.0)
    offset = np.maximum(true.offset + rng.normal(0, 0.1, len(true)), onset + 0.05)
    label = np.where(rng.random(len(true)) < 0.8, true.label, rng.integers(0, 4, len(true)))
    table = EventTable(true.level, true.clip, label, onset, offset).select(rows).ordered()
    end: dict[tuple[int, int], float] = {}
    apart = []
    for row in zip(table.clip, table.label, table.onset, table.offset, strict=True):
        apart.append(row[2] >= end.get(row[:2], 0.0))
        end[row[:2]] = max(row[3], end.get(row[:2], 0.0))
    kept = table.select(np.array(apart))
    confidence = rng.integers(1, 9, len(kept)) / 10
    return {"scores": Boxes(kept, confidence, names, len(truth.classes))}


def events_in(rng: np.random.Generator, truth: GroundTruth) -> System:
    scores = scores_in(rng, truth, n_named=15)["scores"]
    assert isinstance(scores, Scores)
    points = scores.detect(cases.THRESHOLDS)
    return {
        "operating_points": OperatingPoints(points, cases.THRESHOLDS, scores.names),
        "predictions": Predictions(scores.detect([0.4]), scores.names),
    }


def some_weights(rng: np.random.Generator, truth: GroundTruth) -> np.ndarray:
    """Every clip once; draws; no clip with a dog; a single clip; empty clips only."""
    n_clips = len(truth.events)
    true = truth.table(list(truth.events))
    clips = np.arange(n_clips)
    one_clip = np.where(clips == true.clip[0], n_clips, 0)
    no_dog = np.where(np.isin(clips, true.clip[true.label == 2]), 0, rng.integers(1, 4, n_clips))
    empty = np.where(np.isin(clips, true.clip), 0, 1)
    draws = [*draw(n_clips, 3, seed=1), rng.integers(0, 6, n_clips)]
    return np.array([np.ones(n_clips), *draws, no_dog, one_clip, empty], dtype=np.float64)


@pytest.mark.parametrize(
    ("seed", "make_system", "options"),
    [
        (0, scores_in, {}),
        (1, scores_in, WIDE | {"f1_threshold": 0.3}),
        (2, lambda rng, truth: scores_in(rng, truth, levels=None), ODD),
        (3, lambda rng, truth: scores_in(rng, truth, levels=None), {}),
        (4, lambda rng, truth: scores_in(rng, truth, n_named=7), WIDE),
        (5, scores_in, WIDE | {"drop_clips_without_events": True}),
        (6, scores_in, ODD | {"trim_to_clip": True, "f1_threshold": [0.2, 0.3, 0.4, 0.5]}),
        (7, scores_in, ODD | {"drop_clips_without_events": True, "trim_to_clip": True}),
        (8, boxes_in, ODD),
        (9, boxes_in, WIDE | {"trim_to_clip": True, "drop_clips_without_events": True}),
        (10, events_in, WIDE),
        (11, events_in, ODD | {"drop_clips_without_events": True, "trim_to_clip": True}),
    ],
)
def test_a_resampled_set_gives_what_evaluate_gives_for_copied_clips(
    seed: int, make_system: Callable[..., System], options: dict[str, Any]
) -> None:
    rng = np.random.default_rng(seed)
    # Every other truth lies on the frames' grid, with events that touch: many ties.
    step, apart = (0.064, False) if seed % 2 else (None, True)
    truth = cases.random_truth(rng, 20, step=step, apart=apart)
    system = make_system(rng, truth)
    metrics = evaluate_system(system, truth, options)
    weights = some_weights(rng, truth)
    found = list(resampled_values(metrics, weights))
    expected = [evaluate_copies(system, truth, options, row) for row in weights]
    assert 0 < expected[-3].classes_averaged < expected[0].classes_averaged == 4
    for values, copies_metrics in zip(found, expected, strict=True):
        assert_same(values, headlines(copies_metrics))
    assert_same(found[0], headlines(metrics))
    assert list(found[-1].values()) == [None] * len(HEADLINE_METRICS)
    given = HEADLINE_METRICS if "scores" in system else set(HEADLINE_METRICS) - set(OF_SCORES)
    assert all(values[n] is not None for values in found[:-1] for n in given)
    assert len({round(values["psds2_psds_eval"] or 0, 6) for values in found}) > 5


def test_a_truth_with_a_single_class_and_one_without_any() -> None:
    rng = np.random.default_rng(0)
    truth = cases.random_truth(rng, 10, classes=("Dog",))
    system = scores_in(rng, truth)
    weights = draw(10, 5, seed=0)
    found = list(resampled_values(evaluate_system(system, truth, ODD), weights))
    for values, row in zip(found, weights, strict=True):
        assert_same(values, headlines(evaluate_copies(system, truth, ODD, row)))
    nothing = cases.truth_of({name: [] for name in truth.events}, 10.0)
    intervals = bootstrap({"a": evaluate_system(system, nothing, {})}, replicates=5).metrics["a"]
    assert {(i.value, i.low, i.high) for i in intervals.values()} == {(None, None, None)}


def test_curves_end_at_the_limit_and_lose_no_area() -> None:
    """A curve is the whole curve up to the limit, and no point more."""
    rng = np.random.default_rng(3)
    truth = cases.random_truth(rng, 60)
    output = scores_in(rng, truth, levels=None)["scores"]
    assert isinstance(output, Scores)
    scoring = ScoringInput.prepare(output, truth)
    limit = 20.0
    near, whole = (replace(PSDS2, max_efpr=most) for most in (limit, 1e9))
    weights = draw(60, 20, seed=0)
    counts = psds_exact.match(scoring, [near, whole])
    areas = []
    for short, long in zip(*(each.rocs(weights) for each in counts), strict=True):
        assert short is not None
        assert long is not None
        for label, curve in short.per_class.items():
            other = long.per_class[label]
            assert curve.efpr[-1] <= limit
            assert len(curve.efpr) < len(other.efpr) / 2
            np.testing.assert_array_equal(curve.efpr, other.efpr[other.efpr <= limit])
            np.testing.assert_array_equal(curve.rate, other.rate[other.efpr <= limit])
            assert curve.area(limit) == other.area(limit)
        areas.append((short.psds, long.total.area(limit)))
        assert len(short.total.efpr) < len(long.total.efpr)
    ends, whole_areas = np.transpose(areas)
    np.testing.assert_allclose(ends, whole_areas, rtol=0, atol=1e-12)
    assert len({area for area, _ in areas}) > 15


@pytest.fixture(scope="module")
def two_systems() -> tuple[GroundTruth, list[System], dict[str, SystemMetrics]]:
    rng = np.random.default_rng(8)
    truth = cases.random_truth(rng, 15)
    systems = [scores_in(rng, truth), scores_in(rng, truth, n_named=9)]
    metrics = [evaluate_system(system, truth, WIDE) for system in systems]
    return truth, systems, dict(zip(("good", "late"), metrics, strict=True))


def test_intervals_are_percentiles_over_sets_that_all_systems_share(
    two_systems: tuple[GroundTruth, list[System], dict[str, SystemMetrics]],
) -> None:
    truth, systems, metrics = two_systems
    intervals = bootstrap(metrics, replicates=25, seed=4, confidence=0.8)
    assert (intervals.replicates, intervals.seed, intervals.confidence) == (25, 4, 0.8)
    weights = draw(15, 25, seed=4)
    each = [[headlines(evaluate_copies(s, truth, WIDE, row)) for row in weights] for s in systems]
    for name in HEADLINE_METRICS:
        good, late = (np.array([values[name] for values in sets]) for sets in each)
        value = [getattr(metrics[system], name) for system in ("good", "late")]
        for found, point, drawn in (
            (intervals.metrics["good"], value[0], good),
            (intervals.metrics["late"], value[1], late),
            (intervals.differences["good", "late"], value[0] - value[1], good - late),
        ):
            assert found[name].value == point
            bounds = [found[name].low, found[name].high]
            assert bounds == pytest.approx(np.percentile(drawn, [10, 90]), abs=1e-9)
            assert bounds[0] < bounds[1]  # type: ignore[operator]


def test_one_system_has_no_differences_and_does_not_depend_on_others(
    two_systems: tuple[GroundTruth, list[System], dict[str, SystemMetrics]],
) -> None:
    _, _, metrics = two_systems
    both = bootstrap(metrics, replicates=10)
    alone = bootstrap({"late": metrics["late"]}, replicates=10)
    assert alone.differences == {}
    assert alone.metrics["late"] == both.metrics["late"]
    assert list(both.differences) == [("good", "late")]
    other = bootstrap({"late": metrics["late"]}, replicates=10, seed=1)
    assert other.metrics["late"] != alone.metrics["late"]


def test_flat_bounds_are_json_with_names(
    two_systems: tuple[GroundTruth, list[System], dict[str, SystemMetrics]],
) -> None:
    _, _, metrics = two_systems
    intervals = bootstrap(metrics, replicates=10)
    flat = json.loads(json.dumps(intervals.as_flat_dict(), allow_nan=False))
    assert len(flat) == 2 * 2 * len(HEADLINE_METRICS) + 3 * len(HEADLINE_METRICS)
    assert flat["good/psds1_psds_eval/low"] == intervals.metrics["good"]["psds1_psds_eval"].low
    f1_difference = intervals.differences["good", "late"]["event_f1_macro"]
    assert flat["difference/good/late/event_f1_macro"] == f1_difference.value
    assert flat["difference/good/late/event_f1_macro/high"] == f1_difference.high


def test_metrics_that_a_system_lacks_stay_none() -> None:
    rng = np.random.default_rng(1)
    truth = cases.random_truth(rng, 10)
    scored, points = scores_in(rng, truth), events_in(rng, truth)
    del points["predictions"]
    metrics = {
        "a": evaluate_system(scored, truth, {}),
        "b": evaluate_system(points, truth, {"f1_threshold": 0.45}),
    }
    intervals = bootstrap(metrics, replicates=5)
    missing = [n for n, i in intervals.metrics["b"].items() if i.value is None]
    assert missing == [n for n in HEADLINE_METRICS if not n.endswith("psds_eval")]
    for found in (intervals.metrics["b"], intervals.differences["a", "b"]):
        for name, interval in found.items():
            assert (interval.value is None) == (interval.low is None) == (interval.high is None)
            assert (interval.value is None) == (name in missing)


def test_sets_without_any_event_are_excluded() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat")], "b": [], "c": []})
    scores = cases.scores_of({"a": [(0, 20, "Cat", 0.9)], "b": [], "c": []})
    scores[scores == 0] = -np.inf
    metrics = evaluate(Scores(scores, list("abc"), cases.GRID), truth)
    found = bootstrap({"x": metrics}, replicates=40).metrics["x"]
    for interval in found.values():
        assert [interval.value, interval.low, interval.high] == pytest.approx([1.0] * 3)
    undefined = [f["event_f1_micro"] is None for f in resampled_values(metrics, draw(3, 40, 0))]
    assert 0 < sum(undefined) < 40


def test_the_same_system_does_not_differ_from_itself_in_any_order_of_clips() -> None:
    rng = np.random.default_rng(5)
    truth = cases.random_truth(rng, 12)
    system = scores_in(rng, truth)
    other_way = truth.restricted(reversed(truth.events))
    metrics = {
        "a": evaluate_system(system, truth, WIDE),
        "b": evaluate_system(system, other_way, WIDE),
    }
    intervals = bootstrap(metrics, replicates=20)
    for interval in intervals.differences["a", "b"].values():
        assert [interval.value, interval.low, interval.high] == pytest.approx([0] * 3, abs=1e-9)
    width = intervals.metrics["a"]["event_f1_micro"]
    assert width.low is not None
    assert width.high is not None
    assert width.high - width.low > 0.01


def test_a_bar_shows_progress_where_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat")]})
    scores = Scores(cases.scores_of({"a": [(0, 20, "Cat", 0.9)]}), ["a"], cases.GRID)
    metrics = {"x": evaluate(scores, truth)}
    bootstrap(metrics, replicates=3)
    assert capsys.readouterr().err == ""
    bootstrap(metrics, replicates=3, progress=True)
    assert "3/3" in capsys.readouterr().err


def test_draws_have_as_many_clips_as_the_set() -> None:
    weights = draw(50, 2000, seed=0)
    assert weights.shape == (2000, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.1)
    # A clip is absent with probability (1 - 1/50)**50.
    assert (weights == 0).mean() == pytest.approx(math.pow(0.98, 50), abs=0.01)
    assert draw(0, 3, seed=0).shape == (3, 0)


def test_wrong_arguments_are_refused() -> None:
    def metrics_of(names: Sequence[str]) -> SystemMetrics:
        truth = cases.truth_of({name: [(0.0, 1.28, "Cat")] for name in names})
        scores = cases.scores_of({name: [(0, 20, "Cat", 0.9)] for name in names})
        return evaluate(Scores(scores, names, cases.GRID), truth)

    one = {"x": metrics_of("a")}
    with pytest.raises(ValueError, match="replicates: expected at least 1, got 0"):
        bootstrap(one, replicates=0)
    with pytest.raises(ValueError, match="confidence: expected a share between 0 and 1, got 95"):
        bootstrap(one, confidence=95)
    with pytest.raises(ValueError, match=r"'x' and 'y': expected the same clips, .* first 'b'"):
        bootstrap(one | {"y": metrics_of("ab")})
    with pytest.raises(ValueError, match="systems: expected at least 1, got 0"):
        bootstrap({})


def test_a_resampled_desed_set_gives_what_evaluate_gives(desed_system: Path) -> None:
    truth = read_truth(desed_system)
    system: System = {"scores": rebuilt_scores(desed_system, "student")}
    metrics = evaluate_system(system, truth, {})
    weights = draw(len(truth.events), 1, seed=0)
    for values, row in zip(resampled_values(metrics, weights), weights, strict=True):
        assert_same(values, headlines(evaluate_copies(system, truth, {}, row)))
