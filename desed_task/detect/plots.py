"""Pictures of a recording: log-mel, events and scores; a minute in a row, five rows a picture."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from desed_task.detect.detector import Result
from desed_task.detect.events import Detection
from desed_task.features import LogMel
from desed_task.report.drawing import class_text, new_figure, nth_colour, plain, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_SECONDS = 60.0
ROWS = 5
Blocks = Callable[[], Iterable[NDArray[np.float32]]]


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
    rows: list[tuple[float, NDArray[np.float32]]] = []
    held = np.zeros(0, np.float32)
    start = 0.0
    for block in blocks():
        held = np.concatenate([held, block])
        while len(held) >= size:
            rows.append((start, _spectrogram(held[:size], log_mel)))
            held, start = held[size:], start + seconds
            if len(rows) == ROWS:
                yield _draw(title, rows, seconds, result)
                rows = []
    if len(held) > log_mel.transform.n_fft:
        rest = np.pad(held, (0, size - len(held)))
        rows.append((start, _spectrogram(rest, log_mel)))
    if rows:
        yield _draw(title, rows, seconds, result)


def _spectrogram(audio: NDArray[np.float32], log_mel: LogMel) -> NDArray[np.float32]:
    with torch.inference_mode():
        return log_mel(torch.from_numpy(audio)[None])[0].numpy()


def _draw(
    title: str, rows: Sequence[tuple[float, NDArray[np.float32]]], seconds: float, result: Result
) -> bytes:
    begin, end = rows[0][0], rows[-1][0] + seconds
    shown = [e for e in result.detections if e.onset < end and e.offset > begin]
    names = list(dict.fromkeys(e.event_label for e in shown)) or ["no event"]
    lanes = max(1, len(names))
    heights = [1.3, 0.25 + 0.22 * lanes, 0.9] * len(rows)
    figure = new_figure(0.6 + sum(heights), width=14)
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    colours = {name: nth_colour(result.classes.index(name)) for name in names if shown}
    low = min(float(values.min()) for _, values in rows)
    high = max(float(values.max()) for _, values in rows)
    for number, (start, values) in enumerate(rows):
        spectrogram, events, scores = axes[3 * number : 3 * number + 3]
        spectrogram.imshow(
            values,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=low,
            vmax=high,
            extent=(start, start + seconds, 0, len(values)),
        )
        spectrogram.set_ylabel("mel band", fontsize=8)
        _draw_events(events, shown, names, colours, start)
        _draw_scores(scores, result, list(colours), colours, start, seconds)
        for axis in (spectrogram, events, scores):
            axis.set_xlim(start, start + seconds)
            axis.tick_params(labelsize=8)
        spectrogram.tick_params(labelbottom=False)
        events.tick_params(labelbottom=False)
    axes[0].set_title(plain(title, 100), fontsize=11)
    axes[-1].set_xlabel("time in seconds")
    return to_png(figure)


def _draw_events(
    axis: "Axes",
    events: Sequence[Detection],
    names: Sequence[str],
    colours: dict[str, str],
    start: float,
) -> None:
    for event in events:
        lane = names.index(event.event_label)
        length = event.offset - event.onset
        axis.barh(lane, length, 0.8, event.onset, color=colours[event.event_label])
    axis.set_yticks(range(len(names)), [class_text(name) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="x", alpha=0.3)


def _draw_scores(
    axis: "Axes",
    result: Result,
    names: Sequence[str],
    colours: dict[str, str],
    start: float,
    seconds: float,
) -> None:
    frames = np.flatnonzero((result.edges[1:] > start) & (result.edges[:-1] < start + seconds))
    times = result.edges[frames]
    for name in names:
        values = result.values[result.classes.index(name), frames]
        axis.plot(times, values, color=colours[name], linewidth=1, drawstyle="steps-post")
    axis.set_ylim(0, 1.02)
    axis.set_ylabel("score", fontsize=8)
    axis.grid(alpha=0.3)
