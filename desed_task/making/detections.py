"""The output folder of a detection as a folder of labels: its recordings, and one file for each.

The folder has the events of a recording in as many formats as were asked for. The label track or
selection table of a recording, which people correct, is read rather than a table of all recordings.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from desed_task.files import DETECTIONS
from desed_task.making.label_rows import Row

_OF_RECORDINGS = (".txt", ".selections.txt", ".confidence.txt", ".json", ".rttm")
_OF_ALL = ("events.csv", "events.tsv")
"""Endings and names of files with events, the first that a recording has is read."""


class DetectedFiles:
    """The label files to read of a folder, those of sed-detect where it is its output folder.

    Args:
        source: the folder.
        files: its label files, with their paths below it.

    Attributes:
        files: those that are read.
        unused: number of the others, which have the same events in other formats.
        recordings: paths of the recordings of label files, by file.
    """

    def __init__(self, source: Path, files: Mapping[Path, Path]) -> None:
        self._paths = dict(_recordings(source / DETECTIONS))
        self.recordings: dict[Path, str] = {}
        unused: list[Path] = []
        for name, path in self._paths.items():
            own = [source / f"{name}{ending}" for ending in _OF_RECORDINGS]
            present = [file for file in own if file in files]
            self.recordings |= dict.fromkeys(present[:1], path)
            unused += present[1:]
        self._covered = set(self.recordings.values())
        tables = [source / name for name in _OF_ALL if self._paths and source / name in files]
        self._tables = [] if len(self._covered) == len(self._paths) else tables[:1]
        unused += tables[len(self._tables) :]
        self.files = {path: name for path, name in files.items() if path not in set(unused)}
        self.unused = len(unused)

    def rows(self, path: Path, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows of a file with the paths of their recordings, each recording from one file."""
        for row in rows:
            named = self.recordings.get(path) or self._paths.get(row.recording, row.recording)
            if path not in self._tables or named not in self._covered:
                yield row if named == row.recording else row._replace(recording=named)


def _recordings(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and path of the recordings that have a record."""
    for file in sorted(folder.rglob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            yield content["name"], content["path"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
