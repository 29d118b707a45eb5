"""Pictures of F-scores and PSDS: the headlines, by class, by threshold; errors of boundaries."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from desed_task.evaluation.event_based import OFFSET_COLLAR, ONSET_COLLAR
from desed_task.evaluation.results import MetricValue
from desed_task.report.analysis import BoundaryErrors, Curves, ThresholdCurves
from desed_task.report.drawing import (
    colour_of,
    dash_of,
    legend_above,
    new_figure,
    plain,
    tidy,
    to_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHORTEST_AXIS = 0.2  # of the headlines
ERROR_LIMIT = 1.0  # seconds; larger errors are drawn there
ERROR_STEP = 0.05  # seconds


class Dot(NamedTuple):
    """A figure, and the interval around it if there is one."""

    value: float
    low: float | None = None
    high: float | None = None


class Bar(NamedTuple):
    """An F1, None if undefined, and the counts behind it."""

    f1: MetricValue
    correct: MetricValue
    detected: MetricValue
    true: MetricValue


def headline_dots(rows: Mapping[str, Mapping[int, Dot]], names: Sequence[str]) -> bytes:
    """PNG with a line per figure and a dot per system on it.

    Args:
        rows: by the figure's title, each system's dot by its number.
        names: the systems'.
    """
    step = min(0.22, 0.75 / len(names))
    figure = new_figure(1.2 + len(rows) * max(0.34, 0.12 * len(names)))
    axes = figure.add_subplot()
    for place, dots in enumerate(rows.values()):
        for number, (value, low, high) in dots.items():
            y = place + (number - (len(names) - 1) / 2) * step
            if low is not None and high is not None:
                axes.plot([low, high], [y, y], color=colour_of(number), linewidth=2, alpha=0.7)
            axes.plot(value, y, "o", color=colour_of(number), markersize=6)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    low, high = axes.get_xlim()
    low, high = min(low, high - SHORTEST_AXIS), max(high, low + SHORTEST_AXIS)
    axes.set_xlim(max(low, -0.02), min(high, 1.02))
    axes.set_xlabel("figure, from 0 to 1; more is better")
    tidy(axes, grid="x")
    for place in range(1, len(rows)):
        axes.axhline(place - 0.5, color="#000000", alpha=0.1, linewidth=0.8)
    legend_above(figure, dict(enumerate(names)), bars=True)
    return to_png(figure)


def class_bars(
    panels: Mapping[str, Sequence[Sequence[Bar]]], names: Sequence[str], classes: Sequence[str]
) -> bytes:
    """PNG with a panel per F1 and in it, for each class, a bar per system with its counts.

    Args:
        panels: by title, each system's bars by class.
        names: the systems'.
        classes: class names.
    """
    thickness = 0.82 / len(names)
    inches = max(0.155 * len(names) + 0.08, 0.27)
    figure = new_figure(1.3 + inches * len(classes), width=11.5)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)
    for axes, (title, systems) in zip(grid.flat, panels.items(), strict=True):
        for number, bars in enumerate(systems):
            offset = (number - (len(names) - 1) / 2) * thickness
            for place, bar in enumerate(bars):
                _bar(axes, bar, place + offset, thickness, colour_of(number))
        axes.set_title(title, fontsize=10, loc="left")
        axes.set(xlim=(0, 1.72), ylim=(len(classes) - 0.5, -0.5), xlabel="F1", yticks=[])
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        axes.text(
            1.72,
            1.0,
            "correct / detected / true",
            fontsize=7,
            ha="right",
            va="bottom",
            transform=axes.get_xaxis_transform(),
        )
        tidy(axes, grid="x")
        for place in range(1, len(classes)):
            axes.axhline(place - 0.5, color="#000000", alpha=0.12, linewidth=0.8)
    grid[0, 0].set_yticks(
        range(len(classes)), [plain(label.replace("_", " "), 30) for label in classes]
    )
    legend_above(figure, dict(enumerate(names)), bars=True)
    return to_png(figure)


def _bar(axes: "Axes", bar: Bar, y: float, thickness: float, colour: str) -> None:
    axes.barh(y, bar.f1 or 0.0, height=0.92 * thickness, color=colour)
    value = "–" if bar.f1 is None else f"{bar.f1:.2f}"
    axes.text((bar.f1 or 0.0) + 0.015, y, value, va="center", fontsize=7)
    counts = " / ".join(
        "–" if count is None else f"{count:.0f}" for count in (bar.correct, bar.detected, bar.true)
    )
    axes.text(1.72, y, counts, ha="right", va="center", fontsize=7)


def threshold_pictures(
    curves: Mapping[int, ThresholdCurves],
    marks: Mapping[int, float],
    names: Sequence[str],
) -> bytes:
    """PNG of F1, precision and recall against the threshold.

    Args:
        curves: by the system's number.
        marks: the systems' F1 thresholds by number.
        names: the systems'.
    """
    figure = new_figure(6.2)
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    columns = {"F1": "f1", "precision": "precision", "recall": "recall"}
    for line, kind in zip(grid, ("event", "intersection"), strict=True):
        for axes, (title, field) in zip(line, columns.items(), strict=True):
            for number, of_system in curves.items():
                both: Curves = getattr(of_system, kind)
                axes.plot(
                    of_system.thresholds,
                    getattr(both, field),
                    color=colour_of(number),
                    linestyle=dash_of(number),
                    linewidth=1.8,
                    marker="o" if len(of_system.thresholds) < 8 else "",
                    markersize=4,
                )
            _mark_thresholds(axes, marks)
            axes.set_title(f"{kind}-based {title}", fontsize=10)
            axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
            tidy(axes)
        line[0].set_ylabel("mean over classes")
    for axes in grid[-1]:
        axes.set_xlabel("threshold")
    legend_above(figure, {number: names[number] for number in curves})
    return to_png(figure)


def _mark_thresholds(axes: "Axes", marks: Mapping[int, float]) -> None:
    """A dotted line at each F1 threshold: black where all systems have the same."""
    common = len(set(marks.values())) == 1
    for number, threshold in marks.items():
        colour = "#000000" if common else colour_of(number)
        axes.axvline(threshold, color=colour, linestyle=(0, (1, 2)), linewidth=1.2)
        if common:
            break


def error_histograms(errors: Mapping[int, BoundaryErrors], names: Sequence[str]) -> bytes:
    """PNG with histograms of the errors of onsets, offsets and durations.

    Args:
        errors: by the system's number.
        names: the systems'.
    """
    figure = new_figure(3.9)
    grid = figure.subplots(1, 3, sharex=True, sharey=True)
    n_bins = round(2 * ERROR_LIMIT / ERROR_STEP)
    edges = np.linspace(-ERROR_LIMIT, ERROR_LIMIT, n_bins + 1)
    collars = {"onset": ONSET_COLLAR, "offset": OFFSET_COLLAR, "duration": None}
    for axes, (kind, collar) in zip(grid, collars.items(), strict=True):
        if collar is not None:
            axes.axvspan(-collar, collar, color="#000000", alpha=0.1, linewidth=0)
        axes.axvline(0, color="#000000", linewidth=0.8)
        for number, of_system in errors.items():
            values = np.clip(getattr(of_system, kind), -ERROR_LIMIT, ERROR_LIMIT)
            counts, _ = np.histogram(values, edges)
            axes.stairs(
                100 * counts / max(len(values), 1),
                edges,
                color=colour_of(number),
                linestyle=dash_of(number),
                linewidth=1.6,
            )
        axes.set_title(kind, fontsize=10)
        axes.set_xlabel("detected minus true, seconds")
        axes.set_xlim(-ERROR_LIMIT, ERROR_LIMIT)
        tidy(axes)
    grid[0].set_ylabel("share of pairs in per cent")
    legend_above(figure, {number: names[number] for number in errors})
    return to_png(figure)
