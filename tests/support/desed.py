"""DESED's tables, and files of a system on its validation set, in the DCASE baseline's layout.

`tests/desed` has the tables, compressed. The system's scores are generated; `expected.json` holds
what psds_eval and sed_eval give on its files.
"""

import lzma
from functools import cache
from pathlib import Path

import numpy as np

from desed_task.errors import InputError
from desed_task.evaluation import (
    THRESHOLDS,
    GroundTruth,
    OperatingPoints,
    Scores,
    detect_many,
    read_operating_points,
    to_frame,
)
from tests.support.classes import CLASSES
from tests.support.generated_system import GRID, generated_scores
from tests.support.paths import ROOT

TABLES = ROOT / "tests" / "desed"
EXPECTED = TABLES / "expected.json"
NETWORKS = ("student", "teacher")


def write_table(name: str, folder: Path) -> Path:
    """Write `weak.tsv`, `validation.tsv` (strong labels) or `public.tsv` (strong) of DESED."""
    path = folder / name
    with lzma.open(TABLES / f"{name}.xz") as packed:
        path.write_bytes(packed.read())
    return path


def write_system(folder: Path) -> Path:
    """Write the files of two networks on every third clip of the validation set.

    `validation.tsv`, `validation_durations.tsv` and, for each of NETWORKS,
    `predictions_operating_points/predictions_th_*.tsv` (50 thresholds) and `predictions0.5.csv`.
    """
    head, *rows = write_table("validation.tsv", folder).read_text().splitlines()
    names = list(dict.fromkeys(row.split("\t")[0] for row in rows))[::3]
    chosen = [row for row in rows if row.split("\t")[0] in set(names)]
    truth_file, durations = folder / "validation.tsv", folder / "validation_durations.tsv"
    truth_file.write_text("\n".join([head, *chosen]) + "\n")
    lines = [f"{name}\t{GRID.clip_seconds}" for name in names]
    durations.write_text("\n".join(["filename\tduration", *lines]) + "\n")
    truth = GroundTruth.read(truth_file, durations, CLASSES)
    for seed, network in enumerate(NETWORKS):
        points = folder / network / "predictions_operating_points"
        points.mkdir(parents=True)
        scores = generated_scores(np.random.default_rng(seed), truth)
        for thresholds in (THRESHOLDS, [0.5]):
            found = detect_many(scores.values, thresholds, GRID)
            for level, threshold in enumerate(thresholds):
                frame = to_frame(found.at_level(level), scores.names, CLASSES)
                if thresholds is THRESHOLDS:
                    path = points / f"predictions_th_{threshold:.2f}.tsv"
                    frame.to_csv(path, sep="\t", index=False)
                else:
                    frame.to_csv(folder / network / "predictions0.5.csv")
    return folder


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
