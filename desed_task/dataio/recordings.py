"""Audio files in folders: all below a folder, and the WAV files directly in a data set's folder."""

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from desed_task.errors import InputError, file_error, shortened
from desed_task.tables import normalised

logger = logging.getLogger(__name__)

_NAMES = "aif aiff aifc au caf flac mp3 oga ogg opus rf64 snd w64 wav wave"
ENDINGS = frozenset(f".{name}" for name in _NAMES.split())
"""Endings of the audio files that are searched for; a file that is named may have any."""
_UNREADABLE_NAMES = (
    "3ga 3gp aa aac aax ac3 adts alac amb amr ape asf avi awb bwf dff dsf dts eac3 flv m4a m4b m4r "
    "m4v mka mkv mov mp2 mp4 mpc mpeg mpg mts nist oma ra ram rm spx sph tta voc vqf weba webm wma "
    "wmv wv"
)
UNREADABLE_ENDINGS = frozenset(f".{name}" for name in _UNREADABLE_NAMES.split())
"""Endings of audio and video files that are not read, and are reported."""


NOT_SEARCHED = ".nomedia"
"""A file whose folder is not searched, as by media players; beside the sounds of a review."""


class FileState(NamedTuple):
    """Size in bytes and modification time in nanoseconds of a file."""

    size: int
    mtime_ns: int


def file_state(file: Path | os.DirEntry[str]) -> FileState:
    """The current state of a file."""
    status = file.stat()
    return FileState(status.st_size, status.st_mtime_ns)


def files_below(folder: Path, endings: Collection[str] = ENDINGS) -> list[Path]:
    """Files with one of the endings (lower case) in a folder and its subfolders, sorted.

    Hidden files and folders are excluded, and subfolders with a file `NOT_SEARCHED`. Links to
    folders are followed, and every folder is searched once. One warning counts and names the
    subfolders that cannot be read and, where audio is searched for, the audio files that are not
    read: of other formats, broken links and devices.

    Raises InputError or FaultError where the folder itself cannot be read.
    """
    found: list[Path] = []
    lost: list[str] = []
    other: list[str] = []
    broken: list[str] = []
    searched: set[str] = set()

    def search(current: Path) -> None:
        searched.add(os.path.realpath(current))
        with os.scandir(current) as scanned:
            entries = list(scanned)
        if current != folder and any(entry.name == NOT_SEARCHED for entry in entries):
            return
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        links = []
        for entry in sorted(visible, key=lambda entry: entry.name):
            path = current / entry.name
            if entry.is_dir():
                if entry.is_symlink():
                    links.append(path)
                else:
                    subfolder(path)
            elif path.suffix.lower() in endings:
                if entry.is_file():
                    found.append(path)
                else:
                    broken.append(str(path.relative_to(folder)))
            elif endings is ENDINGS and path.suffix.lower() in UNREADABLE_ENDINGS:
                other.append(str(path.relative_to(folder)))
        for path in links:
            subfolder(path)

    def subfolder(path: Path) -> None:
        if os.path.realpath(path) not in searched:
            try:
                search(path)
            except OSError as error:
                lost.append(f"{path.relative_to(folder)}: {error.strerror or error}")

    try:
        search(folder)
    except OSError as error:
        raise file_error(folder, error) from error
    kinds = {"folders": lost, "broken links or devices": broken, "files of other formats": other}
    parts = [f"{len(names)} {kind} ({shortened(names)})" for kind, names in kinds.items() if names]
    if parts:
        hint = "; WAV, FLAC, Ogg and MP3 files are" if other else ""
        logger.warning("%s: not read: %s%s", folder, ", ".join(parts), hint)
    return sorted(found)


def find_recordings(paths: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Audio files, and the path of each relative to the folder in which it was found, sorted.

    Folders are searched with their subfolders, see `files_below`; a file that is named is used
    whatever its ending. Each file is listed once, however its path is written.
    Relative paths that would be equal begin as many folders higher as distinguish them.
    """
    found: dict[str, tuple[Path, Path]] = {}
    for path in paths:
        if path.is_dir():
            named = [(file, file.relative_to(path)) for file in files_below(path)]
        else:
            named = [(path, Path(os.path.basename(os.path.abspath(path))))]
        for file, relative in named:
            found.setdefault(os.path.realpath(file), (file, relative))
    return _distinguished(list(found.values()))


def _distinguished(recordings: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """The recordings, whose relative paths are lengthened by parent folders until all differ."""
    names = [relative for _, relative in recordings]
    while len(counts := Counter(names)) < len(names):
        for number, (path, _) in enumerate(recordings):
            if counts[names[number]] > 1:
                # Links to files are not resolved: they have names of their own.
                parts = (*Path(os.path.realpath(path.parent)).parts[1:], path.name)
                names[number] = Path(*parts[-len(names[number].parts) - 1 :])
    return [(path, name) for (path, _), name in zip(recordings, names, strict=True)]


def wav_files(folder: str | Path) -> dict[str, FileState]:
    """State of each WAV file directly in a folder by name, sorted, without hidden files.

    Names are in Unicode's form NFC, as those in tables; `clip_path` has the file of a name. Empty
    for a folder that does not exist.

    Raises FaultError for a folder that cannot be read, and InputError for two files whose names
    differ in their Unicode form alone.
    """
    if not Path(folder).is_dir():
        return {}
    try:
        with os.scandir(folder) as entries:
            files = [
                (entry.name, file_state(entry))
                for entry in entries
                if entry.name.lower().endswith(".wav")
                and not entry.name.startswith(".")
                and entry.is_file()
            ]
    except OSError as error:
        raise file_error(folder, error) from error
    found = {normalised(name): state for name, state in files}
    if len(found) < len(files):
        counts = Counter(normalised(name) for name, _ in files)
        name = next(name for name, count in counts.items() if count > 1)
        raise InputError(
            f"{folder}: expected names that differ in more than their Unicode form, got {name!r} "
            f"{counts[name]} times"
        )
    return dict(sorted(found.items()))


def clip_path(folder: str | Path, name: str) -> Path:
    """The file in a folder whose name in Unicode's form NFC is `name`, in whatever form it is."""
    path = Path(folder) / name
    if name.isascii() or path.exists():
        return path
    try:
        names = _names_on_disk(str(path.parent), os.stat(path.parent).st_mtime_ns)
    except OSError:
        return path
    return path.with_name(names.get(path.name, path.name))


@lru_cache(maxsize=64)
def _names_on_disk(folder: str, _: int) -> dict[str, str]:
    """Names of a folder's entries by their form NFC, for a state of the folder."""
    return {normalised(name): name for name in os.listdir(folder) if not name.isascii()}
