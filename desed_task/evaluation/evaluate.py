"""Scores of a system and the truth -> every figure of docs/recipe.md, "Test"."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.event_based import event_counts
from desed_task.evaluation.events import EventTable, find_overlaps, sums
from desed_task.evaluation.exact_psds import exact_rocs
from desed_task.evaluation.fscore import ClassCounts
from desed_task.evaluation.intersection import Criteria, IntersectionCounts, intersection_counts
from desed_task.evaluation.psds import PSDS1, PSDS2, PsdRoc, Scenario, operating_point_roc
from desed_task.evaluation.results import (
    ClassMetrics,
    Figure,
    SelectionMetrics,
    SystemMetrics,
    named,
)
from desed_task.evaluation.segment_based import segment_counts
from desed_task.evaluation.task import Task, check_scores
from desed_task.evaluation.truth import GroundTruth
from desed_task.frames import FrameGrid

THRESHOLDS = tuple((2 * k + 1) / 100 for k in range(50))
F1_CRITERIA = Criteria(dtc=0.5, gtc=0.5, cttc=0.3)
CHECK_TOLERANCE = 1e-9


def evaluate(
    scores: NDArray[np.floating],
    names: Sequence[str],
    truth: GroundTruth,
    grid: FrameGrid,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    f1_threshold: float = 0.5,
    psds1: Scenario = PSDS1,
    psds2: Scenario = PSDS2,
    drop_clips_without_events: bool = False,
    trim_to_duration: bool = False,
    check: bool = False,
) -> SystemMetrics:
    """Judge a system's post-processed scores.

    Detections in clips where nothing happens are false alarms. Detections past the end of a
    shorter clip stay, as published; psds_eval itself looks for false alarms within the clip
    only, sed_scores_eval and sed_eval everywhere.

    Args:
        scores: after median filter and score correction, `(clips, classes, frames)` with the
            classes of `truth`, in [0, 1].
        names: clip names as in `truth`, `(clips,)`. A clip of the truth that is not named
            counts as nothing detected.
        truth: true events and clip lengths.
        grid: time axis of the frames.
        thresholds: operating points of the `…_psds_eval` figures, ascending.
        f1_threshold: where the F-scores are taken (score > threshold).
        psds1, psds2: tolerances and weights of the two scenarios.
        drop_clips_without_events: leave out what was detected in clips where nothing happens,
            as the authors did: `psds_eval` then counts their length only, the exact figures
            and F-scores do without these clips.
        trim_to_duration: cut detections at the end of their clip.
        check: compute everything with the libraries too, and put what differs by more than
            1e-9 into `differences` (clips without scores are left out for that).

    Raises:
        InputError: unknown or repeated names; a score that is NaN; scores that end more
            than one frame before their clip.
        ValueError: array shapes that do not fit each other.
    """
    check_scores(scores, names, truth, grid)
    options = _Options(
        thresholds, f1_threshold, psds1, psds2, drop_clips_without_events, trim_to_duration
    )
    metrics = _judge(scores, names, truth, grid, options)
    if check:
        differences = _differences(metrics, scores, names, truth, grid, options)
        metrics = replace(metrics, differences=differences)
    return metrics


def selection_metrics(
    scores: NDArray[np.floating],
    names: Sequence[str],
    truth: GroundTruth,
    grid: FrameGrid,
    threshold: float = 0.5,
) -> SelectionMetrics:
    """The F-scores by which training selects a model, as `evaluate` gives them, and fast.

    Arguments and errors are those of `evaluate`; a figure that is undefined counts as 0.
    """
    check_scores(scores, names, truth, grid)
    task = Task.prepare(scores, names, truth, grid, trim=False)
    detections = task.detect([threshold])
    counts = _intersections(task, detections, [F1_CRITERIA], n_levels=1)[0]
    return SelectionMetrics(
        event_f1_macro=event_counts(detections, task.truth, task.n_classes).macro or 0.0,
        intersection_f1_macro=float(counts.macro()[0]),
    )


@dataclass(frozen=True)
class _Options:
    """The options of `evaluate`, by the same names."""

    thresholds: Sequence[float]
    f1_threshold: float
    psds1: Scenario
    psds2: Scenario
    drop_clips_without_events: bool
    trim_to_duration: bool


@dataclass(frozen=True, eq=False)
class _AtThreshold:
    """What is detected at one threshold, and all counts of it."""

    threshold: float
    detections: EventTable
    events: ClassCounts
    segments: ClassCounts
    intersections: IntersectionCounts


def _judge(
    scores: NDArray[np.floating],
    names: Sequence[str],
    truth: GroundTruth,
    grid: FrameGrid,
    options: _Options,
) -> SystemMetrics:
    task = Task.prepare(scores, names, truth, grid, options.trim_to_duration)
    if options.drop_clips_without_events:
        task = task.without_empty_clips(names, truth)
    scenarios = (options.psds1, options.psds2)
    return _assemble(
        task,
        truth,
        f1=_judge_at(task, options.f1_threshold),
        operating=_operating_rocs(task, options.thresholds, scenarios, truth.total_seconds),
        exact=exact_rocs(
            task.scores,
            task.truth,
            task.exact_seconds,
            grid,
            scenarios,
            trim_to=task.durations if task.trim else None,
        ),
    )


def _judge_at(task: Task, threshold: float) -> _AtThreshold:
    detections = task.detect([threshold])
    return _AtThreshold(
        threshold,
        detections,
        event_counts(detections, task.truth, task.n_classes),
        segment_counts(detections, task.truth, len(task.durations), task.n_classes),
        _intersections(task, detections, [F1_CRITERIA], n_levels=1)[0],
    )


def _intersections(
    task: Task, detections: EventTable, criteria: Sequence[Criteria], *, n_levels: int
) -> list[IntersectionCounts]:
    overlaps = find_overlaps(detections, task.truth)
    return [
        intersection_counts(
            detections,
            task.truth,
            overlaps,
            task.durations,
            each,
            n_levels=n_levels,
            n_classes=task.n_classes,
        )
        for each in criteria
    ]


def _operating_rocs(
    task: Task, thresholds: Sequence[float], scenarios: Sequence[Scenario], seconds: float
) -> list[PsdRoc | None]:
    detections = task.detect(thresholds)
    criteria = [scenario.criteria for scenario in scenarios]
    all_counts = _intersections(task, detections, criteria, n_levels=len(thresholds))
    length = task.truth.offset - task.truth.onset
    class_seconds = sums(task.truth.label, length, task.n_classes)
    return [
        operating_point_roc(counts, class_seconds, seconds, scenario)
        for counts, scenario in zip(all_counts, scenarios, strict=True)
    ]


def _assemble(
    task: Task,
    truth: GroundTruth,
    *,
    f1: _AtThreshold,
    operating: Sequence[PsdRoc | None],
    exact: Sequence[PsdRoc | None],
) -> SystemMetrics:
    areas = [None if roc is None else roc.psds for roc in (*operating, *exact)]
    crossing = f1.intersections
    occurring = int((crossing.true > 0).sum())
    n_empty = sum(not events for events in truth.events.values())
    cross = crossing.cross[0]
    return SystemMetrics(
        psds1_psds_eval=areas[0],
        psds2_psds_eval=areas[1],
        psds1_sed_scores_eval=areas[2],
        psds2_sed_scores_eval=areas[3],
        event_f1_macro=f1.events.macro,
        event_f1_micro=f1.events.micro,
        segment_f1_macro=f1.segments.macro,
        segment_f1_micro=f1.segments.micro,
        intersection_f1_macro=float(crossing.macro()[0]) if occurring else None,
        intersection_f1_macro_occurring=(
            float(np.nanmean(crossing.per_class[0])) if occurring else None
        ),
        classes_averaged=occurring,
        clips_scored=len(task.scores) - task.n_dropped,
        clips_without_events=n_empty,
        clips_missing=len(task.durations) - len(task.scores),
        clips_dropped=task.n_dropped,
        per_class=_class_metrics(truth.classes, f1, [*operating, *exact]),
        cross_triggers={
            label: {other: int(cross[i, j]) for j, other in enumerate(truth.classes) if i != j}
            for i, label in enumerate(truth.classes)
        },
        rocs={name: roc for name, roc in zip(("psds1", "psds2"), exact, strict=True) if roc},
        f1_threshold=f1.threshold,
        detections=f1.detections,
    )


def _class_metrics(
    classes: Sequence[str], f1: _AtThreshold, rocs: Sequence[PsdRoc | None]
) -> dict[str, ClassMetrics]:
    event_f1, segment_f1 = (named(c.per_class, classes) for c in (f1.events, f1.segments))
    intersection_f1 = named(f1.intersections.per_class[0], classes)
    areas = [{} if roc is None else roc.class_psds() for roc in rocs]
    return {
        label: ClassMetrics(
            event_f1=event_f1[label],
            segment_f1=segment_f1[label],
            intersection_f1=intersection_f1[label],
            psds1_psds_eval=areas[0].get(k),
            psds2_psds_eval=areas[1].get(k),
            psds1_sed_scores_eval=areas[2].get(k),
            psds2_sed_scores_eval=areas[3].get(k),
            true=int(f1.events.true[k]),
            detected=int(f1.events.detected[k]),
            event_correct=int(f1.events.correct[k]),
            intersection_correct=int(f1.intersections.correct[0, k]),
            intersection_rejected=int(f1.intersections.false[0, k]),
            segments_true=int(f1.segments.true[k]),
            segments_detected=int(f1.segments.detected[k]),
            segments_correct=int(f1.segments.correct[k]),
        )
        for k, label in enumerate(classes)
    }


def _differences(
    metrics: SystemMetrics,
    scores: NDArray[np.floating],
    names: Sequence[str],
    truth: GroundTruth,
    grid: FrameGrid,
    options: _Options,
) -> dict[str, tuple[Figure, Figure]]:
    """Figures on the scored clips that differ from the libraries': (ours, theirs) by name."""
    from desed_task.evaluation.libraries import library_figures

    scored = truth.restricted(names)
    ours = _judge(scores, names, scored, grid, options) if metrics.clips_missing else metrics
    theirs = library_figures(scores, names, scored, grid, f1_criteria=F1_CRITERIA, **vars(options))
    return {
        name: (getattr(ours, name), figure)
        for name, figure in theirs.items()
        if not _agree(getattr(ours, name), figure)
    }


def _agree(ours: Figure, theirs: Figure) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return abs(ours - theirs) <= CHECK_TOLERANCE
