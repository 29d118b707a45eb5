"""Own sounds, from labels to metrics, by the defaults: the network beside the baseline.

python -m benchmarks own_sounds --sounds SOUNDS --output FOLDER [--only CASE ...] [--seeds 1]
                                [--set K=V] [--json FILE]

SOUNDS is a soundbank (docs/own_data.md): foreground/CLASS/* and background/*. `one_place` and
`many_places` are long recordings that are mixed of it, with exact labels of two classes: 13 minutes
for training, 3 for validation, 14 for the test (benchmarks/long_recordings.py). `few_labels` is
`many_places` with a tenth of the training labels. They are collected, trained and tested with the
configuration that `collect` writes. `isolated` trains on scenes of `generate --soundbank`, and
detects the events of the held-out recordings unchanged. CPU seconds are those of the whole
training and its test, of all processes. Set OMP_NUM_THREADS=1 for one thread.
"""

import json
import re
import resource
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.commands import OK, run_commands
from benchmarks.isolated import hits_and_wrong
from benchmarks.long_recordings import MANY_PLACES, ONE_PLACE, Material, write_recordings
from benchmarks.measure import aligned, finish
from benchmarks.options import parse, subject_parser
from desed_task.dataio.recordings import files_below
from desed_task.detect import Detector
from desed_task.errors import FAULT
from desed_task.files import check_new_folder, user_path

NUMBERS_OF_RECORDINGS = {"train": 16, "test": 14}
SPLIT = "0.8125,0.1875,0"
HELD_OUT = "^5-"
MINUTES = 120.0  # of a command
METRICS = {
    "event F1": "event_f1_macro",
    "PSDS1": "psds1_sed_scores_eval",
    "PSDS2": "psds2_sed_scores_eval",
}
SYSTEMS = ("student", "teacher", "baseline")


class Case(NamedTuple):
    """A data set of long recordings, and overrides of its training."""

    material: Material
    overrides: tuple[str, ...] = ()


CASES = {
    "one_place": Case(ONE_PLACE),
    "many_places": Case(MANY_PLACES),
}
ISOLATED = "isolated"


class Trained(NamedTuple):
    """A training: its run's folder, its metrics, and its CPU seconds."""

    run: Path
    metrics: dict[str, Any]
    cpu_seconds: float


def main(argv: Sequence[str]) -> int:
    """Measure and print; returns the exit status."""
    args = parse(_parser(), {}, argv)
    check_new_folder("--output", args.output)
    rows: list[list[str]] = []
    results: dict[str, Any] = {}
    for case in args.only:
        made = _isolated_set(args) if case == ISOLATED else _long_set(args, case)
        if not made:
            return FAULT
        trained = [_train(args, case, seed) for seed in range(1, args.seeds + 1)]
        complete = [each for each in trained if each is not None]
        if len(complete) < len(trained):
            return FAULT
        results[case] = [each._asdict() | {"run": str(each.run)} for each in complete]
        rows += _rows(case, complete)
        if case == ISOLATED:
            lines = [_isolated_counts(args, each) for each in complete]
            rows += [[case, "recordings", line, "", "", ""] for line in lines]
    head = ["case", "system", *METRICS, "CPU s"]
    finish(args, aligned([head, *rows]), {"own_sounds": results})
    return 0


def _parser() -> Any:
    parser = subject_parser(__doc__, {})
    add = parser.add_argument
    add("--sounds", type=user_path, required=True, help="soundbank")
    add("--output", type=user_path, required=True, help="new folder of the data sets and runs")
    add("--labelled", nargs=2, default=["Dog_bark", "Sneeze"], help="the classes of the events")
    add("--only", nargs="+", choices=[*CASES, ISOLATED], default=[*CASES, ISOLATED])
    add("--seeds", type=int, default=1, help="trainings of each case (default: 1)")
    add("--set", action="append", default=[], metavar="K=V", dest="overrides")
    return parser


def _run(folder: Path, name: str, *arguments: str) -> float | None:
    """CPU seconds of a command; None if it failed."""
    before = _cpu_seconds()
    ((_, result, _),) = run_commands({name: arguments}, folder, MINUTES)
    return _cpu_seconds() - before if result == OK else None


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _long_set(args: Any, case: str) -> bool:
    folder = args.output / case
    recordings = folder / "recordings"
    material = CASES[case].material
    write_recordings(
        args.sounds, args.labelled, material, HELD_OUT, NUMBERS_OF_RECORDINGS, recordings, seed=1
    )
    sets = ["--audio", f"{recordings}/train", "--test", f"{recordings}/test", "--split", SPLIT]
    return (
        _run(
            folder,
            "collect",
            "-m",
            "local.collect",
            *sets,
            "--labels",
            str(recordings),
            "--output",
            f"{folder}/set",
        )
        is not None
    )


def _isolated_set(args: Any) -> bool:
    folder = args.output / ISOLATED
    options = ["--seed", "1", "--size", "medium", "--test_groups", HELD_OUT]
    return (
        _run(
            folder,
            "generate",
            "-m",
            "local.generate",
            "--soundbank",
            str(args.sounds),
            *options,
            "--output",
            f"{folder}/set",
        )
        is not None
    )


def _train(args: Any, case: str, seed: int) -> Trained | None:
    folder = args.output / case
    given = CASES[case].overrides if case in CASES else ()
    overrides = [*given, f"training.seed={seed}", *args.overrides]
    options = [word for override in overrides for word in ("--set", override)]
    logs = folder / f"seed_{seed}"
    seconds = _run(
        folder,
        f"train_{seed}",
        "train_sed.py",
        "--conf_file",
        f"{folder}/set/conf.yaml",
        "--log_dir",
        str(logs),
        *options,
    )
    if seconds is None:
        return None
    run = logs / "version_0"
    metrics = json.loads((run / "metrics_test" / "metrics.json").read_text(encoding="utf-8"))
    return Trained(run, metrics, seconds)


def _rows(case: str, trained: Sequence[Trained]) -> list[list[str]]:
    rows = []
    for system in SYSTEMS:
        values = [
            [each.metrics.get(f"test/{system}/{key}") for each in trained]
            for key in METRICS.values()
        ]
        seconds = [
            each.metrics.get(f"test/{system}/training_seconds", each.cpu_seconds)
            for each in trained
        ]
        rows.append([case, system, *map(_shown, values), f"{statistics.mean(seconds):.0f}"])
    return rows


def _shown(values: Sequence[float | None]) -> str:
    """Mean, and standard deviation of several."""
    if None in values:
        return "-"
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def _isolated_counts(args: Any, trained: Trained) -> str:
    """Detect the events of the held-out recordings, and count right and wrong classes."""
    detector = Detector.load(trained.run / "model")
    held_out = [path for path in files_below(args.sounds) if re.search(HELD_OUT, path.name)]
    labels = detector.description.classes
    classes = {
        str(path): path.parent.name if path.parent.name in labels else None for path in held_out
    }
    found = {name: set(detector(name).events.event_label) for name in tqdm(classes)}
    counts = hits_and_wrong(found, classes)
    return ", ".join(f"{name} {value}" for name, value in counts._asdict().items())
