import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from desed_task.errors import InputError
from desed_task.evaluation import (
    PSDS1,
    PSDS2,
    SystemMetrics,
    evaluate,
    libraries,
    selection_metrics,
)
from tests.evaluation import cases
from tests.paths import ROOT


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (0, {}),
        (1, {"drop_clips_without_events": True}),
        (2, {"trim_to_duration": True}),
        (3, {"drop_clips_without_events": True, "trim_to_duration": True, "f1_threshold": 0.3}),
    ],
)
def test_every_figure_equals_its_library(seed: int, options: dict[str, bool]) -> None:
    rng = np.random.default_rng(seed)
    truth = cases.random_truth(rng, 20)
    scores = cases.random_scores(rng, truth)
    metrics = evaluate(
        scores,
        list(truth.events),
        truth,
        cases.GRID,
        psds1=dataclasses.replace(PSDS1, max_efpr=3000.0),
        psds2=dataclasses.replace(PSDS2, max_efpr=3000.0),
        check=True,
        **options,  # type: ignore[arg-type]
    )
    assert metrics.differences == {}
    figures = [f.name for f in dataclasses.fields(SystemMetrics) if "psds" in f.name]
    figures += ["event_f1_micro", "segment_f1_micro", "intersection_f1_macro"]
    assert all(getattr(metrics, name) > 0 for name in figures)


def test_check_tells_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "exact_psds", lambda *args, **options: 0.25)
    rng = np.random.default_rng(0)
    truth = cases.random_truth(rng, 5)
    scores = cases.random_scores(rng, truth)
    metrics = evaluate(scores, list(truth.events), truth, cases.GRID, check=True)
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
def test_check_leaves_out_figures_that_a_library_refuses(
    events: list[tuple[float, float, str]],
) -> None:
    truth = cases.truth_of({"a": events})
    scores = cases.scores_of({"a": [(0, 31, "Cat", 0.9), (0, 31, "Dog", 0.9)]})
    metrics = evaluate(scores, ["a"], truth, cases.GRID, check=True)
    assert metrics.differences == {}
    assert metrics.psds1_psds_eval == pytest.approx(1.0)
    assert metrics.psds1_sed_scores_eval == pytest.approx(1.0)


def test_nothing_detected_scores_zero() -> None:
    truth = cases.random_truth(np.random.default_rng(0))
    scores = np.zeros((len(truth.events), 4, 156))
    metrics = evaluate(scores, list(truth.events), truth, cases.GRID, check=True)
    assert metrics.differences == {}
    for name in ("psds1_psds_eval", "event_f1_macro", "segment_f1_micro", "intersection_f1_macro"):
        assert getattr(metrics, name) == 0.0
    assert {c.event_f1 for c in metrics.per_class.values()} == {0.0}


def test_a_truth_without_events_leaves_every_figure_undefined() -> None:
    truth = cases.truth_of({"a": [], "b": []})
    scores = np.ones((2, 4, 156))
    metrics = evaluate(scores, ["a", "b"], truth, cases.GRID, check=True)
    assert metrics.differences == {}
    figures = [f.name for f in dataclasses.fields(SystemMetrics) if "psds" in f.name]
    figures += [f.name for f in dataclasses.fields(SystemMetrics) if "_f1_" in f.name]
    assert len(figures) == 10
    assert [getattr(metrics, name) for name in figures] == [None] * 10
    assert metrics.classes_averaged == 0
    assert metrics.per_class["Dog"].detected == 2
    assert metrics.rocs == {}
    selection = selection_metrics(scores, ["a", "b"], truth, cases.GRID)
    assert dataclasses.astuple(selection) == (0.0, 0.0)


def test_macro_averages_are_over_the_classes_that_occur() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat"), (3.2, 6.4, "Dog")]})
    scores = cases.scores_of({"a": [(0, 20, "Cat", 0.9), (80, 90, "Speech", 0.9)]})
    metrics = evaluate(scores, ["a"], truth, cases.GRID, check=True)
    assert metrics.differences == {}
    assert metrics.classes_averaged == 2
    assert metrics.event_f1_macro == 0.5
    assert metrics.event_f1_micro == 0.5
    assert metrics.segment_f1_macro == 0.5
    # psds_eval leaves the dog out of the mean, because none was found.
    assert metrics.intersection_f1_macro == 1.0
    assert metrics.intersection_f1_macro_occurring == 0.5
    assert metrics.per_class["Speech"].event_f1 is None
    assert metrics.per_class["Speech"].psds1_sed_scores_eval is None
    assert metrics.per_class["Dog"].event_f1 == 0.0


