"""Generated data sets in DESED's layout, on which the training loop is measured."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from desed_task.desed import CLIP_SETS
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from desed_task.making.layout import ClipRecord, clip_tables, write_texts
from tests.support.classes import CLASSES
from tests.support.generated_system import generated_truth
from tests.support.step_data import write_noise
from tests.support.tiny import data_overrides


def write_noise_sets(folder: Path, sizes: Mapping[str, int], grid: FrameGrid) -> list[str]:
    """Write sets of noise with random events, at the grid's rate; returns `data.key=value`.

    Args:
        folder: an empty folder, filled in the layout of `desed_task.desed`.
        sizes: number of clips of each of `CLIP_SETS` by its name; 1 for the others.
        grid: the clips' time axis.
    """
    seconds = grid.clip_seconds
    records: dict[str, list[ClipRecord]] = {}
    for number, clip_set in enumerate(CLIP_SETS):
        n_clips, rng = sizes.get(clip_set.name, 1), np.random.default_rng(number)
        truth = generated_truth(rng, n_clips, seconds)
        write_noise(folder / clip_set.prepared, list(truth.events), grid)
        # every weak clip has a tag
        none = [Event(0.0, seconds, CLASSES[0])] if clip_set.labels == "weak" else []
        records[clip_set.name] = [
            ClipRecord(name, seconds, tuple(events or none))
            for name, events in truth.events.items()
        ]
    write_texts(folder, clip_tables(records))
    return data_overrides(folder)
