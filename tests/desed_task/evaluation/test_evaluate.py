import dataclasses
import importlib
import json
import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from desed_task.errors import InputError
from desed_task.evaluation import (
    PSDS1,
    PSDS2,
    Boxes,
    EventTable,
    OperatingPoints,
    Predictions,
    Scores,
    SystemMetrics,
    evaluate,
    libraries,
    selection_metrics,
)
from desed_task.evaluation.events import Floats
from desed_task.postprocess.sebbs import BoxParameters, bounding_boxes
from tests.support import cases
from tests.support.paths import ROOT
from tests.support.required import has_package, require_package

# psds_eval's time is proportional to the number of operating points.
FEW: dict[str, Any] = {"thresholds": cases.THRESHOLDS}
CHECK = has_package("sed_scores_eval")


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (0, {}),
        (1, FEW | {"drop_clips_without_events": True}),
        (2, FEW | {"trim_to_clip": True}),
        (3, FEW | {"drop_clips_without_events": True, "trim_to_clip": True, "f1_threshold": 0.3}),
    ],
)
def test_every_metric_equals_its_library(seed: int, options: dict[str, Any]) -> None:
    require_package("sed_scores_eval")
    rng = np.random.default_rng(seed)
    truth = cases.random_truth(rng, 20)
    scores = cases.random_scores(rng, truth)
    metrics = evaluate(
        Scores(scores, list(truth.events), cases.GRID),
        truth,
        psds1=dataclasses.replace(PSDS1, max_efpr=3000.0),
        psds2=dataclasses.replace(PSDS2, max_efpr=3000.0),
        check=True,
        **options,
    )
    assert metrics.differences == {}
    metric_names = [f.name for f in dataclasses.fields(SystemMetrics) if "psds" in f.name]
    metric_names += ["event_f1_micro", "segment_f1_micro", "intersection_f1_macro"]
    assert all(getattr(metrics, name) > 0 for name in metric_names)


@pytest.mark.parametrize("options", [{}, {"trim_to_clip": True}])
def test_every_metric_of_boxes_equals_its_library(options: dict[str, bool]) -> None:
    require_package("sed_scores_eval")
    rng = np.random.default_rng(11)
    truth = cases.random_truth(rng, 20)
    scores = Scores(cases.random_scores(rng, truth, levels=None), list(truth.events), cases.GRID)
    boxes = bounding_boxes(scores, [BoxParameters(0.48, 0.2, 2.0)] * len(cases.CLASSES))
    metrics = evaluate(boxes, truth, thresholds=cases.THRESHOLDS, check=True, **options)  # type: ignore[arg-type]
    assert metrics.differences == {}
    assert metrics.psds2_sed_scores_eval
    assert metrics.psds2_psds_eval
    assert metrics.event_f1_macro


def one_class(onset: Floats, offset: Floats) -> EventTable:
    """Events of the first class in the first clip."""
    first = np.zeros(len(onset), dtype=np.int64)
    return EventTable(first, first, first, onset, offset)


def test_boxes_keep_their_times_at_every_threshold() -> None:
    """One box: found wherever its confidence exceeds the threshold, and never another extent."""
    truth = cases.truth_of({"a": [(1.0, 3.0, "Cat")]})
    table = one_class(np.array([1.0]), np.array([3.0]))
    metrics = evaluate(Boxes(table, np.array([0.6]), ["a"], 4), truth, f1_threshold=0.59)
    assert metrics.event_f1_macro == 1.0
    assert metrics.psds1_sed_scores_eval == 1.0
    assert metrics.scoring_input.points is not None
    assert metrics.scoring_input.points.level.tolist() == list(range(30))  # 0.01 to 0.59
    missed = evaluate(Boxes(table, np.array([0.6]), ["a"], 4), truth, f1_threshold=0.6)
    assert missed.event_f1_macro == 0.0


