"""First section: size of the set, metrics of all systems, their differences, scoring input."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from desed_task.evaluation.results import HEADLINE_METRICS, MetricValue
from desed_task.report.blocks import (
    NO_BREAK,
    NOT_DEFINED,
    Block,
    Section,
    Table,
    format_difference,
    format_interval,
    format_value,
    join_names,
)
from desed_task.report.size import size_blocks
from desed_task.report.systems import ReportInput, ReportSystem

if TYPE_CHECKING:
    from desed_task.evaluation.bootstrap import Interval, Intervals

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
    """Size of the set, all metrics side by side, their differences, and what was scored."""
    blocks: list[Block] = [*size_blocks(report), metric_table(report), *missing_reasons(report)]
    if report.intervals is not None:
        blocks += difference_tables(report.intervals)
    return Section("headlines", "Metrics", INTRO, [*blocks, input_table(report)])


def metric_table(report: ReportInput) -> Table:
    """All metrics of all systems, with their intervals."""
    intervals = report.intervals
    bounds = {} if intervals is None else intervals.metrics
    rows = [
        [
            title,
            *(
                _with_interval(
                    getattr(system.metrics, metric), bounds.get(system.name, {}).get(metric)
                )
                for system in report.systems
            ),
        ]
        for metric, title in HEADLINE_METRICS.items()
    ]
    caption = "Every metric is from 0 to 1; higher is better."
    if intervals is not None:
        caption += f" In brackets: {_describe(intervals)}."
    return Table(caption, ("metric", *report.names.values()), rows)


def _with_interval(value: MetricValue, interval: "Interval | None") -> str:
    if interval is None or interval.low is None or interval.high is None:
        return format_value(value)
    return f"{format_value(value)} {format_interval(f'{interval.low:.3f}', f'{interval.high:.3f}')}"


def _describe(intervals: "Intervals") -> str:
    return (
        f"{100 * intervals.confidence:g} % intervals of {intervals.replicates:,} bootstrap "
        "replicates (clips drawn with replacement)"
    )


def missing_reasons(report: ReportInput) -> list[str]:
    """Why metrics are undefined, a sentence for each reason."""
    if not len(report.scoring[0].true):
        return [f"{NOT_DEFINED}: F1 and PSDS need true events, and the ground truth has none."]
    reasons: dict[str, list[str]] = {}
    for name, scoring in zip(report.names.values(), report.scoring, strict=True):
        sources = {
            "exact PSDS needs scores": scoring.scores,
            "PSDS from operating points needs events at several thresholds": scoring.points,
            "F1 needs events at one threshold": scoring.detections,
        }
        for reason, source in sources.items():
            if source is None:
                reasons.setdefault(reason, []).append(name)
    return [f"{NOT_DEFINED} for {join_names(names)}: {why}." for why, names in reasons.items()]


def difference_tables(intervals: "Intervals") -> list[Table]:
    """For each system a table of its differences from later ones; those that exclude 0 are marked.

    No table of one system.
    """
    others: dict[str, dict[str, dict[str, Interval]]] = {}
    for (first, second), differences in intervals.differences.items():
        others.setdefault(first, {})[second] = differences
    tables: list[Table] = []
    for first, pairs in others.items():
        # A dict keeps the order of the metrics that have no title.
        found = {metric: None for differences in pairs.values() for metric in differences}
        ordered = [metric for metric in HEADLINE_METRICS if metric in found]
        ordered += [metric for metric in found if metric not in HEADLINE_METRICS]
        rows = [
            [
                HEADLINE_METRICS.get(metric, metric.replace("_", " ")),
                *(_difference(differences.get(metric)) for differences in pairs.values()),
            ]
            for metric in ordered
        ]
        caption = (
            f"{first} minus another system, with {_describe(intervals)}. "
            "Marked with *: the interval excludes 0."
        )
        columns = ("metric", *(f"{first} − {other}" for other in pairs))
        tables.append(Table(caption, columns, rows, "" if tables else "Differences"))
    return tables


def _difference(interval: "Interval | None") -> str:
    if interval is None:
        return NOT_DEFINED
    return format_difference(interval.value, interval.low, interval.high, 4, mark=f"{NO_BREAK}*")


def input_table(report: ReportInput) -> Table:
    """Clips, events and thresholds of each system's scoring input."""
    cells: dict[str, Callable[[ReportSystem], str]] = {
        "clips scored": lambda s: format_value(s.metrics.clips_scored),
        "clips without true events": lambda s: format_value(s.metrics.clips_without_events),
        "clips without predictions": lambda s: format_value(s.metrics.clips_missing),
        "clips whose detections were dropped": lambda s: format_value(s.metrics.clips_dropped),
        "classes in the ground truth": lambda s: format_value(s.metrics.classes_averaged),
        "true events": lambda s: format_value(len(s.metrics.scoring_input.true)),
        "detected events": _n_detections,
        "F1 threshold": _f1_threshold,
        "operating points": _n_operating_points,
    }
    if any(system.training_seconds is not None for system in report.systems):
        cells["CPU seconds of training"] = lambda s: format_value(s.training_seconds, 1)
    if any(system.note for system in report.systems):
        cells["remark"] = lambda s: s.note or NOT_DEFINED
    caption = (
        "A clip without predictions is scored as if nothing was detected in it. Detections in "
        "clips without true events are dropped only on request."
    )
    rows = [[title, *map(cell, report.systems)] for title, cell in cells.items()]
    return Table(caption, ("input", *report.names.values()), rows, "Scoring input")


def _n_detections(system: ReportSystem) -> str:
    detections = system.metrics.scoring_input.detections
    return NOT_DEFINED if detections is None else format_value(len(detections))


def _n_operating_points(system: ReportSystem) -> str:
    scoring = system.metrics.scoring_input
    return NOT_DEFINED if scoring.points is None else format_value(len(scoring.thresholds))


def _f1_threshold(system: ReportSystem) -> str:
    scoring, threshold = system.metrics.scoring_input, system.metrics.f1_threshold
    if scoring.scores is None and scoring.points is None:
        return "the system's own"
    return "one per class" if threshold is None else f"{threshold:g}"
