"""Style that all pictures share: size, colours, legends, texts, matrices."""

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from desed_task.drawing.fonts import add_fallback_fonts, drawable
from desed_task.evaluation.events import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

Dash = Literal["-", "--", ":"]
# Okabe and Ito's colours, which colour-blind readers can distinguish; each dash reuses them.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
DASHES: tuple[Dash, ...] = ("-", "--", ":")
CELL_COLOURS = "YlGnBu"  # from light to dark, also for colour-blind readers
EMPTY_CELL = "#ffffff"
DPI = 120
WIDTH = 10.0  # inches
MAX_NAME = 36  # characters
MAX_CLASS_NAME = 30  # characters


def readable_class(label: str) -> str:
    """A class's name with spaces in place of underscores."""
    return label.replace("_", " ").strip() or label


def nth_colour(number: int) -> str:
    """The colour of the system or class with this number."""
    return COLOURS[number % len(COLOURS)]


def nth_dash(number: int) -> Dash:
    """The line style of the system or class with this number."""
    return DASHES[number // len(COLOURS) % len(DASHES)]


def new_figure(height: float, width: float = WIDTH) -> "Figure":
    """An empty matplotlib figure; size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=DPI)


def to_image(figure: "Figure") -> "Image":
    """The figure's pixels; it is laid out and drawn once (`savefig` does both twice)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL.Image import fromarray

    add_fallback_fonts(figure)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        canvas.draw()
    return fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def to_png(figure: "Figure") -> bytes:
    """The figure as a PNG of at most 256 colours; equal content gives equal bytes."""
    from PIL.Image import Dither

    buffer = BytesIO()
    image = to_image(figure).quantize(256, dither=Dither.NONE)
    image.save(buffer, format="png")
    return buffer.getvalue()


def one_line(text: str, max_length: int = MAX_NAME) -> str:
    """A user's text on one line, shortened in the middle, with drawable characters."""
    line = drawable(" ".join(text.split()))
    if len(line) > max_length:
        n_first = max_length // 2
        line = f"{line[:n_first]}…{line[n_first + 1 - max_length :]}"
    return line


def plain(text: str, max_length: int = MAX_NAME) -> str:
    """A user's text as of `one_line` for matplotlib, which would read `$` as a formula's begin."""
    return one_line(text, max_length).replace("$", r"\$")


def class_text(label: str, max_length: int = MAX_CLASS_NAME) -> str:
    """A class's name for a picture."""
    return plain(readable_class(label), max_length)


def legend_above(
    figure: "Figure", names: Mapping[int, str], dashes: Mapping[int, Dash] | None = None
) -> None:
    """Add the systems' names and colours above the axes, in as many columns as fit.

    Args:
        figure: gets the legend.
        names: by the system's number.
        dashes: line styles by the system's number; those of `nth_dash` if None.
    """
    from matplotlib.lines import Line2D

    styles = dashes or {number: nth_dash(number) for number in names}
    handles = [
        Line2D([], [], color=nth_colour(number), linestyle=styles[number], linewidth=2)
        for number in names
    ]
    texts = [plain(name, 48) for name in names.values()]
    n_fitting = int(12 * figure.get_size_inches()[0]) // (max(map(len, texts)) + 7)
    figure.legend(
        handles,
        # matplotlib drops a label that begins with _.
        [f"\u200a{text}" if text.startswith("_") else text for text in texts],
        loc="outside upper center",
        ncols=max(1, min(len(names), n_fitting)),
        frameon=False,
        fontsize=9,
    )


def tidy(axes: "Axes") -> None:
    """Draw a light grid behind the content, and no frame on the right and at the top."""
    axes.set_axisbelow(True)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def draw_matrix(axes: "Axes", shades: Floats, texts: Sequence[Sequence[str]], size: float) -> None:
    """Draw a matrix as cells with texts, dark on light and light on dark.

    Args:
        axes: empty; get rows from the top and columns.
        shades: positions in the colour map, 0 to 1, `(rows, columns)`; NaN: an empty cell.
        texts: contents of the cells.
        size: of the font.
    """
    from matplotlib import colormaps

    colours = colormaps[CELL_COLOURS].with_extremes(bad=EMPTY_CELL)
    axes.imshow(np.ma.masked_invalid(shades), cmap=colours, vmin=0, vmax=1)
    for (line, column), shade in np.ndenumerate(shades):
        colour = "#666666"
        if not np.isnan(shade):
            luminance = np.dot([0.299, 0.587, 0.114], colours(float(shade))[:3])
            colour = "#000000" if luminance > 0.4 else "#ffffff"
        text = texts[line][column]
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size}
        axes.text(column, line, text, color=colour, in_layout=False, **style)
    axes.tick_params(length=0)
