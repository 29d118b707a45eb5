"""Pictures of single clips: spectrogram, true events, and the output of each system."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from desed_task.drawing.style import (
    class_text,
    new_figure,
    nth_colour,
    plain,
    separate_rows,
    to_png,
)
from desed_task.evaluation.events import EventTable, Floats
from desed_task.evaluation.outputs import Boxes, Scores
from desed_task.report.systems import ReportInput, ReportSystem

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The recipe's spectrogram (docs/recipe.md, "Features") at the sample rate of the file.
WINDOW_SECONDS = 0.128
HOP_SECONDS = 0.016
MAX_FRAMES = 4000  # more than a picture has columns; a longer clip has a longer hop
N_BANDS = 128
MAX_HZ = 8000.0
LOG_FLOOR = 1e-5
LOG_RANGE = (-50.0, 80.0)
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000)

# A system's row of a class, from the bottom: detected events, then scores or boxes.
ROW_INCHES = 0.3
EVENTS_HEIGHT = 0.14  # of a row
SCORES_HEIGHT = 0.78  # of a row, for a score of 1
MAX_CONFIDENCES = 6  # written in one row
MAX_ROWS = 12


class Spectrogram(NamedTuple):
    """Log-mel in dB `(bands, frames)`, its highest frequency in Hz and its length in seconds."""

    decibel: Floats
    max_hz: float
    seconds: float


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
        decibel = features(torch.from_numpy(audio)[None])[0].double().numpy()
    return Spectrogram(decibel, max_hz, audio_seconds)


def draw_clip(report: ReportInput, clip: str, spectrogram: Spectrogram | None) -> bytes:
    """PNG of one clip over time, with a row for each class that is true or detected.

    At most `MAX_ROWS` classes are drawn (see `choose_rows`); a title counts the others.

    Args:
        report: the systems; at least one has a true or detected event in the clip.
        clip: its name.
        spectrogram: of the clip's audio; not drawn if None.
    """
    scoring = report.systems[0].metrics.scoring_input
    index = list(scoring.truth.events).index(clip)
    clip_seconds = float(scoring.durations[index])
    true = scoring.true.select(scoring.true.clip == index)
    detected = [_detected_events(system, index) for system in report.systems]
    labels, n_hidden = choose_rows(true, detected)
    last = max(float(events.offset.max()) for events in (true, *detected) if len(events))
    seconds = max(clip_seconds, last)

    heights = [ROW_INCHES * len(labels) + 0.1] * (1 + len(report.systems))
    if spectrogram is not None:
        heights.insert(0, 1.7)
    figure = new_figure(sum(heights) + 0.42 * len(heights) + 0.4)
    grid = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    if spectrogram is not None:
        _draw_spectrogram(grid[0], spectrogram)
    true_axes, *system_axes = grid[-1 - len(report.systems) :]
    _draw_events(true_axes, true, labels, bottom=0.15, height=0.7, colour="#333333")
    hidden = f" (not drawn: {n_hidden} of {n_hidden + len(labels)} classes)" if n_hidden else ""
    _label_rows(true_axes, labels, report.classes, f"true events{hidden}")
    for number, (axes, system, events) in enumerate(
        zip(system_axes, report.systems, detected, strict=True)
    ):
        _draw_events(axes, true, labels, bottom=0.0, height=1.0, colour="#000000", alpha=0.12)
        remark = _draw_system(axes, system, clip, labels, events, nth_colour(number))
        _label_rows(axes, labels, report.classes, f"{plain(system.name, 60)}{remark}")
    grid[-1].set_xlabel("time in seconds")
    grid[-1].set_xlim(0, seconds)
    for axes in grid:
        if seconds > clip_seconds + 1e-6:
            axes.axvline(clip_seconds, color="#000000", linestyle="--", linewidth=1)
    return to_png(figure)


def choose_rows(
    true: EventTable, detected: Sequence[EventTable], most: int = MAX_ROWS
) -> tuple[list[int], int]:
    """Classes to draw in ascending order, and how many more are true or detected.

    The true classes come first, then those that the systems detect for the most time.

    Args:
        true: events of one clip.
        detected: its events by system.
        most: number of classes.
    """
    seconds: dict[int, list[float]] = {}
    for column, table in enumerate((true, *detected)):
        for label, length in zip(table.label.tolist(), table.offset - table.onset, strict=True):
            seconds.setdefault(label, [0.0, 0.0])[min(column, 1)] += float(length)
    ranked = sorted(seconds, key=lambda label: seconds[label], reverse=True)
    return sorted(ranked[:most]), max(0, len(ranked) - most)


def _detected_events(system: ReportSystem, clip: int) -> EventTable:
    """Events that are detected in a clip; none if the system has no detections."""
    scoring = system.metrics.scoring_input
    if scoring.detections is None:
        return scoring.true.select(slice(0))
    return scoring.detections.select(scoring.detections.clip == clip)


def _label_rows(axes: "Axes", labels: Sequence[int], classes: Sequence[str], title: str) -> None:
    names = [class_text(classes[label]) for label in labels]
    axes.set_yticks(np.arange(len(labels)) + 0.5, names, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels), 0)
    axes.set_title(title, fontsize=9, loc="left")
    separate_rows(axes, len(labels), alpha=0.15)


def _draw_system(
    axes: "Axes",
    system: ReportSystem,
    clip: str,
    labels: Sequence[int],
    events: EventTable,
    colour: str,
) -> str:
    """Draw a system's scores or boxes and its detected events; return a remark for the title."""
    scoring = system.metrics.scoring_input
    remark = "" if scoring.detections is not None else ": no events at one threshold"
    scores = scoring.scores
    if scores is None:
        _draw_events(axes, events, labels, bottom=0.2, height=0.6, colour=colour)
        return remark
    _draw_events(axes, events, labels, bottom=0.0, height=EVENTS_HEIGHT, colour=colour)
    if clip not in scores.names:
        remark = remark or ": no scores of this clip"
    elif isinstance(scores, Boxes):
        _draw_boxes(axes, scores, clip, labels, colour)
    else:
        _draw_scores(axes, scores.as_scores(), clip, labels, colour)
    _draw_thresholds(axes, system, labels)
    return remark


