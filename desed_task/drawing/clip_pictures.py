"""The picture of a clip: log-mel, and rows of classes with true events, events, scores."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.drawing.style import WIDTH, class_text, new_figure, plain, separate_rows
from desed_task.evaluation.events import EventTable, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The recipe's spectrogram (docs/recipe.md, "Features") at the sample rate of the file.
WINDOW_SECONDS = 0.128
HOP_SECONDS = 0.016
MAX_FRAMES = 4000  # more than a picture has columns; a longer clip has a longer hop
N_BANDS = 128
MAX_HZ = 8000.0
LOG_FLOOR = 1e-5
LOG_RANGE = (-50.0, 80.0)
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000)

# A row of a class, from the bottom: events, then scores or boxes.
SPECTROGRAM_INCHES = 1.5
ROW_INCHES = 0.26
TITLE_INCHES = 0.3
EVENTS_HEIGHT = 0.2  # of a row
SCORES_HEIGHT = 0.72  # of a row, for a score of 1
MAX_CONFIDENCES = 6  # written in one row
MAX_ROWS = 12


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


def draw_clip(strips: Sequence[Strip], title: str = "", *, width: float = WIDTH) -> "Figure":
    """A figure of strips below each other; `width` in inches."""
    heights = [height for strip in strips for height in _heights(strip)]
    figure = new_figure(0.4 + sum(heights) + TITLE_INCHES * (len(strips) + bool(title)), width)
    axes = iter(figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    levels = _levels([strip.spectrogram for strip in strips if strip.spectrogram is not None])
    for strip in strips:
        grid = [next(axes) for _ in _heights(strip)]
        for each in grid:
            each.set_xlim(strip.start, strip.end)
            each.tick_params(axis="x", labelsize=8, labelbottom=each is grid[-1])
            if strip.clip_end is not None:
                each.axvline(strip.clip_end, color="#000000", linestyle="--", linewidth=1)
        if strip.spectrogram is not None:
            _draw_spectrogram(grid[0], strip.spectrogram, strip.start, levels)
        for each, panel in zip(grid[-len(strip.panels) :], strip.panels, strict=True):
            _draw_panel(each, panel)
    if title:
        figure.suptitle(plain(title, 100), fontsize=11)
    figure.axes[-1].set_xlabel("time in seconds", fontsize=9)
    return figure


def _heights(strip: Strip) -> list[float]:
    """Inches of the strip's spectrogram and panels, each with its title."""
    panels = [
        ROW_INCHES * max(1, len(panel.rows)) + (TITLE_INCHES if panel.title else 0.1)
        for panel in strip.panels
    ]
    return panels if strip.spectrogram is None else [SPECTROGRAM_INCHES, *panels]


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    for line, row in enumerate(panel.rows):
        _draw_spans(axes, row.true, line, "#000000", alpha=0.2)
        if row.scores is None and row.boxes is None:
            _draw_spans(axes, row.events, line + 0.2, panel.colour, height=0.6)
            continue
        bottom = line + 1 - EVENTS_HEIGHT
        _draw_spans(axes, row.events, bottom, panel.colour, height=EVENTS_HEIGHT)
        if row.scores is not None and panel.edges is not None:
            _draw_scores(axes, row.scores, panel.edges, bottom, panel.colour)
        if row.boxes is not None:
            _draw_boxes(axes, row.boxes, bottom, panel.colour)
        if row.threshold is not None and 0 <= row.threshold <= 1:
            height = bottom - SCORES_HEIGHT * row.threshold
            axes.axhline(height, color="#000000", linestyle=(0, (1, 3)), linewidth=0.8)
    names = [class_text(row.name) for row in panel.rows]
    axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(1, len(names)), 0)
    axes.set_title(panel.title, fontsize=9, loc="left", pad=3)
    separate_rows(axes, len(names), alpha=0.15)


def _draw_spans(
    axes: "Axes",
    spans: Floats | None,
    top: float,
    colour: str,
    *,
    height: float = 1.0,
    alpha: float = 1.0,
) -> None:
    """Draw events as bars, `height` in units of a row."""
    if spans is not None and len(spans):
        lengths = np.stack([spans[:, 0], spans[:, 1] - spans[:, 0]], axis=1)
        axes.broken_barh(lengths.tolist(), (top, height), color=colour, alpha=alpha, linewidth=0)


def _draw_scores(
    axes: "Axes", scores: NDArray[np.floating], edges: Floats, bottom: float, colour: str
) -> None:
    """Draw scores over time as an area."""
    # `stairs` draws the same, but looks at every step to find the limits of the axes.
    x = np.repeat(edges, 2)[1:-1]
    tops = np.repeat(bottom - SCORES_HEIGHT * np.clip(scores.astype(np.float64), 0, 1), 2)
    axes.fill_between(x, bottom, tops, color=colour, alpha=0.35, linewidth=0)
    axes.plot(x, tops, color=colour, linewidth=0.8)


def _draw_boxes(axes: "Axes", boxes: Floats, bottom: float, colour: str) -> None:
    """Draw boxes as high as their confidence, which is written in the most confident ones."""
    ordered = boxes[np.argsort(-boxes[:, 2], kind="stable")]
    for rank, (onset, offset, confidence) in enumerate(ordered.tolist()):
        top = bottom - SCORES_HEIGHT * min(max(confidence, 0.0), 1.0)
        axes.fill_between([onset, offset], bottom, top, color=colour, alpha=0.3, linewidth=0)
        corners = [onset, onset, offset, offset]
        axes.plot(corners, [bottom, top, top, bottom], color=colour, linewidth=1.0)
        if rank < MAX_CONFIDENCES:
            style: dict[str, Any] = {"fontsize": 7, "ha": "center", "va": "center", "clip_on": True}
            axes.text((onset + offset) / 2, bottom - 0.19, f"{confidence:.2f}", **style)


def _levels(spectrograms: Iterable[Spectrogram]) -> tuple[float, float]:
    """The levels of the darkest and of the brightest colour, common to all spectrograms."""
    values = [each.values.ravel() for each in spectrograms]
    if not values:
        return 0.0, 1.0
    low, high = np.percentile(np.concatenate(values), [2, 99.8]).tolist()
    return low, max(high, low + 1e-3)


def _draw_spectrogram(
    axes: "Axes", spectrogram: Spectrogram, start: float, levels: tuple[float, float]
) -> None:
    values, min_hz, max_hz, seconds = spectrogram
    low, high = levels
    axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=low,
        vmax=high,
        extent=(start, start + seconds, 0, len(values)),
    )
    ticks = [hertz for hertz in TICKS_HZ if min_hz <= hertz <= max_hz]
    scale = len(values) / (hz_to_mel(max_hz) - hz_to_mel(min_hz))
    positions = [scale * (hz_to_mel(hertz) - hz_to_mel(min_hz)) for hertz in ticks]
    axes.set_yticks(positions, [f"{hertz / 1000:g}" for hertz in ticks], fontsize=7)
    axes.set_ylabel("kHz", fontsize=8)


def hz_to_mel(hertz: float) -> float:
    """A frequency on HTK's mel scale."""
    return float(2595 * np.log10(1 + hertz / 700))
