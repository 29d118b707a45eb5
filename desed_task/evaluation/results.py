"""What an evaluation finds, as named figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from desed_task.evaluation.events import EventTable, Floats
from desed_task.evaluation.psds import PsdRoc

Figure = float | None
NOT_FLAT = ("per_class", "cross_triggers", "rocs", "detections", "differences")


@dataclass(frozen=True)
class ClassMetrics:
    """One class's figures at the F1 threshold, and its shares of the PSD-ROC.

    Every figure is None where the class does not occur in the truth. Counts: `true` events,
    `detected` ones, and how many of the true ones each criterion calls found; `rejected`
    detections fail the intersection criterion. Segments are counted likewise.
    """

    event_f1: Figure
    segment_f1: Figure
    intersection_f1: Figure
    psds1_psds_eval: Figure
    psds2_psds_eval: Figure
    psds1_sed_scores_eval: Figure
    psds2_sed_scores_eval: Figure
    true: int
    detected: int
    event_correct: int
    intersection_correct: int
    intersection_rejected: int
    segments_true: int
    segments_detected: int
    segments_correct: int


@dataclass(frozen=True)
class SystemMetrics:
    """Figures of one system on one set; None where a figure is undefined.

    `…_psds_eval` are from operating points, `…_sed_scores_eval` over all thresholds. Macro
    averages are over the classes that occur in the truth, of which a class never detected
    counts 0, with one exception: `intersection_f1_macro` is psds_eval's and the recipe's, which
    leaves out classes without any found event and counts an undefined mean as 0;
    `intersection_f1_macro_occurring` is the plain mean over the occurring classes.

    Args:
        classes_averaged: classes that occur in the truth.
        clips_scored: clips whose scores were judged.
        clips_without_events: clips of the truth in which nothing happens.
        clips_missing: clips of the truth without scores; they count as nothing detected.
        clips_dropped: scored clips whose detections were dropped for having no true event.
        per_class: by class name.
        cross_triggers: rejected detections of a class (first key) that fit true events of
            another (second key), at the F1 threshold.
        rocs: the curves behind `…_sed_scores_eval`, by scenario name.
        differences: figures that differ from the library's, as (ours, library's); None if
            the libraries were not asked.
        f1_threshold: the threshold of the F-scores.
        detections: the events they judged; clips and classes are numbered as in the scores.
    """

    psds1_psds_eval: Figure
    psds2_psds_eval: Figure
    psds1_sed_scores_eval: Figure
    psds2_sed_scores_eval: Figure
    event_f1_macro: Figure
    event_f1_micro: Figure
    segment_f1_macro: Figure
    segment_f1_micro: Figure
    intersection_f1_macro: Figure
    intersection_f1_macro_occurring: Figure
    classes_averaged: int
    clips_scored: int
    clips_without_events: int
    clips_missing: int
    clips_dropped: int
    per_class: dict[str, ClassMetrics] = field(repr=False)
    cross_triggers: dict[str, dict[str, int]] = field(repr=False)
    rocs: dict[str, PsdRoc] = field(repr=False, compare=False)
    f1_threshold: float
    detections: EventTable = field(repr=False, compare=False)
    differences: dict[str, tuple[Figure, Figure]] | None = None

    def as_flat_dict(self) -> dict[str, Figure | int]:
        """All figures by name, ready for JSON.

        Figures of a class are `per_class/CLASS/NAME`, cross triggers
        `cross_triggers/CLASS/OTHER`.
        """
        flat: dict[str, Figure | int] = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in NOT_FLAT
        }
        for label, metrics in self.per_class.items():
            for item in fields(metrics):
                flat[f"per_class/{label}/{item.name}"] = getattr(metrics, item.name)
        for label, others in self.cross_triggers.items():
            for other, count in others.items():
                flat[f"cross_triggers/{label}/{other}"] = count
        return flat


@dataclass(frozen=True)
class SelectionMetrics:
    """The figures a validation epoch chooses a model by; an undefined one counts as 0."""

    event_f1_macro: float
    intersection_f1_macro: float


def named(values: Floats, classes: Sequence[str]) -> dict[str, Figure]:
    """Figures by class name, NaN as None."""
    return {
        label: None if math.isnan(value) else value
        for label, value in zip(classes, values.tolist(), strict=True)
    }
