"""Section on polyphony: how many classes are active at once, by SED and by SOD."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from desed_task.drawing.style import cell_colour_map, new_figure, plain, to_png, write_cell
from desed_task.evaluation.events import EventTable, Floats, Ints, sums
from desed_task.evaluation.results import MetricValue
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.blocks import (
    Block,
    Heading,
    Paragraph,
    Picture,
    Section,
    Table,
    format_share,
    row,
)
from desed_task.report.systems import ReportInput
from desed_task.sod import MAX_SOUNDS, SOD_STATE_NAMES, SOD_STATES

STEP = 0.02  # seconds
PANELS_PER_ROW = 3
INTRO = (
    "Whether no class, one class, or two and more classes are active, whichever they are, in "
    f"steps of {1000 * STEP:g} ms within the clips."
)


def polyphony_section(report: ReportInput) -> Section:
    """Confusion matrices of the number of active classes."""
    blocks = [*_sed_blocks(report), *_sod_blocks(report)]
    return Section("polyphony", "Number of sounds at once", INTRO, blocks)


def _sed_blocks(report: ReportInput) -> list[Block]:
    """The number of classes by the detected events."""
    confusions = {
        system.name: confusion
        for system in report.systems
        if (confusion := polyphony_confusion(system.metrics.scoring_input)) is not None
    }
    if not confusions:
        return [Paragraph("No system has events at one threshold.")]
    picture = Picture(
        "polyphony.png",
        draw_confusions(
            confusions,
            format_amount=_format_seconds,
            true_label="true number of classes",
            predicted_label="detected number of classes",
        ),
        "Confusion matrices of the number of active classes (0, 1, 2+), true and detected.",
        "Row: true number of active classes; column: number detected at the F1 threshold. Cells: "
        "share of the row, and time.",
    )
    accuracies = {name: (_diagonal_share(matrix),) for name, matrix in confusions.items()}
    table = share_table("Shares of the total time.", ("correct time",), accuracies)
    return [Heading("Detected events"), picture, table]


def _sod_blocks(report: ReportInput) -> list[Block]:
    """The number of sounds by the networks' SOD branches; no blocks without one."""
    results = {system.name: system.sod for system in report.systems if system.sod is not None}
    if not results:
        return []
    picture = Picture(
        "sod.png",
        draw_confusions(
            {name: result.confusion for name, result in results.items()},
            format_amount=lambda frames: f"{frames:,.0f}",
            true_label="true number of sounds",
            predicted_label="number of sounds predicted by SOD",
        ),
        "Confusion matrices of SOD: number of sounds (0, 1, 2+), true and predicted.",
        "Row: true state of a frame; column: state predicted by SOD. Cells: share of the row, and "
        "frames.",
    )
    shares = {
        name: (_diagonal_share(result.confusion), result.agreement)
        for name, result in results.items()
    }
    columns = ("correct frames", "frames in which SED and SOD agree")
    table = share_table("Shares of all frames.", columns, shares)
    return [Heading("SOD branch of the network"), picture, table]


def polyphony_confusion(scoring: ScoringInput, step: float = STEP) -> Floats | None:
    """Seconds by number of active classes, `(states, states)`: rows true, columns detected.

    The state of a step is that in its middle; the weight of a clip's last step is the part of it
    within the clip. Clips whose detections are dropped are excluded. None without detections.

    Args:
        scoring: the system's input to the evaluation.
        step: seconds.
    """
    if scoring.detections is None:
        return None
    confusion = np.zeros(SOD_STATES**2)
    true_rows = _rows_by_clip(scoring.true, len(scoring.durations))
    detected_rows = _rows_by_clip(scoring.detections, len(scoring.durations))
    for clip in np.flatnonzero(scoring.counted):
        seconds = scoring.durations[clip]
        n_steps = int(np.ceil(seconds / step - 1e-9))
        starts = step * np.arange(n_steps, dtype=np.float64)
        weights = np.minimum(step, seconds - starts)
        true = _active_classes(scoring.true, true_rows[clip], starts + step / 2)
        detected = _active_classes(scoring.detections, detected_rows[clip], starts + step / 2)
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


def _diagonal_share(matrix: Floats | Ints) -> MetricValue:
    """Share of the diagonal; None for zeros only."""
    total = float(matrix.sum())
    return float(matrix.trace()) / total if total else None


def row_shares(matrix: Floats | Ints) -> Floats:
    """Each row divided by its sum; NaN in a row of zeros."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.full(matrix.shape, np.nan)
    return np.divide(matrix, totals, out=shares, where=totals > 0)


def share_table(
    caption: str, columns: Sequence[str], shares: Mapping[str, Sequence[MetricValue]]
) -> Table:
    """Shares by system."""
    rows = tuple(row(name, *map(format_share, values)) for name, values in shares.items())
    return Table(caption, ("system", *columns), rows)


def draw_confusions(
    matrices: Mapping[str, Floats | Ints],
    *,
    format_amount: Callable[[float], str],
    true_label: str,
    predicted_label: str,
) -> bytes:
    """PNG with a confusion matrix `(states, states)` per system.

    Args:
        matrices: by the system's name; rows: true state.
        format_amount: turns the content of a cell into text.
        true_label: label of the rows.
        predicted_label: label of the columns.
    """
    n_columns = min(PANELS_PER_ROW, len(matrices))
    n_rows = -(-len(matrices) // n_columns)
    figure = new_figure(0.3 + 3.0 * n_rows, width=0.9 + 3.05 * n_columns)
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(matrices) :]:
        axes.set_visible(False)
    for panel, (axes, (name, matrix)) in enumerate(zip(grid.flat, matrices.items(), strict=False)):
        shares = row_shares(matrix)
        image = axes.imshow(
            np.ma.masked_invalid(100 * shares), cmap=cell_colour_map(), vmin=0, vmax=100
        )
        for (line, column), share in np.ndenumerate(shares):
            if np.isnan(share):
                write_cell(axes, line, column, "–", shade=None, size=8.5)
            else:
                text = f"{100 * share:.1f} %\n{format_amount(float(matrix[line, column]))}"
                write_cell(axes, line, column, text, shade=share, size=8.5)
        axes.set_title(plain(name, 30), fontsize=10)
        axes.set_xticks(range(SOD_STATES), SOD_STATE_NAMES)
        axes.set_yticks(range(SOD_STATES), SOD_STATE_NAMES)
        axes.tick_params(length=0, labelbottom=panel + n_columns >= len(matrices))
    figure.supxlabel(predicted_label, fontsize=10)
    figure.supylabel(true_label, fontsize=10)
    figure.colorbar(image, ax=list(grid.flat), label="share of the row, per cent", shrink=0.85)
    return to_png(figure)


def _format_seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
