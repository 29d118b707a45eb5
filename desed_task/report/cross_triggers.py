"""Section on cross triggers: which class was detected in place of which."""

from collections.abc import Sequence

import numpy as np

from desed_task.drawing.style import class_text, draw_matrix, new_figure, to_png
from desed_task.evaluation.events import Ints
from desed_task.evaluation.results import SystemMetrics
from desed_task.report.blocks import Block, Picture, Section
from desed_task.report.systems import ReportInput

MAX_CLASSES = 25  # of a picture
INTRO = (
    "A cross trigger is a rejected detection (true events of its class cover less than half of "
    "it) of which true events of another class cover at least 30 %. One detection can be a "
    "cross trigger of several classes."
)


def cross_trigger_section(report: ReportInput) -> Section:
    """A matrix for each system."""
    blocks = [_system_block(report, number) for number in report.names]
    return Section("cross-triggers", "Cross triggers", INTRO, blocks)


def _system_block(report: ReportInput, number: int) -> Block:
    system = report.systems[number]
    if system.metrics.scoring_input.detections is None:
        return f"{system.name} has no events at one threshold."
    matrix = cross_trigger_matrix(system.metrics)
    if not matrix.any():
        return f"{system.name} has no cross trigger."
    shown = most_confused(matrix)
    hidden = len(matrix) - len(shown)
    rest = (
        f" Not shown: {hidden} other classes, which have no more cross triggers." if hidden else ""
    )
    return Picture(
        f"cross_triggers_{number + 1}.png",
        draw_cross_triggers(
            matrix[np.ix_(shown, shown)], [report.classes[label] for label in shown]
        ),
        f"Cross triggers of {system.name}: rows detected class, columns true class.",
        f"{system.name}: {matrix.sum():,} cross triggers at the F1 threshold. Row: the class "
        "that was detected wrongly; column: the class of the true events there."
        f"{rest}",
    )


def most_confused(matrix: Ints, most: int = MAX_CLASSES) -> list[int]:
    """Indices of the `most` classes with the most cross triggers, detected or true, in order.

    Args:
        matrix: `(classes, classes)`.
        most: number of classes.
    """
    totals = matrix.sum(axis=0) + matrix.sum(axis=1)
    return sorted(np.argsort(-totals, kind="stable")[:most].tolist())


def cross_trigger_matrix(metrics: SystemMetrics) -> Ints:
    """Cross triggers of a detected class (row) with a true class (column), `(classes, classes)`.

    The diagonal is 0.
    """
    classes, found = metrics.scoring_input.truth.classes, metrics.cross_triggers
    rows = [[found.get(label, {}).get(other, 0) for other in classes] for label in classes]
    return np.array(rows, dtype=np.int64)


def draw_cross_triggers(matrix: Ints, classes: Sequence[str]) -> bytes:
    """PNG of the cross triggers `(classes, classes)`; rows: detected, columns: true class."""
    n_classes = len(classes)
    side = min(max(0.46 * n_classes, 1.8), 7.4)
    figure = new_figure(side + 1.9, width=min(side + 2.9, 10.0))
    axes = figure.add_subplot()
    shades = np.where(matrix > 0, matrix / max(int(matrix.max()), 1), np.nan)
    texts = [[str(count) for count in line] for line in matrix.tolist()]
    for k, line in enumerate(texts):
        line[k] = ""
    draw_matrix(axes, shades, texts, size=9 if n_classes <= 12 else 7)
    names = [class_text(label) for label in classes]
    axes.set_xticks(range(n_classes), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n_classes), names)
    axes.set(xlabel="true class", ylabel="detected class")
    return to_png(figure)
