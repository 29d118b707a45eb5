"""Finds DESED's sets below a folder, in the layouts in which they are distributed.

Source: docs/recipe.md, "Data"; docs/reproduce.md.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from desed_task.dataio.recordings import wav_files
from desed_task.desed import BY_NAME, CLIP_SETS, PREPARED, ClipSet
from desed_task.errors import InputError, file_error
from desed_task.tables import Table

MAX_LEVELS = 4  # below the given folder, to the folder that holds `audio/` and `metadata/`
HEADER_BYTES = 44  # a WAV file of this size has no samples: a download that failed


@dataclass(frozen=True)
class FoundSet:
    """A set on the disk.

    Attributes:
        clip_set: the published set.
        original: folder of its published audio; None where only 16 kHz copies were found.
        folder: folder for its audio at 16 kHz; None where the set was not found.
        table: its annotations; None where they were not found.
        listed: clips of `table`; without a table the published number.
        missing: names of listed clips without audio; empty without a table.
        n_missing: number of missing clips; without a table, of the published ones.
        empty: number of files without samples, which are missing, too.
    """

    clip_set: ClipSet
    original: Path | None = None
    folder: Path | None = None
    table: Path | None = None
    listed: int = 0
    missing: tuple[str, ...] = ()
    n_missing: int = 0
    empty: int = 0

    @property
    def usable(self) -> bool:
        """Whether it has audio and, where it needs them, annotations."""
        has_table = self.table is not None or self.clip_set.labels == "unlabelled"
        return self.folder is not None and has_table and self.n_missing < self.listed

    @property
    def scored(self) -> bool:
        """Whether the test scores it."""
        return self.clip_set.split == "test"

    @property
    def lost_share(self) -> float:
        """Share of its clips that are missing."""
        return self.n_missing / self.listed if self.listed else 1.0


def find_sets(data: Path) -> list[FoundSet]:
    """The published sets below a folder, in order; InputError if none is there."""
    roots = list(_roots(data))
    sets = [_find_set(clip_set, roots) for clip_set in CLIP_SETS] if roots else []
    if not any(found.folder or found.table for found in sets):
        weak = BY_NAME["weak"]
        raise InputError(
            f"--data {data}: expected DESED, as {weak.audio} and {weak.table}, "
            f"at most {MAX_LEVELS} folders below, got none of its folders and files"
        )
    return sets


def _roots(data: Path) -> Iterator[Path]:
    """Folders that hold `audio` or `metadata`, the highest ones first."""
    if not data.is_dir():
        raise InputError(f"--data {data}: expected a folder, got none of this name")
    level = [data]
    for _ in range(MAX_LEVELS + 1):
        below = []
        for folder in level:
            try:
                with os.scandir(folder) as entries:
                    names = sorted(entry.name for entry in entries if entry.is_dir())
            except OSError as error:
                raise file_error(folder, error) from None
            if "audio" in names or "metadata" in names:
                yield folder
            skipped = ("audio", "metadata")
            below += [folder / n for n in names if n not in skipped and not n.startswith(".")]
        level = below


def _find_set(clip_set: ClipSet, roots: list[Path]) -> FoundSet:
    """The set, in the folder with most of its clips."""
    tables = [root / clip_set.table for root in roots]
    table = next((path for path in tables if path.is_file()), None)
    names = _names(table) if table else ()
    folders = [
        root / (relative + end)
        for root in roots
        for relative in clip_set.audio_folders
        for end in ("", PREPARED)
    ]
    files = {folder: _with_samples(folder) for folder in folders}
    useful = {each: full & set(names) if table else full for each, (full, _) in files.items()}
    best = max(folders, key=lambda folder: len(useful[folder]))
    found, prepared = useful[best], best.name.endswith(PREPARED)
    listed = len(names) or clip_set.clips
    return FoundSet(
        clip_set,
        original=best if found and not prepared else None,
        folder=(best if prepared else best.with_name(best.name + PREPARED)) if found else None,
        table=table,
        listed=listed,
        missing=tuple(name for name in names if name not in found),
        n_missing=max(0, listed - len(found)),
        empty=files[best][1] if found else 0,
    )


def _names(table: Path) -> tuple[str, ...]:
    """Different file names of a table, in its order. Raises InputError for an unreadable one."""
    content = Table(table, ("filename",))
    rows = content.rows(lambda name: name.endswith(".wav"))
    names = tuple(dict.fromkeys(row[0] for _, row in rows))
    content.finish()
    return names


def _with_samples(folder: Path) -> tuple[set[str], int]:
    """Names of a folder's WAV files that have samples, and the number of the other ones."""
    files = wav_files(folder)
    full = {name for name, state in files.items() if state.size > HEADER_BYTES}
    return full, len(files) - len(full)