def _draw_events(
    axes: "Axes",
    events: EventTable,
    labels: Sequence[int],
    *,
    bottom: float,
    height: float,
    colour: str,
    alpha: float = 1.0,
) -> None:
    """Draw events as bars in the row of their class; `bottom` and `height` in units of a row."""
    for line, label in enumerate(labels):
        rows = events.label == label
        spans = np.stack([events.onset[rows], (events.offset - events.onset)[rows]], axis=1)
        y = (line + 1 - bottom - height, height)
        axes.broken_barh(spans.tolist(), y, color=colour, alpha=alpha, linewidth=0)


def _draw_scores(
    axes: "Axes", scores: Scores, clip: str, labels: Sequence[int], colour: str
) -> None:
    """Draw scores over time as areas, a row for each class."""
    index = list(scores.names).index(clip)
    edges = scores.edges[index]
    for line, label in enumerate(labels):
        bottom = line + 1 - EVENTS_HEIGHT
        values = np.clip(scores.values[index, label].astype(np.float64), 0, 1)
        tops = bottom - SCORES_HEIGHT * np.append(values, values[-1:])
        axes.fill_between(edges, bottom, tops, step="post", color=colour, alpha=0.35, linewidth=0)
        axes.step(edges, tops, where="post", color=colour, linewidth=1.0)


def _draw_boxes(axes: "Axes", boxes: Boxes, clip: str, labels: Sequence[int], colour: str) -> None:
    """Draw boxes as high as their confidence, which is written in the most confident ones."""
    index = list(boxes.names).index(clip)
    for line, label in enumerate(labels):
        bottom = line + 1 - EVENTS_HEIGHT
        rows = np.flatnonzero((boxes.events.clip == index) & (boxes.events.label == label))
        rows = rows[np.argsort(-boxes.confidence[rows], kind="stable")]
        for rank, row in enumerate(rows):
            onset, offset = boxes.events.onset[row], boxes.events.offset[row]
            confidence = float(boxes.confidence[row])
            top = bottom - SCORES_HEIGHT * min(max(confidence, 0.0), 1.0)
            axes.fill_between([onset, offset], bottom, top, color=colour, alpha=0.3, linewidth=0)
            axes.plot(
                [onset, onset, offset, offset], [bottom, top, top, bottom], color=colour, lw=1.0
            )
            if rank < MAX_CONFIDENCES:
                axes.text(
                    (onset + offset) / 2,
                    bottom - 0.17,
                    f"{confidence:.2f}",
                    fontsize=7,
                    ha="center",
                    va="center",
                    clip_on=True,
                )


def _draw_thresholds(axes: "Axes", system: ReportSystem, labels: Sequence[int]) -> None:
    """Draw a dotted line in each row at the height of the class's F1 threshold."""
    thresholds = [metrics.f1_threshold for metrics in system.metrics.per_class.values()]
    for line, label in enumerate(labels):
        threshold = thresholds[label]
        if threshold is not None and 0 <= threshold <= 1:
            height = line + 1 - EVENTS_HEIGHT - SCORES_HEIGHT * threshold
            axes.axhline(height, color="#000000", linestyle=(0, (1, 3)), linewidth=0.8)


def _draw_spectrogram(axes: "Axes", spectrogram: Spectrogram) -> None:
    low, high = np.percentile(spectrogram.decibel, [2, 99.8])
    axes.imshow(
        spectrogram.decibel,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=low,
        vmax=max(high, low + 1),
        extent=(0, spectrogram.seconds, 0, N_BANDS),
    )
    ticks = [hertz for hertz in TICKS_HZ if hertz <= spectrogram.max_hz]
    axes.set_yticks(
        [N_BANDS * _mel(hertz) / _mel(spectrogram.max_hz) for hertz in ticks],
        [f"{hertz / 1000:g}" for hertz in ticks],
        fontsize=7,
    )
    axes.set_ylabel("kHz", fontsize=8)
    axes.set_title("log-mel spectrogram", fontsize=9, loc="left")


def _mel(hertz: float) -> float:
    """HTK's mel scale."""
    return float(2595 * np.log10(1 + hertz / 700))
