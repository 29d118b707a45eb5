"""What all pictures have in common: size, colours, legends, texts."""

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

Dash = Literal["-", "--", ":"]
# Okabe and Ito's colours, which colour-blind readers tell apart; dashes double the number.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
DASHES: tuple[Dash, ...] = ("-", "--", ":")
DPI = 120
WIDTH = 10.0  # inches
LONGEST_NAME = 36  # characters


def colour_of(number: int) -> str:
    """The colour of the system or class with this number."""
    return COLOURS[number % len(COLOURS)]


def dash_of(number: int) -> Dash:
    """The line style of the system or class with this number."""
    return DASHES[number // len(COLOURS) % len(DASHES)]


def new_figure(height: float, width: float = WIDTH) -> "Figure":
    """An empty picture of some inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=DPI)


def to_image(figure: "Figure") -> "Image":
    """The picture's pixels, laid out and drawn once (`savefig` does both twice)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL.Image import fromarray

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def to_png(figure: "Figure") -> bytes:
    """The picture as a PNG file of at most 256 colours, the same for the same content."""
    from PIL.Image import Dither

    small = BytesIO()
    picture = to_image(figure).quantize(256, dither=Dither.NONE)
    picture.save(small, format="png", optimize=True)
    return small.getvalue()


def plain(text: str, longest: int = LONGEST_NAME) -> str:
    """A user's text for a picture: on one line, shortened, never read as a formula."""
    line = " ".join(text.split())
    if len(line) > longest:
        line = f"{line[: longest - 1]}…"
    return line.replace("$", r"\$")


def legend_above(
    figure: "Figure",
    names: Mapping[int, str],
    *,
    dashes: Mapping[int, Dash] | None = None,
    bars: bool = False,
) -> None:
    """The systems' names and colours above a picture, in as many columns as fit.

    Args:
        figure: gets the legend.
        names: by the system's number.
        dashes: line styles by the system's number, if they are not those of `dash_of`.
        bars: whether the systems are bars or dots, not lines.
    """
    styles = {number: dash_of(number) for number in names} | dict(dashes or {})
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=colour_of(k))
        if bars
        else Line2D([], [], color=colour_of(k), linestyle=styles[k], linewidth=2)
        for k in names
    ]
    texts = [plain(name, 48) for name in names.values()]
    fitting = int(12 * figure.get_size_inches()[0]) // (max(map(len, texts)) + 7)
    figure.legend(
        handles,
        # A label that begins with _ would be left out.
        [f"\u200a{text}" if text.startswith("_") else text for text in texts],
        loc="outside upper center",
        ncols=max(1, min(len(names), fitting)),
        frameon=False,
        fontsize=9,
    )


def tidy(axes: "Axes", *, grid: str = "both") -> None:
    """A light grid behind the content, and no frame on the right and at the top."""
    axes.set_axisbelow(True)
    axes.grid(axis=grid, alpha=0.3)  # type: ignore[arg-type]
    axes.spines[["top", "right"]].set_visible(False)
