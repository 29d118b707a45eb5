"""The command `generate`: `desed_task.making.generate` with the configuration of this recipe."""

from collections.abc import Sequence
from functools import partial

from desed_task.errors import run_cli
from desed_task.making import generate
from local.own_config import configuration


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, write the data set; beside one from a soundbank its configuration."""
    generate.main(arguments, partial(configuration, program="local.generate --soundbank"))


if __name__ == "__main__":
    run_cli(main)
