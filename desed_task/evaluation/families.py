"""All metric families of one system: matched once per clip, measured with any clip weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from desed_task.evaluation import (
    class_counts,
    event_based,
    intersection,
    psds_exact,
    psds_points,
    segment_based,
)
from desed_task.evaluation.class_counts import ClassCounts
from desed_task.evaluation.clip_counts import ClipCounts
from desed_task.evaluation.events import Floats
from desed_task.evaluation.psds import PsdRoc
from desed_task.evaluation.results import MetricValue
from desed_task.evaluation.scoring_input import ScoringInput


@dataclass(frozen=True, eq=False)
class SystemCounts:
    """Counts per clip of one system.

    Args:
        event, segment, intersection: at the F1 threshold; None where its events are unknown.
        operating: at the operating points, by scenario and class index; empty without them.
        exact: at all thresholds, by scenario and class index; empty without scores.
    """

    event: ClipCounts | None = None
    segment: ClipCounts | None = None
    intersection: ClipCounts | None = None
    operating: dict[str, dict[int, ClassCounts]] = field(default_factory=dict)
    exact: dict[str, dict[int, ClassCounts]] = field(default_factory=dict)


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
        event = event_based.match(scoring, scoring.detections)
        segment = segment_based.match(scoring, scoring.detections)
        crossing = intersection.match(scoring, scoring.detections)
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


def measure(counts: SystemCounts, scoring: ScoringInput, weights: Floats) -> list[Measured]:
    """All values of sets in which each clip occurs as often as its weight.

    Args:
        counts: result of `match`.
        scoring: what was matched.
        weights: whole numbers, `(sets, clips)`; `scoring.each_once` for the set itself.
    """
    exact = _rocs(counts.exact, scoring, weights, scoring.counted_seconds(weights))
    operating = _rocs(counts.operating, scoring, weights, scoring.total_seconds(weights))
    return [_measured(counts, *each) for each in zip(weights, exact, operating, strict=True)]


def _rocs(
    counts: Mapping[str, Mapping[int, ClassCounts]],
    scoring: ScoringInput,
    weights: Floats,
    total_seconds: Floats,
) -> list[dict[str, PsdRoc | None]]:
    """The curves of each set, by scenario."""
    found = {
        name: class_counts.measure(
            by_class, scoring, scoring.scenarios[name], weights, total_seconds
        )
        for name, by_class in counts.items()
    }
    return [{name: rocs[number] for name, rocs in found.items()} for number in range(len(weights))]


def _measured(
    counts: SystemCounts,
    weights: Floats,
    exact: Mapping[str, PsdRoc | None],
    operating: Mapping[str, PsdRoc | None],
) -> Measured:
    values: dict[str, MetricValue] = {}
    if counts.event is not None:
        values |= event_based.measure(counts.event, weights)
    if counts.segment is not None:
        values |= segment_based.measure(counts.segment, weights)
    if counts.intersection is not None:
        values |= intersection.measure(counts.intersection, weights)
    for library, rocs in (("psds_eval", operating), ("sed_scores_eval", exact)):
        for name, roc in rocs.items():
            values[f"{name}_{library}"] = None if roc is None else roc.psds
    return Measured(
        values,
        {name: roc for name, roc in exact.items() if roc is not None},
        {name: roc for name, roc in operating.items() if roc is not None},
    )
