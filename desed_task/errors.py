"""Errors that end a command with one message and an exit status; short lists in messages."""

import contextlib
import difflib
import errno
import getpass
import os
import re
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
CLOSED = "standard output was closed"
FAULT = 1
USAGE_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
OUTPUT_CLOSED = 141  # 128 + SIGPIPE
TERMINATED = 143  # 128 + SIGTERM

MAX_LINE_LENGTH = 400  # characters of a message; files may hold names of any length
MAX_LINES = 30

# Errors of the system that a wrong path causes; all others are faults of the system.
_WRONG_PATH = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.ELOOP,
}
_SHARED_MEMORY, _SHARED = "shared memory", "/dev/shm"
# PyTorch reports faults of the system as RuntimeError with these texts.
_PYTORCH_FAULTS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "Too many open files",
    "Read-only file system",
    "Permission denied",
    _SHARED_MEMORY,
    "PytorchStreamWriter failed",
)
_ERROR_LINE = re.compile(r"^[\w.]*Error: ", re.MULTILINE)


class InputError(Exception):
    """A user's mistake in a file, a key or a value, with what was expected.

    Long lines of the message are cut in the middle, and only its first lines are shown.
    """

    def __init__(self, message: str) -> None:
        lines = _without_traceback(str(message)).splitlines()
        shown = [line if len(line) <= MAX_LINE_LENGTH else _cut(line) for line in lines[:MAX_LINES]]
        if len(lines) > MAX_LINES:
            shown.append(f"  and {len(lines) - MAX_LINES} more")
        super().__init__("\n".join(shown))


class FaultError(Exception):
    """A failure that is no mistake in the input: of the system, or of a training's arithmetic."""

    def __init__(self, message: str, path: str | os.PathLike[str] = "") -> None:
        super().__init__(_without_traceback(message), os.fspath(path))

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def path(self) -> str:
        """The file or folder of a fault of the system; empty where there is none."""
        return str(self.args[1])


class Terminated(BaseException):
    """The end after a signal, with how to resume. No `except Exception` catches it.

    Attributes:
        status: the exit status.
    """

    def __init__(self, message: str = "", status: int = TERMINATED) -> None:
        super().__init__(message)
        self.status = status


def file_error(
    path: str | os.PathLike[str], error: OSError, action: str = "read"
) -> InputError | FaultError:
    """The error to raise where a file or folder cannot be read, written or made.

    InputError where another path would help (it is missing, or a file where a folder is expected),
    else FaultError (no permission, a full disk, too many open files).
    """
    reason = error.strerror or str(error)
    message = f"{os.fspath(path)}: cannot be {action}: {reason}"
    return InputError(message) if error.errno in _WRONG_PATH else FaultError(message, path)


def as_fault(error: BaseException) -> FaultError | None:
    """The FaultError that an exception reports; None for one that is no fault of the system."""
    if isinstance(error, FaultError):
        return error
    if isinstance(error, OSError):
        reason = error.strerror or _without_traceback(str(error))
        if error.filename is None:  # perhaps of closing what failed before
            faults = (each for each in _contexts(error) if isinstance(each, FaultError))
            return next(faults, FaultError(reason))
        path = os.fsdecode(error.filename) if not isinstance(error.filename, int) else ""
        return FaultError(f"{path}: {reason}", path)
    if isinstance(error, RuntimeError) and any(text in str(error) for text in _PYTORCH_FAULTS):
        reason = _without_traceback(str(error)).splitlines()[0]
        if _SHARED_MEMORY not in reason:
            return FaultError(reason)
        return FaultError(
            f"{_SHARED}: {reason}: docker run --shm-size=1g gives a container more, and loading "
            "without worker processes (num_workers 0) needs none",
            _SHARED,
        )
    return None


def _contexts(error: BaseException) -> Iterator[BaseException]:
    """The exceptions during whose handling this one was raised."""
    seen: BaseException | None = error.__context__
    while seen is not None:
        yield seen
        seen = seen.__context__


