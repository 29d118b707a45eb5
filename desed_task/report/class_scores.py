"""Section on classes: F1, counts and PSDS of each class."""

from collections.abc import Callable

from desed_task.drawing.style import readable_class
from desed_task.evaluation.results import ClassMetrics, MetricValue
from desed_task.report.blocks import NOT_DEFINED, Section, Table, format_count, format_value
from desed_task.report.size import class_origins
from desed_task.report.systems import ReportInput

INTRO = (
    "The same metrics for each class alone; its PSDS is the share of the area below its own "
    "curve (exact, or through operating points), without the penalty for the spread between "
    "classes."
)
COLUMNS: dict[str, Callable[[ClassMetrics], str]] = {
    "detected": lambda m: format_count(m.detected),
    "threshold": lambda m: NOT_DEFINED if m.f1_threshold is None else f"{m.f1_threshold:g}",
    "event F1": lambda m: format_value(m.event_f1, 3),
    "correct": lambda m: format_count(m.event_true_positives),
    "segment F1": lambda m: format_value(m.segment_f1, 3),
    "intersection F1": lambda m: format_value(m.intersection_f1, 3),
    "PSDS1": lambda m: _format_psds(m.psds1_sed_scores_eval, m.psds1_psds_eval),
    "PSDS2": lambda m: _format_psds(m.psds2_sed_scores_eval, m.psds2_psds_eval),
}


def class_section(report: ReportInput) -> Section:
    """A table with a row for each class and system, the systems of a class below each other."""
    rows = [
        [
            readable_class(label),
            system.name,
            format_value(system.metrics.per_class[label].true),
            format_value(origins),
            *(format_cell(system.metrics.per_class[label]) for format_cell in COLUMNS.values()),
        ]
        for label, origins in zip(report.classes, class_origins(report).tolist(), strict=True)
        for system in report.systems
    ]
    caption = (
        "True, detected, correct: numbers of events, correct by event-based matching; "
        f"{report.origin}s: those with a true event of the class. "
        "–: the class does not occur in the ground truth, or the system has no such output."
    )
    table = Table(caption, ("class", "system", "true", f"{report.origin}s", *COLUMNS), rows)
    return Section("classes", "Classes", INTRO, [table])


def _format_psds(exact: MetricValue, from_points: MetricValue) -> str:
    return format_value(from_points if exact is None else exact, 3)