def test_boxes_that_overlap_or_have_no_confidence_are_refused() -> None:
    truth = cases.truth_of({"a": []})
    onset, offset = np.array([1.0, 2.0]), np.array([2.5, 3.0])
    table = one_class(onset, offset)
    with pytest.raises(
        InputError, match="boxes of clip 'a': expected boxes of a class to be disjoint"
    ):
        evaluate(Boxes(table, np.array([0.5, 0.6]), ["a"], 4), truth)
    with pytest.raises(
        InputError, match="boxes of clip 'a': expected a number as confidence, got NaN"
    ):
        evaluate(Boxes(table.select(slice(1)), np.array([np.nan]), ["a"], 4), truth)


def test_operating_points_and_predictions_score_like_the_scores_they_come_from() -> None:
    rng = np.random.default_rng(12)
    truth = cases.random_truth(rng, 20)
    names = list(truth.events)
    scores = Scores(cases.random_scores(rng, truth), names, cases.GRID)
    whole = evaluate(scores, truth, thresholds=cases.THRESHOLDS)
    points = OperatingPoints(scores.detect(cases.THRESHOLDS), cases.THRESHOLDS, names)
    from_points = evaluate(None, truth, operating_points=points, f1_threshold=0.6, check=True)
    assert from_points.differences == {}
    for name in ("psds1_psds_eval", "psds2_psds_eval"):
        assert getattr(from_points, name) == getattr(whole, name)
    assert from_points.psds1_sed_scores_eval is None
    assert from_points.event_f1_macro is None  # no operating point at 0.6
    at_level = evaluate(None, truth, operating_points=points, f1_threshold=0.3)
    assert at_level.event_f1_macro == evaluate(scores, truth, f1_threshold=0.3).event_f1_macro
    decision = Predictions(scores.detect([0.5]), names)
    from_events = evaluate(None, truth, predictions=decision, check=True)
    assert from_events.differences == {}
    assert from_events.event_f1_macro == whole.event_f1_macro
    assert from_events.cross_triggers == whole.cross_triggers
    assert from_events.psds1_psds_eval is None
    both = evaluate(
        scores,
        truth,
        thresholds=cases.THRESHOLDS,
        predictions=Predictions(scores.detect([0.7]), names),
    )
    assert both.event_f1_macro == evaluate(scores, truth, f1_threshold=0.7).event_f1_macro
    assert both.psds1_psds_eval == whole.psds1_psds_eval
    with pytest.raises(
        ValueError, match="expected scores, operating points or predictions, got none"
    ):
        evaluate(None, truth)


def test_overlapping_detections_are_scored_where_psds_eval_refuses_them() -> None:
    truth = cases.truth_of({"a": [(0.0, 2.0, "Cat"), (4.0, 5.0, "Dog")]})
    onset, offset = np.array([0.0, 0.1]), np.array([2.0, 2.0])
    table = one_class(onset, offset)
    metrics = evaluate(None, truth, predictions=Predictions(table, ["a"]), check=True)
    assert metrics.differences == {}
    assert metrics.event_true_positives == 1
    assert metrics.event_false_positives == 1
    assert metrics.intersection_true_positives == 1
    assert metrics.intersection_false_positives == 0


def test_each_class_may_have_its_own_threshold() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat"), (3.2, 6.4, "Dog")]})
    values = cases.scores_of({"a": [(0, 20, "Cat", 0.3), (50, 100, "Dog", 0.625)]})
    scores = Scores(values, ["a"], cases.GRID)
    thresholds = [0.2 if label == "Cat" else 0.625 for label in cases.CLASSES]
    metrics = evaluate(scores, truth, f1_threshold=thresholds)
    assert metrics.f1_threshold is None
    assert metrics.per_class["Cat"].event_f1 == 1.0
    assert metrics.per_class["Dog"].event_f1 == 0.0  # not above 0.625
    assert metrics.per_class["Dog"].f1_threshold == 0.625
    boxes = bounding_boxes(scores, [BoxParameters(0.5, 0.2, np.inf)] * 4)
    assert evaluate(boxes, truth, f1_threshold=thresholds).per_class["Dog"].detected == 0


