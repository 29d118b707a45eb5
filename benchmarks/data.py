"""Generated data sets in DESED's layout, on which the training loop is measured."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from desed_task.desed import CLIP_SETS, ClipSet
from desed_task.evaluation.truth import GroundTruth
from desed_task.frames import FrameGrid
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
    for number, clip_set in enumerate(CLIP_SETS):
        n_clips, rng = sizes.get(clip_set.name, 1), np.random.default_rng(number)
        truth = generated_truth(rng, n_clips, grid.clip_seconds)
        write_noise(folder / clip_set.prepared, list(truth.events), grid)
        _write_tables(folder, clip_set, truth, grid)
    return data_overrides(folder)


def _write_tables(folder: Path, clip_set: ClipSet, truth: GroundTruth, grid: FrameGrid) -> None:
    tables = {
        "strong": ["filename\tonset\toffset\tevent_label"],
        "weak": ["filename\tevent_labels"],
        "unlabelled": ["filename"],
    }
    durations = ["filename\tduration"]
    for name, events in truth.events.items():
        rows = [f"{e.onset:.3f}\t{e.offset:.3f}\t{e.event_label}" for e in events] or ["\t\t"]
        tables["strong"] += [f"{name}\t{row}" for row in rows]
        tags = {event.event_label for event in events} or {CLASSES[0]}
        tables["weak"].append(f"{name}\t{','.join(sorted(tags))}")
        tables["unlabelled"].append(name)
        durations.append(f"{name}\t{grid.clip_seconds:.3f}")
    for path, lines in ((clip_set.table, tables[clip_set.labels]), (clip_set.durations, durations)):
        if path is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text("\n".join(lines) + "\n", encoding="utf-8")
