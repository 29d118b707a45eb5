"""Reproduce the recipe on DESED: check the data, train, test, compare with the authors' metrics.

python -m local.studies.reproduce --data DIR --check_only      is the data whole?
python -m local.studies.reproduce --data DIR [--seeds 3]       train, test, write reproduction.md
python -m local.studies.reproduce --data DIR --checkpoint P    test one, ours or published
python -m local.studies.reproduce --data DIR --encoder CONF    with and without an encoder

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
from local.config.yaml_files import RECIPE, SHIPPED
from local.studies import ablation
from local.studies.driver import add_run_options, execute
from local.studies.find import FoundSet, find_sets
from local.studies.reproduction_report import data_report, reproduction
from local.studies.runs import TRAIN, Experiment, Run

CONFIGURATION = "reproduction.yaml"
REPORT = "reproduction.md"
MISSING = "missing.tsv"
ENCODER_VARIANTS = SHIPPED / "ablation_encoder.yaml"


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
    write_file(configuration, configuration_text(sets, args.data, args.encoder or RECIPE))
    experiment = Experiment(configuration, args.overrides, args.output, args.gpus, program)
    if args.encoder and experiment.config(args.overrides).encoder is None:
        raise InputError(
            f"--encoder {args.encoder}: expected a configuration with an encoder, got encoder: null"
        )
    runs = plan(experiment, args.checkpoint, args.seeds)
    if args.check_only:
        return 0
    if args.encoder:
        return ablation.main(ablation_arguments(args), program)
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


def ablation_arguments(args: argparse.Namespace) -> list[str]:
    """Command line of the ablation with an encoder, on the configuration that was written."""
    options = {
        "--conf_file": args.output / CONFIGURATION,
        "--variants_file": ENCODER_VARIANTS,
        "--output": args.output,
        "--seeds": args.seeds,
        "--jobs": args.jobs,
        **({} if args.gpus is None else {"--gpus": args.gpus}),
    }
    overrides = (word for each in args.overrides for word in ("--set", each))
    return [*(str(word) for option in options.items() for word in option), *overrides]


def configuration_text(sets: Sequence[FoundSet], data: Path, base: Path) -> str:
    """YAML of a configuration with the paths of the sets that were found.

    Args:
        sets: what was found.
        data: the folder that was searched.
        base: the configuration that is extended.
    """
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
    content: dict[str, Any] = {"extends": str(base.resolve()), "data": section}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Options of the command line."""
    parser = command_parser("python -m local.studies.reproduce", __doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--data", type=user_path, required=True, metavar="DIR", help="DESED, or a folder above it")
    add_run_options(parser, output="exp/reproduction", seeds=3)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--checkpoint", type=user_path, metavar="P", help="only test this one")
    instead.add_argument(
        "--encoder", type=user_path, metavar="CONF",
        help="a configuration with an encoder, such as confs/sed_encoder.yaml: train its variants "
        "with and without it",
    )  # fmt: skip
    add("--check_only", "--check-only", action="store_true", help="stop after the data")
    args = parser.parse_args(argv)
    check_least(args, seeds=1, jobs=1)
    for option, path in (("--checkpoint", args.checkpoint), ("--encoder", args.encoder)):
        if path and not path.is_file():
            raise InputError(f"{option} {path}: expected a file, got none of this name")
    return args


if __name__ == "__main__":
    run_cli(main)
