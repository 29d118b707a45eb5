"""A system's output and the truth -> every figure of docs/recipe.md, "Test"."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from desed_task.evaluation.decisions import Counts, Decisions, decide_intersections
from desed_task.evaluation.event_based import event_counts
from desed_task.evaluation.events import sums
from desed_task.evaluation.exact_psds import exact_rocs
from desed_task.evaluation.intersection import Criteria
from desed_task.evaluation.outputs import OperatingPoints, Predictions, ScoredOutput
from desed_task.evaluation.psds import PSDS1, PSDS2, PsdRoc, Scenario, operating_point_roc
from desed_task.evaluation.results import (
    ClassMetrics,
    MetricValue,
    SelectionMetrics,
    SystemMetrics,
    named,
)
from desed_task.evaluation.scoring_input import ScoringInput, Threshold
from desed_task.evaluation.truth import GroundTruth

THRESHOLDS = tuple((2 * k + 1) / 100 for k in range(50))
F1_CRITERIA = Criteria(dtc=0.5, gtc=0.5, cttc=0.3)
SCENARIOS = ("psds1", "psds2")


def evaluate(
    scores: ScoredOutput | None,
    truth: GroundTruth,
    *,
    operating_points: OperatingPoints | None = None,
    predictions: Predictions | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    f1_threshold: Threshold = 0.5,
    psds1: Scenario = PSDS1,
    psds2: Scenario = PSDS2,
    drop_clips_without_events: bool = False,
    trim_to_clip: bool = False,
    check: bool = False,
) -> SystemMetrics:
    """Judge what a system says.

    Scores give every figure. Operating points give the `…_psds_eval` figures and predictions the
    F-scores, also where there are scores; what nothing is given for stays None.
    Detections in clips where nothing happens are false alarms. Detections past the end of a
    shorter clip stay, as published; psds_eval itself looks for false alarms within the clip
    only, sed_scores_eval and sed_eval everywhere. A clip of the truth that the system does not
    name counts as nothing detected.

    Args:
        scores: `Scores` after median filter and score correction, or `Boxes`.
        truth: true events and clip lengths.
        operating_points: the system's own events at several thresholds.
        predictions: the system's own decision.
        thresholds: operating points that scores are judged at, ascending.
        f1_threshold: where the F-scores are taken (score > threshold), for all classes or one
            for each. Without predictions and scores they are those of the operating point at
            just this threshold, if there is one.
        psds1, psds2: tolerances and weights of the two scenarios.
        drop_clips_without_events: leave out what was detected in clips where nothing happens,
            as the authors did: `psds_eval` then counts their length only, the exact figures
            and F-scores do without these clips.
        trim_to_clip: cut detections at the end of their clip.
        check: compute everything with the libraries too, into `library`; `differences` tells
            what is not the same.

    Raises:
        InputError: unknown or repeated names; a score that is NaN; scores that end more
            than one frame before their clip; boxes of a class that overlap.
        ValueError: nothing is given to judge, or shapes that do not fit each other.
    """
    task = ScoringInput.prepare(
        scores,
        truth,
        operating_points=operating_points,
        predictions=predictions,
        thresholds=thresholds,
        f1_threshold=f1_threshold,
        drop_clips_without_events=drop_clips_without_events,
        trim=trim_to_clip,
    )
    metrics = _judge(task, (psds1, psds2), f1_threshold)
    if check:
        from desed_task.evaluation.libraries import library_figures

        figures = library_figures(task, f1_criteria=F1_CRITERIA, psds1=psds1, psds2=psds2)
        metrics = replace(metrics, library=figures)
    return metrics


def selection_metrics(
    scores: ScoredOutput, truth: GroundTruth, threshold: float = 0.5
) -> SelectionMetrics:
    """The F-scores by which training selects a model, as `evaluate` gives them, and fast.

    Arguments and errors are those of `evaluate`; a figure that is undefined counts as 0.
    """
    task = ScoringInput.prepare(scores, truth, f1_threshold=threshold)
    assert task.detections is not None
    (decided,) = decide_intersections(task.detections, task, [F1_CRITERIA], n_levels=1)
    return SelectionMetrics(
        event_f1_macro=event_counts(task.detections, task.true, task.n_classes).macro or 0.0,
        intersection_f1_macro=float(decided.counts().macro()[0]),
    )


def exact_psds(
    scores: ScoredOutput, truth: GroundTruth, scenarios: Sequence[Scenario] = (PSDS1, PSDS2)
) -> list[MetricValue]:
    """The exact scores alone, as `evaluate` gives them."""
    task = ScoringInput.prepare(scores, truth)
    rocs = exact_rocs(
        task.threshold_events, task.true, task.n_classes, task.counted_seconds, scenarios
    )
    return [None if roc is None else roc.psds for roc in rocs]


def _judge(
    task: ScoringInput, scenarios: Sequence[Scenario], f1_threshold: Threshold
) -> SystemMetrics:
    nothing: list[PsdRoc | None] = [None] * len(scenarios)
    exact = nothing
    if task.scores is not None:
        exact = exact_rocs(
            task.threshold_events, task.true, task.n_classes, task.counted_seconds, scenarios
        )
    return _assemble(
        task,
        f1_threshold,
        counts=(
            None
            if task.detections is None
            else Decisions.on(task.detections, task, F1_CRITERIA).counts()
        ),
        operating=nothing if task.points is None else _operating_rocs(task, scenarios),
        exact=exact,
    )


def _operating_rocs(task: ScoringInput, scenarios: Sequence[Scenario]) -> list[PsdRoc | None]:
    assert task.points is not None
    criteria = [scenario.criteria for scenario in scenarios]
    decided = decide_intersections(task.points, task, criteria, n_levels=len(task.thresholds))
    class_seconds = sums(task.true.label, task.true.offset - task.true.onset, task.n_classes)
    return [
        operating_point_roc(tallies.counts(), class_seconds, task.total_seconds, scenario)
        for tallies, scenario in zip(decided, scenarios, strict=True)
    ]


def _assemble(
    task: ScoringInput,
    f1_threshold: Threshold,
    *,
    counts: Counts | None,
    operating: Sequence[PsdRoc | None],
    exact: Sequence[PsdRoc | None],
) -> SystemMetrics:
    truth = task.truth
    areas = [None if roc is None else roc.psds for roc in (*operating, *exact)]
    n_empty = sum(not events for events in truth.events.values())
    f_scores: dict[str, Any] = {} if counts is None else counts.f_scores()
    return SystemMetrics(
        psds1_psds_eval=areas[0],
        psds2_psds_eval=areas[1],
        psds1_sed_scores_eval=areas[2],
        psds2_sed_scores_eval=areas[3],
        **f_scores,
        f1_threshold=f1_threshold if isinstance(f1_threshold, float | int) else None,
        classes_averaged=len(np.unique(task.true.label)),
        clips_scored=len(task.names) - task.n_dropped,
        clips_without_events=n_empty,
        clips_missing=len(truth.events) - len(task.names),
        clips_dropped=task.n_dropped,
        per_class=_class_metrics(task, f1_threshold, counts, [*operating, *exact]),
        cross_triggers=_cross_triggers(truth.classes, counts),
        rocs={name: roc for name, roc in zip(SCENARIOS, exact, strict=True) if roc},
        operating_rocs={name: roc for name, roc in zip(SCENARIOS, operating, strict=True) if roc},
        scoring_input=task,
    )


def _class_metrics(
    task: ScoringInput,
    f1_threshold: Threshold,
    counts: Counts | None,
    rocs: Sequence[PsdRoc | None],
) -> dict[str, ClassMetrics]:
    names = [f"{name}_{kind}" for kind in ("psds_eval", "sed_scores_eval") for name in SCENARIOS]
    areas = {
        name: {} if roc is None else roc.class_psds() for name, roc in zip(names, rocs, strict=True)
    }
    thresholds = np.broadcast_to(np.asarray(f1_threshold, dtype=float), (task.n_classes,))
    true = np.bincount(task.true.label, minlength=task.n_classes)
    found = [{}] * task.n_classes if counts is None else _class_counts(counts, task.truth.classes)
    return {
        label: ClassMetrics(
            **{name: area.get(k) for name, area in areas.items()},
            **found[k],
            true=int(true[k]),
            f1_threshold=float(thresholds[k]),
        )
        for k, label in enumerate(task.truth.classes)
    }


def _class_counts(counts: Counts, classes: Sequence[str]) -> list[dict[str, MetricValue]]:
    """What is counted of each class, by the names of `ClassMetrics`."""
    crossing = counts.intersections
    intersection_f1 = named(crossing.per_class[0], classes)
    of_class: list[dict[str, MetricValue]] = []
    for k, label in enumerate(classes):
        figures: dict[str, MetricValue] = {
            "detected": int(counts.events.detected[k]),
            "segments_true": int(counts.segments.true[k]),
            "intersection_f1": intersection_f1[label],
            "intersection_true_positives": int(crossing.correct[0, k]),
            "intersection_false_positives": int(crossing.false[0, k]),
        }
        for name, of in (("event", counts.events), ("segment", counts.segments)):
            figures[f"{name}_f1"] = named(of.per_class, classes)[label]
            figures[f"{name}_true_positives"] = int(of.correct[k])
            figures[f"{name}_false_positives"] = int(of.detected[k] - of.correct[k])
        of_class.append(figures)
    return of_class


def _cross_triggers(classes: Sequence[str], counts: Counts | None) -> dict[str, dict[str, int]]:
    if counts is None:
        return {}
    cross = counts.intersections.cross[0]
    return {
        label: {other: int(cross[i, j]) for j, other in enumerate(classes) if i != j}
        for i, label in enumerate(classes)
    }
