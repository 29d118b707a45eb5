"""Clips and data sets that the subjects are measured on, in DESED's layout."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from benchmarks.options import DEMO
from benchmarks.systems import generated_truth
from desed_task.evaluation.truth import GroundTruth
from desed_task.frames import FrameGrid
from desed_task.synthesis.generate import CLIP_SETS, ClipSet
from local.classes import CLASSES
from local.config.load import load_config

GRID = FrameGrid()
STRONG_HEAD = "filename\tonset\toffset\tevent_label"
WEAK_HEAD = "filename\tevent_labels"
DURATION_HEAD = "filename\tduration"
SMALLEST = {clip_set.name: 1 for clip_set in CLIP_SETS}
"""A clip in each set: what a data module wants at least."""


def write_clips(folder: Path, names: Sequence[str], grid: FrameGrid = GRID) -> None:
    """WAV files of noise, 16 bits, as long as the grid's clips; no two are equal."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(-9000, 9000, grid.n_samples).astype(np.int16)
    for number, name in enumerate(tqdm(names, desc=folder.name, unit="file", leave=False)):
        audio = np.roll(noise, 97 * number)
        soundfile.write(folder / name, audio, grid.sample_rate, subtype="PCM_16")


def write_noise_sets(folder: Path, sizes: Mapping[str, int], grid: FrameGrid = GRID) -> list[str]:
    """Sets of noise with random events, already at the grid's rate; overrides that name them.

    Args:
        folder: where, as `desed_task.synthesis.generate` lays it out.
        sizes: clips of each of `CLIP_SETS` by its name; those left out get one.
        grid: the clips' time axis.
    """
    for number, clip_set in enumerate(CLIP_SETS):
        rng = np.random.default_rng(number)
        truth = generated_truth(rng, (SMALLEST | dict(sizes))[clip_set.name])
        write_clips(folder / f"{clip_set.audio}_16k", list(truth.events), grid)
        _write_tables(folder, clip_set, truth, grid)
    return data_overrides(folder)


def data_overrides(folder: Path) -> list[str]:
    """`data.key=value` for sets that were generated in a folder."""
    demo = load_config(DEMO).data.model_dump()
    return [
        f"data.{key}={str(value).replace('demo_data', str(folder))}"
        for key, value in demo.items()
        if isinstance(value, str)
    ]


def _write_tables(folder: Path, clip_set: ClipSet, truth: GroundTruth, grid: FrameGrid) -> None:
    strong, weak, durations = [STRONG_HEAD], [WEAK_HEAD], [DURATION_HEAD]
    for name, events in truth.events.items():
        spelled = [f"{e.onset:.3f}\t{e.offset:.3f}\t{e.event_label}" for e in events] or ["\t\t"]
        strong += [f"{name}\t{event}" for event in spelled]
        tags = {event.event_label for event in events} or {CLASSES[0]}
        weak.append(f"{name}\t{','.join(sorted(tags))}")
        durations.append(f"{name}\t{grid.clip_seconds:.3f}")
    tables = (clip_set.strong, strong), (clip_set.weak, weak), (clip_set.durations, durations)
    for path, lines in tables:
        if path is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text("\n".join(lines) + "\n", encoding="utf-8")
