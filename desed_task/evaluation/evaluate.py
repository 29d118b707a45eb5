"""A system's output and the ground truth -> every metric of docs/recipe.md, "Test"."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from desed_task.evaluation import event_based, intersection, psds_exact
from desed_task.evaluation.clip_counts import Counts
from desed_task.evaluation.families import Measured, SystemCounts, match, measure
from desed_task.evaluation.outputs import OperatingPoints, Predictions, ScoredOutput
from desed_task.evaluation.psds import PSDS1, PSDS2, PsdRoc, Scenario
from desed_task.evaluation.results import (
    ClassMetrics,
    MetricValue,
    SelectionMetrics,
    SystemMetrics,
)
from desed_task.evaluation.scoring_input import ScoringInput, Threshold
from desed_task.evaluation.truth import GroundTruth

THRESHOLDS = tuple((2 * k + 1) / 100 for k in range(50))


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
    """All metrics of a system.

    Scores give every metric. Operating points give the `…_psds_eval` metrics and predictions the
    F-scores, also where there are scores; a metric without a source is None.
    Detections in clips without true events are false alarms. Detections past the end of a shorter
    clip are not cut, as published; psds_eval itself looks for false alarms within the clip only,
    sed_scores_eval and sed_eval everywhere. A clip of the ground truth that the system does not
    name is treated as a clip in which it detected nothing.

    Args:
        scores: `Scores` after median filter and score correction, or `Boxes`.
        truth: true events and clip lengths.
        operating_points: the system's own events at several thresholds.
        predictions: the system's own events at one threshold.
        thresholds: operating points that scores are detected at, ascending.
        f1_threshold: threshold of the F-scores (score > threshold), for all classes or one for
            each. Without predictions and scores the F-scores are those of the operating point
            with exactly this threshold, if there is one.
        psds1, psds2: tolerances and weights of the two scenarios.
        drop_clips_without_events: exclude detections in clips without true events, as the
            authors did: `…_psds_eval` then includes the length of these clips only, the exact
            PSDS and the F-scores exclude them.
        trim_to_clip: cut detections at the end of their clip.
        check: compute the metrics with the libraries too, into `library`; `differences` lists
            those that are not equal.

    Raises:
        InputError: unknown or repeated names; a score that is NaN; scores that end more
            than one frame before their clip; boxes of a class that overlap; a library that
            `check` needs and that is not installed.
        ValueError: no source at all, or shapes that do not match.
    """
    scoring = ScoringInput.prepare(
        scores,
        truth,
        operating_points=operating_points,
        predictions=predictions,
        thresholds=thresholds,
        f1_threshold=f1_threshold,
        scenarios={"psds1": psds1, "psds2": psds2},
        drop_clips_without_events=drop_clips_without_events,
        trim=trim_to_clip,
    )
    counts = match(scoring)
    (measured,) = measure(counts, np.ones((1, len(scoring.durations))))
    metrics = _system_metrics(scoring, counts, measured, f1_threshold)
    if check:
        from desed_task.evaluation.libraries import library_metrics

        metrics = replace(metrics, library=library_metrics(scoring))
    return metrics


def selection_metrics(
    scores: ScoredOutput, truth: GroundTruth, threshold: float = 0.5
) -> SelectionMetrics:
    """The F-scores that select a model in training, equal to those of `evaluate`, without the rest.

    Arguments and errors are those of `evaluate`; an undefined metric is 0.
    """
    scoring = ScoringInput.prepare(scores, truth, f1_threshold=threshold)
    assert scoring.detections is not None
    event = event_based.match(scoring, scoring.detections).total()
    crossing = intersection.match(scoring, scoring.detections).total()
    values = event.f_scores("event") | intersection.f_scores(crossing)
    return SelectionMetrics(
        event_f1_macro=values["event_f1_macro"] or 0.0,
        intersection_f1_macro=values["intersection_f1_macro"] or 0.0,
    )


def exact_psds(
    scores: ScoredOutput, truth: GroundTruth, scenarios: Sequence[Scenario] = (PSDS1, PSDS2)
) -> list[MetricValue]:
    """The PSDS over all thresholds, equal to those of `evaluate`, without the rest."""
    counts = psds_exact.match(ScoringInput.prepare(scores, truth), scenarios)
    rocs = [each.roc() for each in counts]
    return [None if roc is None else roc.psds for roc in rocs]


def _system_metrics(
    scoring: ScoringInput, counts: SystemCounts, measured: Measured, f1_threshold: Threshold
) -> SystemMetrics:
    truth = scoring.truth
    totals = {family: by_clip.total() for family, by_clip in counts.f_scores.items()}
    values: dict[str, Any] = dict(measured.values)
    return SystemMetrics(
        **values,
        f1_threshold=f1_threshold if isinstance(f1_threshold, float | int) else None,
        classes_averaged=len(np.unique(scoring.true.label)),
        clips_scored=len(scoring.names) - scoring.n_dropped,
        clips_without_events=sum(not events for events in truth.events.values()),
        clips_missing=len(truth.events) - len(scoring.names),
        clips_dropped=scoring.n_dropped,
        per_class=_class_metrics(scoring, totals, measured.rocs, f1_threshold),
        cross_triggers=_cross_triggers(truth.classes, totals.get("intersection")),
        rocs=measured.rocs,
        scoring_input=scoring,
    )


def _class_metrics(
    scoring: ScoringInput,
    totals: Mapping[str, Counts],
    rocs: Mapping[str, PsdRoc],
    f1_threshold: Threshold,
) -> dict[str, ClassMetrics]:
    true = np.bincount(scoring.true.label, minlength=scoring.n_classes)
    thresholds = np.broadcast_to(np.asarray(f1_threshold, dtype=float), true.shape)
    areas = {name: roc.class_psds() for name, roc in rocs.items()}
    metrics = {}
    for k, label in enumerate(scoring.truth.classes):
        values: dict[str, Any] = {name: by_class.get(k) for name, by_class in areas.items()}
        for family, total in totals.items():
            values[f"{family}_f1"] = float(total.f1[0, k]) if total.true[k] else None
            values[f"{family}_true_positives"] = int(total.correct[0, k])
            values[f"{family}_false_positives"] = int(total.false[0, k])
        if totals:
            values["segments_true"] = int(totals["segment"].true[k])
            values["detected"] = values["event_true_positives"] + values["event_false_positives"]
        metrics[label] = ClassMetrics(
            true=int(true[k]), f1_threshold=float(thresholds[k]), **values
        )
    return metrics


def _cross_triggers(classes: Sequence[str], counts: Counts | None) -> dict[str, dict[str, int]]:
    if counts is None or counts.cross is None:
        return {}
    cross = counts.cross[0]
    return {
        label: {other: int(cross[i, j]) for j, other in enumerate(classes) if i != j}
        for i, label in enumerate(classes)
    }
