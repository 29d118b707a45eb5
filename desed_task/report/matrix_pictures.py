"""Pictures of matrices: cross triggers, and what is confused with what."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from desed_task.evaluation.events import Floats, Ints
from desed_task.labels import SOD_STATE_NAMES
from desed_task.report.analysis import row_shares
from desed_task.report.drawing import new_figure, plain, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

COLOUR_MAP = "YlGnBu"  # colour-blind readers see it from light to dark
EMPTY_COLOUR = "#ffffff"
PANELS_PER_ROW = 3


def cross_triggers(matrix: Ints, classes: Sequence[str]) -> bytes:
    """PNG of the cross triggers `(classes, classes)`; rows: detected, columns: true class."""
    n_classes = len(classes)
    side = min(max(0.46 * n_classes, 1.8), 7.4)
    figure = new_figure(side + 1.9, width=min(side + 3.6, 10.5))
    axes = figure.add_subplot()
    drawn = np.ma.masked_equal(matrix, 0).astype(np.float64)
    np.fill_diagonal(drawn, np.nan)
    highest = max(int(matrix.max()), 1)
    picture = axes.imshow(np.ma.masked_invalid(drawn), cmap=_colour_map(), vmin=0, vmax=highest)
    for line in range(n_classes):
        for column in range(n_classes):
            if line == column:
                axes.fill_between(
                    [line - 0.5, line + 0.5], line - 0.5, line + 0.5, color="#cccccc", linewidth=0
                )
            else:
                count = int(matrix[line, column])
                shade = count / highest if count else None
                _write(axes, line, column, str(count), shade, 9 if n_classes <= 12 else 7)
    names = [plain(label.replace("_", " "), 30) for label in classes]
    axes.set_xticks(range(n_classes), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n_classes), names)
    axes.tick_params(length=0)
    axes.set(xlabel="true class", ylabel="detected class")
    figure.colorbar(picture, ax=axes, label="rejected detections", shrink=0.8)
    return to_png(figure)


def state_matrices(
    matrices: Mapping[str, Floats | Ints],
    *,
    unit: Callable[[float], str],
    said: str,
    true: str,
) -> bytes:
    """PNG with a confusion matrix `(3, 3)` of the states 0, 1, 2+ per system.

    Args:
        matrices: by the system's name; rows: true state.
        unit: what a cell holds, as text.
        said: what the columns are.
        true: what the rows are.
    """
    n_columns = min(PANELS_PER_ROW, len(matrices))
    n_rows = -(-len(matrices) // n_columns)
    figure = new_figure(0.3 + 3.0 * n_rows, width=0.9 + 3.05 * n_columns)
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(matrices) :]:
        axes.set_visible(False)
    for place, (axes, (name, matrix)) in enumerate(zip(grid.flat, matrices.items(), strict=False)):
        shares = row_shares(matrix)
        picture = axes.imshow(
            np.ma.masked_invalid(100 * shares), cmap=_colour_map(), vmin=0, vmax=100
        )
        for (line, column), share in np.ndenumerate(shares):
            text = (
                "–"
                if np.isnan(share)
                else f"{100 * share:.1f} %\n{unit(float(matrix[line, column]))}"
            )
            _write(axes, line, column, text, None if np.isnan(share) else share, 8.5)
        axes.set_title(plain(name, 30), fontsize=10)
        axes.set_xticks(range(len(SOD_STATE_NAMES)), SOD_STATE_NAMES)
        axes.set_yticks(range(len(SOD_STATE_NAMES)), SOD_STATE_NAMES)
        axes.tick_params(length=0, labelbottom=place + n_columns >= len(matrices))
    figure.supxlabel(said, fontsize=10)
    figure.supylabel(true, fontsize=10)
    figure.colorbar(picture, ax=list(grid.flat), label="share of the row, per cent", shrink=0.85)
    return to_png(figure)


def seconds_text(seconds: float) -> str:
    """Seconds for a cell."""
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def frames_text(frames: float) -> str:
    """A number of frames for a cell."""
    return f"{frames:,.0f}"


def _colour_map() -> "Colormap":
    from matplotlib import colormaps

    return colormaps[COLOUR_MAP].with_extremes(bad=EMPTY_COLOUR)


def _write(
    axes: "Axes", line: int, column: int, text: str, shade: float | None, size: float
) -> None:
    """A cell's number, dark on light and light on dark; `shade` is from 0 to 1, None: empty."""
    colour = "#666666"
    if shade is not None:
        colour = "#000000" if _luminance(_colour_map()(float(shade))) > 0.4 else "#ffffff"
    axes.text(column, line, text, ha="center", va="center", fontsize=size, color=colour)


def _luminance(colour: tuple[float, float, float, float]) -> float:
    """How bright a colour is, from 0 to 1."""
    weights: Floats = np.array([0.299, 0.587, 0.114])
    return float(weights @ np.array(colour[:3]))
