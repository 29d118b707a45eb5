"""All metric families of one system: matched once per clip, measured with any clip weights."""

from dataclasses import dataclass
from typing import NamedTuple

from desed_task.evaluation import (
    event_based,
    intersection,
    psds_exact,
    psds_points,
    segment_based,
)
from desed_task.evaluation.class_counts import PsdsCounts
from desed_task.evaluation.clip_counts import ClipCounts
from desed_task.evaluation.events import Floats
from desed_task.evaluation.psds import PsdRoc
from desed_task.evaluation.results import MetricValue
from desed_task.evaluation.scoring_input import ScoringInput


@dataclass(frozen=True, eq=False)
class SystemCounts:
    """Counts per clip of one system.

    Args:
        f_scores: at the F1 threshold, by family (`event`, `segment`, `intersection`); empty where
            its events are unknown.
        psds: by the metric's name in `SystemMetrics`; those that have a source.
    """

    f_scores: dict[str, ClipCounts]
    psds: dict[str, PsdsCounts]


class Measured(NamedTuple):
    """Values by the field names of `SystemMetrics`, and the curves of those that are a PSDS."""

    values: dict[str, MetricValue]
    rocs: dict[str, PsdRoc]


def match(scoring: ScoringInput) -> SystemCounts:
    """Match what the system detected with the ground truth, by the criteria of every family."""
    f_scores = {}
    if scoring.detections is not None:
        f_scores = {
            "event": event_based.match(scoring, scoring.detections),
            "segment": segment_based.match(scoring, scoring.detections),
            "intersection": intersection.match(scoring, scoring.detections),
        }
    names, scenarios = scoring.scenarios.keys(), list(scoring.scenarios.values())
    psds: dict[str, PsdsCounts] = {}
    for library, source, family in (
        ("psds_eval", scoring.points, psds_points),
        ("sed_scores_eval", scoring.scores, psds_exact),
    ):
        if source is not None:
            counts = family.match(scoring, scenarios)
            psds |= {f"{name}_{library}": each for name, each in zip(names, counts, strict=True)}
    return SystemCounts(f_scores, psds)


def measure(counts: SystemCounts, weights: Floats) -> list[Measured]:
    """All values of sets in which each clip occurs as often as its weight.

    Args:
        counts: result of `match`.
        weights: whole numbers, `(sets, clips)`.
    """
    rocs = {name: by_class.rocs(weights) for name, by_class in counts.psds.items()}
    measured = []
    for number, set_weights in enumerate(weights):
        set_rocs = {name: rocs_of_sets[number] for name, rocs_of_sets in rocs.items()}
        values: dict[str, MetricValue] = {
            name: None if roc is None else roc.psds for name, roc in set_rocs.items()
        }
        for family, by_clip in counts.f_scores.items():
            total = by_clip.total(set_weights)
            is_intersection = family == "intersection"
            values |= intersection.f_scores(total) if is_intersection else total.f_scores(family)
        defined = {name: roc for name, roc in set_rocs.items() if roc is not None}
        measured.append(Measured(values, defined))
    return measured
