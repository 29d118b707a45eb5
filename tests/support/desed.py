"""DESED's tables, and files of a system on its validation set, in the DCASE baseline's layout.

`tests/desed` has the tables, compressed. The system's scores are generated; `expected.json` holds
what psds_eval and sed_eval give on its files.
"""

import lzma
import os
import shutil
from pathlib import Path

import numpy as np

from desed_task.evaluation import THRESHOLDS, GroundTruth, detect_many, to_frame
from tests.support.classes import CLASSES
from tests.support.generated_system import GRID, generated_scores
from tests.support.paths import ROOT

TABLES = ROOT / "tests" / "desed"
NETWORKS = ("student", "teacher")
SYSTEM_VARIABLE = "SED_SYSTEM"
"""Environment variable: a folder of a real system's files, to be tested in place of the own one."""


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
    shutil.copy(TABLES / "expected.json", folder)
    return folder


def system_folder(folder: Path) -> Path:
    """The folder of SYSTEM_VARIABLE; without it an empty folder, filled by `write_system`."""
    given = os.environ.get(SYSTEM_VARIABLE)
    return Path(given) if given else write_system(folder)
