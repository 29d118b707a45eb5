"""All metric families of one system: matched once per clip, measured with any clip weights."""

from dataclasses import dataclass, field

from desed_task.evaluation import (
    event_based,
    intersection,
    psds_exact,
    psds_points,
    segment_based,
)
from desed_task.evaluation.clip_counts import ClipCounts
from desed_task.evaluation.events import Floats, find_overlaps
from desed_task.evaluation.intersection import F1_CRITERIA
from desed_task.evaluation.psds import PsdRoc
from desed_task.evaluation.results import MetricValue
from desed_task.evaluation.scoring_input import ScoringInput


@dataclass(frozen=True, eq=False)
class SystemCounts:
    """Counts per clip of one system.

    Args:
        event, segment, intersection: at the F1 threshold; None where its events are unknown.
        operating: at the operating points, by scenario; empty without operating points.
        exact: at all thresholds, by scenario and class index; empty without scores.
    """

    event: ClipCounts | None = None
    segment: ClipCounts | None = None
    intersection: ClipCounts | None = None
    operating: dict[str, ClipCounts] = field(default_factory=dict)
    exact: dict[str, dict[int, ClipCounts]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Measured:
    """Values by the field names of `SystemMetrics`, and the curves of the PSDS by scenario."""

    values: dict[str, MetricValue]
    rocs: dict[str, PsdRoc]
    operating_rocs: dict[str, PsdRoc]


def match(scoring: ScoringInput) -> SystemCounts:
    """Match what the system detected with the ground truth, by the criteria of every family."""
    names, scenarios = scoring.scenarios.keys(), list(scoring.scenarios.values())
    event = segment = crossing = None
    if scoring.detections is not None:
        detections, truth, n_classes = scoring.detections, scoring.true, scoring.n_classes
        event = event_based.match(detections, truth, n_classes)
        segment = segment_based.match(detections, truth, len(scoring.durations), n_classes)
        crossing = match_intersections(scoring)
    operating = exact = None
    if scoring.points is not None:
        operating = psds_points.match(scoring, scenarios)
    if scoring.scores is not None:
        exact = psds_exact.match(scoring, scenarios)
    return SystemCounts(
        event,
        segment,
        crossing,
        dict(zip(names, operating or [], strict=False)),
        dict(zip(names, exact or [], strict=False)),
    )


def match_intersections(scoring: ScoringInput) -> ClipCounts:
    """Intersection-based counts at the F1 threshold, by `F1_CRITERIA`."""
    assert scoring.detections is not None
    return intersection.match(
        scoring.detections,
        scoring.true,
        find_overlaps(scoring.detections, scoring.true),
        scoring.durations,
        F1_CRITERIA,
        n_levels=1,
        n_classes=scoring.n_classes,
    )


def measure(counts: SystemCounts, scoring: ScoringInput, weights: Floats) -> Measured:
    """All values of a set in which each clip occurs as often as its weight says.

    Args:
        counts: result of `match`.
        scoring: what was matched.
        weights: whole numbers, `(clips,)`; ones for the set itself.
    """
    values: dict[str, MetricValue] = {}
    rocs: dict[str, PsdRoc] = {}
    operating_rocs: dict[str, PsdRoc] = {}
    if counts.event is not None:
        values |= event_based.measure(counts.event, weights)
    if counts.segment is not None:
        values |= segment_based.measure(counts.segment, weights)
    if counts.intersection is not None:
        values |= intersection.measure(counts.intersection, weights)
    for name, scenario in scoring.scenarios.items():
        if name in counts.operating:
            roc = psds_points.measure(counts.operating[name], scoring, scenario, weights)
            values[f"{name}_psds_eval"] = None if roc is None else roc.psds
            if roc is not None:
                operating_rocs[name] = roc
        if name in counts.exact:
            roc = psds_exact.measure(counts.exact[name], scoring, scenario, weights)
            values[f"{name}_sed_scores_eval"] = None if roc is None else roc.psds
            if roc is not None:
                rocs[name] = roc
    return Measured(values, rocs, operating_rocs)
