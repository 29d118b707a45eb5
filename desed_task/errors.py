"""How a user's mistake reaches the user: one clear message, exit status 2."""

import sys
from collections.abc import Callable
from typing import NoReturn

USAGE_ERROR = 2


class InputError(Exception):
    """Something the user can mend: a file, a key, a value; the message says what is right."""


def run_cli(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line's `main` and leave with its status; an `InputError` becomes one message.

    Exit status: what `main` returns (None: 0), 2 after an `InputError`, 130 after Ctrl-C.
    """
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {_without_traceback(str(error))}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _without_traceback(message: str) -> str:
    """The message alone, where PyTorch's loader wrapped a worker's error with its traceback."""
    if "Original Traceback" not in message:
        return message
    return message.rsplit(f"{InputError.__name__}: ", maxsplit=1)[-1].strip()
