"""Command-line options that the studies share."""

import argparse
from pathlib import Path

from desed_task.errors import InputError
from desed_task.files import user_path


def study_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m MODULE`, whose help is the module's docstring."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_run_options(parser: argparse.ArgumentParser, *, output: str, seeds: int) -> None:
    """Add the options of a study that trains.

    Args:
        parser: the command's parser.
        output: default of `--output`.
        seeds: default of `--seeds`.
    """
    add = parser.add_argument
    add(
        "--set",
        action="append",
        default=[],
        metavar="K=V",
        dest="overrides",
        help="override a key in all runs, as for train_sed.py; may be repeated",
    )
    add(
        "--seeds", type=int, default=seeds, metavar="N",
        help="trainings of each variant (default: %(default)s)",
    )  # fmt: skip
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: %(default)s)")
    add("--gpus", type=int, metavar="N", help="of each run, as for train_sed.py")
    add(
        "--output", type=user_path, default=Path(output), metavar="DIR",
        help="runs and result (default: %(default)s)",
    )  # fmt: skip


def check_least(args: argparse.Namespace, **least: int) -> None:
    """Raise InputError for an option that is below its smallest value."""
    for name, smallest in least.items():
        if getattr(args, name) < smallest:
            raise InputError(f"--{name}: expected at least {smallest}, got {getattr(args, name)}")
