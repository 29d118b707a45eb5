"""Paths as the user writes them, folders without hidden files, and files written as a whole."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from desed_task.errors import FaultError, InputError

_PARTIAL = ".partial-"
_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def expand_user(text: str) -> str:
    """A path with `~` and `~name` at its start replaced by the home folder.

    Raises InputError for a user without a home folder, and for an empty path.
    """
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        name = expanded.partition("/")[0]
        raise InputError(f"{text}: {name}: no such home folder; write ./{text} for this name")
    if not text.strip() or "\0" in text:
        raise InputError(f"expected a path, got {text!r}")
    return expanded


def user_path(text: str) -> Path:
    """The path that a command line or a configuration names; see `expand_user`."""
    return Path(expand_user(text))


def visible_entries(folder: str | Path) -> list[Path]:
    """Paths in a folder, sorted, without hidden ones (`.DS_Store`, `._x.wav`)."""
    return sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))


@contextmanager
def atomic_write(path: Path, *, needed: int | None = None, durable: bool = True) -> Iterator[Path]:
    """A hidden path beside `path`, with the same ending, which replaces `path` after the block.

    The file is flushed to the disk before it is renamed. Where the block fails, the hidden file is
    removed and an existing file at `path` does not change. A process that is killed leaves the
    hidden file; see `remove_partial_files`.

    Args:
        path: the file to write.
        needed: its size in bytes, for the message about a full disk.
        durable: `False`: do not wait for the disk; after a power failure the file may be empty.

    Raises FaultError for an OSError of the block and its own, with needed and free space where
    there is too little.
    """
    partial = path.with_name(f".{path.stem}{_PARTIAL}{os.getpid()}{path.suffix}")
    try:
        with writing(path, needed):
            yield partial
            if durable:
                _flush(partial)
            partial.replace(path)
            if durable:
                _flush(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_file(
    path: str | Path, content: str | bytes | memoryview, *, durable: bool = True
) -> None:
    """Write a whole file (text as UTF-8) by `atomic_write`, which says what it raises."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_write(Path(path), needed=len(data), durable=durable) as partial:
        partial.write_bytes(data)


@contextmanager
def writing(path: Path, needed: int | None = None) -> Iterator[None]:
    """Raise FaultError that names `path` for an OSError of the block.

    A full disk's error has the needed and the free space.

    Args:
        path: file or folder that the block writes.
        needed: its size in bytes, if known.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _SPACE:
            needs = "" if needed is None else f"needs {needed / 1e6:.2f} MB, "
            reason += f": {needs}{_free_space(path.parent)}"
        raise FaultError(f"{path}: cannot be written: {reason}", path) from None


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, which becomes `path` after the block; see `atomic_write`.

    A folder at `path` is replaced. Raises FaultError for an OSError of the block and its own.
    """
    partial, old = (path.with_name(f".{path.name}{_PARTIAL}{os.getpid()}{n}") for n in ("", "-old"))
    try:
        with writing(path):
            partial.mkdir(parents=True)
            yield partial
            if path.exists():
                path.rename(old)
            partial.rename(path)
            _flush(path.parent)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)


def remove_partial_files(folder: Path) -> None:
    """Remove the hidden files that killed processes left in a folder, where it can be written.

    Only for a folder that no other process writes at the same time.
    """
    for path in folder.glob(f".*{_PARTIAL}*"):
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _flush(path: Path) -> None:
    """Flush a file, or a folder's list of names where the file system can, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _free_space(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:.2f} MB free"
    except OSError:
        return "free space unknown"
