"""Command lines: the parser of a command, checks of its numbers."""

import argparse
from typing import Any

from desed_task.errors import InputError


def command_parser(name: str, description: str | None, **more: Any) -> argparse.ArgumentParser:
    """The parser of a command, whose help is the docstring of its module.

    Args:
        name: as it is called: `python -m MODULE`.
        description: the docstring.
        more: further arguments of `ArgumentParser`.
    """
    layout = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(name, description=description, formatter_class=layout, **more)


def check_least(options: object, **least: float) -> None:
    """Raise InputError for an option that is below its smallest value, NaN or infinite."""
    for name, smallest in least.items():
        value = getattr(options, name)
        if not smallest <= value < float("inf"):
            raise InputError(f"--{name}: expected at least {smallest:g}, got {value:g}")
