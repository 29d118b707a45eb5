"""Which recording a path in a table means, or the name of a label file.

A path is compared from its end with the paths of the recordings, folder by folder. What is left of
it, its base, must be where the recordings are now, or, in tables of another computer, where they
were: one folder for all paths of the labels. A path of any other folder is elsewhere; it is not
the recording of the same file name here.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from desed_task.dataio.recordings import ENDINGS
from desed_task.tables import normalised

_ADDED = re.compile(
    r"[._ -](table(\.\d+)?|selections?|birdnet|results?|confidence|annotations?|labels?|events?"
    r"|audacity|raven)$",
    re.IGNORECASE,
)
"""What tools add to a recording's name: `x.Table.1.selections.txt`, `x_annotations.csv`."""


class _Path(NamedTuple):
    """A path as a table has it: folders without drive, file name, whether it is absolute."""

    folders: tuple[str, ...]
    name: str
    absolute: bool


class Moved(NamedTuple):
    """A folder in which the recordings were on another computer, and the number of its paths."""

    folder: str
    n_paths: int


class RecordingNames:
    """Finds recordings by names.

    Args:
        recordings: audio files, with their paths relative to the audio folder.

    Attributes:
        moved: the folders of other computers that were taken for the audio folder.
    """

    def __init__(self, recordings: Mapping[Path, Path]) -> None:
        self.moved: list[Moved] = []
        self._relative = {path: _parsed(name.as_posix()) for path, name in recordings.items()}
        self._absolute = {path: _parsed(os.path.abspath(path)) for path in recordings}
        some, parsed = next(iter(self._absolute.items()), (Path(), _parsed("")))
        inner = len(self._relative[some].folders) if self._relative else 0
        self._root = parsed.folders[: len(parsed.folders) - inner]
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path, parsed in self._absolute.items():
            self._by_name[parsed.name].append(path)
            self._by_stem[_stem(parsed.name)].append(path)

    def find(self, names: Iterable[str]) -> dict[str, list[Path]]:
        """Recordings by path: one, none (it is elsewhere) or several (it fits them all)."""
        paths = {name: _parsed(name) for name in dict.fromkeys(names) if name}
        relative = any(path.folders for path in paths.values())
        found: dict[str, list[Path]] = {}
        moved: dict[tuple[str, ...], dict[str, list[Path]]] = defaultdict(dict)
        for name, path in paths.items():
            candidates = self._candidates(path.name)
            found[name] = []
            if candidates and os.path.isfile(name):
                real = os.path.realpath(name)
                found[name] = [each for each in candidates if os.path.realpath(each) == real]
                if os.path.isabs(name):
                    continue
            found[name] = found[name] or self._here(path, candidates, relative)
            if candidates and not found[name]:
                base, there = self._there(path, candidates)
                if there:
                    moved[base][name] = there
        if moved and not any(found[name] and path.folders for name, path in paths.items()):
            found |= self._moved(moved)
        return found

    def by_label_file(self, files: Iterable[Path]) -> dict[Path, list[Path]]:
        """The recordings of label files by their names: one, none or several.

        Args:
            files: paths below the folder of label files. They are in the same subfolders as the
                recordings, or, if that is true of none of them, in any.
        """
        names = {file: self._label_name(file) for file in files}
        paths = {file: _parsed(name) for file, name in names.items()}
        candidates = {file: self._candidates(path.name) for file, path in paths.items()}
        found = {
            file: self._here(path, candidates[file], relative=True) for file, path in paths.items()
        }
        if not any(found[file] and path.folders for file, path in paths.items()):
            found |= {file: candidates[file] for file in paths if not found[file]}
        return found

    def _label_name(self, file: Path) -> str:
        """The path of a label file without its ending and what tools add to a recording's name."""
        name = normalised(file.with_suffix("").as_posix())
        shorter = name
        while not self._candidates(shorter.rpartition("/")[2]):
            shortened = _ADDED.sub("", shorter)
            if shortened == shorter:
                return name
            shorter = shortened
        return shorter

    def _candidates(self, name: str) -> list[Path]:
        """Recordings with a file name, otherwise those of the name without or with its ending."""
        if name in self._by_name:
            return self._by_name[name]
        has_ending = os.path.splitext(name)[1].lower() in ENDINGS
        return self._by_stem.get(name) or self._by_stem.get(_stem(name) if has_ending else "", [])

    def _here(self, path: _Path, candidates: Sequence[Path], relative: bool) -> list[Path]:
        """The candidates whose path ends with all folders of a path.

        Args:
            path: as a table has it.
            candidates: recordings with its file name.
            relative: whether paths of the table have folders, so that one without folders means
                the recording directly in the audio folder.
        """
        length = len(path.folders)
        here = [
            each
            for each in candidates
            if _common_end(path.folders, self._absolute[each].folders) == length
        ]
        exact = [each for each in here if self._relative[each].folders == path.folders]
        return exact if len(exact) == 1 and relative else here

    def _there(self, path: _Path, candidates: Sequence[Path]) -> tuple[tuple[str, ...], list[Path]]:
        """The base of a path, and the candidates whose path below the audio folder it ends with."""
        fits = [
            each
            for each in candidates
            if _common_end(path.folders, self._relative[each].folders)
            == len(self._relative[each].folders)
        ]
        longest = max((len(self._relative[each].folders) for each in fits), default=0)
        base = path.folders[: len(path.folders) - longest]
        if not longest and not path.absolute and not _common_end(base, self._root):
            return base, []  # a folder beside the audio folder
        return base, [each for each in fits if len(self._relative[each].folders) == longest]

    def _moved(
        self, moved: Mapping[tuple[str, ...], Mapping[str, list[Path]]]
    ) -> Mapping[str, list[Path]]:
        """The recordings of the base that agrees most with the audio folder, if it is one."""
        agreement = {base: _common_end(base, self._root) for base in moved}
        best = [base for base in moved if agreement[base] == max(agreement.values())]
        if len(best) > 1:
            return {}
        self.moved.append(Moved("/".join(best[0]), len(moved[best[0]])))
        return moved[best[0]]


def _parsed(path: str) -> _Path:
    """The parts of a path of any system, in Unicode's form NFC."""
    parts = re.split(r"[/\\]+", normalised(path.strip()))
    absolute = parts[0] == "" or bool(re.fullmatch(r"[A-Za-z]:", parts[0]))
    folders = tuple(part for part in parts[:-1] if part not in ("", "."))
    return _Path(
        folders[1:] if folders and folders[0].endswith(":") else folders, parts[-1], absolute
    )


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _common_end(first: Sequence[str], second: Sequence[str]) -> int:
    """Number of equal elements at the ends of two sequences."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return count