def test_frames_of_any_length_give_the_same_metrics() -> None:
    """The same scores on a finer grid, and with each clip's own edges."""
    rng = np.random.default_rng(13)
    truth = cases.random_truth(rng, 12)
    names = list(truth.events)
    values = cases.random_scores(rng, truth)
    options = FEW | {"check": CHECK}
    plain = evaluate(Scores(values, names, cases.GRID), truth, **options)
    edges = (np.arange(157) * 0.064).astype(np.float64)
    halves: Floats = np.sort(np.concatenate([edges, (edges[1:] + edges[:-1]) / 2]))
    finer = Scores(np.repeat(values, 2, axis=2), names, halves)
    own = Scores(values, names, np.tile(edges, (12, 1)))
    for scores in (finer, own):
        metrics = evaluate(scores, truth, **options)
        assert metrics.differences == {}
        assert metrics.as_flat_dict() == pytest.approx(plain.as_flat_dict(), nan_ok=True)
    with pytest.raises(ValueError, match=r"edges: expected the shape .*, got \(156,\)"):
        Scores(values, names, edges[:-1])


def test_check_reports_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "exact_psds", lambda *args, **options: 0.25)
    rng = np.random.default_rng(0)
    truth = cases.random_truth(rng, 5)
    scores = cases.random_scores(rng, truth)
    metrics = evaluate(Scores(scores, list(truth.events), cases.GRID), truth, check=True)
    assert metrics.differences == {
        "psds1_sed_scores_eval": (metrics.psds1_sed_scores_eval, 0.25),
        "psds2_sed_scores_eval": (metrics.psds2_sed_scores_eval, 0.25),
    }


@pytest.mark.parametrize(
    "events",
    [
        [(0.0, 1.0, "Cat"), (1.0, 2.0, "Cat"), (0.0, 2.0, "Dog")],  # touching: sed_scores_eval
        [(0.0, 2.0, "Cat")],  # a single class: psds_eval
    ],
)
def test_check_excludes_metrics_that_a_library_refuses(
    events: list[tuple[float, float, str]],
) -> None:
    require_package("sed_scores_eval")
    truth = cases.truth_of({"a": events})
    scores = cases.scores_of({"a": [(0, 31, "Cat", 0.9), (0, 31, "Dog", 0.9)]})
    metrics = evaluate(Scores(scores, ["a"], cases.GRID), truth, check=True)
    assert metrics.differences == {}
    assert metrics.psds1_psds_eval == pytest.approx(1.0)
    assert metrics.psds1_sed_scores_eval == pytest.approx(1.0)


def test_nothing_detected_scores_zero() -> None:
    truth = cases.random_truth(np.random.default_rng(0))
    scores = np.zeros((len(truth.events), 4, 156))
    metrics = evaluate(Scores(scores, list(truth.events), cases.GRID), truth, check=CHECK)
    assert metrics.differences == {}
    for name in ("psds1_psds_eval", "event_f1_macro", "segment_f1_micro", "intersection_f1_macro"):
        assert getattr(metrics, name) == 0.0
    assert {c.event_f1 for c in metrics.per_class.values()} == {0.0}


def test_without_true_events_every_metric_is_undefined() -> None:
    truth = cases.truth_of({"a": [], "b": []})
    scores = np.ones((2, 4, 156))
    metrics = evaluate(Scores(scores, ["a", "b"], cases.GRID), truth, check=CHECK)
    assert metrics.differences == {}
    metric_names = [f.name for f in dataclasses.fields(SystemMetrics) if "psds" in f.name]
    metric_names += [f.name for f in dataclasses.fields(SystemMetrics) if "_f1_" in f.name]
    assert len(metric_names) == 11
    assert [getattr(metrics, name) for name in metric_names] == [None] * 11
    assert metrics.classes_averaged == 0
    assert metrics.per_class["Dog"].detected == 2
    assert metrics.rocs == {}
    selection = selection_metrics(Scores(scores, ["a", "b"], cases.GRID), truth)
    assert dataclasses.astuple(selection) == (0.0, 0.0)


