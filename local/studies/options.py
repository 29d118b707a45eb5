"""Command-line options that the studies share."""

import argparse
from pathlib import Path

from desed_task.files import user_path


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
