"""What each ingredient of the recipe is worth: variants x seeds, compared in pairs.

python -m local.studies.ablation [--conf_file confs/demo.yaml] [--seeds 5] [--jobs 2] [--output DIR]
                              [--variants NAME ...] [--variants_file FILE] [--set K=V]
                              [--run VARIANT:SEED ... | --print-commands | --collect]

Every variant is trained with every seed by train_sed.py, in a process of its own. Finished runs are
kept: the same command continues after an interruption, and with a larger --seeds. The result is
DIR/ablation.html and DIR/ablation.md: docs/ablation.md. The exit status is 1 if a run failed.
"""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from desed_task.errors import InputError, file_error, named_folders, run_cli
from desed_task.files import user_path
from local.config.yaml_files import SHIPPED
from local.studies.collect import collect
from local.studies.page import write_pages
from local.studies.runner import execute, raise_terminated
from local.studies.runs import Experiment, Run, plan
from local.studies.variants import VARIANTS_FILE, read_variants

DEMO = SHIPPED / "demo.yaml"
REPLICATES = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print commands or collect; returns the exit status."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    args = parse_args(argv)
    ablation = read_variants(args.variants_file)
    if args.variants:
        ablation = ablation.chosen(args.variants)
    experiment = Experiment(args.conf_file, args.overrides, args.output)
    runs = plan(ablation, experiment, range(1, args.seeds + 1))
    if args.print_commands:
        print(*run_commands(runs, argv), sep="\n")
        return 0
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(f"--output {args.output}", error, "written") from None
    with named_folders({"--output": args.output}, written=args.output):
        failed: dict[str, str] = {}
        if not args.collect:
            signal.signal(signal.SIGTERM, raise_terminated)
            failed = execute(chosen_runs(runs, args.run), experiment, args.jobs).failed
            for name, reason in failed.items():
                print(f"failed: {name}: {reason}", file=sys.stderr)
        if not args.run:
            collected = collect(ablation, runs, args.replicates)
            if collected is None:
                raise InputError(f"--output {args.output}: expected at least 1 finished run, got 0")
            print(*write_pages(collected, args.output), sep="\n")
    return int(bool(failed))


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m local.studies.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--conf_file", type=user_path, default=DEMO, help="default: confs/demo.yaml")
    add(
        "--set",
        action="append",
        default=[],
        metavar="K=V",
        dest="overrides",
        help="override a key in all runs; may be repeated",
    )
    add("--seeds", type=int, default=5, help="trainings of each variant (default: %(default)s)")
    add("--jobs", type=int, default=1, help="runs at the same time (default: %(default)s)")
    add("--output", type=user_path, default=Path("exp/ablation"), help="default: %(default)s")
    add("--variants", nargs="+", metavar="NAME", help="only these, and the reference")
    add("--variants_file", type=user_path, default=VARIANTS_FILE, help="default: the shipped one")
    add("--replicates", type=int, default=REPLICATES, help="of clips (default: %(default)s)")
    mode = parser.add_mutually_exclusive_group()
    add = mode.add_argument
    add("--run", nargs="+", metavar="VARIANT:SEED", default=[], help="only these runs, no result")
    add("--print-commands", action="store_true", help="one command per training, for a cluster")
    add("--collect", action="store_true", help="only gather what has finished")
    args = parser.parse_args(argv)
    for name, least in (("seeds", 1), ("jobs", 1), ("replicates", 2)):
        if getattr(args, name) < least:
            raise InputError(f"--{name}: expected at least {least}, got {getattr(args, name)}")
    return args


def chosen_runs(runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """The runs of these names, or all. Raises InputError for an unknown name."""
    by_name = {run.name: run for run in runs}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise InputError(
            f"--run: expected VARIANT:SEED, one of {next(iter(by_name))} … {list(by_name)[-1]}; "
            f"got {unknown[0]!r}"
        )
    return [run for run in runs if not names or run.name in names]


def run_commands(runs: Sequence[Run], argv: Sequence[str]) -> list[str]:
    """One command per training, with the tests that need it."""
    own = [argument for argument in argv if argument != "--print-commands"]
    begin = shlex.join([sys.executable, "-m", "local.studies.ablation", *own])
    names = {run.name: [run.name] for run in runs if run.trained_by is None}
    for run in runs:
        if run.trained_by is not None:
            names[run.trained_by.name].append(run.name)
    return [f"{begin} --run {shlex.join(group)}" for group in names.values()]


if __name__ == "__main__":
    run_cli(main)