def test_macro_averages_are_over_the_classes_that_occur() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat"), (3.2, 6.4, "Dog")]})
    scores = cases.scores_of({"a": [(0, 20, "Cat", 0.9), (80, 90, "Speech", 0.9)]})
    metrics = evaluate(Scores(scores, ["a"], cases.GRID), truth, check=CHECK)
    assert metrics.differences == {}
    assert metrics.classes_averaged == 2
    assert metrics.event_f1_macro == 0.5
    assert metrics.event_f1_micro == 0.5
    assert metrics.segment_f1_macro == 0.5
    # psds_eval excludes the dog from the mean, because none was found.
    assert metrics.intersection_f1_macro == 1.0
    assert metrics.intersection_f1_macro_occurring == 0.5
    assert metrics.per_class["Speech"].event_f1 is None
    assert metrics.per_class["Speech"].psds1_sed_scores_eval is None
    assert metrics.per_class["Dog"].event_f1 == 0.0


def test_a_clip_without_scores_is_a_clip_with_nothing_detected() -> None:
    rng = np.random.default_rng(4)
    truth = cases.random_truth(rng, 20)
    scores = cases.random_scores(rng, truth)
    names = list(truth.events)
    silent = scores.copy()
    silent[7:] = -np.inf
    options = FEW | {"check": CHECK}
    part = evaluate(Scores(scores[:7], names[:7], cases.GRID), truth, **options)
    whole = evaluate(Scores(silent, names, cases.GRID), truth, **options)
    assert part.differences == whole.differences == {}
    assert (part.clips_scored, part.clips_missing, part.clips_without_events) == (7, 13, 4)
    assert (whole.clips_scored, whole.clips_missing) == (20, 0)
    same = whole.as_flat_dict() | {"clips_scored": 7, "clips_missing": 13}
    assert part.as_flat_dict() == same
    assert part.event_f1_macro


def test_the_order_of_clips_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    truth = cases.random_truth(rng, 20)
    scores = cases.random_scores(rng, truth)
    names = list(truth.events)
    order = rng.permutation(20)
    straight = evaluate(Scores(scores, names, cases.GRID), truth)
    shuffled = evaluate(Scores(scores[order], [names[k] for k in order], cases.GRID), truth)
    assert shuffled.as_flat_dict() == pytest.approx(straight.as_flat_dict())


def test_dropping_clips_without_events_drops_their_false_alarms() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat")], "b": []}, 1800.0)
    grid = dataclasses.replace(cases.GRID, clip_seconds=1800.0)
    first = cases.scores_of({"a": [(0, 20, "Cat", 0.9)], "b": [(0, 20, "Cat", 0.95)]})
    scores = np.pad(first, ((0, 0), (0, 0), (0, grid.n_frames - first.shape[2])))
    kept = evaluate(Scores(scores, ["a", "b"], grid), truth)
    dropped = evaluate(Scores(scores, ["a", "b"], grid), truth, drop_clips_without_events=True)
    assert kept.event_f1_macro == pytest.approx(2 / 3)
    assert dropped.event_f1_macro == 1.0
    assert (kept.clips_scored, kept.clips_dropped) == (2, 0)
    assert (dropped.clips_scored, dropped.clips_dropped) == (1, 1)
    assert kept.per_class["Cat"].intersection_false_positives == 1
    assert dropped.per_class["Cat"].intersection_false_positives == 0


def test_cross_triggers_are_counted() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat")]})
    scores = cases.scores_of({"a": [(0, 20, "Dog", 0.9)]})
    metrics = evaluate(Scores(scores, ["a"], cases.GRID), truth)
    assert metrics.cross_triggers["Dog"] == {"Cat": 1, "Dishes": 0, "Speech": 0}
    assert metrics.as_flat_dict()["cross_triggers/Dog/Cat"] == 1


