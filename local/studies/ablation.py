"""What each ingredient of the recipe is worth: variants x seeds, compared in pairs.

python -m local.studies.ablation [--conf_file confs/demo.yaml] [--seeds 5] [--jobs 2] [--output DIR]
                                 [--variants NAME ...] [--variants_file FILE] [--set K=V]
                                 [--run VARIANT:SEED ... | --print_commands | --collect]

Every variant is trained with every seed by train_sed.py, in a process of its own. The same command
continues after an interruption, and with a larger --seeds; finished runs are not repeated. The
result is DIR/ablation.html and DIR/ablation.md: docs/ablation.md. The exit status is 1 if a run
failed.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence

from desed_task.errors import FAULT, InputError, file_error, named_folders, run_cli
from desed_task.files import user_path
from desed_task.options import check_least, command_parser
from local.config.yaml_files import SHIPPED
from local.studies.driver import add_run_options, execute
from local.studies.runs import TRAIN, Experiment, Run
from local.studies.variants import VARIANTS_FILE, read_variants

# Imports that take seconds follow inside functions: --help and a mistyped option need none.

DEMO = SHIPPED / "demo.yaml"
REPLICATES = 1000
PRINT_COMMANDS = ("--print_commands", "--print-commands")


def main(
    arguments: Sequence[str] | None = None, program: Sequence[str] = (sys.executable, str(TRAIN))
) -> int:
    """Run, print commands or collect; returns the exit status. `program` trains."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    args = parse_args(argv)
    ablation = read_variants(args.variants_file)
    if args.variants:
        ablation = ablation.chosen(args.variants)
    # All runs are compared with the same method, whatever would be best for each.
    overrides = (*args.overrides, "postprocess.choose_method=false")
    experiment = Experiment(args.conf_file, overrides, args.output, args.gpus, program)
    seeds = range(1, args.seeds + 1)
    runs = ablation.plan(experiment, seeds)
    check_scored(runs)
    if args.print_commands:
        print(*run_commands(runs, argv), sep="\n")
        return 0
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(f"--output {args.output}", error, "written") from None
    with named_folders({"--output": args.output}, written=args.output):
        failed = {} if args.collect else execute(chosen_runs(runs, args.run), args.jobs)
        planned = ablation.plan(experiment, seeds)
        if len(planned) > len(runs):  # those whose length follows from measured times
            runs = planned
            failed |= execute(chosen_runs(runs, args.run), args.jobs)
        if not args.run:
            from local.studies.ablation_page import write_pages
            from local.studies.finished import read_finished

            finished = read_finished(ablation, runs, args.replicates)
            if finished is None:
                raise InputError(f"--output {args.output}: expected at least 1 finished run, got 0")
            print(*write_pages(finished, args.output), sep="\n")
    return FAULT if failed else 0


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Options of the command line."""
    parser = command_parser("python -m local.studies.ablation", __doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--conf_file", type=user_path, default=DEMO, help="default: confs/demo.yaml")
    add_run_options(parser, output="exp/ablation", seeds=5)
    add("--variants", nargs="+", metavar="NAME", help="only these, and the reference")
    add("--variants_file", type=user_path, default=VARIANTS_FILE, help="default: the shipped one")
    add("--replicates", type=int, default=REPLICATES, help="of clips (default: %(default)s)")
    mode = parser.add_mutually_exclusive_group()
    add = mode.add_argument
    add("--run", nargs="+", metavar="VARIANT:SEED", default=[], help="only these runs, no result")
    add(*PRINT_COMMANDS, action="store_true", help="one command per training, for a cluster")
    add("--collect", action="store_true", help="only compare what is finished")
    args = parser.parse_args(argv)
    check_least(args, seeds=1, jobs=1, replicates=2)
    return args


def check_scored(runs: Sequence[Run]) -> None:
    """Raise InputError unless every run has a test set, and a first method that needs no tuning."""
    from desed_task.postprocess.methods import MEDIAN

    for run in runs:
        if "test" not in run.config.data.sets:
            raise InputError(
                f"variants.{run.variant}: data.test_folder: expected a test set, whose metrics are "
                "compared, got null"
            )
        first = run.config.postprocess.methods[0]
        if first != MEDIAN:
            raise InputError(
                f"variants.{run.variant}: postprocess.methods: expected {MEDIAN} first, whose "
                f"parameters need no tuning, got {first}"
            )


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
    options = [argument for argument in argv if argument not in PRINT_COMMANDS]
    begin = shlex.join([sys.executable, "-m", "local.studies.ablation", *options])
    names: dict[str, list[str]] = {}
    for run in runs:
        names.setdefault((run.trained_by or run).name, []).append(run.name)
    return [f"{begin} --run {shlex.join(group)}" for group in names.values()]


if __name__ == "__main__":
    run_cli(main)