def test_clips_without_scores_count_as_nothing_detected() -> None:
    rng = np.random.default_rng(4)
    truth = cases.random_truth(rng, 20)
    scores = cases.random_scores(rng, truth)
    names = list(truth.events)
    silent = scores.copy()
    silent[7:] = -np.inf
    part = evaluate(scores[:7], names[:7], truth, cases.GRID, check=True)
    whole = evaluate(silent, names, truth, cases.GRID, check=True)
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
    straight = evaluate(scores, names, truth, cases.GRID)
    shuffled = evaluate(scores[order], [names[k] for k in order], truth, cases.GRID)
    assert shuffled.as_flat_dict() == pytest.approx(straight.as_flat_dict())


def test_dropping_clips_without_events_drops_their_false_alarms() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat")], "b": []}, 1800.0)
    grid = cases.GRID
    scores = cases.scores_of({"a": [(0, 20, "Cat", 0.9)], "b": [(0, 20, "Cat", 0.95)]})
    kept = evaluate(scores, ["a", "b"], truth, grid)
    dropped = evaluate(scores, ["a", "b"], truth, grid, drop_clips_without_events=True)
    assert kept.event_f1_macro == pytest.approx(2 / 3)
    assert dropped.event_f1_macro == 1.0
    assert (kept.clips_scored, kept.clips_dropped) == (2, 0)
    assert (dropped.clips_scored, dropped.clips_dropped) == (1, 1)
    assert kept.per_class["Cat"].intersection_rejected == 1
    assert dropped.per_class["Cat"].intersection_rejected == 0


def test_cross_triggers_are_counted() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat")]})
    scores = cases.scores_of({"a": [(0, 20, "Dog", 0.9)]})
    metrics = evaluate(scores, ["a"], truth, cases.GRID)
    assert metrics.cross_triggers["Dog"] == {"Cat": 1, "Dishes": 0, "Speech": 0}
    assert metrics.as_flat_dict()["cross_triggers/Dog/Cat"] == 1


def test_flat_figures_are_json_with_names() -> None:
    rng = np.random.default_rng(0)
    truth = cases.random_truth(rng, 5, classes=("Cat", "Dog"))
    metrics = evaluate(cases.random_scores(rng, truth), list(truth.events), truth, cases.GRID)
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
    fast = selection_metrics(scores, names, truth, cases.GRID, threshold=threshold)
    full = evaluate(scores, names, truth, cases.GRID, f1_threshold=threshold)
    assert fast.event_f1_macro == full.event_f1_macro
    assert fast.intersection_f1_macro == full.intersection_f1_macro
    assert fast.event_f1_macro > 0


def test_input_that_does_not_fit_is_refused() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat")], "b": []}, {"a": 10.0, "b": 5.0})
    scores = np.zeros((2, 4, 156))
    with pytest.raises(ValueError, match=r"\(1 clips, 4 classes, frames\) is right"):
        evaluate(scores, ["a"], truth, cases.GRID)
    with pytest.raises(InputError, match="clip 'a' are given more than once"):
        evaluate(scores, ["a", "a"], truth, cases.GRID)
    with pytest.raises(InputError, match=r"1 clip\(s\) that the ground truth does not know"):
        evaluate(scores, ["a", "c"], truth, cases.GRID)
    with pytest.raises(InputError, match=r"scores of clip 'a' end at 9\.92 s"):
        evaluate(scores[..., :155], ["a", "b"], truth, cases.GRID)
    with pytest.raises(InputError, match="clip 'b' are not numbers"):
        selection_metrics(np.where([[[0]], [[1]]], np.nan, scores), ["a", "b"], truth, cases.GRID)


def test_clips_longer_than_the_grid_are_judged_as_far_as_it_reaches() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.28, "Cat")]}, 14.0)
    scores = cases.scores_of({"a": [(0, 20, "Cat", 0.9)]})
    assert evaluate(scores, ["a"], truth, cases.GRID).event_f1_macro == 1.0


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
