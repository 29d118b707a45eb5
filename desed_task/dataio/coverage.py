"""Expected, found and missing clips of each set, known before training starts."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from desed_task.errors import InputError
from desed_task.files import write_file
from desed_task.tables import aligned_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Coverage:
    """The clips of one set.

    Attributes:
        name: the set's name in messages.
        folder: the folder of its audio.
        expected: number of clips in the annotations.
        found: names of the annotated clips with audio, in the order of the annotations.
        missing: names of the annotated clips without audio, in the same order.
        unannotated: number of WAV files in the folder that are not annotated.
    """

    name: str
    folder: Path
    expected: int
    found: tuple[str, ...]
    missing: tuple[str, ...]
    unannotated: int


def find_clips(
    name: str, folder: str | Path, usable: Collection[str], expected: Iterable[str]
) -> Coverage:
    """Look for the `expected` clips among a folder's `usable` files.

    Raises InputError for a missing folder, or if none of the clips is in it.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder (audio of the {name} set)")
    wanted = list(dict.fromkeys(expected))
    found = tuple(clip for clip in wanted if clip in usable)
    missing = tuple(clip for clip in wanted if clip not in usable)
    if not found:
        raise InputError(
            f"{folder}: no audio of the {name} set: expected {len(wanted)} clips, got 0 of them "
            f"and {len(usable)} other .wav files"
        )
    return Coverage(name, Path(folder), len(wanted), found, missing, len(usable) - len(found))


def coverage_table(coverages: Sequence[Coverage]) -> str:
    """A text table with a line per set: clips expected, found, missing, not annotated."""
    header = ("set", "expected", "found", "missing", "not annotated", "folder")
    rows = [
        (c.name, c.expected, len(c.found), len(c.missing), c.unannotated, c.folder)
        for c in coverages
    ]
    return aligned_text(header, rows)


def write_missing_clips(coverages: Iterable[Coverage], path: str | Path) -> int:
    """Write all missing clips to a TSV file (`set filename`) with a warning; their number.

    Without missing clips no file is written, and an older one is removed.
    """
    path = Path(path)
    lines = [f"{coverage.name}\t{clip}\n" for coverage in coverages for clip in coverage.missing]
    if not lines:
        path.unlink(missing_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, "set\tfilename\n" + "".join(lines))
    logger.warning("%d annotated clips have no audio; they are listed in %s", len(lines), path)
    return len(lines)
