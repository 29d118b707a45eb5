"""Events, and how scores become events: correction, thresholds, merging."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from desed_task.detect.settings import Checked
from desed_task.evaluation.outputs import Boxes
from desed_task.model import ModelDescription
from desed_task.sod import correct_scores, counted_classes


@dataclass(frozen=True)
class Detection:
    """An event: onset and offset in seconds, class, and mean score between them."""

    onset: float
    offset: float
    event_label: str
    confidence: float


def corrected_scores(
    strong: NDArray[np.float32], states: NDArray[np.float32], model: ModelDescription
) -> NDArray[np.float32]:
    """Scores `(classes, frames)` after the model's score correction by SOD `(3, frames)`."""
    settings = model.correction
    if settings is None:
        return strong
    corrected = correct_scores(
        torch.from_numpy(np.ascontiguousarray(strong))[None],
        torch.from_numpy(np.ascontiguousarray(states.T))[None],
        counted_classes(model.classes, settings.excluded_classes),
        settings,
    )
    return corrected[0].numpy()


def score_events(
    values: NDArray[np.floating],
    edges: NDArray[np.float64],
    classes: tuple[str, ...],
    thresholds: list[float],
) -> list[Detection]:
    """Runs of frames `(classes, frames)` above the class's threshold; `edges` `(frames + 1,)`."""
    events = []
    for scores, name, threshold in zip(values.astype(np.float64), classes, thresholds, strict=True):
        steps = np.diff((scores > threshold).astype(np.int8), prepend=0, append=0)
        begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
        events += [
            Detection(float(edges[begin]), float(edges[end]), name, float(scores[begin:end].mean()))
            for begin, end in zip(begins, ends, strict=True)
        ]
    return events


def box_events(
    boxes: Boxes, classes: tuple[str, ...], thresholds: list[float], seconds: float
) -> list[Detection]:
    """Boxes with a confidence above the class's threshold, cut at the recording's end."""
    table = boxes.events
    return [
        Detection(float(onset), min(float(offset), seconds), classes[label], float(confidence))
        for label, onset, offset, confidence in zip(
            table.label, table.onset, table.offset, boxes.confidence, strict=True
        )
        if confidence > thresholds[label] and onset < seconds
    ]


def tidy(events: list[Detection], settings: Checked) -> list[Detection]:
    """Events with short pauses closed and short events dropped, by onset."""
    merged: list[Detection] = []
    latest: dict[str, int] = {}
    for event in sorted(events, key=lambda each: (each.onset, each.event_label)):
        index = latest.get(event.event_label)
        if index is not None and event.onset - merged[index].offset < settings.merge_gap:
            before = merged[index]
            lengths = before.offset - before.onset, event.offset - event.onset
            mean = np.average([before.confidence, event.confidence], weights=lengths)
            merged[index] = Detection(before.onset, event.offset, event.event_label, float(mean))
        else:
            latest[event.event_label] = len(merged)
            merged.append(event)
    return [each for each in merged if each.offset - each.onset >= settings.min_duration]