def test_flat_metrics_are_json_with_names() -> None:
    rng = np.random.default_rng(0)
    truth = cases.random_truth(rng, 5, classes=("Cat", "Dog"))
    scores = Scores(cases.random_scores(rng, truth), list(truth.events), cases.GRID)
    metrics = evaluate(scores, truth)
    flat = json.loads(json.dumps(metrics.as_flat_dict(), allow_nan=False))
    assert flat["psds1_psds_eval"] == metrics.psds1_psds_eval
    assert flat["per_class/Dog/segment_f1"] == metrics.per_class["Dog"].segment_f1
    assert flat["per_class/Speech/segment_f1"] is None
    assert all(isinstance(v, int | float | None) for v in flat.values())


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_selection_metrics_are_those_of_evaluate(threshold: float) -> None:
    rng = np.random.default_rng(6)
    truth = cases.random_truth(rng, 20)
    scores = cases.random_scores(rng, truth)
    names = list(truth.events)
    fast = selection_metrics(Scores(scores, names, cases.GRID), truth, threshold=threshold)
    full = evaluate(Scores(scores, names, cases.GRID), truth, f1_threshold=threshold)
    assert fast.event_f1_macro == full.event_f1_macro
    assert fast.intersection_f1_macro == full.intersection_f1_macro
    assert fast.event_f1_macro > 0


def test_wrong_input_is_refused() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat")], "b": []}, {"a": 10.0, "b": 5.0})
    scores = np.zeros((2, 4, 156))
    with pytest.raises(ValueError, match=r"expected the shape \(1 clips, classes, frames\)"):
        evaluate(Scores(scores, ["a"], cases.GRID), truth)
    with pytest.raises(InputError, match="clip 'a': expected each clip once"):
        evaluate(Scores(scores, ["a", "a"], cases.GRID), truth)
    with pytest.raises(
        InputError, match=r"expected clips of the ground truth, got 1 other\(s\), first 'c'"
    ):
        evaluate(Scores(scores, ["a", "c"], cases.GRID), truth)
    with pytest.raises(
        InputError, match=r"scores of clip 'a': expected an end at 10 s .* got 9\.92 s"
    ):
        evaluate(Scores(scores[..., :155], ["a", "b"], cases.GRID), truth)
    unknown = np.where([[[0]], [[1]]], np.nan, scores)
    with pytest.raises(InputError, match="scores of clip 'b': expected numbers, got NaN"):
        selection_metrics(Scores(unknown, ["a", "b"], cases.GRID), truth)


def test_a_grid_that_ends_before_a_clip_is_refused() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat")]}, 14.0)
    scores = cases.scores_of({"a": [(0, 20, "Cat", 0.9)]})
    with pytest.raises(InputError, match="'a': expected an end at 14 s"):
        evaluate(Scores(scores, ["a"], cases.GRID), truth)
    grid = cases.GRID.covering(14.0)
    padded = np.pad(scores, ((0, 0), (0, 0), (0, grid.n_frames - scores.shape[2])))
    assert evaluate(Scores(padded, ["a"], grid), truth).event_f1_macro == 1.0


def test_importing_it_needs_no_network_library_and_no_data_frames() -> None:
    code = (
        "import sys, desed_task.evaluation; "
        "print([m for m in ('torch', 'pytorch_lightning', 'lightning', 'pandas', 'matplotlib', "
        "'sed_eval', 'psds_eval', 'sed_scores_eval', 'local') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("library", ["sed_scores_eval", "psds_eval", "sed_eval"])
def test_check_without_a_library_says_how_to_install_it(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_package("sed_scores_eval")

    def import_module(name: str) -> ModuleType:
        if name.partition(".")[0] == library:
            raise ModuleNotFoundError(f"No module named {library!r}", name=library)
        return importlib.import_module(name)

    monkeypatch.setattr(libraries, "import_module", import_module)
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat"), (2.0, 3.0, "Dog")]})
    scores = Scores(cases.scores_of({"a": [(0, 20, "Cat", 0.9)]}), ["a"], cases.GRID)
    message = rf"{library} is not installed: .*: pip install -e '\.\[check\]'"
    with pytest.raises(InputError, match=message):
        evaluate(scores, truth, check=True)
    assert evaluate(scores, truth).event_f1_macro == 0.5
