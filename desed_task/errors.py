"""How a user's mistake reaches the user: one clear message, exit status 2."""

import sys
from collections.abc import Callable
from typing import NoReturn

USAGE_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
TERMINATED = 143  # 128 + SIGTERM


class InputError(Exception):
    """Something the user can mend: a file, a key, a value; the message says what is right."""


class Terminated(BaseException):
    """SIGTERM was followed; the message says how to go on. No `except Exception` stops it."""


def run_cli(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line's `main` and leave with its status; an `InputError` becomes one message.

    Exit status: what `main` returns (None: 0), 2 after an `InputError`, 130 after Ctrl-C,
    143 after `Terminated`.
    """
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {_without_traceback(str(error))}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Terminated as error:
        print(error, file=sys.stderr)
        sys.exit(TERMINATED)


def exit_status(error: BaseException) -> int:
    """The status with which `run_cli` leaves after an exception."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    statuses = {InputError: USAGE_ERROR, KeyboardInterrupt: INTERRUPTED, Terminated: TERMINATED}
    return next((status for kind, status in statuses.items() if isinstance(error, kind)), 1)


def _without_traceback(message: str) -> str:
    """The message alone, where PyTorch's loader wrapped a worker's error with its traceback."""
    if "Original Traceback" not in message:
        return message
    return message.rsplit(f"{InputError.__name__}: ", maxsplit=1)[-1].strip()
