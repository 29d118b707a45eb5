"""Options of a command line that say how label files are read."""

import argparse
from collections.abc import Callable
from typing import Any

from desed_task.making.label_tables import given_columns
from desed_task.tables import normalised

LABEL_ARGUMENTS = ("columns", "label", "ignore", "tier")


def add_label_arguments(add: Callable[..., argparse.Action]) -> None:
    """Add `LABEL_ARGUMENTS` to a parser; `add` is its `add_argument`."""
    add(
        "--columns",
        type=given_columns,
        help="columns of tables: file=…,onset=…,offset=…,duration=…,label=…; with a unit (s, ms, "
        "us, samples) as onset=start:ms; none: there is no such column",
    )
    add("--label", metavar="NAME", help="the class of labels that have none")
    add(
        "--ignore",
        type=_names,
        metavar="NAMES",
        help="labels that are no classes, separated by commas: nothing is there",
    )
    add("--tier", metavar="NAME", help="the tier of Praat's TextGrids that is read (default: all)")


def given_label_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Those of `LABEL_ARGUMENTS` that a command line has, as arguments of `LabelOptions`."""
    given = {name: getattr(options, name, None) for name in LABEL_ARGUMENTS}
    return {name: value for name, value in given.items() if value is not None}


def _names(text: str) -> tuple[str, ...]:
    return tuple(normalised(name.strip()) for name in text.split(",") if name.strip())
