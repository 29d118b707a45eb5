"""Pictures of single clips: what is heard, what is true, what each system says."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from desed_task.evaluation.events import EventTable, Floats
from desed_task.evaluation.outputs import Boxes, Scores
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.drawing import colour_of, new_figure, plain, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The recipe's spectrogram (docs/recipe.md, "Features") at any rate of the file.
WINDOW_SECONDS = 0.128
HOP_SECONDS = 0.016
BANDS = 128
HIGHEST_HZ = 8000.0
LOG_FLOOR = 1e-5
LOG_RANGE = (-50.0, 80.0)
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000)

ROW_INCHES = 0.3
AREA = 0.78  # of a row's height is a score of 1
BASE = 0.14  # of a row's height below it is for the detected events
MOST_NUMBERS = 6  # confidences written in one row


class Spectrogram(NamedTuple):
    """Log-mel in dB `(bands, frames)`, its highest frequency in Hz and length in seconds."""

    decibel: Floats
    highest_hz: float
    seconds: float


class Lane(NamedTuple):
    """One system in a picture: its name, its number, what was judged, and each class's threshold.

    Thresholds are `(classes,)`, None where there is none.
    """

    name: str
    number: int
    scoring_input: ScoringInput
    thresholds: Sequence[float | None]


def log_mel(path: Path, seconds: float) -> Spectrogram:
    """The log-mel of the first seconds of a file. Raises InputError as `read_audio` does."""
    import torch

    from desed_task.dataio.audio import audio_info, fit_length, read_audio
    from desed_task.features import LogMel

    rate = audio_info(path).sample_rate
    audio = read_audio(path, rate, n_samples=int(np.ceil(seconds * rate)))
    heard = len(audio) / rate
    window = round(WINDOW_SECONDS * rate)
    highest = min(HIGHEST_HZ, rate / 2)
    features = LogMel(
        sample_rate=rate,
        n_window=window,
        hop_length=round(HOP_SECONDS * rate),
        n_mels=BANDS,
        f_min=0.0,
        f_max=highest,
        log_floor=LOG_FLOOR,
        log_range=LOG_RANGE,
    )
    audio = fit_length(audio, max(len(audio), window))
    with torch.inference_mode():
        decibel = features(torch.from_numpy(audio)[None])[0].double().numpy()
    return Spectrogram(decibel, highest, heard)


def clip_roll(clip: str, lanes: Sequence[Lane], heard: Spectrogram | None) -> bytes:
    """PNG with the log-mel (if there is one), the true events and each system's, over time.

    Rows are the classes that are true or detected by one of the systems.

    Args:
        clip: its name.
        lanes: the systems.
        heard: the clip's sound.
    """
    task = lanes[0].scoring_input
    place = list(task.truth.events).index(clip)
    true = _of_clip(task.true, place)
    detected = [_detected(lane.scoring_input, clip) for lane in lanes]
    labels = sorted({int(k) for events in (true, *detected) for k in events.label})
    last = max(float(events.offset.max()) for events in (true, *detected) if len(events))
    seconds = max(float(task.durations[place]), last)

    heights = [ROW_INCHES * len(labels) + 0.1] * (1 + len(lanes))
    heights = [1.7, *heights] if heard is not None else heights
    figure = new_figure(sum(heights) + 0.42 * len(heights) + 0.4)
    grid = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    if heard is not None:
        _draw_spectrogram(grid[0], heard)
    truth_axes, *system_axes = grid[-1 - len(lanes) :]
    _draw_bars(truth_axes, true, labels, base=0.15, height=0.7, colour="#333333")
    _label_rows(truth_axes, labels, task.truth.classes, "true events")
    for axes, lane, events in zip(system_axes, lanes, detected, strict=True):
        _draw_lane(axes, lane, clip, labels, true, events)
    grid[-1].set_xlabel("time in seconds")
    grid[-1].set_xlim(0, seconds)
    for axes in grid:
        if seconds > task.durations[place] + 1e-6:
            axes.axvline(task.durations[place], color="#000000", linestyle="--", linewidth=1)
    return to_png(figure)


def _of_clip(table: EventTable, clip: int) -> EventTable:
    return table.select(table.clip == clip)


def _detected(task: ScoringInput, name: str) -> EventTable:
    """What is detected in a clip; nothing if the system does not say."""
    clip = list(task.truth.events).index(name)
    return _of_clip(
        task.true.select(slice(0)) if task.detections is None else task.detections, clip
    )


def _label_rows(axes: "Axes", labels: Sequence[int], classes: Sequence[str], title: str) -> None:
    axes.set_yticks(
        np.arange(len(labels)) + 0.5,
        [plain(classes[k].replace("_", " "), 30) for k in labels],
        fontsize=8,
    )
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels), 0)
    axes.set_title(title, fontsize=9, loc="left")
    for line in range(1, len(labels)):
        axes.axhline(line, color="#000000", alpha=0.15, linewidth=0.8)


def _draw_bars(
    axes: "Axes",
    events: EventTable,
    labels: Sequence[int],
    *,
    base: float,
    height: float,
    colour: str,
    alpha: float = 1.0,
) -> None:
    """Events as bars, `base` from the bottom of their class's row, all in shares of a row."""
    for label, onset, offset in zip(events.label, events.onset, events.offset, strict=True):
        bottom = labels.index(int(label)) + 1 - base
        axes.fill_between(
            [onset, offset], bottom, bottom - height, color=colour, alpha=alpha, linewidth=0
        )


