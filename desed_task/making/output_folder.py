"""A folder that appears only when it is complete."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from desed_task.errors import InputError
from desed_task.files import visible_entries

_LOCK = ".lock"


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """`OUT.partial`, empty, which becomes `out` after the block and is removed if the block fails.

    The folder that a killed run left is used anew; that of a run that is still writing is not.
    Raises InputError for an `out` that has content or is a file, and OSError.
    """
    if out.exists() and (not out.is_dir() or visible_entries(out)):
        raise InputError(f"--out: expected a new or empty folder, got {out}")
    partial = out.with_name(out.name + ".partial")
    if partial.exists() and not _is_leftover(partial):
        raise InputError(f"--out: expected no file or folder {partial}, which this run must make")
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / _LOCK).open("w") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"--out: another run is writing {partial}") from None
        try:
            _empty(partial)
            yield partial
            _rename(partial, out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _is_leftover(partial: Path) -> bool:
    """Whether a run made the folder: it has a run's lock file, or nothing yet."""
    return partial.is_dir() and ((partial / _LOCK).is_file() or not any(partial.iterdir()))


def _empty(partial: Path) -> None:
    for path in partial.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def _rename(partial: Path, out: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        (partial / _LOCK).unlink()
    if out.exists():  # it may have hidden files
        for path in visible_entries(partial):
            path.rename(out / path.name)
        partial.rmdir()
    else:
        partial.rename(out)
