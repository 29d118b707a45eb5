"""The picture of a clip: log-mel, and rows of classes with true events, events, scores."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.drawing.canvas import (
    BLACK,
    FIRST_LEVEL,
    GREY,
    LEVELS,
    WHITE,
    Canvas,
    Pixels,
    draw_steps,
    solid,
    text_width,
    tint,
)
from desed_task.drawing.style import DPI, MAX_CLASS_NAME, WIDTH, one_line, readable_class
from desed_task.evaluation.events import EventTable, Floats, Ints

if TYPE_CHECKING:
    from PIL.Image import Image

# The recipe's spectrogram (docs/recipe.md, "Features") at the sample rate of the file.
WINDOW_SECONDS = 0.128
HOP_SECONDS = 0.016
MAX_FRAMES = 4000  # more than a picture has columns; a longer clip has a longer hop
N_BANDS = 128
MAX_HZ = 8000.0
LOG_FLOOR = 1e-5
LOG_RANGE = (-50.0, 80.0)
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000)

# Pixels. A row of a class has, from the bottom: events, then scores or boxes.
SPECTROGRAM = 180
ROW = 32
EVENTS = 6
SCORES = 23  # of a score of 1
TITLE = 34
GAP = 8
TICK = 4
TICKS = 32  # the space of ticks and their texts
MIN_LEFT = 64  # the space of kHz
RIGHT = 20
# Sizes of texts.
TITLE_POINTS, AXIS_POINTS, NAME_POINTS, SMALL_POINTS = 11.0, 9.0, 8.0, 7.0
MAX_TITLE = 100  # characters
MAX_TICKS = 12
MAX_CONFIDENCES = 6  # written in one row
MAX_ROWS = 12
MAX_SAMPLES = 20_000  # of a spectrogram, to find its levels
SEPARATOR = round(0.85 * WHITE)  # grey between rows


class Spectrogram(NamedTuple):
    """Log-mel `(bands, frames)` on HTK's mel scale between two frequencies, and its seconds."""

    values: NDArray[np.floating]
    min_hz: float
    max_hz: float
    seconds: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """A row of a panel, usually a class.

    Args:
        name: its label.
        events: onsets and offsets, seconds, `(events, 2)`.
        true: of the true events; drawn in grey behind the row.
        scores: 0 to 1, `(frames,)`.
        boxes: onset, offset (seconds) and confidence, `(boxes, 3)`.
        threshold: of the events; drawn as a dotted line.
    """

    name: str
    events: Floats | None = None
    true: Floats | None = None
    scores: NDArray[np.floating] | None = None
    boxes: Floats | None = None
    threshold: float | None = None


class Panel(NamedTuple):
    """The rows of one system.

    `edges` are the starts of the frames of the rows' scores and the end of the last one, seconds,
    `(frames + 1,)`.
    """

    title: str
    rows: Sequence[Row]
    colour: str
    edges: Floats | None = None


class Strip(NamedTuple):
    """A stretch of time: its start and end in seconds, and what is drawn of it.

    `clip_end` is marked by a dashed line.
    """

    start: float
    end: float
    panels: Sequence[Panel]
    spectrogram: Spectrogram | None = None
    clip_end: float | None = None


def choose_rows(true: Floats, found: Floats, most: int = MAX_ROWS) -> tuple[list[int], str]:
    """Classes to draw in ascending order, and how many others are true or found, in brackets.

    The classes with the largest `true` come first, then those with the largest `found`.

    Args:
        true: seconds of true events, `(classes,)`.
        found: seconds of detected events, or highest scores, `(classes,)`.
        most: number of classes.
    """
    ranked = np.lexsort((-found, -true))
    ranked = ranked[(true[ranked] > 0) | (found[ranked] > 0)]
    n_hidden = max(0, len(ranked) - most)
    hidden = f" (not drawn: {n_hidden} of {len(ranked)} classes)" if n_hidden else ""
    return sorted(ranked[:most].tolist()), hidden


