"""Pictures of a recording: log-mel, events and scores; a minute in a row, five rows a picture."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from desed_task.detect.detector import Result
from desed_task.detect.events import Detection
from desed_task.drawing.style import class_text, new_figure, nth_colour, nth_dash, plain, to_png
from desed_task.features import LogMel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_SECONDS = 60.0
ROWS = 5
MAX_LANES = 12  # of a row: classes with a lane of their own
OTHER_COLOUR = "#999999"
Blocks = Callable[[], Iterable[NDArray[np.float32]]]


class Row(NamedTuple):
    """A row of a picture: start and end of its audio in seconds, log-mel `(bands, frames)`."""

    start: float
    end: float
    log_mel: NDArray[np.float32]


class Lanes(NamedTuple):
    """Events of a row, the classes with a lane of their own, and the number of other classes."""

    events: list[Detection]
    names: list[str]
    n_others: int


def draw_recording(
    title: str, blocks: Blocks, result: Result, log_mel: LogMel, sample_rate: int
) -> Iterable[bytes]:
    """Pictures (PNG) of a recording, each of at most five minutes.

    Args:
        title: name of the recording.
        blocks: returns its samples at `sample_rate`, read anew.
        result: what was found.
        log_mel: the model's features.
        sample_rate: Hz.
    """
    seconds = min(ROW_SECONDS, max(result.seconds, 0.5))
    size = round(seconds * sample_rate)
    rows: list[Row] = []
    held = np.zeros(0, np.float32)
    start = 0.0
    for block in blocks():
        held = np.concatenate([held, block])
        while len(held) >= size:
            rows.append(Row(start, start + seconds, _spectrogram(held[:size], log_mel)))
            held, start = held[size:], start + seconds
            if len(rows) == ROWS:
                yield _draw(title, rows, seconds, result)
                rows = []
    if len(held) > log_mel.transform.n_fft:
        end = start + len(held) / sample_rate
        rows.append(Row(start, end, _spectrogram(held, log_mel)))
    if rows:
        yield _draw(title, rows, seconds, result)


def _spectrogram(audio: NDArray[np.float32], log_mel: LogMel) -> NDArray[np.float32]:
    with torch.inference_mode():
        return log_mel(torch.from_numpy(audio)[None])[0].numpy()


def find_lanes(
    detections: Iterable[Detection], start: float, end: float, most: int = MAX_LANES
) -> Lanes:
    """The lanes between two times (seconds): the classes detected for most time, by first onset."""
    events = [each for each in detections if each.onset < end and each.offset > start]
    lengths: dict[str, float] = {}
    for each in events:
        length = min(each.offset, end) - max(each.onset, start)
        lengths[each.event_label] = lengths.get(each.event_label, 0.0) + length
    longest = sorted(lengths, key=lambda name: -lengths[name])[:most]
    return Lanes(events, [name for name in lengths if name in longest], len(lengths) - len(longest))


def _draw(title: str, rows: Sequence[Row], seconds: float, result: Result) -> bytes:
    numbers = {name: k for k, name in enumerate({e.event_label: 0 for e in result.detections})}
    lanes = [find_lanes(result.detections, row.start, row.start + seconds) for row in rows]
    heights: list[float] = []
    for each in lanes:
        n_lanes = max(1, len(each.names) + (each.n_others > 0))
        heights += [1.3, 0.25 + 0.22 * n_lanes, 0.9]
    figure = new_figure(0.6 + sum(heights), width=14)
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    low = min(float(row.log_mel.min()) for row in rows)
    high = max(float(row.log_mel.max()) for row in rows)
    for number, (start, end, values) in enumerate(rows):
        spectrogram, events, scores = axes[3 * number : 3 * number + 3]
        spectrogram.imshow(
            values,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=low,
            vmax=high,
            extent=(start, end, 0, len(values)),
        )
        spectrogram.set_ylabel("mel band", fontsize=8)
        _draw_events(events, lanes[number], numbers)
        _draw_scores(scores, result, {k: numbers[k] for k in lanes[number].names}, start, seconds)
        for axis in (spectrogram, events, scores):
            axis.set_xlim(start, start + seconds)
            axis.tick_params(labelsize=8)
        spectrogram.tick_params(labelbottom=False)
        events.tick_params(labelbottom=False)
    axes[0].set_title(plain(title, 100), fontsize=11)
    axes[-1].set_xlabel("time in seconds")
    return to_png(figure)


def _draw_events(axis: "Axes", lanes: Lanes, numbers: Mapping[str, int]) -> None:
    """Draw a lane for each class in its colour, and a grey one for the other classes."""
    position = {name: lane for lane, name in enumerate(lanes.names)}
    for event in lanes.events:
        name = event.event_label
        colour = nth_colour(numbers[name]) if name in position else OTHER_COLOUR
        lane = position.get(name, len(position))
        axis.barh(lane, event.offset - event.onset, 0.8, event.onset, color=colour)
    texts = [class_text(name) for name in lanes.names]
    if lanes.n_others:
        texts.append(f"other classes: {lanes.n_others}")
    texts = texts or ["no event"]
    axis.set_yticks(range(len(texts)), texts)
    axis.set_ylim(len(texts) - 0.4, -0.6)
    axis.grid(axis="x", alpha=0.3)


def _draw_scores(
    axis: "Axes", result: Result, numbers: Mapping[str, int], start: float, seconds: float
) -> None:
    """Draw the scores of some classes, numbered for their colours."""
    frames = np.flatnonzero((result.edges[1:] > start) & (result.edges[:-1] < start + seconds))
    times = result.edges[frames]
    for name, number in numbers.items():
        values = result.values[result.classes.index(name), frames]
        style: dict[str, Any] = {"color": nth_colour(number), "linestyle": nth_dash(number)}
        axis.plot(times, values, linewidth=1, drawstyle="steps-post", **style)
    axis.set_ylim(0, 1.02)
    axis.set_ylabel("score", fontsize=8)
    axis.grid(alpha=0.3)
