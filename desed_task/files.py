"""Folders without hidden files, and files that are complete as soon as they have their name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = ".partial-"


def visible_entries(folder: str | Path) -> list[Path]:
    """Paths in a folder, sorted, without hidden ones (`.DS_Store`, `._x.wav`)."""
    return sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A hidden path beside `path`, with the same ending, which replaces `path` after the block.

    Where the block fails, the hidden file is removed and an existing file at `path` stays as it is.
    A process that is killed leaves the hidden file; see `remove_partial_files`.
    """
    partial = path.with_name(f".{path.stem}{_PARTIAL}{os.getpid()}{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_partial_files(folder: Path) -> None:
    """Remove the hidden files that killed processes left in a folder.

    Only for a folder that no other process writes at the same time.
    """
    for path in folder.glob(f".*{_PARTIAL}*"):
        path.unlink()
