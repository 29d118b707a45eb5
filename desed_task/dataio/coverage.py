"""What of a data set is there: expected, found and missing clips, before training starts."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from desed_task.dataio.prepare import wav_names
from desed_task.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Coverage:
    """The clips of one set.

    Attributes:
        name: what the set is called in the report.
        folder: where its audio was looked for.
        expected: number of clips the annotations name.
        found: names of those whose audio is there, in the order of the annotations.
        missing: names of those whose audio is not there, likewise.
        unannotated: number of WAV files in the folder that the annotations do not name.
    """

    name: str
    folder: Path
    expected: int
    found: tuple[str, ...]
    missing: tuple[str, ...]
    unannotated: int


def cover(name: str, folder: str | Path, expected: Iterable[str] | None = None) -> Coverage:
    """Look for the `expected` clips in a folder; None: whatever WAV files are there, sorted.

    Raises InputError when there is no such folder or none of the clips is in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{name}: no folder {folder}")
    on_disk = wav_names(folder)
    there = set(on_disk)
    wanted = list(dict.fromkeys(on_disk if expected is None else expected))
    found = tuple(clip for clip in wanted if clip in there)
    missing = tuple(clip for clip in wanted if clip not in there)
    if not found:
        raise InputError(
            f"{name}: the set is empty: of {len(wanted)} expected clips none is in {folder} "
            f"({len(on_disk)} other .wav files there)"
        )
    return Coverage(name, folder, len(wanted), found, missing, len(there) - len(found))


def coverage_report(coverages: Sequence[Coverage]) -> str:
    """A table with a line per set: clips expected, found, missing, and files without annotation."""
    header = ("set", "expected", "found", "missing", "not annotated", "folder")
    rows = [
        (
            part.name,
            str(part.expected),
            str(len(part.found)),
            str(len(part.missing)),
            str(part.unannotated),
            str(part.folder),
        )
        for part in coverages
    ]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = []
    for row in (header, *rows):
        cells = [
            text.rjust(width) if 0 < column < len(header) - 1 else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def write_missing(coverages: Iterable[Coverage], path: str | Path) -> int:
    """List all missing clips in a file (`set filename`, tab-separated), with a warning; how many.

    Without missing clips nothing is written, and an older list is removed.
    """
    path = Path(path)
    lines = [f"{part.name}\t{clip}\n" for part in coverages for clip in part.missing]
    if not lines:
        path.unlink(missing_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("set\tfilename\n" + "".join(lines), encoding="utf-8")
    logger.warning("%d annotated clips have no audio; they are listed in %s", len(lines), path)
    return len(lines)