def _draw_lane(
    axes: "Axes",
    lane: Lane,
    clip: str,
    labels: Sequence[int],
    true: EventTable,
    events: EventTable,
) -> None:
    """One system: the truth as shade, scores or boxes above it, detected events below them."""
    colour, scores = colour_of(lane.number), lane.scoring_input.scores
    _draw_bars(axes, true, labels, base=0.0, height=1.0, colour="#000000", alpha=0.12)
    remark = ""
    if scores is None:
        _draw_bars(axes, events, labels, base=0.2, height=0.6, colour=colour)
    else:
        _draw_bars(axes, events, labels, base=0.0, height=BASE, colour=colour)
        if clip not in scores.names:
            remark = ": says nothing about this clip"
        elif isinstance(scores, Boxes):
            _draw_boxes(axes, scores, clip, labels, colour)
        else:
            _draw_scores(axes, scores.as_scores(), clip, labels, colour)
        _draw_thresholds(axes, lane, labels)
    if lane.scoring_input.detections is None:
        remark = ": no decision at a threshold is given"
    _label_rows(axes, labels, lane.scoring_input.truth.classes, f"{plain(lane.name, 60)}{remark}")


def _draw_scores(
    axes: "Axes", scores: Scores, clip: str, labels: Sequence[int], colour: str
) -> None:
    """Scores over time as areas, a row for each class."""
    place = list(scores.names).index(clip)
    edges = scores.edges[place]
    for line, label in enumerate(labels):
        bottom = line + 1 - BASE
        values = np.clip(scores.values[place, label].astype(np.float64), 0, 1)
        tops = bottom - AREA * np.append(values, values[-1:])
        axes.fill_between(edges, bottom, tops, step="post", color=colour, alpha=0.35, linewidth=0)
        axes.step(edges, tops, where="post", color=colour, linewidth=1.0)


def _draw_boxes(axes: "Axes", boxes: Boxes, clip: str, labels: Sequence[int], colour: str) -> None:
    """Boxes as high as their confidence, which is written in the most confident ones."""
    place = list(boxes.names).index(clip)
    for line, label in enumerate(labels):
        bottom = line + 1 - BASE
        rows = np.flatnonzero((boxes.events.clip == place) & (boxes.events.label == label))
        rows = rows[np.argsort(-boxes.confidence[rows], kind="stable")]
        for rank, row in enumerate(rows):
            onset, offset = boxes.events.onset[row], boxes.events.offset[row]
            confidence = float(boxes.confidence[row])
            top = bottom - AREA * min(max(confidence, 0.0), 1.0)
            axes.fill_between([onset, offset], bottom, top, color=colour, alpha=0.3, linewidth=0)
            axes.plot(
                [onset, onset, offset, offset], [bottom, top, top, bottom], color=colour, lw=1.0
            )
            if rank < MOST_NUMBERS:
                middle = (onset + offset) / 2
                axes.text(
                    middle,
                    bottom - 0.17,
                    f"{confidence:.2f}",
                    fontsize=7,
                    ha="center",
                    va="center",
                    clip_on=True,
                )


def _draw_thresholds(axes: "Axes", lane: Lane, labels: Sequence[int]) -> None:
    """A dotted line in each row at the height of the class's F1 threshold."""
    for line, label in enumerate(labels):
        threshold = lane.thresholds[label]
        if threshold is not None and 0 <= threshold <= 1:
            height = line + 1 - BASE - AREA * threshold
            axes.axhline(height, color="#000000", linestyle=(0, (1, 3)), linewidth=0.8)


def _draw_spectrogram(axes: "Axes", heard: Spectrogram) -> None:
    low, high = np.percentile(heard.decibel, [2, 99.8])
    axes.imshow(
        heard.decibel,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=low,
        vmax=max(high, low + 1),
        extent=(0, heard.seconds, 0, BANDS),
    )
    ticks = [hertz for hertz in TICKS_HZ if hertz <= heard.highest_hz]
    axes.set_yticks(
        [BANDS * _mel(hertz) / _mel(heard.highest_hz) for hertz in ticks],
        [f"{hertz / 1000:g}" for hertz in ticks],
        fontsize=7,
    )
    axes.set_ylabel("kHz", fontsize=8)
    axes.set_title("log-mel spectrogram", fontsize=9, loc="left")


def _mel(hertz: float) -> float:
    """HTK's mel scale."""
    return float(2595 * np.log10(1 + hertz / 700))
