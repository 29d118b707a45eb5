"""Random and hand-made ground truth and scores for the metrics."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation import GroundTruth, Predictions
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.frames import FrameGrid
from desed_task.labels import Event

GRID = FrameGrid()
CLASSES = ("Cat", "Dishes", "Dog", "Speech")
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)


def truth_of(
    events: dict[str, list[tuple[float, float, str]]],
    durations: float | dict[str, float] = 10.0,
    classes: tuple[str, ...] = CLASSES,
) -> GroundTruth:
    lengths = durations if isinstance(durations, dict) else dict.fromkeys(events, durations)
    return GroundTruth(
        classes, {name: [Event(*e) for e in sorted(row)] for name, row in events.items()}, lengths
    )


def random_truth(
    rng: np.random.Generator,
    n_clips: int = 12,
    *,
    step: float | None = None,
    apart: bool = True,
    classes: Iterable[str] = CLASSES,
) -> GroundTruth:
    """Clips of 6 to 10 s: some empty, events past the end; on a grid of `step` s, or anywhere.

    Events of one class touch now and then, unless they are to be `apart`.
    """
    events: dict[str, list[tuple[float, float, str]]] = {}
    durations = {}
    for k in range(n_clips):
        name = f"clip_{k}.0.wav"
        durations[name] = float(rng.choice([6.5, 8.192, 10.0]))
        events[name] = []
        if k % 5 == 4:
            continue
        for label in classes:
            edges = np.sort(rng.uniform(0, 11, 2 * rng.integers(0, 4)))
            if step is not None:
                edges = np.round(edges / step) * step
                edges = np.unique(edges)
                edges = edges[: len(edges) // 2 * 2]
            if not apart and len(edges) > 3:
                edges[2] = edges[1]
            for onset, offset in edges.reshape(-1, 2).tolist():
                if onset < min(durations[name], 9.9):
                    events[name].append((onset, offset, label))
    return truth_of(events, durations, CLASSES)


def random_scores(
    rng: np.random.Generator, truth: GroundTruth, *, n_frames: int = 156, levels: int | None = 12
) -> NDArray[np.float32]:
    """Scores that follow the events, with noise and plateaus; rounded to few levels: many ties."""
    shape = (len(truth.events), len(truth.classes), n_frames)
    noise = np.cumsum(rng.normal(0, 0.25, shape), axis=2) + rng.normal(0, 0.5, (*shape[:2], 1))
    times = np.arange(n_frames) * GRID.frame_seconds
    for clip, events in enumerate(truth.events.values()):
        for onset, offset, label in events:
            late = rng.normal(0, 0.1, 2)
            active = (times >= onset + late[0]) & (times < offset + late[1])
            noise[clip, truth.classes.index(label), active] += rng.uniform(0, 4)
    scores = 1 / (1 + np.exp(1.5 - noise))
    if levels is not None:
        scores = np.round(scores * levels) / levels
    return scores.astype(np.float32)


def scores_of(
    events: dict[str, list[tuple[int, int, str, float]]], classes: tuple[str, ...] = CLASSES
) -> NDArray[np.float32]:
    """Scores that are a value from one frame to another (excluded), and 0 elsewhere."""
    scores = np.zeros((len(events), len(classes), GRID.n_frames), dtype=np.float32)
    for clip, rows in enumerate(events.values()):
        for first, end, label, value in rows:
            scores[clip, classes.index(label), first:end] = value
    return scores


def scoring_of(truth: GroundTruth) -> ScoringInput:
    """The scoring input of a system that detects nothing."""
    nothing = truth.table([])
    return ScoringInput.prepare(None, truth, predictions=Predictions(nothing, []))
