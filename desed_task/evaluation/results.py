"""Results of an evaluation, as named metrics, and tables of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from desed_task.evaluation.psds import PsdRoc
from desed_task.evaluation.scoring_input import ScoringInput

MetricValue = float | None
NOT_FLAT = ("per_class", "cross_triggers", "rocs", "scoring_input", "library")
CHECK_TOLERANCE = 1e-9
# Fields of `SystemMetrics` that tables show and that intervals are computed for, with their titles.
HEADLINE_METRICS = {
    "psds1_sed_scores_eval": "PSDS1 (exact)",
    "psds1_psds_eval": "PSDS1 (operating points)",
    "psds2_sed_scores_eval": "PSDS2 (exact)",
    "psds2_psds_eval": "PSDS2 (operating points)",
    "event_f1_macro": "event-based F1, macro",
    "event_f1_micro": "event-based F1, micro",
    "segment_f1_macro": "segment-based F1, macro",
    "segment_f1_micro": "segment-based F1, micro",
    "intersection_f1_macro": "intersection-based F1, macro over found classes",
    "intersection_f1_macro_occurring": "intersection-based F1, macro",
    "intersection_f1_micro": "intersection-based F1, micro",
}


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """Metrics of one class at its F1 threshold, and the areas under its PSD-ROC curves.

    F-scores and PSDS are None where the class does not occur in the ground truth. They and the
    counts of detections are None without the system's events. `true` and `detected` count events,
    `segments_true` segments. True positives are true events (segments) that a criterion treats as
    found, false positives are detected events (segments) that it rejects.
    """

    event_f1: MetricValue = None
    segment_f1: MetricValue = None
    intersection_f1: MetricValue = None
    psds1_psds_eval: MetricValue = None
    psds2_psds_eval: MetricValue = None
    psds1_sed_scores_eval: MetricValue = None
    psds2_sed_scores_eval: MetricValue = None
    f1_threshold: MetricValue = None
    true: int
    detected: MetricValue = None
    event_true_positives: MetricValue = None
    event_false_positives: MetricValue = None
    intersection_true_positives: MetricValue = None
    intersection_false_positives: MetricValue = None
    segments_true: MetricValue = None
    segment_true_positives: MetricValue = None
    segment_false_positives: MetricValue = None


@dataclass(frozen=True, kw_only=True)
class SystemMetrics:
    """Metrics of one system on one set; None where a metric is undefined or has no source.

    `…_psds_eval` are from operating points, `…_sed_scores_eval` over all thresholds. Macro
    averages are over the classes that occur in the ground truth; a class never detected has F1 0.
    One exception: `intersection_f1_macro` is psds_eval's and the recipe's, which excludes classes
    without any found event and is 0 where the mean is undefined;
    `intersection_f1_macro_occurring` is the plain mean over the occurring classes.
    Positives and negatives are counted as in `ClassMetrics`, over all classes.

    Args:
        f1_threshold: the threshold of the F-scores; None where each class has its own.
        classes_averaged: number of classes that occur in the ground truth.
        clips_scored: number of clips that the system names and whose detections are scored.
        clips_without_events: number of clips without true events.
        clips_missing: number of clips of the ground truth that the system does not name; they
            are treated as clips in which it detected nothing.
        clips_dropped: number of named clips whose detections are excluded because the clip has
            no true event.
        per_class: by class name.
        cross_triggers: rejected detections of a class (first key) that match true events of
            another (second key), at the F1 threshold.
        rocs: the curves of the PSDS that are defined, by metric.
        scoring_input: the system's output and the ground truth.
        library: the libraries' metrics by the same names; None without `check`.
    """

    psds1_psds_eval: MetricValue = None
    psds2_psds_eval: MetricValue = None
    psds1_sed_scores_eval: MetricValue = None
    psds2_sed_scores_eval: MetricValue = None
    event_f1_macro: MetricValue = None
    event_f1_micro: MetricValue = None
    segment_f1_macro: MetricValue = None
    segment_f1_micro: MetricValue = None
    intersection_f1_macro: MetricValue = None
    intersection_f1_macro_occurring: MetricValue = None
    intersection_f1_micro: MetricValue = None
    event_true_positives: MetricValue = None
    event_false_positives: MetricValue = None
    event_false_negatives: MetricValue = None
    segment_true_positives: MetricValue = None
    segment_false_positives: MetricValue = None
    segment_false_negatives: MetricValue = None
    intersection_true_positives: MetricValue = None
    intersection_false_positives: MetricValue = None
    intersection_false_negatives: MetricValue = None
    f1_threshold: MetricValue
    classes_averaged: int
    clips_scored: int
    clips_without_events: int
    clips_missing: int
    clips_dropped: int
    per_class: dict[str, ClassMetrics] = field(repr=False)
    cross_triggers: dict[str, dict[str, int]] = field(repr=False)
    rocs: dict[str, PsdRoc] = field(repr=False, compare=False)
    scoring_input: ScoringInput = field(repr=False, compare=False)
    library: dict[str, MetricValue] | None = field(default=None, compare=False)

    @property
    def differences(self) -> dict[str, tuple[MetricValue, MetricValue]]:
        """Metrics that differ by more than 1e-9 from the library's, as (ours, the library's)."""
        return {
            name: (getattr(self, name), expected)
            for name, expected in (self.library or {}).items()
            if not _agree(getattr(self, name), expected)
        }

    def as_flat_dict(self) -> dict[str, MetricValue]:
        """All metrics by name, ready for JSON.

        Metrics of a class are `per_class/CLASS/NAME`, cross triggers
        `cross_triggers/CLASS/OTHER`, a library's metrics `library/NAME`.
        """
        flat: dict[str, MetricValue] = {
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
        return flat | {f"library/{name}": value for name, value in (self.library or {}).items()}


@dataclass(frozen=True)
class SelectionMetrics:
    """The metrics that select a model in validation; an undefined one is 0."""

    event_f1_macro: float
    intersection_f1_macro: float


def difference_lines(systems: Mapping[str, SystemMetrics]) -> list[str]:
    """Differences from the libraries, one metric of one system per line."""
    return [
        f"{system}: {name}: expected {expected} (the library's), got {ours}"
        for system, metrics in systems.items()
        for name, (ours, expected) in metrics.differences.items()
    ]


def metric_table(
    titles: Mapping[str, str], systems: Mapping[str, Mapping[str, Any]], heading: str = ""
) -> str:
    """Table of metrics as text: one row per metric, one column per system.

    Args:
        titles: the rows' titles by metric name.
        systems: each system's metrics by name; None, or a missing name, is shown as "-".
        heading: text above the titles.
    """
    title_width = max(map(len, (heading, *titles.values()))) + 2
    widths = {system: max(10, len(system) + 2) for system in systems}
    lines = [f"{heading:<{title_width}}" + "".join(f"{n:>{w}}" for n, w in widths.items())]
    for name, title in titles.items():
        cells = [f"{_shown(systems[n].get(name)):>{width}}" for n, width in widths.items()]
        lines.append(f"{title:<{title_width}}" + "".join(cells))
    return "\n".join(lines)


def _agree(ours: MetricValue, expected: MetricValue) -> bool:
    if ours is None or expected is None:
        return ours is expected
    return abs(ours - expected) <= CHECK_TOLERANCE


def _shown(value: MetricValue) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
