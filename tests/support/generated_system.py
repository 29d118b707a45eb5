"""Generated ground truth, and scores of a system for it."""

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation import THRESHOLDS, GroundTruth, Scores
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from tests.support.classes import CLASSES

GRID = FrameGrid()


def generated_truth(
    rng: np.random.Generator, n_clips: int, clip_seconds: float = GRID.clip_seconds
) -> GroundTruth:
    """Clips with 0 to 6 events; events of the same class do not overlap."""
    events: dict[str, list[Event]] = {}
    for number in range(n_clips):
        clip_events = []
        for label in rng.choice(CLASSES, rng.integers(0, 4), replace=False):
            edges = np.sort(rng.uniform(0, clip_seconds, 2 * rng.integers(1, 3))).reshape(-1, 2)
            clip_events += [Event(onset, offset, str(label)) for onset, offset in edges.tolist()]
        events[f"clip_{number:04d}.wav"] = sorted(clip_events)
    return GroundTruth(CLASSES, events, dict.fromkeys(events, clip_seconds))


def generated_scores(rng: np.random.Generator, truth: GroundTruth) -> Scores:
    """Scores with 50 levels: high where the ground truth has events, plus slowly varying noise."""
    shape = (len(truth.events), len(truth.classes), GRID.n_frames)
    noise: NDArray[np.floating] = np.cumsum(rng.normal(0, 0.3, shape), axis=2)
    noise -= noise.mean(axis=2, keepdims=True) + 5.0
    for clip, events in enumerate(truth.events.values()):
        for event in events:
            first, end = GRID.onset_to_frame(event.onset), GRID.offset_to_frame(event.offset)
            noise[clip, truth.classes.index(event.event_label), first:end] += rng.uniform(2, 8)
    scores = np.round(len(THRESHOLDS) / (1 + np.exp(-noise))) / len(THRESHOLDS)
    return Scores(scores.astype(np.float32), list(truth.events), GRID)
