"""Section on thresholds: F1, precision and recall at every operating point."""

from collections.abc import Mapping

import numpy as np

from desed_task.drawing.style import legend_above, new_figure, nth_colour, nth_dash, tidy, to_png
from desed_task.evaluation import event_based, intersection
from desed_task.evaluation.clip_counts import Counts
from desed_task.evaluation.events import Floats
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.blocks import (
    NOT_DEFINED,
    Block,
    Picture,
    Section,
    Table,
    format_value,
    join_names,
)
from desed_task.report.systems import ReportInput

MATCHES = {"event-based": event_based.match, "intersection-based": intersection.match}
QUANTITIES = ("F1", "precision", "recall")
Curves = Mapping[str, Mapping[str, Floats]]
"""Means over the classes by criterion and quantity, `(thresholds,)`."""

INTRO = (
    "Precision is the share of the detections that are correct, recall the share of the true "
    "events that are found, F1 their harmonic mean; each is computed by class and then averaged."
)


def threshold_section(report: ReportInput) -> Section:
    """The curves, and each system's best operating point."""
    curves = report.scored(threshold_curves)
    blocks: list[Block] = []
    if curves:
        picture = Picture(
            "thresholds.png",
            draw_threshold_curves(report, curves),
            "Event- and intersection-based F1, precision and recall against the threshold, one "
            "curve per system.",
            "Means over the classes that occur in the ground truth. Dotted vertical lines: the F1 "
            "thresholds (black: all systems have the same). A class that is not detected has F1 "
            "and recall 0 and is excluded from precision.",
        )
        blocks += [picture, best_point_table(report, curves)]
    without = [name for number, name in report.names.items() if number not in curves]
    if without:
        blocks.append(f"Without operating points, or without true events: {join_names(without)}.")
    return Section("thresholds", "Thresholds", INTRO, blocks)


def threshold_curves(scoring: ScoringInput) -> Curves | None:
    """F1, precision and recall by threshold; None without operating points or true events.

    Intersection-based precision has the found true events and the rejected detections as its
    denominator, as intersection-based F1 does.
    """
    if scoring.points is None or not len(scoring.true):
        return None
    n_levels = len(scoring.thresholds)
    return {
        criterion: macro_averages(match(scoring, scoring.points, n_levels=n_levels).total())
        for criterion, match in MATCHES.items()
    }


def macro_averages(counts: Counts) -> dict[str, Floats]:
    """`QUANTITIES` at each threshold, means over the classes that occur in the ground truth.

    A class that is not detected has F1 and recall 0. Its precision is undefined and excluded from
    the mean, as in sed_eval; the mean is NaN where no class is detected.
    """
    occurring = counts.true > 0
    true, correct = counts.true[occurring], counts.correct[:, occurring]
    positive = correct + counts.false[:, occurring]  # denominator of precision
    detected = positive > 0
    precision_sum = np.where(detected, correct / np.maximum(positive, 1), 0.0).sum(axis=1)
    n_detected = detected.sum(axis=1)
    return {
        "F1": counts.f1[:, occurring].mean(axis=1),
        "precision": np.where(n_detected > 0, precision_sum / np.maximum(n_detected, 1), np.nan),
        "recall": (correct / true).mean(axis=1),
    }


def best_point_table(report: ReportInput, curves: Mapping[int, Curves]) -> Table:
    """The operating point with the best F1 of each system."""
    rows = []
    for number, by_criterion in curves.items():
        for criterion, values in by_criterion.items():
            best = int(np.argmax(values["F1"]))
            cells = [f"{report.scoring[number].thresholds[best]:g}"]
            cells += [format_value(float(values[name][best])) for name in QUANTITIES]
            if not values["F1"][best]:
                cells = [NOT_DEFINED] * len(cells)
            rows.append([f"{report.names[number]}, {criterion}", *cells])
    caption = (
        "The operating point with the highest macro-F1 (–: F1 is 0 at all). It was selected on "
        "these clips, so its F1 is optimistic: choose thresholds on other clips."
    )
    return Table(caption, ("system and criterion", "best threshold", *QUANTITIES), rows)


def draw_threshold_curves(report: ReportInput, curves: Mapping[int, Curves]) -> bytes:
    """PNG of F1, precision and recall against the threshold; curves by the system's number."""
    figure = new_figure(6.2)
    grid = figure.subplots(len(MATCHES), len(QUANTITIES), sharex=True, sharey=True)
    marks = {
        number: threshold
        for number in curves
        if (threshold := report.systems[number].metrics.f1_threshold) is not None
    }
    for line, criterion in zip(grid, MATCHES, strict=True):
        for axes, quantity in zip(line, QUANTITIES, strict=True):
            for number, by_criterion in curves.items():
                thresholds = report.scoring[number].thresholds
                axes.plot(
                    thresholds,
                    by_criterion[criterion][quantity],
                    color=nth_colour(number),
                    linestyle=nth_dash(number),
                    linewidth=1.8,
                    marker="o" if len(thresholds) < 8 else "",
                    markersize=4,
                )
            for threshold in set(marks.values()):
                sharing = [number for number, mark in marks.items() if mark == threshold]
                colour = "#000000" if len(sharing) == len(marks) else nth_colour(sharing[0])
                axes.axvline(threshold, color=colour, linestyle=(0, (1, 2)), linewidth=1.2)
            axes.set_title(f"{criterion} {quantity}", fontsize=10)
            axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
            tidy(axes)
        line[0].set_ylabel("mean over classes")
    for axes in grid[-1]:
        axes.set_xlabel("threshold")
    legend_above(figure, {number: report.names[number] for number in curves})
    return to_png(figure)
