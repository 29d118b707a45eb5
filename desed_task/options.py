"""Command lines: the parser of a command, its option `--set`, checks of its numbers."""

import argparse
from typing import Any

from desed_task.errors import InputError


def command_parser(name: str, description: str | None, **more: Any) -> argparse.ArgumentParser:
    """The parser of a command, whose help is the docstring of its module.

    Args:
        name: what a user types, for example `python -m MODULE`.
        description: the docstring.
        more: further arguments of `ArgumentParser`.
    """
    layout = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(name, description=description, formatter_class=layout, **more)


def add_overrides(parser: argparse.ArgumentParser, description: str) -> None:
    """Add `--set KEY=VALUE`, which may be repeated; `overrides` of the namespace is their list."""
    parser.add_argument(
        "--set",
        action=_Override,
        nargs="+",
        default=[],
        metavar="K=V",
        dest="overrides",
        help=f"{description}; may be repeated",
    )


class _Override(argparse.Action):
    """Appends one value; refuses several, which need an option each, or quotes around spaces."""

    def __call__(
        self, parser: argparse.ArgumentParser, options: Any, values: Any, option: str | None = None
    ) -> None:
        first, *more = values
        if more:
            correct = f"write {option} '{' '.join(values)}'"
            if all("=" in value for value in more):
                each = " ".join(f"{option} {value}" for value in values)
                correct = f"each needs its own {option}: {each}"
            raise argparse.ArgumentError(
                self, f"expected one key=value, got {len(values)}: {correct}"
            )
        setattr(options, self.dest, [*getattr(options, self.dest), first])


def check_least(options: object, **least: float) -> None:
    """Raise InputError for an option that is below its smallest value, NaN or infinite."""
    for name, smallest in least.items():
        value = getattr(options, name)
        if not smallest <= value < float("inf"):
            raise InputError(f"--{name}: expected at least {smallest:g}, got {value:g}")
