"""Own sounds, from labels to metrics, by the defaults: the network beside the baseline.

python -m benchmarks own_sounds --sounds SOUNDS --output FOLDER [--only CASE ...] [--seeds 1]
                                [--labelled CLASS CLASS] [--set K=V] [--tiny] [--json FILE]

SOUNDS is a soundbank (docs/own_data.md): foreground/CLASS/* and background/*; files whose names
begin with 5- are the test's. `one_place` and `many_places` are long recordings that are mixed of
it, with exact labels of two classes: 13 minutes for training, 3 for validation, 14 for the test
(benchmarks/long_recordings.py). `few_labels` is `many_places` with a tenth of the training labels,
the other clips without labels. They are collected, trained and tested with the configuration that
`collect` writes. `isolated` trains on scenes of `generate --soundbank` and detects the events of
the test's recordings as they are. CPU seconds are those of all processes of a training and its
test; of the baseline, of its training. Set OMP_NUM_THREADS=1 for one thread.
"""

import json
import re
import resource
import statistics
from argparse import Namespace
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
from desed_task.errors import FaultError
from desed_task.files import check_new_folder, user_path

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
    "few_labels": Case(
        MANY_PLACES,
        (
            "training.labelled_share=0.1",
            "training.train_sets=[synthetic,unlabelled]",
            "training.n_epochs_consistency=20",
        ),
    ),
}
ISOLATED = "isolated"
TINY = (
    "training.n_epochs=1",
    "training.steps_per_epoch=2",
    "training.n_epochs_warmup=0",
    "training.n_epochs_rampdown=0",
    "training.validation_interval=1",
    "postprocess.bootstrap_replicates=0",
)


class Trained(NamedTuple):
    """A training: its run's folder, its metrics, and its CPU seconds."""

    run: Path
    metrics: dict[str, Any]
    cpu_seconds: float


def main(argv: Sequence[str]) -> int:
    """Measure and print; returns the exit status."""
    args = parse(_parser(), {}, argv)
    check_new_folder("--output", args.output)
    rows = [["case", "system", *METRICS, "CPU s"]]
    counts: list[str] = []
    results: dict[str, Any] = {}
    for case in args.only:
        folder = args.output / case
        if case == ISOLATED:
            _generate(folder, args)
        else:
            _collect(folder, CASES[case].material, args)
        overrides = [*(CASES[case].overrides if case in CASES else ()), *args.overrides]
        overrides += TINY if args.tiny else ()
        trained = [_train(folder, seed, overrides) for seed in range(1, args.seeds + 1)]
        rows += _rows(case, trained)
        results[case] = [each._asdict() | {"run": str(each.run)} for each in trained]
        if case == ISOLATED:
            counts += [_isolated_counts(args.sounds, each.run / "model") for each in trained]
    finish(args, [*aligned(rows), *counts], {"own_sounds": results})
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


def _run(folder: Path, name: str, *arguments: str) -> float:
    """CPU seconds of a command. Raises FaultError if it failed."""
    before = _children_seconds()
    ((_, result, _),) = run_commands({name: arguments}, folder, MINUTES)
    if result != OK:
        raise FaultError(f"{folder / name}.txt: {result}")
    return _children_seconds() - before


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _collect(folder: Path, material: Material, args: Namespace) -> None:
    recordings = folder / "recordings"
    numbers = {"train": 3, "test": 1} if args.tiny else {"train": 16, "test": 14}
    write_recordings(args.sounds, args.labelled, material, HELD_OUT, numbers, recordings, seed=1)
    options = {
        "--audio": recordings / "train",
        "--test": recordings / "test",
        "--labels": recordings,
        "--split": "0.8,0.2,0",
        "--output": folder / "set",
    }
    _run(folder, "collect", "-m", "local.collect", *_words(options))


def _generate(folder: Path, args: Namespace) -> None:
    options = {
        "--soundbank": args.sounds,
        "--seed": 1,
        "--size": "tiny" if args.tiny else "medium",
        "--test_groups": HELD_OUT,
        "--output": folder / "set",
    }
    _run(folder, "generate", "-m", "local.generate", *_words(options))


def _words(options: dict[str, Any]) -> list[str]:
    return [str(word) for option in options.items() for word in option]


def _train(folder: Path, seed: int, overrides: Sequence[str]) -> Trained:
    logs = folder / f"seed_{seed}"
    options = {"--conf_file": folder / "set" / "conf.yaml", "--log_dir": logs}
    words = [*_words(options), "--set", f"training.seed={seed}"]
    words += [word for override in overrides for word in ("--set", override)]
    seconds = _run(folder, f"train_{seed}", "train_sed.py", *words)
    run = logs / "version_0"
    metrics = json.loads((run / "metrics_test" / "metrics.json").read_text(encoding="utf-8"))
    return Trained(run, metrics, seconds)


def _rows(case: str, trained: Sequence[Trained]) -> list[list[str]]:
    """A row for each system: means over the trainings, and deviations of several."""
    rows = []
    for system in SYSTEMS:
        values = [
            [each.metrics.get(f"test/{system}/{key}") for each in trained]
            for key in METRICS.values()
        ]
        seconds = [
            each.metrics[f"test/{system}/training_cpu_seconds"]
            if system == "baseline"
            else each.cpu_seconds
            for each in trained
        ]
        rows.append([case, system, *map(_shown, values), f"{statistics.mean(seconds):.0f}"])
    return rows


def _shown(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    mean = f"{statistics.mean(known):.3f}"
    return f"{mean} ± {statistics.stdev(known):.3f}" if len(known) > 1 else mean


def _isolated_counts(sounds: Path, model: Path) -> str:
    """Detect the events of the test's recordings, and count right and wrong classes."""
    detector = Detector.load(model)
    labels = detector.description.classes
    paths = [path for path in files_below(sounds) if re.search(HELD_OUT, path.name)]
    classes = {
        str(path): path.parent.name if path.parent.name in labels else None for path in paths
    }
    found = {name: set(detector(name).events.event_label) for name in tqdm(classes, ISOLATED)}
    counts = hits_and_wrong(found, classes)
    return ", ".join(f"{name} {value}" for name, value in counts._asdict().items())
