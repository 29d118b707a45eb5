"""The real system's predictions in `shared/real_predictions`; for tests and benchmarks."""

from functools import cache
from pathlib import Path

import numpy as np

from desed_task.errors import InputError
from desed_task.evaluation import (
    THRESHOLDS,
    GroundTruth,
    OperatingPoints,
    Scores,
    read_operating_points,
)
from desed_task.frames import FrameGrid
from tests.support.classes import CLASSES

GRID = FrameGrid()
NETWORKS = ("student", "teacher")


@cache
def read_truth(folder: Path) -> GroundTruth:
    """The ground truth: `validation.tsv` and `validation_durations.tsv` of the folder."""
    return GroundTruth.read(folder / "validation.tsv", folder / "validation_durations.tsv", CLASSES)


@cache
def read_points(folder: Path, network: str) -> OperatingPoints:
    """A network's events at 50 thresholds."""
    return read_operating_points(
        folder / network / "predictions_operating_points", read_truth(folder)
    )


@cache
def rebuilt_scores(folder: Path, network: str) -> Scores:
    """Scores whose events at the 50 thresholds are the network's operating points, float32.

    The events are nested on the 64 ms grid, so scores with 50 levels give all of them back.
    Raises InputError for other thresholds, or events that are not nested on that grid.
    """
    truth, points = read_truth(folder), read_points(folder, network)
    if points.thresholds != THRESHOLDS:
        raise InputError(f"{folder / network}: expected the thresholds 0.01, 0.03 … 0.99")
    names = list(truth.events)
    index = {name: number for number, name in enumerate(names)}
    clips = np.array([index[name] for name in points.names], dtype=np.int64)
    levels = np.zeros((len(names), len(truth.classes), GRID.n_frames), dtype=np.int64)
    events = points.events
    first = np.rint(events.onset / GRID.frame_seconds).astype(int)
    end = np.rint(events.offset / GRID.frame_seconds).astype(int)
    rows = zip(events.level, clips[events.clip], events.label, first, end, strict=True)
    for level, clip, label, begin, stop in rows:
        if (levels[clip, label, begin:stop] != level).any():
            raise InputError(
                f"{folder / network}: expected events of clip {names[clip]} at higher thresholds "
                "to lie within those at lower ones, on the 64 ms grid"
            )
        levels[clip, label, begin:stop] += 1
    return Scores((levels / len(THRESHOLDS)).astype(np.float32), names, GRID)
