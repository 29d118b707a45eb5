"""Section on classes: F1, counts and PSDS of each class."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from desed_task.drawing.style import (
    class_text,
    legend_above,
    new_figure,
    nth_colour,
    readable_class,
    separate_rows,
    tidy,
    to_png,
)
from desed_task.evaluation.results import HEADLINE_METRICS, ClassMetrics, MetricValue
from desed_task.report.blocks import (
    NOT_DEFINED,
    Block,
    Paragraph,
    Picture,
    Section,
    Table,
    format_count,
    format_value,
    row,
)
from desed_task.report.systems import ReportInput, ReportSystem

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_WIDTH = 1.72  # in units of F1; the numbers of events are printed to the right of the bars
INTRO = (
    "The same metrics for each class alone; its PSDS is the share of the area below its own "
    "curve, without the penalty for the spread between classes."
)


class Bar(NamedTuple):
    """A class's F1 and the counts behind it; None: undefined."""

    f1: MetricValue
    correct: MetricValue
    detected: MetricValue
    true: MetricValue


def class_section(report: ReportInput) -> Section:
    """F1 of each class as bars, and a table per system."""
    blocks: list[Block] = [class_table(system) for system in report.systems]
    if any(system.metrics.scoring_input.detections is not None for system in report.systems):
        picture = Picture(
            "class_f1.png",
            draw_class_bars(report),
            "Bars of event-, segment- and intersection-based F1 by class and system; the values "
            "are in the tables below.",
            "F1 of each class, at the right the counts behind it: correct / detected / true "
            "(events, or segments of 1 s; by intersection one detection can find several true "
            "events). –: the class does not occur in the ground truth, or the system has no events "
            "at one threshold.",
        )
        return Section("classes", "Classes", INTRO, [picture, *blocks])
    remark = Paragraph("No system has events at one threshold, so no class has an F1.")
    return Section("classes", "Classes", INTRO, [remark, *blocks])


def class_table(system: ReportSystem) -> Table:
    """One system's metrics by class."""
    per_class = system.metrics.per_class
    columns: dict[str, Callable[[ClassMetrics], str]] = {
        "true events": lambda m: format_value(m.true),
        "detected": lambda m: format_count(m.detected),
        "threshold": lambda m: NOT_DEFINED if m.f1_threshold is None else f"{m.f1_threshold:g}",
        "event F1": lambda m: format_value(m.event_f1, 3),
        "correct (event)": lambda m: format_count(m.event_true_positives),
        "segment F1": lambda m: format_value(m.segment_f1, 3),
        "intersection F1": lambda m: format_value(m.intersection_f1, 3),
        "correct (intersection)": lambda m: format_count(m.intersection_true_positives),
    }
    for name, title in HEADLINE_METRICS.items():
        is_psds = "psds" in name
        if is_psds and any(getattr(metrics, name) is not None for metrics in per_class.values()):
            columns[title] = _psds_formatter(name)
    rows = [
        row(readable_class(label), *(format_cell(metrics) for format_cell in columns.values()))
        for label, metrics in per_class.items()
    ]
    return Table(f"{system.name}, by class.", ("class", *columns), tuple(rows))


def _psds_formatter(name: str) -> Callable[[ClassMetrics], str]:
    return lambda metrics: format_value(getattr(metrics, name), 3)


def draw_class_bars(report: ReportInput) -> bytes:
    """PNG with a panel per criterion and in it, for each class, a bar per system with counts."""
    classes, names = report.classes, report.names
    panels: Mapping[str, Callable[[ClassMetrics], Bar]] = {
        "event-based": _event_bar,
        "segment-based": _segment_bar,
        "intersection-based": _intersection_bar,
    }
    inches = max(0.155 * len(names) + 0.08, 0.27)
    figure = new_figure(1.3 + inches * len(classes), width=11.5)
    grid = figure.subplots(1, len(panels), squeeze=False)
    for axes, (title, make_bar) in zip(grid.flat, panels.items(), strict=True):
        for number, system in enumerate(report.systems):
            bars = [make_bar(metrics) for metrics in system.metrics.per_class.values()]
            _draw_bars(axes, bars, number, len(names))
        axes.set_title(title, fontsize=10, loc="left")
        axes.set(xlim=(0, PANEL_WIDTH), ylim=(len(classes) - 0.5, -0.5), xlabel="F1", yticks=[])
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        axes.text(
            PANEL_WIDTH,
            1.0,
            "correct / detected / true",
            fontsize=7,
            ha="right",
            va="bottom",
            transform=axes.get_xaxis_transform(),
        )
        tidy(axes, grid="x")
        separate_rows(axes, len(classes), alpha=0.12, offset=-0.5)
    grid[0, 0].set_yticks(range(len(classes)), [class_text(label) for label in classes])
    legend_above(figure, names, patches=True)
    return to_png(figure)


def _draw_bars(axes: "Axes", bars: Sequence[Bar], number: int, n_systems: int) -> None:
    """One system's bar and counts in the row of each class."""
    thickness = 0.82 / n_systems
    offset = (number - (n_systems - 1) / 2) * thickness
    y = np.arange(len(bars)) + offset
    lengths = [bar.f1 or 0.0 for bar in bars]
    axes.barh(y, lengths, height=0.92 * thickness, color=nth_colour(number))
    style: dict[str, Any] = {"va": "center", "fontsize": 7, "in_layout": False}
    for line, bar in zip(y, bars, strict=True):
        axes.text((bar.f1 or 0.0) + 0.015, line, format_value(bar.f1, 2), **style)
        counts = " / ".join(
            NOT_DEFINED if count is None else f"{count:.0f}"
            for count in (bar.correct, bar.detected, bar.true)
        )
        axes.text(PANEL_WIDTH, line, counts, ha="right", **style)


def _event_bar(metrics: ClassMetrics) -> Bar:
    return Bar(metrics.event_f1, metrics.event_true_positives, metrics.detected, metrics.true)


def _segment_bar(metrics: ClassMetrics) -> Bar:
    correct, false = metrics.segment_true_positives, metrics.segment_false_positives
    detected = None if correct is None or false is None else correct + false
    return Bar(metrics.segment_f1, correct, detected, metrics.segments_true)


def _intersection_bar(metrics: ClassMetrics) -> Bar:
    correct = metrics.intersection_true_positives
    return Bar(metrics.intersection_f1, correct, metrics.detected, metrics.true)
