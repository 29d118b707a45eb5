"""Section on confusion: which class was detected in place of which, or of none."""

from collections.abc import Sequence

import numpy as np

from desed_task.drawing.style import class_text, draw_matrix, new_figure, to_png
from desed_task.evaluation import intersection
from desed_task.evaluation.events import Floats, Ints
from desed_task.report.blocks import Block, Picture, Section, format_value
from desed_task.report.systems import ReportInput

MAX_CLASSES = 25  # of a picture
NO_EVENT = "no event"
INTRO = (
    "Detected and true events are compared by the time that they share, as for the "
    "intersection-based F1: a detection is rejected if true events of its class cover less than "
    "half of it. A rejected detection is a cross trigger of each other class whose true events "
    "cover at least 30 % of it; if there is none, it is a detection of “no event”."
)


def confusion_section(report: ReportInput) -> Section:
    """A matrix for each system."""
    blocks = [_system_block(report, number) for number in report.names]
    return Section("confusion", "Confusion of classes", INTRO, blocks)


def _system_block(report: ReportInput, number: int) -> Block:
    system, scoring = report.systems[number], report.scoring[number]
    matrix = intersection.confusion(scoring)
    if matrix is None:
        return f"{system.name} has no events at one threshold."
    if not matrix.any():
        return f"{system.name}: no true and no detected events."
    true = np.bincount(scoring.true.label, minlength=scoring.n_classes)
    shown = most_confused(matrix)
    hidden = scoring.n_classes - len(shown)
    cells = [*shown, scoring.n_classes]  # with the row and the column of no event
    n_cross = matrix[:-1, :-1].sum() - matrix.trace()
    found, missed, false = matrix.trace(), matrix[-1].sum(), matrix[:-1, -1].sum()
    caption = (
        f"{system.name}, at the F1 threshold: {found:,} true events found (diagonal), {missed:,} "
        f"not found (last row), {n_cross:,} cross triggers, {false:,} detections of no event (last "
        "column). In brackets: number of true events. Colour: count divided by this number; in the "
        "last column, by the sum of the row."
    )
    if hidden:
        caption += f" Not shown: {hidden} other classes, which have no more errors."
    return Picture(
        f"confusion_{number + 1}.png",
        draw_confusion(
            matrix[np.ix_(cells, cells)], true[shown], [report.classes[label] for label in shown]
        ),
        f"Confusion of classes of {system.name}: rows detected class, columns true class.",
        caption,
    )


def most_confused(matrix: Ints, most: int = MAX_CLASSES) -> list[int]:
    """Indices of the `most` classes with the most errors, in order.

    Args:
        matrix: `(classes + 1, classes + 1)`, as of `intersection.confusion`.
        most: number of classes.
    """
    errors = matrix - np.diag(np.diag(matrix))
    totals = (errors.sum(axis=0) + errors.sum(axis=1))[:-1]
    return sorted(np.argsort(-totals, kind="stable")[:most].tolist())


def confusion_shares(matrix: Ints, true: Ints) -> Floats:
    """Counts divided by the true events of the column; in the last column by the sum of the row.

    Args:
        matrix: `(classes + 1, classes + 1)`.
        true: numbers of true events, `(classes,)`.

    Returns: at most 1; NaN for a count of 0.
    """
    shares = matrix / np.maximum([*true, 1], 1)
    shares[:, -1] = matrix[:, -1] / np.maximum(matrix.sum(axis=1), 1)
    return np.where(matrix > 0, np.minimum(shares, 1.0), np.nan)


def draw_confusion(matrix: Ints, true: Ints, classes: Sequence[str]) -> bytes:
    """PNG of the counts `(classes + 1, classes + 1)`; rows: detected, columns: true class.

    `true` are the numbers of true events, `(classes,)`.
    """
    n_classes = len(classes)
    side = min(max(0.46 * len(matrix), 1.4), 7.8)
    figure = new_figure(side + 1.9, width=min(side + 2.6, 10.0))
    axes = figure.add_subplot()
    texts = [[str(count) if count else "" for count in line] for line in matrix.tolist()]
    draw_matrix(axes, confusion_shares(matrix, true), texts, size=9 if n_classes <= 12 else 7)
    for draw_line in (axes.axhline, axes.axvline):
        draw_line(n_classes - 0.5, color="#000000", linewidth=1.2)
    names = [class_text(label) for label in classes]
    counted = [f"{name} ({format_value(int(n))})" for name, n in zip(names, true, strict=True)]
    columns = [*counted, NO_EVENT]
    axes.set_xticks(range(n_classes + 1), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n_classes + 1), [*names, NO_EVENT])
    axes.set(xlabel="true class", ylabel="detected class")
    return to_png(figure)
