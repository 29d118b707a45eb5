"""Section on polyphony: how many classes are active at once, by SED and by SOD."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from desed_task.drawing.style import draw_matrix, new_figure, plain, to_png
from desed_task.evaluation.events import EventTable, Floats, Ints, sums
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.blocks import Block, Picture, Section, format_share
from desed_task.report.systems import ReportInput
from desed_task.sod import MAX_SOUNDS, SOD_STATE_NAMES, SOD_STATES

STEP = 0.02  # seconds
PANELS_PER_ROW = 4
INTRO = (
    "Whether no class, one class, or two and more classes are active, whichever they are. Row: "
    "true number; column: detected number; cells: share of the row."
)


def polyphony_section(report: ReportInput) -> Section:
    """Confusion matrices of the number of active classes, by SED and by SOD."""
    confusions = report.scored(polyphony_confusion)
    detected = {report.names[number]: confusion for number, confusion in confusions.items()}
    branches = {system.name: system.sod for system in report.systems if system.sod is not None}
    blocks: list[Block] = ["No system has events at one threshold."]
    if detected:
        caption = f"By detected events at the F1 threshold. Correct time: {_shares(detected)}."
        blocks = [_picture("polyphony.png", detected, caption)]
    if branches:
        predicted = {name: result.confusion for name, result in branches.items()}
        agreements = "; ".join(f"{n}: {format_share(r.agreement)}" for n, r in branches.items())
        caption = (
            f"By the network's SOD branch. Correct frames: {_shares(predicted)}. SED and SOD "
            f"agree: {agreements}."
        )
        blocks.append(_picture("sod.png", predicted, caption))
    return Section("polyphony", "Number of sounds at once", INTRO, blocks)


def _picture(name: str, confusions: Mapping[str, Floats | Ints], caption: str) -> Picture:
    alt = "Confusion matrices of the number of sounds (0, 1, 2+), true and detected."
    return Picture(name, draw_confusions(confusions), alt, caption)


def polyphony_confusion(scoring: ScoringInput) -> Floats | None:
    """Seconds by number of active classes, `(states, states)`: rows true, columns detected.

    The state of a step is that in its middle; the weight of a clip's last step is the part of it
    within the clip. Clips whose detections are dropped are excluded. None without detections.
    """
    if scoring.detections is None:
        return None
    confusion = np.zeros(SOD_STATES**2)
    true_rows = _rows_by_clip(scoring.true, len(scoring.durations))
    detected_rows = _rows_by_clip(scoring.detections, len(scoring.durations))
    for clip in np.flatnonzero(scoring.counted):
        seconds = scoring.durations[clip]
        n_steps = int(np.ceil(seconds / STEP - 1e-9))
        starts = STEP * np.arange(n_steps, dtype=np.float64)
        weights = np.minimum(STEP, seconds - starts)
        true = _active_classes(scoring.true, true_rows[clip], starts + STEP / 2)
        detected = _active_classes(scoring.detections, detected_rows[clip], starts + STEP / 2)
        cells = SOD_STATES * np.minimum(true, MAX_SOUNDS) + np.minimum(detected, MAX_SOUNDS)
        confusion += sums(cells, weights, SOD_STATES**2)
    return confusion.reshape(SOD_STATES, SOD_STATES)


def _rows_by_clip(table: EventTable, n_clips: int) -> list[slice]:
    """Each clip's rows of a table of one level."""
    ends = np.searchsorted(table.clip, np.arange(n_clips + 1))
    return [slice(first, end) for first, end in pairwise(ends.tolist())]


def _active_classes(table: EventTable, rows: slice, times: Floats) -> Ints:
    """Number of classes active at each time of a clip, `(times,)`; times in seconds."""
    labels, index = np.unique(table.label[rows], return_inverse=True)
    active = np.zeros((len(labels), len(times)), dtype=bool)
    first = np.searchsorted(times, table.onset[rows])
    end = np.searchsorted(times, table.offset[rows])
    for label, begin, stop in zip(index, first, end, strict=True):
        active[label, begin:stop] = True
    return active.sum(axis=0)


def _shares(confusions: Mapping[str, Floats | Ints]) -> str:
    """The share of the diagonal, by system."""
    totals = {name: float(matrix.sum()) for name, matrix in confusions.items()}
    return "; ".join(
        f"{name}: {format_share(matrix.trace() / totals[name] if totals[name] else None)}"
        for name, matrix in confusions.items()
    )


def row_shares(matrix: Floats | Ints) -> Floats:
    """Each row divided by its sum; NaN in a row of zeros."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.full(matrix.shape, np.nan)
    return np.divide(matrix, totals, out=shares, where=totals > 0)


def draw_confusions(matrices: Mapping[str, Floats | Ints]) -> bytes:
    """PNG with a confusion matrix `(states, states)` per system; rows: true state."""
    n_columns = min(PANELS_PER_ROW, len(matrices))
    n_rows = -(-len(matrices) // n_columns)
    figure = new_figure(0.4 + 2.2 * n_rows, width=max(0.6 + 2.3 * n_columns, 3.4))
    for panel, (name, matrix) in enumerate(matrices.items(), start=1):
        axes = figure.add_subplot(n_rows, n_columns, panel)
        shares = row_shares(matrix)
        draw_matrix(axes, shares, [[format_share(x) for x in line] for line in shares], size=8.5)
        axes.set_title(plain(name, 30), fontsize=9)
        axes.set_xticks(range(SOD_STATES), SOD_STATE_NAMES)
        axes.set_yticks(range(SOD_STATES), SOD_STATE_NAMES)
    figure.supxlabel("detected number of sounds", fontsize=9)
    figure.supylabel("true number of sounds", fontsize=9)
    return to_png(figure)