@contextlib.contextmanager
def named_folders(
    folders: Mapping[str, str | os.PathLike[str]], written: str | os.PathLike[str] = ""
) -> Iterator[None]:
    """Name, in the message of a fault inside the block, the option whose folder has the path.

    Args:
        folders: file or folder by the option or key that names it.
        written: the folder to name where the system names no file, as of a full disk.
    """
    try:
        yield
    except (OSError, RuntimeError, FaultError) as error:
        fault = as_fault(error)
        if fault is None or output_closed(error):
            raise
        if not fault.path and not isinstance(error, FaultError) and written:
            fault = FaultError(f"{os.fspath(written)}: {fault}", written)
        if not fault.path:
            raise fault from None
        path = os.path.abspath(fault.path)
        holders = {
            name: folder
            for name, folder in ((name, os.path.abspath(each)) for name, each in folders.items())
            if path == folder or path.startswith(os.path.join(folder, ""))
        }
        if not holders:
            raise fault from None
        name = max(holders, key=lambda each: len(holders[each]))
        raise FaultError(f"{fault}; {name} may name another place", fault.path) from None


def run_cli(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line's `main` and exit with its status; an expected error is one message.

    Exit status: what `main` returns (None: 0), 1 after a `FaultError` or a fault of the system,
    2 after an `InputError`, 130 after Ctrl-C, the error's own status after `Terminated`; 141,
    without a message, where the reader of the standard output left (`| head -1`).
    """
    message = ""
    status: int | str | None
    _name_user()
    try:
        status = _status(main)
        _flush_output()
    except (InputError, KeyboardInterrupt, Terminated) as error:
        message, status = _message(error), exit_status(error)
    except (OSError, RuntimeError, FaultError) as error:
        fault = as_fault(error)
        if fault is None:
            raise
        message, status = _message(fault), FAULT
        if output_closed(error):
            message, status = "", OUTPUT_CLOSED
    try:
        _flush_output()
    except OSError:  # Python would report it once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), STANDARD_OUTPUT)
    if message:
        with contextlib.suppress(OSError):  # a standard error that is closed
            print(message, file=sys.stderr, flush=True)
    sys.exit(status)


def _name_user() -> None:
    """Give a user without an entry in the system's list, as in a container, a name.

    PyTorch and others ask for it to name their caches, and would end with KeyError.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())


def _status(main: Callable[[], int | None]) -> int | str | None:
    try:
        return main()
    except SystemExit as error:
        return error.code


def _flush_output() -> None:
    if sys.stdout is not None:  # else the program was started without one
        sys.stdout.flush()


def output_closed(error: BaseException) -> bool:
    """Whether an exception is that of writing to a standard output or error whose reader left.

    Other pipes, as those to worker processes, raise the same exception.
    """
    if not isinstance(error, BrokenPipeError) or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    for descriptor in (STANDARD_OUTPUT, STANDARD_ERROR):
        poll.register(descriptor, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def exit_status(error: BaseException) -> int:
    """The status with which `run_cli` exits after an exception."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, Terminated):
        return error.status
    statuses = {InputError: USAGE_ERROR, KeyboardInterrupt: INTERRUPTED}
    return next((status for kind, status in statuses.items() if isinstance(error, kind)), FAULT)


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) if isinstance(error, Terminated) else f"error: {error}"


def shortened(names: Iterable[object], most: int = 3) -> str:
    """The first `most` names and how many more there are: `a, b, c and 4 more`."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """` (did you mean X?)` with the most similar known name; empty below a ratio of `cutoff`."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" (did you mean {close[0]}?)" if close else ""


def listing(
    title: str,
    lines: Sequence[str],
    most: int = 5,
    what: str = "problems",
    count: int | None = None,
) -> str:
    """A single line, or the first `most` lines below a title with the number of all lines.

    `count` is that number where `lines` are only the first ones.
    """
    count = len(lines) if count is None else count
    if count == 1:
        return lines[0]
    shown = "".join(f"\n  {line}" for line in lines[:most])
    first = f", the first {most}" if count > most else ""
    return f"{title}: {count} {what}{first}:{shown}"


def _cut(line: str) -> str:
    half = MAX_LINE_LENGTH // 2
    return f"{line[:half]} … {line[-half:]}"


def _without_traceback(message: str) -> str:
    """The message alone, without the traceback that PyTorch's loader adds in a worker process."""
    if "Original Traceback" not in message:
        return message
    return _ERROR_LINE.split(message)[-1].strip()
