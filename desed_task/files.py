"""Paths as users write them; files and folders that are written as a whole; the lock of a path."""

import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from desed_task.errors import FaultError, InputError, file_error

logger = logging.getLogger(__name__)

DETECTIONS = ".detections"
"""The folder of records in an output folder of sed-detect."""
_PARTIAL = ".partial-"
_MAX_NAME = 255  # bytes, of the usual file systems
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


def fitting_name(name: str, reserved: int = 0) -> str:
    """A file's name, shortened where it and `reserved` further bytes are too long for file systems.

    A shortened name ends with a digest of the whole, so that different names stay different.
    """
    content = os.fsencode(name)
    if len(content) + reserved <= _MAX_NAME:
        return name
    digest = hashlib.sha256(content).hexdigest()[:12]
    kept = content[: _MAX_NAME - reserved - len(digest) - 1].decode(errors="ignore")
    return f"{kept}~{digest}"


def visible_entries(folder: str | Path) -> list[Path]:
    """Paths in a folder, sorted, without hidden ones (`.DS_Store`, `._x.wav`)."""
    return sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))


def content_digest(path: Path) -> str:
    """Digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


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
    suffix = path.suffix if len(os.fsencode(path.suffix)) < _MAX_NAME // 4 else ""
    partial = _hidden(path, path.name.removesuffix(suffix), f"{os.getpid()}{suffix}")
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
    """Write a whole file (text as UTF-8) by `atomic_write`; raises as it does."""
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
    """An empty hidden folder beside `path`, which becomes `path` after the block.

    A folder at `path` is replaced as a whole; one without visible files is filled. Where the block
    fails, the hidden folder is removed and `path` does not change. The next process that writes
    `path` removes what a killed one left.

    Raises InputError where another process writes `path` and where it would be below a file, and
    FaultError for another OSError of the block and its own.
    """
    path = Path(os.path.abspath(path))
    partial, old = _beside(path, "new"), _beside(path, "old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(path, error, "written") from None
    with only_writer(path), writing(path):
        _clear(path, partial, old)
        try:
            partial.mkdir()
            yield partial
            if path.is_dir() and not visible_entries(path):
                for entry in visible_entries(partial):
                    entry.rename(path / entry.name)
            else:
                if path.exists():
                    path.rename(old)
                partial.rename(path)
                _flush(path.parent)
        finally:
            _clear(path, partial, old)


def _clear(path: Path, partial: Path, old: Path) -> None:
    """Remove the hidden folders; the old content becomes `path` again where nothing replaced it."""
    if old.exists() and not path.exists():
        old.rename(path)
    for folder in (partial, old):
        shutil.rmtree(folder, ignore_errors=True)


def check_new_folder(option: str, path: Path) -> None:
    """Raise InputError, with the option's name, for a file and for a folder with visible files."""
    if path.exists() and (not path.is_dir() or visible_entries(path)):
        raise InputError(f"{option}: expected a new or empty folder, got {path}")


@contextmanager
def only_writer(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Lock a file or folder during the block, by a hidden file beside it.

    The system unlocks it where the process is killed. Without effect where the file system has no
    locks or the hidden file cannot be made. Where another process has the lock, log it and wait,
    or raise InputError.
    """
    from filelock import FileLock, Timeout  # 25 ms

    file = _beside(Path(os.path.abspath(path)), "lock")
    lock = FileLock(file, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise InputError(f"{path}: another process is writing it: wait until it ends") from None
        logger.warning("%s: another process is writing it: waiting until it ends", path)
        with suppress(OSError):
            lock.acquire()
    except OSError:
        pass
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):
                file.unlink()  # while it is locked: afterwards it may be another process's lock
            lock.release()


def remove_partial_files(folder: Path) -> None:
    """Remove the hidden files and folders that killed processes left below a folder.

    Only for a folder that no other process writes at the same time. Failures are ignored.
    """
    for path in list(folder.rglob(f".*{_PARTIAL}*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _beside(path: Path, what: str) -> Path:
    """A hidden path beside a file or folder, which `remove_partial_files` removes."""
    return _hidden(path, path.name, what)


def _hidden(path: Path, name: str, what: str) -> Path:
    """`.NAME.partial-WHAT` beside a path, with a name that fits."""
    ending = f"{_PARTIAL}{what}"
    return path.with_name(f".{fitting_name(name, 1 + len(os.fsencode(ending)))}{ending}")


def _flush(path: Path) -> None:
    """Flush a file, or a folder's list of names where the system can, to the disk."""
    try:
        # Windows flushes only what is open for writing, and opens no folder.
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        if not path.is_dir():
            raise


def _free_space(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:.2f} MB free"
    except OSError:
        return "free space unknown"
