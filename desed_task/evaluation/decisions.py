"""Everything that is decided on a system's events, and what the decisions count up to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from desed_task.evaluation.event_based import event_tallies
from desed_task.evaluation.events import EventTable, Floats, find_overlaps
from desed_task.evaluation.fscore import ClassCounts, ClassTallies
from desed_task.evaluation.intersection import (
    Criteria,
    IntersectionCounts,
    IntersectionTallies,
    intersection_tallies,
)
from desed_task.evaluation.results import MetricValue
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.evaluation.segment_based import segment_tallies


@dataclass(frozen=True, eq=False)
class Counts:
    """All counts of what is detected at one threshold."""

    events: ClassCounts
    segments: ClassCounts
    intersections: IntersectionCounts

    def f_scores(self) -> dict[str, MetricValue]:
        """The F-scores of all classes and what they count, by the names of `SystemMetrics`."""
        crossing = self.intersections
        occurring = bool(crossing.true.any())
        figures: dict[str, MetricValue] = {
            "intersection_f1_macro": float(crossing.macro()[0]) if occurring else None,
            "intersection_f1_macro_occurring": (
                float(np.nanmean(crossing.per_class[0])) if occurring else None
            ),
            "intersection_f1_micro": crossing.micro()[0],
            "intersection_true_positives": int(crossing.correct[0].sum()),
            "intersection_false_positives": int(crossing.false[0].sum()),
            "intersection_false_negatives": int(crossing.true.sum() - crossing.correct[0].sum()),
        }
        for name, of in (("event", self.events), ("segment", self.segments)):
            figures |= {
                f"{name}_f1_macro": of.macro,
                f"{name}_f1_micro": of.micro,
                f"{name}_true_positives": int(of.correct.sum()),
                f"{name}_false_positives": int(of.detected.sum() - of.correct.sum()),
                f"{name}_false_negatives": int(of.true.sum() - of.correct.sum()),
            }
        return figures


@dataclass(frozen=True, eq=False)
class Decisions:
    """All decisions on what is detected at one threshold."""

    events: ClassTallies
    segments: ClassTallies
    intersections: IntersectionTallies

    @classmethod
    def on(cls, detections: EventTable, task: ScoringInput, criteria: Criteria) -> "Decisions":
        """Decide; clips are numbered as in the task, and `criteria` are the intersections'."""
        return cls(
            event_tallies(detections, task.true, task.n_classes),
            segment_tallies(detections, task.true, len(task.durations), task.n_classes),
            decide_intersections(detections, task, [criteria], n_levels=1)[0],
        )

    def counts(self, weights: Floats | None = None) -> Counts:
        """What they count, of clips weighted as in `ClipCounts.count`."""
        return Counts(
            self.events.counts(weights),
            self.segments.counts(weights),
            self.intersections.counts(weights),
        )


def decide_intersections(
    detections: EventTable, task: ScoringInput, criteria: Sequence[Criteria], *, n_levels: int
) -> list[IntersectionTallies]:
    """What each of the criteria decides on events of `n_levels` operating points."""
    overlaps = find_overlaps(detections, task.true)
    return [
        intersection_tallies(
            detections,
            task.true,
            overlaps,
            task.durations,
            each,
            n_levels=n_levels,
            n_classes=task.n_classes,
        )
        for each in criteria
    ]
