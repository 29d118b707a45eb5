r"""Evaluate the output of any system: metrics, confidence intervals and a report.

python -m desed_task.evaluation --ground_truth validation.tsv --durations durations.tsv \
    --output report --system ours=scores/ --system baseline=predictions_operating_points/,events.csv

The output of a system is one or more of: a folder of score files in the format of sed_scores_eval
(one CLIP.tsv per clip: onset, offset, a column per class), a folder of operating points (one TSV
per threshold, named ..._0.01.tsv: filename, onset, offset, event_label), and a file of events at
one threshold (TSV or CSV). Scores give every metric; operating points give the PSDS approximated
from them; events give the F-scores.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from desed_task.dataio.annotations import read_classes, read_clip_recordings
from desed_task.errors import InputError, file_error, named_folders, run_cli, shortened
from desed_task.evaluation.bootstrap import Intervals, bootstrap
from desed_task.evaluation.evaluate import evaluate
from desed_task.evaluation.prediction_files import (
    SUFFIXES,
    read_operating_points,
    read_predictions,
)
from desed_task.evaluation.results import (
    HEADLINE_METRICS,
    MetricValue,
    SystemMetrics,
    difference_lines,
    metric_table,
)
from desed_task.evaluation.score_files import SUFFIX, column_names, read_scores, score_classes
from desed_task.evaluation.truth import GroundTruth
from desed_task.files import user_path, visible_entries, write_file
from desed_task.options import command_parser
from desed_task.report import ReportSystem, write_report
from desed_task.tables import TIME_COLUMNS, class_name

UNNAMED = "system"
READERS: dict[str, Callable[[Path, GroundTruth], Any]] = {
    "scores": read_scores,
    "operating_points": read_operating_points,
    "predictions": read_predictions,
}
Sources = dict[str, Path]
"""Paths of a system's output by their kind, a key of `READERS`."""
_CLASS_PROBLEM = re.compile(r": unknown class: expected|: columns: expected .*; unknown ")
FOUND_DIFFERENCES = 1
PRINTED = HEADLINE_METRICS | {
    "clips_scored": "clips scored",
    "clips_without_events": "clips without events",
    "clips_missing": "clips missing",
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("python -m desed_task.evaluation", __doc__)
    add = parser.add_argument
    add_path = partial(add, type=user_path)
    add_path("--ground_truth", required=True, metavar="TSV", help="true events")
    add_path("--durations", required=True, metavar="TSV", help="filename and duration (s)")
    add_path("--output", required=True, metavar="DIR", help="receives metrics.json and the report")
    add_path("--scores", metavar="DIR", help="score files of one system")
    add_path("--operating_points", metavar="DIR", help="its events at several thresholds")
    add_path("--predictions", metavar="FILE", help="its events at one threshold")
    add(
        "--system",
        action="append",
        default=[],
        metavar="NAME=PATH[,PATH]",
        help="a system and the paths of its output, recognised by content; may be repeated",
    )
    add(
        "--classes",
        metavar="A,B,…",
        help="the known classes (default: those of the first score files if they have all of the "
        "ground truth, else those of the ground truth); another one is an error",
    )
    add("--f1_threshold", type=float, default=0.5, metavar="T", help="default: %(default)s")
    add(
        "--drop_clips_without_events",
        action="store_true",
        help="exclude detections in clips without true events",
    )
    add(
        "--trim_to_clip",
        "--trim_to_duration",
        action="store_true",
        help="cut detections at the end of their clip",
    )
    add(
        "--bootstrap",
        type=int,
        default=1000,
        metavar="N",
        help="replicates for the intervals (default: %(default)s); 0: no intervals",
    )
    add("--no_report", action="store_true", help="metrics.json and the printed table only")
    add("--seed", type=int, default=0, help="of the replicates (default: %(default)s)")
    add_path("--audio", metavar="DIR", help="the clips, for spectrograms in the report")
    add_path(
        "--recordings",
        metavar="TSV",
        help="filename and recording of each clip, as metadata/clips.tsv of local.collect: the "
        "report has the number of recordings",
    )
    add(
        "--check",
        action="store_true",
        help="compare with psds_eval, sed_scores_eval and sed_eval; exit status 1 where a metric "
        "differs by more than 1e-9; needs: pip install -e '.[check]'",
    )
    args = parser.parse_args(argv)
    if not 0 <= args.f1_threshold < 1:
        parser.error(f"--f1_threshold: expected at least 0 and below 1, got {args.f1_threshold:g}")
    if args.bootstrap < 0 or args.seed < 0:
        parser.error("--bootstrap and --seed: expected at least 0")
    if not (args.system or args.scores or args.operating_points or args.predictions):
        parser.error("expected --scores, --operating_points, --predictions or --system, got none")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Read, evaluate, write; returns the exit status."""
    args = parse_args(argv)
    systems = system_sources(args)
    if args.audio is not None and not args.audio.is_dir():
        raise InputError(f"--audio {args.audio}: no such folder")
    classes = chosen_classes(args.classes) or known_classes(args.ground_truth, systems)
    truth = GroundTruth.read(args.ground_truth, args.durations, classes)
    recordings = clip_recordings(args.recordings, truth)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(f"--output {args.output}", error, "created") from None
    with named_folders({"--output": args.output}, written=args.output):
        metrics = evaluate_systems(systems, truth, args)
        written = write_evaluation(metrics, args, recordings)
    print(metric_table(PRINTED, {name: vars(each) for name, each in metrics.items()}))
    print("", *written, sep="\n")
    return print_differences(metrics) if args.check else 0


def clip_recordings(table: Path | None, truth: GroundTruth) -> dict[str, str] | None:
    """The recording of each clip; None without a table. Raises InputError for clips not in it."""
    if table is None:
        return None
    recordings = read_clip_recordings(table)
    missing = [name for name in truth.events if name not in recordings]
    if missing:
        raise InputError(
            f"--recordings {table}: expected all clips of the ground truth, got none of "
            f"{shortened(missing)}"
        )
    return recordings


def write_evaluation(
    metrics: dict[str, SystemMetrics],
    args: argparse.Namespace,
    recordings: dict[str, str] | None,
) -> list[Path]:
    """Write `metrics.json` and, if it is wanted, the report; returns their paths."""
    intervals: Intervals | None = None
    if args.bootstrap:
        intervals = bootstrap(metrics, replicates=args.bootstrap, seed=args.seed, progress=True)
    written = args.output / "metrics.json"
    write_file(written, json.dumps(flat_metrics(metrics, intervals), indent=1) + "\n")
    if args.no_report:
        return [written]
    shown = [ReportSystem(name, values) for name, values in metrics.items()]
    title = f"Evaluation on {args.ground_truth.name}"
    page = write_report(
        args.output,
        shown,
        title=title,
        intervals=intervals,
        audio=args.audio,
        recordings=recordings,
    )
    return [written, page]


def system_sources(args: argparse.Namespace) -> dict[str, Sources]:
    """Paths by system name. Raises InputError for a `--system` of another form."""
    unnamed = {kind: path for kind in READERS if (path := getattr(args, kind)) is not None}
    systems = {UNNAMED: unnamed} if unnamed else {}
    for text in args.system:
        name, separator, paths = text.partition("=")
        if not separator or not name or not paths:
            raise InputError(f"--system {text}: expected NAME=PATH or NAME=PATH,PATH")
        if name in systems:
            raise InputError(f"--system {text}: expected a name of its own, got {name!r} again")
        if "/" in name:
            raise InputError(f"--system {text}: expected a name without /")
        sources = systems[name] = {}
        for kind, path in map(kind_of, split_paths(paths)):
            if kind in sources:
                raise InputError(
                    f"--system {text}: expected one path of {kind.replace('_', ' ')}, got "
                    f"{sources[kind]} and {path}"
                )
            sources[kind] = path
    return systems


def split_paths(text: str) -> list[Path]:
    """Paths that are separated by commas; a path that exists may have commas itself."""
    parts, paths = text.split(","), []
    while parts:
        joined = [user_path(",".join(parts[:end])) for end in range(len(parts), 0, -1)]
        path = next((path for path in joined if path.exists()), joined[-1])
        paths.append(path)
        del parts[: len(parts) - joined.index(path)]
    return paths


def kind_of(path: Path) -> tuple[str, Path]:
    """The kind of a path, recognised by its content, and the path to read."""
    if path.is_file():
        return "predictions", path
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    written_by_test = path / "scores" / "postprocessed"
    if written_by_test.is_dir():
        return "scores", written_by_test
    tables = [entry for entry in visible_entries(path) if entry.suffix in SUFFIXES]
    if not tables:
        raise InputError(
            f"{path}: expected score files (CLIP.tsv) or operating points "
            "(predictions_th_0.01.tsv …), got a folder without .tsv and .csv files"
        )
    columns = column_names(tables[0]) if tables[0].suffix == SUFFIX else ()
    is_scores = tuple(columns[:2]) == TIME_COLUMNS and "filename" not in columns
    return ("scores" if is_scores else "operating_points"), path


def chosen_classes(text: str | None) -> tuple[str, ...] | None:
    """The classes of `--classes`. Raises InputError for a repeated or an empty name."""
    if text is None:
        return None
    try:
        classes = [class_name(name.strip()) for name in text.split(",")]
    except ValueError as error:
        raise InputError(f"--classes: {error}") from None
    if len(set(classes)) != len(classes):
        raise InputError(f"--classes {text}: expected names separated by commas, each once")
    return tuple(classes)


def known_classes(ground_truth: Path, systems: dict[str, Sources]) -> tuple[str, ...]:
    """The columns of the first score files if the ground truth has no other class, else its own."""
    true = read_classes(ground_truth)
    folders = (sources["scores"] for sources in systems.values() if "scores" in sources)
    scored = score_classes(next(folders, Path("")))
    if not set(true) < set(scored):
        return true
    unseen = [name for name in scored if name not in true]
    print(f"{len(unseen)} classes of the score files have no true event: {shortened(unseen)}")
    return scored


def evaluate_systems(
    systems: dict[str, Sources], truth: GroundTruth, args: argparse.Namespace
) -> dict[str, SystemMetrics]:
    """Read and evaluate each system's output, by name.

    Raises InputError; one about a class that the ground truth does not have names `--classes`.
    """
    metrics = {}
    try:
        for name, sources in systems.items():
            outputs = {kind: READERS[kind](path, truth) for kind, path in sources.items()}
            metrics[name] = evaluate(
                outputs.pop("scores", None),
                truth,
                **outputs,
                f1_threshold=args.f1_threshold,
                drop_clips_without_events=args.drop_clips_without_events,
                trim_to_clip=args.trim_to_clip,
                check=args.check,
            )
    except InputError as error:
        if args.classes is None and _CLASS_PROBLEM.search(str(error)):
            hint = "name all classes with --classes, also those without true events"
            raise InputError(f"{error}; {hint}") from None
        raise
    return metrics


def flat_metrics(
    metrics: dict[str, SystemMetrics], intervals: Intervals | None
) -> dict[str, MetricValue]:
    """All metrics by name; without a prefix for a system without a name."""
    flat: dict[str, MetricValue] = {}
    for system, values in metrics.items():
        flat |= {f"{system}/{name}": value for name, value in values.as_flat_dict().items()}
    if intervals is not None:
        flat |= intervals.as_flat_dict()
    return {name.removeprefix(f"{UNNAMED}/"): value for name, value in flat.items()}


def print_differences(metrics: dict[str, SystemMetrics]) -> int:
    """Print the differences from the libraries; returns the exit status."""
    lines = difference_lines(metrics)
    if lines:
        print(*lines, sep="\n", file=sys.stderr)
        return FOUND_DIFFERENCES
    print("Every metric that a library defines equals the library's.")
    return 0


if __name__ == "__main__":
    run_cli(main)
