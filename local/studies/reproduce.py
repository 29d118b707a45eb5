"""Reproduce the recipe on DESED: check the data, train, test, compare with the authors' metrics.

python -m local.studies.reproduce --data DIR --check_only      is the data whole?
python -m local.studies.reproduce --data DIR [--seeds 3]       train, test, write reproduction.md
python -m local.studies.reproduce --data DIR --checkpoint P    test one, ours or published

The same command continues after an interruption: docs/reproduce.md. The exit status is 1 if a run
failed.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from desed_task.errors import FAULT, InputError, run_cli
from desed_task.files import user_path, write_file, writing
from desed_task.options import check_least, command_parser
from local.config.data import KEYS
from local.studies.driver import add_run_options, execute
from local.studies.find import FoundSet, find_sets
from local.studies.reproduction_report import data_report, reproduction
from local.studies.runs import ROOT, TRAIN, Experiment, Run

CONFIGURATION = "reproduction.yaml"
REPORT = "reproduction.md"
MISSING = "missing.tsv"


def main(
    argv: Sequence[str] | None = None, program: Sequence[str] = (sys.executable, str(TRAIN))
) -> int:
    """Check, train, test and compare; returns the exit status. `program` trains."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = parse_args(arguments)
    sets = find_sets(args.data)
    data = data_report(sets, args.data)
    print(data, flush=True)
    with writing(args.output):
        args.output.mkdir(parents=True, exist_ok=True)
    lines = [f"{s.clip_set.title}\t{name}\n" for s in sets for name in s.missing]
    write_file(args.output / MISSING, "set\tfilename\n" + "".join(lines))
    print(f"\n{len(lines)} names of missing clips: {args.output / MISSING}", flush=True)
    needed = [s for s in sets if not s.clip_set.optional and (s.scored or not args.checkpoint)]
    unusable = [s.clip_set.title for s in needed if not s.usable]
    if unusable:
        raise InputError(f"--data {args.data}: no usable {', '.join(unusable)} set: see the table")
    configuration = args.output / CONFIGURATION
    write_file(configuration, configuration_text(sets, args.data))
    experiment = Experiment(configuration, args.overrides, args.output, args.gpus, program)
    runs = plan(experiment, args.checkpoint, args.seeds)
    if args.check_only:
        return 0
    failed = execute(list(runs.values()), args.jobs)
    metrics = {title: run.metrics for title, run in runs.items() if run.result is not None}
    command = f"python -m local.studies.reproduce {shlex.join(arguments)}"
    text = reproduction(
        data,
        metrics,
        [title for title in runs if title not in metrics],
        command,
        shlex.join(args.overrides),
    )
    write_file(args.output / REPORT, text)
    print(f"\n{args.output / REPORT}")
    return FAULT if failed else 0


def plan(experiment: Experiment, checkpoint: Path | None, n_seeds: int) -> dict[str, Run]:
    """By title: trainings with as many seeds, or the test of a checkpoint."""
    if checkpoint is not None:
        return {"checkpoint": experiment.test_run(checkpoint)}
    first = experiment.config(experiment.overrides).training.seed
    seeds = range(first, first + n_seeds)
    return {f"seed {seed}": experiment.run("recipe", seed) for seed in seeds}


def configuration_text(sets: Sequence[FoundSet], data: Path) -> str:
    """YAML of the recipe with the paths of the sets that were found below the folder `data`."""
    section: dict[str, str | None] = {"root": str(data.resolve())}
    for found in sets:
        if found.usable and found.folder is not None:
            keys, clip_set = KEYS[found.clip_set.name], found.clip_set
            paths = {keys.folder: found.folder, keys.original: found.original}
            if keys.tsv is not None:
                paths[keys.tsv] = found.table
            if keys.durations is not None and found.table is not None:
                paths[keys.durations] = found.table.with_name(Path(str(clip_set.durations)).name)
            for key, path in paths.items():
                section[key] = None if path is None else str(path.relative_to(data))
    content: dict[str, Any] = {"extends": str(ROOT / "confs" / "sed.yaml"), "data": section}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Options of the command line."""
    parser = command_parser("python -m local.studies.reproduce", __doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--data", type=user_path, required=True, metavar="DIR", help="DESED, or a folder above it")
    add_run_options(parser, output="exp/reproduction", seeds=3)
    add("--checkpoint", type=user_path, metavar="P", help="only test this one")
    add("--check_only", "--check-only", action="store_true", help="stop after the data")
    args = parser.parse_args(argv)
    check_least(args, seeds=1, jobs=1)
    if args.checkpoint and not args.checkpoint.is_file():
        raise InputError(f"--checkpoint {args.checkpoint}: expected a file, got none of this name")
    return args


if __name__ == "__main__":
    run_cli(main)
