"""Section on thresholds: F1, precision and recall at every operating point."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from desed_task.drawing.style import legend_above, new_figure, nth_colour, nth_dash, tidy, to_png
from desed_task.evaluation import event_based, intersection
from desed_task.evaluation.clip_counts import Counts
from desed_task.evaluation.events import Floats
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.blocks import (
    NOT_DEFINED,
    Block,
    Paragraph,
    Picture,
    Section,
    Table,
    format_value,
    join_names,
    row,
)
from desed_task.report.systems import ReportInput

CRITERIA = ("event", "intersection")
INTRO = (
    "Precision is the share of the detections that are correct, recall the share of the true "
    "events that are found, F1 their harmonic mean; each is computed by class and then averaged."
)


def threshold_section(report: ReportInput) -> Section:
    """The curves, and each system's best operating point."""
    curves = report.scored(threshold_curves)
    blocks: list[Block] = []
    if curves:
        names = {number: report.names[number] for number in curves}
        marks = {
            number: threshold
            for number in curves
            if (threshold := report.systems[number].metrics.f1_threshold) is not None
        }
        picture = Picture(
            "thresholds.png",
            draw_threshold_curves(curves, marks, names),
            "Event- and intersection-based F1, precision and recall against the threshold, one "
            "curve per system.",
            "Means over the classes that occur in the ground truth. Dotted vertical lines: the F1 "
            "thresholds (black: all systems have the same). A class that is not detected has F1 "
            "and recall 0 and is excluded from precision.",
        )
        table = best_point_table({names[number]: each for number, each in curves.items()})
        blocks += [picture, table]
    without = [name for number, name in report.names.items() if number not in curves]
    if without:
        blocks.append(
            Paragraph(f"Without operating points, or without true events: {join_names(without)}.")
        )
    return Section("thresholds", "Thresholds", INTRO, blocks)


@dataclass(frozen=True, eq=False)
class MacroCurves:
    """Means over the classes that occur in the ground truth, by threshold, `(thresholds,)`.

    A class that is not detected has F1 and recall 0. Its precision is undefined and excluded from
    the mean, as in sed_eval; the mean is NaN where no class is detected.
    """

    f1: Floats
    precision: Floats
    recall: Floats


def macro_curves(counts: Counts) -> MacroCurves:
    """Macro averages of the counts at each threshold."""
    occurring = counts.true > 0
    true, correct = counts.true[occurring], counts.correct[:, occurring]
    positive = correct + counts.false[:, occurring]  # denominator of precision
    detected = positive > 0
    precision_sum = np.where(detected, correct / np.maximum(positive, 1), 0.0).sum(axis=1)
    n_detected = detected.sum(axis=1)
    return MacroCurves(
        f1=counts.f1[:, occurring].mean(axis=1),
        precision=np.where(n_detected > 0, precision_sum / np.maximum(n_detected, 1), np.nan),
        recall=(correct / true).mean(axis=1),
    )


@dataclass(frozen=True, eq=False)
class ThresholdCurves:
    """Macro averages of one system at its operating points.

    Args:
        thresholds: ascending, `(thresholds,)`.
        event: by collars of onset and offset.
        intersection: by shares of overlap.
    """

    thresholds: Floats
    event: MacroCurves
    intersection: MacroCurves


def threshold_curves(scoring: ScoringInput) -> ThresholdCurves | None:
    """F1, precision and recall by threshold; None without operating points or true events.

    Intersection-based precision has the found true events and the rejected detections as its
    denominator, as intersection-based F1 does.
    """
    if scoring.points is None or not len(scoring.true):
        return None
    n_levels = len(scoring.thresholds)
    by_collar = event_based.match(scoring, scoring.points, n_levels=n_levels)
    by_overlap = intersection.match(scoring, scoring.points, n_levels=n_levels)
    return ThresholdCurves(
        thresholds=np.array(scoring.thresholds),
        event=macro_curves(by_collar.total()),
        intersection=macro_curves(by_overlap.total()),
    )


def best_point_table(curves: Mapping[str, ThresholdCurves]) -> Table:
    """The operating point with the best F1 of each system."""
    rows = []
    for name, system_curves in curves.items():
        for criterion in CRITERIA:
            macro: MacroCurves = getattr(system_curves, criterion)
            best = int(np.argmax(macro.f1))
            cells = [f"{system_curves.thresholds[best]:g}"]
            cells += [
                format_value(float(values[best]))
                for values in (macro.f1, macro.precision, macro.recall)
            ]
            if not macro.f1[best]:
                cells = [NOT_DEFINED] * len(cells)
            rows.append(row(f"{name}, {criterion}-based", *cells))
    caption = (
        "The operating point with the highest macro-F1 (–: F1 is 0 at all). It was selected on "
        "these clips, so its F1 is optimistic: choose thresholds on other clips."
    )
    columns = ("system and criterion", "best threshold", "F1", "precision", "recall")
    return Table(caption, columns, tuple(rows))


def draw_threshold_curves(
    curves: Mapping[int, ThresholdCurves], marks: Mapping[int, float], names: Mapping[int, str]
) -> bytes:
    """PNG of F1, precision and recall against the threshold.

    Args:
        curves: by the system's number.
        marks: F1 thresholds by the system's number, for systems that have one for all classes.
        names: by the system's number.
    """
    figure = new_figure(6.2)
    grid = figure.subplots(len(CRITERIA), 3, sharex=True, sharey=True)
    columns = {"F1": "f1", "precision": "precision", "recall": "recall"}
    for line, criterion in zip(grid, CRITERIA, strict=True):
        for axes, (title, field) in zip(line, columns.items(), strict=True):
            for number, system_curves in curves.items():
                axes.plot(
                    system_curves.thresholds,
                    getattr(getattr(system_curves, criterion), field),
                    color=nth_colour(number),
                    linestyle=nth_dash(number),
                    linewidth=1.8,
                    marker="o" if len(system_curves.thresholds) < 8 else "",
                    markersize=4,
                )
            for threshold in set(marks.values()):
                sharing = [number for number, mark in marks.items() if mark == threshold]
                colour = "#000000" if len(sharing) == len(marks) else nth_colour(sharing[0])
                axes.axvline(threshold, color=colour, linestyle=(0, (1, 2)), linewidth=1.2)
            axes.set_title(f"{criterion}-based {title}", fontsize=10)
            axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
            tidy(axes)
        line[0].set_ylabel("mean over classes")
    for axes in grid[-1]:
        axes.set_xlabel("threshold")
    legend_above(figure, names)
    return to_png(figure)
