"""Errors that end a command with one message and an exit status; short lists in messages."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

USAGE_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
TERMINATED = 143  # 128 + SIGTERM


LONGEST_LINE = 400  # characters of a message; files may hold names of any length
MOST_LINES = 30


class InputError(Exception):
    """A user's mistake in a file, a key or a value; the message says what was expected.

    Long lines of the message are cut in the middle, and only its first lines are kept.
    """

    def __init__(self, message: str) -> None:
        lines = _without_traceback(str(message)).splitlines()
        kept = [line if len(line) <= LONGEST_LINE else _cut(line) for line in lines[:MOST_LINES]]
        if len(lines) > MOST_LINES:
            kept.append(f"  and {len(lines) - MOST_LINES} more")
        super().__init__("\n".join(kept))


class Terminated(BaseException):
    """The end after SIGTERM; the message says how to resume. No `except Exception` catches it."""


def run_cli(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line's `main` and exit with its status; an `InputError` becomes one message.

    Exit status: what `main` returns (None: 0), 2 after an `InputError`, 130 after Ctrl-C,
    143 after `Terminated`.
    """
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Terminated as error:
        print(error, file=sys.stderr)
        sys.exit(TERMINATED)


def exit_status(error: BaseException) -> int:
    """The status with which `run_cli` exits after an exception."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    statuses = {InputError: USAGE_ERROR, KeyboardInterrupt: INTERRUPTED, Terminated: TERMINATED}
    return next((status for kind, status in statuses.items() if isinstance(error, kind)), 1)


def shortened(names: Iterable[object], most: int = 3) -> str:
    """The first `most` names and how many more there are: `a, b, c and 4 more`."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def listing(title: str, lines: Sequence[str], most: int = 5, what: str = "problems") -> str:
    """A single line, or the first `most` lines below a title with the number of all lines."""
    if len(lines) == 1:
        return lines[0]
    shown = "".join(f"\n  {line}" for line in lines[:most])
    first = f", the first {most}" if len(lines) > most else ""
    return f"{title}: {len(lines)} {what}{first}:{shown}"


def _cut(line: str) -> str:
    half = LONGEST_LINE // 2
    return f"{line[:half]} … {line[-half:]}"


def _without_traceback(message: str) -> str:
    """The message alone, without the traceback that PyTorch's loader adds in a worker process."""
    if "Original Traceback" not in message:
        return message
    return message.rsplit(f"{InputError.__name__}: ", maxsplit=1)[-1].strip()
