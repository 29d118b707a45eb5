"""Pictures of a recording: log-mel, events and scores; a minute in a strip, five strips each."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from desed_task.detect.detector import Result
from desed_task.drawing.canvas import image_png
from desed_task.drawing.clip_pictures import (
    Panel,
    Row,
    Spectrogram,
    Strip,
    choose_rows,
    draw_clip,
)
from desed_task.drawing.style import nth_colour
from desed_task.features import LogMel

STRIP_SECONDS = 60.0
STRIPS = 5
WIDTH = 14.0  # inches
Blocks = Callable[[], Iterable[NDArray[np.float32]]]


def draw_recording(
    title: str, blocks: Blocks, result: Result, log_mel: LogMel, sample_rate: int
) -> Iterable[bytes]:
    """Pictures (PNG) of a recording, each of at most five minutes.

    Args:
        title: name of the recording.
        blocks: reads its samples at `sample_rate` from the start.
        result: what was found.
        log_mel: the model's features.
        sample_rate: Hz.
    """
    seconds = min(STRIP_SECONDS, max(result.seconds, 0.5))
    size = round(seconds * sample_rate)
    strips: list[Strip] = []
    rest = np.zeros(0, np.float32)
    start = 0.0
    for block in blocks():
        rest = np.concatenate([rest, block])
        while len(rest) >= size:
            strips.append(_strip(rest[:size], result, log_mel, sample_rate, start, seconds))
            rest, start = rest[size:], start + seconds
            if len(strips) == STRIPS:
                yield image_png(draw_clip(strips, title, width=WIDTH))
                strips = []
    if len(rest) > log_mel.transform.n_fft:
        strips.append(_strip(rest, result, log_mel, sample_rate, start, seconds))
    if strips:
        yield image_png(draw_clip(strips, title, width=WIDTH))


def _strip(
    audio: NDArray[np.float32],
    result: Result,
    log_mel: LogMel,
    sample_rate: int,
    start: float,
    seconds: float,
) -> Strip:
    mel = log_mel.transform
    with torch.inference_mode():
        device = mel.spectrogram.window.device
        values = log_mel(torch.from_numpy(audio)[None].to(device))[0].cpu().numpy()
    max_hz = sample_rate / 2 if mel.f_max is None else mel.f_max
    spectrogram = Spectrogram(values, mel.f_min, max_hz, len(audio) / sample_rate)
    return Strip(start, start + seconds, [strip_panel(result, start, start + seconds)], spectrogram)


def strip_panel(result: Result, start: float, end: float) -> Panel:
    """A row with events and scores for each class that is detected between two times (seconds).

    Of many classes, those that are detected for the most time are drawn.
    """
    events: dict[int, list[tuple[float, float]]] = {}
    for each in result.detections:
        if each.onset < end and each.offset > start:
            span = max(each.onset, start), min(each.offset, end)
            events.setdefault(result.classes.index(each.event_label), []).append(span)
    found = np.zeros(len(result.classes))
    for label, spans in events.items():
        found[label] = np.subtract(*np.transpose(spans)[::-1]).sum()
    labels, hidden = choose_rows(np.zeros_like(found), found)
    inside = np.flatnonzero((result.edges[1:] > start) & (result.edges[:-1] < end))
    edges = result.edges[inside[0] : inside[-1] + 2] if len(inside) else None
    rows = [
        Row(
            name=result.classes[label],
            events=np.array(events[label]),
            scores=result.values[label, inside],
        )
        for label in labels
    ]
    title = f"detected classes{hidden}" if rows else "no event"
    return Panel(title, rows, nth_colour(0), edges)
