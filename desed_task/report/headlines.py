"""First section: the metrics of all systems, their differences, and the scoring input."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from desed_task.evaluation.results import HEADLINE_METRICS, MetricValue, SystemMetrics
from desed_task.report.blocks import (
    NOT_DEFINED,
    Block,
    Cell,
    Heading,
    Paragraph,
    Section,
    Table,
    format_signed,
    format_value,
    join_names,
    row,
)
from desed_task.report.systems import ReportInput, ReportSystem

if TYPE_CHECKING:
    from desed_task.evaluation.bootstrap import Interval

INTRO = (
    "PSDS is the share of the area below the PSD-ROC, over all thresholds (exact) or through "
    "operating points. F1 is 2 · correct / (true + detected) at the F1 threshold: event-based by "
    "onset (±0.2 s) and offset (±0.2 s or 20 % of the event's length), segment-based in segments "
    "of 1 s, intersection-based by overlap (half of a detection, half of a true event). Macro is "
    "the mean over the classes that occur in the ground truth (over found classes, as psds_eval "
    "defines it: classes without any found event are excluded); micro pools the counts of all "
    "classes."
)


def headline_section(report: ReportInput) -> Section:
    """All metrics side by side, their differences, and what was scored."""
    blocks: list[Block] = [metric_table(report)]
    blocks += [Paragraph(reason) for reason in missing_reasons(report.systems)]
    differences = difference_tables(report)
    if differences:
        blocks += [Heading("Differences"), *differences]
    blocks += [Heading("Scoring input"), input_table(report.systems)]
    return Section("headlines", "Metrics", INTRO, blocks)


def metric_table(report: ReportInput) -> Table:
    """All metrics of all systems, with their intervals."""
    rows = []
    for metric, title in HEADLINE_METRICS.items():
        cells = [
            _format_with_interval(
                getattr(system.metrics, metric), report.interval(system.name, metric)
            )
            for system in report.systems
        ]
        rows.append(row(title, *cells))
    caption = "Every metric is from 0 to 1; higher is better."
    if report.intervals is not None:
        caption += f" In brackets: {_describe_intervals(report)}."
    return Table(caption, ("metric", *report.names.values()), tuple(rows))


def _format_with_interval(value: MetricValue, interval: "Interval | None") -> str:
    if interval is None or interval.low is None or interval.high is None:
        return format_value(value)
    return f"{format_value(value)} [{format_value(interval.low, 3)}, {interval.high:.3f}]"


def _describe_intervals(report: ReportInput) -> str:
    intervals = report.intervals
    if intervals is None:
        return "no intervals"
    return (
        f"{100 * intervals.confidence:g} % intervals of {intervals.replicates:,} bootstrap "
        "replicates (clips drawn with replacement)"
    )


def missing_reasons(systems: Sequence[ReportSystem]) -> list[str]:
    """Why metrics are undefined, a sentence for each reason."""
    if not len(systems[0].metrics.scoring_input.true):
        return [f"{NOT_DEFINED}: F1 and PSDS need true events, and the ground truth has none."]
    reasons: dict[str, list[str]] = {}
    for system in systems:
        scoring = system.metrics.scoring_input
        sources = {
            "exact PSDS needs scores": scoring.scores,
            "PSDS from operating points needs events at several thresholds": scoring.points,
            "F1 needs events at one threshold": scoring.detections,
        }
        for reason, source in sources.items():
            if source is None:
                reasons.setdefault(reason, []).append(system.name)
    return [f"{NOT_DEFINED} for {join_names(names)}: {why}." for why, names in reasons.items()]


def difference_tables(report: ReportInput) -> list[Table]:
    """For each system a table of its differences from later ones; those that exclude 0 are marked.

    No table without intervals or with one system.
    """
    if report.intervals is None:
        return []
    others: dict[str, dict[str, dict[str, Interval]]] = {}
    for (first, second), differences in report.intervals.differences.items():
        others.setdefault(first, {})[second] = differences
    return [_difference_table(report, first, pairs) for first, pairs in others.items()]


def _difference_table(
    report: ReportInput, first: str, pairs: Mapping[str, Mapping[str, "Interval"]]
) -> Table:
    """Differences of one system from others, by the other's name and the metric."""
    # A dict keeps the order of the metrics that have no title.
    found = {metric: None for differences in pairs.values() for metric in differences}
    ordered = [metric for metric in HEADLINE_METRICS if metric in found]
    ordered += [metric for metric in found if metric not in HEADLINE_METRICS]
    rows = [
        row(
            HEADLINE_METRICS.get(metric, metric.replace("_", " ")),
            *(_difference_cell(differences.get(metric)) for differences in pairs.values()),
        )
        for metric in ordered
    ]
    caption = (
        f"{first} minus another system, with {_describe_intervals(report)}. "
        "Marked with *: the interval excludes 0."
    )
    return Table(caption, ("metric", *(f"{first} − {other}" for other in pairs)), tuple(rows))


def _difference_cell(interval: "Interval | None") -> Cell:
    if interval is None or interval.value is None:
        return Cell(NOT_DEFINED)
    if interval.low is None or interval.high is None:
        return Cell(format_signed(interval.value, 4))
    excludes_0 = interval.low > 0 or interval.high < 0
    bounds = f"[{format_signed(interval.low, 3)}, {format_signed(interval.high, 3)}]"
    text = f"{format_signed(interval.value, 4)} {bounds}{' *' if excludes_0 else ''}"
    return Cell(text, marked=excludes_0)


def input_table(systems: Sequence[ReportSystem]) -> Table:
    """Clips, events and thresholds of each system's scoring input."""
    metrics = [system.metrics for system in systems]
    cells: dict[str, Callable[[SystemMetrics], str]] = {
        "clips scored": lambda m: format_value(m.clips_scored),
        "clips without true events": lambda m: format_value(m.clips_without_events),
        "clips without predictions": lambda m: format_value(m.clips_missing),
        "clips whose detections were dropped": lambda m: format_value(m.clips_dropped),
        "classes in the ground truth": lambda m: format_value(m.classes_averaged),
        "true events": lambda m: format_value(len(m.scoring_input.true)),
        "detected events": _n_detections,
        "F1 threshold": _f1_threshold,
        "operating points": _n_operating_points,
    }
    rows = [row(title, *map(cell, metrics)) for title, cell in cells.items()]
    if any(system.note for system in systems):
        rows.append(row("remark", *(system.note or NOT_DEFINED for system in systems)))
    caption = (
        "A clip without predictions is scored as if nothing was detected in it. Detections in "
        "clips without true events are dropped only on request."
    )
    return Table(caption, ("input", *(system.name for system in systems)), tuple(rows))


def _n_detections(metrics: SystemMetrics) -> str:
    detections = metrics.scoring_input.detections
    return NOT_DEFINED if detections is None else format_value(len(detections))


def _n_operating_points(metrics: SystemMetrics) -> str:
    scoring = metrics.scoring_input
    return NOT_DEFINED if scoring.points is None else format_value(len(scoring.thresholds))


def _f1_threshold(metrics: SystemMetrics) -> str:
    if metrics.scoring_input.scores is None and metrics.scoring_input.points is None:
        return "the system's own"
    if metrics.f1_threshold is not None:
        return f"{metrics.f1_threshold:g}"
    return "one per class"
