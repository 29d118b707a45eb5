"""What evaluation is measured on: a real system's 50 operating points, or generated ones like them.

The real system's events at 50 thresholds are nested on the 64 ms grid, so scores of 50 levels
give all of them back. How many events there are decides how long the libraries take.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation import THRESHOLDS, GroundTruth, Scores, evaluate
from desed_task.labels import Event
from local.classes import CLASSES
from tests.support.real_system import GRID, NETWORKS, read_truth, rebuilt_scores


class Systems(NamedTuple):
    """A truth, the scores of student and teacher, and where they come from."""

    truth: GroundTruth
    scores: dict[str, Scores]
    source: str


def load_systems(folder: Path | None, n_generated: int) -> Systems:
    """The real system of a folder, or a generated one of so many clips.

    The folder holds `validation.tsv`, `validation_durations.tsv`, and of `student` and `teacher`
    `predictions_operating_points`.
    """
    if folder is None:
        truth = generated_truth(np.random.default_rng(0), n_generated)
        scores = {
            name: generated_scores(np.random.default_rng(seed), truth)
            for seed, name in enumerate(NETWORKS, start=1)
        }
        return Systems(truth, scores, "generated scores")
    scores = {name: rebuilt_scores(folder, name) for name in NETWORKS}
    return Systems(read_truth(folder), scores, f"scores rebuilt from {folder}")


def evaluate_systems(folder: Path | None, n_generated: int) -> None:
    """Decoding and all figures of both networks, for the measurement of memory."""
    systems = load_systems(folder, n_generated)
    for scores in systems.scores.values():
        evaluate(scores, systems.truth)


def generated_truth(rng: np.random.Generator, n_clips: int) -> GroundTruth:
    """Clips of 10 s with 0 to 7 events of the ten classes, classes apart from themselves."""
    events: dict[str, list[Event]] = {}
    for number in range(n_clips):
        of_clip = []
        for label in rng.choice(CLASSES, rng.integers(0, 4), replace=False):
            edges = np.sort(rng.uniform(0, 10, 2 * rng.integers(1, 3))).reshape(-1, 2)
            of_clip += [Event(onset, offset, str(label)) for onset, offset in edges.tolist()]
        events[f"clip_{number:04d}.wav"] = sorted(of_clip)
    return GroundTruth(CLASSES, events, dict.fromkeys(events, 10.0))


def generated_scores(rng: np.random.Generator, truth: GroundTruth) -> Scores:
    """Scores of 50 levels that follow the truth, with noise that sometimes rises by itself."""
    shape = (len(truth.events), len(truth.classes), GRID.n_frames)
    noise: NDArray[np.floating] = np.cumsum(rng.normal(0, 0.3, shape), axis=2)
    noise -= noise.mean(axis=2, keepdims=True) + 5.0
    for clip, events in enumerate(truth.events.values()):
        for event in events:
            first, end = GRID.onset_to_frame(event.onset), GRID.offset_to_frame(event.offset)
            noise[clip, truth.classes.index(event.event_label), first:end] += rng.uniform(2, 8)
    scores = np.round(len(THRESHOLDS) / (1 + np.exp(-noise))) / len(THRESHOLDS)
    return Scores(scores.astype(np.float32), list(truth.events), GRID)