def class_spans(events: EventTable, label: int) -> Floats:
    """Onsets and offsets of one class, `(events, 2)`."""
    rows = events.label == label
    return np.stack([events.onset[rows], events.offset[rows]], axis=1)


def log_mel(path: Path, seconds: float) -> Spectrogram:
    """The log-mel of the first seconds of a file. Raises InputError as `read_audio` does."""
    import torch

    from desed_task.dataio.audio import audio_info, fit_length, read_audio
    from desed_task.features import FeatureSettings, LogMel

    rate = audio_info(path).sample_rate
    audio = read_audio(path, rate, n_samples=int(np.ceil(seconds * rate)))
    audio_seconds = len(audio) / rate
    window = round(WINDOW_SECONDS * rate)
    max_hz = min(MAX_HZ, rate / 2)
    settings = FeatureSettings(
        n_window=window,
        hop_length=max(round(HOP_SECONDS * rate), len(audio) // MAX_FRAMES),
        n_mels=N_BANDS,
        f_min=0.0,
        f_max=max_hz,
        log_floor=LOG_FLOOR,
        log_range=LOG_RANGE,
    )
    features = LogMel(settings, rate)
    audio = fit_length(audio, max(len(audio), window))
    with torch.inference_mode():
        decibel = features(torch.from_numpy(audio)[None])[0].numpy()
    return Spectrogram(decibel, 0.0, max_hz, audio_seconds)


def draw_clip(strips: Sequence[Strip], title: str = "", *, width: float = WIDTH) -> "Image":
    """The picture of strips below each other, an image with a palette; `width` in inches."""
    names = [class_line(row.name) for strip in strips for row in _rows(strip)]
    left = max([MIN_LEFT, *(text_width(name, NAME_POINTS) + 2 * GAP for name in names)])
    top = GAP + (TITLE if title else 0)
    height = top + sum(sum(_heights(strip)) + TICKS + GAP for strip in strips) + TICKS - GAP
    canvas = Canvas(height, round(width * DPI))
    right = canvas.pixels.shape[1] - RIGHT
    levels = _levels([strip.spectrogram for strip in strips if strip.spectrogram is not None])
    if title:
        text = one_line(title, MAX_TITLE)
        canvas.text(text, top / 2, (left + right) / 2, TITLE_POINTS, anchor="centre")
    for strip in strips:
        bottom = top
        if strip.spectrogram is not None:
            bottom = top + SPECTROGRAM
            box = Axes(canvas, top, left, bottom, right, strip.start, strip.end)
            _draw_spectrogram(box, strip.spectrogram, levels)
            _finish(box, strip)
        for panel in strip.panels:
            top = bottom + (TITLE if panel.title else GAP)
            bottom = top + _panel_height(panel)
            box = Axes(canvas, top, left, bottom, right, strip.start, strip.end)
            _draw_panel(box, panel)
            _finish(box, strip)
        _draw_times(box)
        top = bottom + TICKS + GAP
    canvas.text(
        "time in seconds", top + TICKS / 4, (left + right) / 2, AXIS_POINTS, anchor="centre"
    )
    return canvas.image()


class Axes(NamedTuple):
    """A rectangle of a canvas, in pixels, from `start` to `end` in seconds."""

    canvas: Canvas
    top: int
    left: int
    bottom: int
    right: int
    start: float
    end: float

    @property
    def pixels(self) -> Pixels:
        """A view of the rectangle's pixels, `(rows, columns)`."""
        return self.canvas.pixels[self.top : self.bottom, self.left : self.right]

    def columns(self, seconds: Floats) -> Ints:
        """Columns of the rectangle at these times; those outside are at its edges."""
        n_columns = self.right - self.left
        position = (seconds - self.start) / (self.end - self.start) * n_columns
        return np.clip(np.rint(position), 0, n_columns).astype(np.int64)

    def spans(self, spans: Floats) -> Iterator[slice]:
        """The columns of events `(events, 2)`, at least one each."""
        for first, end in self.columns(spans[:, :2]).tolist():
            yield slice(min(first, self.right - self.left - 1), max(end, first + 1))


def class_line(label: str) -> str:
    """A class's name for a row."""
    return one_line(readable_class(label), MAX_CLASS_NAME)


def _rows(strip: Strip) -> Iterator[Row]:
    return (row for panel in strip.panels for row in panel.rows)


def _heights(strip: Strip) -> list[int]:
    """Pixels of the strip's spectrogram and panels, each with its title."""
    panels = [(TITLE if each.title else GAP) + _panel_height(each) for each in strip.panels]
    return panels if strip.spectrogram is None else [SPECTROGRAM, *panels]


def _panel_height(panel: Panel) -> int:
    return ROW * max(1, len(panel.rows))


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for line, row in enumerate(panel.rows):
        pixels = axes.pixels[line * ROW : (line + 1) * ROW]
        if line:
            pixels[0] = SEPARATOR
        if row.true is not None:
            for columns in axes.spans(row.true):
                pixels[:, columns] = GREY
        foot = ROW - EVENTS  # of scores and boxes
        bars = pixels[foot:]
        if row.scores is not None and panel.edges is not None:
            _draw_scores(axes, pixels[:foot], row.scores, panel.edges, panel.colour)
        elif row.boxes is not None:
            _draw_boxes(axes, pixels[:foot], row.boxes, line, panel.colour)
        else:
            bars = pixels[ROW // 5 : -(ROW // 5)]
        if row.events is not None:
            for columns in axes.spans(row.events):
                bars[:, columns] = solid(panel.colour)
        if row.threshold is not None and 0 <= row.threshold <= 1:
            pixels[foot - 1 - round(SCORES * row.threshold), ::4] = BLACK
        name, middle = class_line(row.name), axes.top + (line + 0.5) * ROW
        axes.canvas.text(name, middle, axes.left - GAP, NAME_POINTS, anchor="right")
    if panel.title:
        axes.canvas.text(panel.title, axes.top - TITLE / 2 + 2, axes.left, AXIS_POINTS)


def _draw_scores(
    axes: Axes, pixels: Pixels, scores: NDArray[np.floating], edges: Floats, colour: str
) -> None:
    """Draw scores over time as an area; a column shows the highest of its frames."""
    first, end = axes.columns(edges[[0, -1]]).tolist()
    if first == end:
        return
    seconds = (axes.end - axes.start) / (axes.right - axes.left)
    begins = axes.start + seconds * np.arange(first, end)
    frames = np.clip(np.searchsorted(edges, begins, side="right") - 1, 0, len(scores) - 1)
    highest = np.maximum.reduceat(np.clip(scores.astype(np.float64), 0, 1), frames)
    tops = len(pixels) - 1 - np.rint(SCORES * highest).astype(np.int64)
    draw_steps(pixels[:, first:end], tops, colour)


def _draw_boxes(axes: Axes, pixels: Pixels, boxes: Floats, line: int, colour: str) -> None:
    """Draw boxes as high as their confidence, which is written in the most confident ones."""
    ordered = boxes[np.argsort(-boxes[:, 2], kind="stable")]
    for rank, (columns, box) in enumerate(zip(axes.spans(ordered), ordered, strict=True)):
        top = len(pixels) - 1 - round(SCORES * min(max(float(box[2]), 0.0), 1.0))
        inside = pixels[top:, columns]
        tint(inside, colour)
        inside[0] = inside[:, 0] = inside[:, -1] = solid(colour)
        if rank < MAX_CONFIDENCES:
            middle = axes.left + (columns.start + columns.stop) / 2
            row = axes.top + line * ROW + len(pixels) - 8
            axes.canvas.text(f"{box[2]:.2f}", row, middle, SMALL_POINTS, anchor="centre")


def _finish(axes: Axes, strip: Strip) -> None:
    """Draw the frame, and the dashed end of the clip."""
    axes.canvas.frame(axes.top, axes.left, axes.bottom, axes.right)
    if strip.clip_end is not None:
        column = int(axes.columns(np.array([strip.clip_end]))[0])
        dashed = axes.pixels[:, min(column, axes.right - axes.left - 1)]
        dashed[np.arange(len(dashed)) % 8 < 5] = BLACK


def _draw_times(axes: Axes) -> None:
    """Draw ticks and seconds below the axes, at multiples of 1, 2 or 5 times a power of ten."""
    smallest = (axes.end - axes.start) / MAX_TICKS
    power = 10.0 ** np.floor(np.log10(smallest))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= smallest)
    first, last = int(np.ceil(axes.start / step - 1e-9)), int(axes.end / step + 1e-9)
    numbers = np.arange(first, last + 1)
    for column, number in zip(axes.columns(numbers * step).tolist(), numbers, strict=True):
        middle = axes.left + min(column, axes.right - axes.left - 1)
        axes.canvas.box(axes.bottom, middle, axes.bottom + TICK, middle + 1)[:] = BLACK
        text = f"{number * step:.6g}"
        axes.canvas.text(text, axes.bottom + TICK + 10, middle, NAME_POINTS, anchor="centre")


def _levels(spectrograms: Iterable[Spectrogram]) -> tuple[float, float]:
    """The levels of the darkest and of the brightest colour, common to all spectrograms."""
    values = [each.values.ravel() for each in spectrograms]
    if not values:
        return 0.0, 1.0
    joined = np.concatenate([each[:: len(each) // MAX_SAMPLES + 1] for each in values])
    low, high = np.percentile(joined, [2, 99.8]).tolist()
    return low, max(high, low + 1e-3)


def _draw_spectrogram(axes: Axes, spectrogram: Spectrogram, levels: tuple[float, float]) -> None:
    """Draw a spectrogram from the start of the axes; a column shows the mean of its frames."""
    values, min_hz, max_hz, seconds = spectrogram
    n_bands, n_frames = values.shape
    n_columns = int(axes.columns(np.array([axes.start + seconds]))[0])
    n_rows = axes.bottom - axes.top
    first = np.arange(n_columns) * n_frames // max(n_columns, 1)
    if n_columns < n_frames:
        sizes = np.diff(first, append=n_frames)
        values = np.add.reduceat(values, first, axis=1) / sizes
        first = np.arange(n_columns)
    low, high = levels
    shades = np.clip((values - low) * ((LEVELS - 1) / (high - low)), 0, LEVELS - 1)
    colours = (shades + FIRST_LEVEL).astype(np.uint8)
    bands = np.arange(n_rows)[::-1] * n_bands // n_rows
    axes.pixels[:, :n_columns] = colours[:, first][bands]
    scale = n_rows / (hz_to_mel(max_hz) - hz_to_mel(min_hz))
    for hertz in TICKS_HZ:
        if min_hz <= hertz <= max_hz:
            row = axes.bottom - 1 - round(scale * (hz_to_mel(hertz) - hz_to_mel(min_hz)))
            row = max(row, axes.top)
            axes.canvas.box(row, axes.left - TICK, row + 1, axes.left)[:] = BLACK
            text = f"{hertz / 1000:g}"
            axes.canvas.text(text, row, axes.left - TICK - 3, SMALL_POINTS, anchor="right")
    middle = (axes.top + axes.bottom) / 2
    axes.canvas.text("kHz", middle, axes.left - MIN_LEFT + 12, NAME_POINTS, upwards=True)


def hz_to_mel(hertz: float) -> float:
    """A frequency on HTK's mel scale."""
    return float(2595 * np.log10(1 + hertz / 700))
