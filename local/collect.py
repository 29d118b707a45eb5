"""The command `collect`: `desed_task.making.collect` with the configuration of this recipe."""

from collections.abc import Sequence
from functools import partial

from desed_task.errors import run_cli
from desed_task.making import collect
from local.own_config import configuration


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, write the data set and its configuration."""
    collect.main(arguments, partial(configuration, program="local.collect"))


if __name__ == "__main__":
    run_cli(main)
