"""An image that is drawn by pixels: rectangles, curves of steps, texts, a spectrogram.

For pictures of recordings, of which there are many: matplotlib takes longer for one than a network
takes for the recording. All colours are entries of one palette, so that nothing is converted when
the PNG is written. Positions are pixels from the upper left corner; ends are exclusive.
"""

from functools import cache, lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from desed_task.drawing.fonts import font_runs
from desed_task.drawing.style import COLOURS, DPI
from desed_task.evaluation.events import Ints

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

Mask = NDArray[np.bool_]
Pixels = NDArray[np.uint8]

# Palette: shades of grey from black to white, each colour (solid, and transparent on white and on
# grey), then those of the spectrogram from dark to bright.
GREYS = 32
BLACK, WHITE = 0, GREYS - 1
GREY = round(0.8 * WHITE)
"""True events, behind all else."""
OPACITY = 0.35
LEVELS = 200
FIRST_LEVEL = 256 - LEVELS
# Colours of "magma" (S. van der Walt and N. Smith, CC0) at equal distances.
MAGMA = (
    *("#000004", "#180f3d", "#440f76", "#721f81", "#9e2f7f"),
    *("#cd4071", "#f1605d", "#fd9668", "#feca8d", "#fcfdbf"),
)
POINT = DPI / 72  # pixels
COMPRESSION = 1
"""zlib's level: 9 makes the files of spectrograms a tenth smaller, in ten times the time."""


def _rgb(colour: str) -> list[int]:
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]


@cache
def palette() -> bytes:
    """Red, green and blue of the 256 colours."""
    greys = np.repeat(np.linspace(0, 255, GREYS)[:, None], 3, axis=1)
    solid = np.array([_rgb(colour) for colour in COLOURS], dtype=float)
    tints = [OPACITY * solid + (1 - OPACITY) * greys[shade] for shade in (WHITE, GREY)]
    unused = np.zeros((FIRST_LEVEL - GREYS - 3 * len(COLOURS), 3))
    anchors = np.array([_rgb(colour) for colour in MAGMA], dtype=float).T
    levels = np.linspace(0, len(MAGMA) - 1, LEVELS)
    magma = [np.interp(levels, np.arange(len(MAGMA)), channel) for channel in anchors]
    table = np.concatenate([greys, solid, *tints, unused, np.transpose(magma)])
    return np.rint(table).astype(np.uint8).tobytes()


class Canvas:
    """A white image.

    Args:
        height, width: pixels.

    Attributes:
        pixels: numbers of colours of the palette, `(height, width)`.
    """

    def __init__(self, height: int, width: int) -> None:
        self.pixels: Pixels = np.full((height, width), WHITE, np.uint8)

    def box(self, top: int, left: int, bottom: int, right: int) -> Pixels:
        """The pixels of a rectangle, as far as they are inside the image; a view."""
        return self.pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]

    def frame(self, top: int, left: int, bottom: int, right: int) -> None:
        """Draw the outline of a rectangle, one pixel beside it."""
        for inner in (
            self.box(top - 1, left - 1, top, right + 1),
            self.box(bottom, left - 1, bottom + 1, right + 1),
            self.box(top - 1, left - 1, bottom + 1, left),
            self.box(top - 1, right, bottom + 1, right + 1),
        ):
            inner[:] = BLACK

    def text(
        self,
        text: str,
        row: float,
        column: float,
        points: float,
        *,
        anchor: Literal["left", "centre", "right"] = "left",
        upwards: bool = False,
    ) -> None:
        """Draw a line of text with its vertical centre at `row`; `upwards`: turned by 90°."""
        mask = text_mask(text, points)
        if upwards:
            mask = np.rot90(mask)
        height, width = mask.shape
        left = round(column - {"left": 0.0, "centre": 0.5, "right": 1.0}[anchor] * width)
        top = round(row - height / 2)
        target = self.box(top, left, top + height, left + width)
        mask = mask[max(-top, 0) :, max(-left, 0) :][: target.shape[0], : target.shape[1]]
        # Smooth on white; on a colour, the palette has no shades between it and black.
        smooth = np.minimum(target, WHITE - mask)
        target[:] = np.where(target < GREYS, smooth, np.where(mask > WHITE // 2, BLACK, target))

    def image(self) -> "Image":
        """The image, of the kind with a palette."""
        from PIL.Image import fromarray

        image = fromarray(self.pixels)
        image.putpalette(palette())
        return image


def solid(colour: str) -> int:
    """The number of one of `COLOURS`."""
    return GREYS + COLOURS.index(colour)


def tint(pixels: Pixels, colour: str, mask: Mask | None = None) -> None:
    """Cover white and grey pixels with a transparent colour, in place; `mask`: only these."""
    table = np.arange(256, dtype=np.uint8)
    for k, background in enumerate((WHITE, GREY), start=1):
        table[background] = solid(colour) + k * len(COLOURS)
    covered = table[pixels]
    pixels[:] = covered if mask is None else np.where(mask, covered, pixels)


def draw_steps(pixels: Pixels, tops: Ints, colour: str) -> None:
    """Draw a curve of steps with the area below it, in place.

    Args:
        pixels: of a rectangle `(rows, columns)`, whose last row is the curve's zero.
        tops: row of the curve in each column, `(columns,)`.
        colour: one of `COLOURS`.
    """
    rows = np.arange(len(pixels))[:, None]
    tint(pixels, colour, rows >= tops)
    before = np.concatenate([tops[:1], tops[:-1]])
    pixels[(rows >= np.minimum(tops, before)) & (rows <= np.maximum(tops, before))] = solid(colour)


def image_png(image: "Image") -> bytes:
    """An image with a palette as a PNG; equal content gives equal bytes."""
    buffer = BytesIO()
    image.save(buffer, format="png", compress_level=COMPRESSION)
    return buffer.getvalue()


def text_width(text: str, points: float) -> int:
    """Pixels."""
    return text_mask(text, points).shape[1]


@lru_cache(maxsize=1000)
def text_mask(text: str, points: float) -> Pixels:
    """Ink of a line of text, 0 to `WHITE`, `(rows, columns)`; of equal height for each size."""
    from PIL import Image, ImageDraw

    runs = [(part, _font(path, points)) for part, path in font_runs(text)]
    ascent, descent = _font(None, points).getmetrics()
    width = sum(font.getlength(part) for part, font in runs)
    image = Image.new("L", (max(1, int(np.ceil(width))), ascent + descent))
    draw, left = ImageDraw.Draw(image), 0.0
    for part, font in runs:
        draw.text((left, ascent), part, fill=255, font=font, anchor="ls")
        left += font.getlength(part)
    return (np.asarray(image).astype(np.uint16) * WHITE // 255).astype(np.uint8)


@cache
def _font(path: str | None, points: float) -> "FreeTypeFont":
    from PIL import ImageFont

    from desed_task.drawing.fonts import default_font

    return ImageFont.truetype(path or default_font(), points * POINT)
