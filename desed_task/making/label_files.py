"""Labels as people have them: Audacity and Raven files, tables of any columns, folders per class.

Every reader gives `Label`s of recordings below one audio folder. Source of the formats: the manuals
of Audacity ("Importing and Exporting Labels") and Raven (selection tables).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from desed_task.dataio.audio import audio_info
from desed_task.dataio.recordings import files_below
from desed_task.errors import InputError, listing, nearest, shortened
from desed_task.tables import class_name, is_empty, normalised, quoted, read_text, split_fields

COLUMNS: Mapping[str, Sequence[str]] = {
    "file": (
        *("filename", "file", "path", "filepath", "file_name", "file_path", "audio", "audio_file"),
        *("audiofile", "recording", "wav", "begin path", "begin file", "sound", "clip"),
    ),
    "onset": ("onset", "start", "begin", "start_time", "begin time (s)", "start (s)", "starttime"),
    "offset": ("offset", "end", "stop", "end_time", "end time (s)", "end (s)", "stop_time"),
    "duration": ("duration", "length", "dur", "delta time (s)"),
    "label": (
        *("event_label", "event_labels", "label", "labels", "class", "tag", "tags", "category"),
        *("annotation", "species", "common name", "sound_class", "event", "name", "type"),
    ),
}
"""Column names by meaning, in lower case; the first that a table has is used."""
NOISE = frozenset({"background", "backgrounds", "noise", "noises"})
"""Folders of recordings without events."""
_TABLES = frozenset({".csv", ".tsv"})
_RAVEN = "selection\t"


class Label(NamedTuple):
    """A label of a recording.

    Attributes:
        recording: the audio file.
        name: class; None: the recording is labelled, and has no event here.
        onset, offset: seconds; None: a tag of the whole recording.
        group: what keeps recordings in one set, where the table has a column of it.
    """

    recording: Path
    name: str | None
    onset: float | None = None
    offset: float | None = None
    group: str | None = None


@dataclass
class LabelReader:
    """Reads label files for the recordings of one folder.

    Args:
        recordings: audio files, with their paths relative to the audio folder.
        group_column: name of a column with groups.
    """

    recordings: Mapping[Path, Path]
    group_column: str | None = None
    _problems: list[str] = field(default_factory=list)
    _by_name: dict[str, list[Path]] = field(default_factory=dict)
    points: int = 0
    """Labels without length (Audacity's points), which are ignored."""
    pointed: set[Path] = field(default_factory=set)
    """Recordings that have no other labels; what happens in them is not known."""

    def __post_init__(self) -> None:
        for path, relative in self.recordings.items():
            keys = {relative.as_posix(), relative.with_suffix("").as_posix(), path.name, path.stem}
            for key in keys:
                self._by_name.setdefault(normalised(key), []).append(path)

    def folder(self, folder: Path) -> list[Label]:
        """Labels of all Audacity, Raven, CSV and TSV files below a folder."""
        labels: list[Label] = []
        files = files_below(folder, {".txt", *_TABLES})
        if not files:
            raise InputError(f"--labels {folder}: expected .txt, .csv or .tsv files, got none")
        for path in files:
            labels += self._read(path, path.relative_to(folder))
        return self._finish(labels)

    def file(self, path: Path) -> list[Label]:
        """Labels of one file."""
        return self._finish(self._read(path, Path(path.name)))

    def _read(self, path: Path, relative: Path) -> list[Label]:
        try:
            lines = read_text(path).split("\n")
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
        first = lines[0].lower() if lines else ""
        if path.suffix.lower() in _TABLES or first.startswith(_RAVEN):
            return list(self._table(path, relative, lines))
        return list(self._audacity(path, relative, lines))

    def _audacity(self, path: Path, relative: Path, lines: Sequence[str]) -> Iterator[Label]:
        """Lines `onset TAB offset TAB label`; lines that begin with a backslash are frequencies."""
        recording = self._of_label_file(path, relative)
        if recording is None:
            return
        yield Label(recording, None)
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("\\"):
                continue
            fields = line.split("\t")
            if len(fields) < 3 or not fields[2].strip():
                self._problem(path, number, f"expected onset, offset, label, got {quoted(line)}")
                continue
            yield from self._event(path, number, recording, fields[0], fields[1], fields[2], None)

    def _table(self, path: Path, relative: Path, lines: Sequence[str]) -> Iterator[Label]:
        """Rows of a CSV or TSV file with columns of any of the names in `COLUMNS`."""
        separator = next((mark for mark in "\t;," if mark in lines[0]), "\t")
        header = [name.lower() for name in split_fields(lines[0], separator)]
        columns = {
            meaning: next((header.index(name) for name in names if name in header), None)
            for meaning, names in COLUMNS.items()
        }
        group = self.group_column and self.group_column.lower()
        if group and group not in header:
            raise InputError(f"{path}:1: --group: expected a column {self.group_column}")
        own = None if columns["file"] is not None else self._of_label_file(path, relative)
        missing = [m for m in ("label", *(() if own else ("file",))) if columns[m] is None]
        if missing:
            wanted = "; ".join(f"{m}: {shortened(COLUMNS[m], 4)}" for m in missing)
            raise InputError(
                f"{path}:1: missing columns: expected one of {wanted}; got {quoted(lines[0])}"
            )
        for number, line in enumerate(lines[1:], start=2):
            if not line.strip():
                continue
            fields = split_fields(line, separator)
            fields += [""] * (len(header) - len(fields))

            def value(meaning: str, fields: list[str] = fields) -> str:
                index = columns[meaning]
                return "" if index is None else fields[index]

            recording = own or self._named(path, number, value("file"))
            if recording is None:
                continue
            group_name = fields[header.index(group)] if group else None
            onset, offset = value("onset"), value("offset")
            if is_empty(offset) and not is_empty(value("duration")) and not is_empty(onset):
                offset = self._end(path, number, onset, value("duration"))
            yield Label(recording, None, group=group_name)
            labels = [value("label")] if onset else value("label").split(",")
            for label in labels:
                if is_empty(label):
                    continue
                yield from self._event(path, number, recording, onset, offset, label, group_name)

    def _event(
        self,
        path: Path,
        number: int,
        recording: Path,
        onset: str,
        offset: str,
        label: str,
        group: str | None,
    ) -> Iterator[Label]:
        try:
            name = class_name(label.strip())
        except ValueError as error:
            self._problem(path, number, f"label: {error}")
            return
        if is_empty(onset) and is_empty(offset):
            yield Label(recording, name, group=group)
        else:
            begin, end = (self._number(path, number, text) for text in (onset, offset))
            seconds = audio_info(recording).seconds
            if begin is None or end is None:
                return
            if begin == end:
                self.points += 1
                self.pointed.add(recording)
            elif not 0 <= begin < end:
                self._problem(path, number, f"expected 0 <= onset < offset, got {onset}, {offset}")
            elif begin >= seconds:
                self._problem(
                    path,
                    number,
                    f"onset: expected less than the recording's {seconds:g} s, got {onset} "
                    "(milliseconds?)",
                )
            else:
                yield Label(recording, name, begin, min(end, seconds), group)

    def _end(self, path: Path, number: int, onset: str, duration: str) -> str:
        begin, length = (self._number(path, number, text) for text in (onset, duration))
        return "" if begin is None or length is None else repr(begin + length)

    def _number(self, path: Path, number: int, text: str) -> float | None:
        try:
            value = float(text.replace(",", "."))
        except ValueError:
            value = float("nan")
        if abs(value) < float("inf"):
            return value
        self._problem(path, number, f"expected a number of seconds, got {quoted(text)}")
        return None

    def _named(self, path: Path, number: int, name: str) -> Path | None:
        """The recording that a table names, by its path, its file name, or without its ending."""
        given = name.replace("\\", "/")
        for key in (given, given.rsplit("/", maxsplit=1)[-1], Path(given).stem):
            found = self._by_name.get(normalised(key), [])
            if len(found) == 1:
                return found[0]
            if found:
                self._problem(
                    path, number, f"{quoted(name)}: expected one recording, got {shortened(found)}"
                )
                return None
        known = [relative.as_posix() for relative in self.recordings.values()]
        hint = nearest(name, known)
        self._problem(path, number, f"no such recording below --audio: {quoted(name)}{hint}")
        return None

    def _of_label_file(self, path: Path, relative: Path) -> Path | None:
        """The recording of a label file, by its name: `x.txt`, `x.wav.txt`, `x.Table.1.….txt`."""
        stem = relative.with_suffix("").as_posix()
        stems = [stem, re.sub(r"(\.Table\.\d+)?(\.selections)?$", "", stem), stem.split(".")[0]]
        for key in (*stems, *(Path(each).name for each in stems)):
            found = self._by_name.get(normalised(key), [])
            if len(found) == 1:
                return found[0]
        if path.suffix.lower() not in _TABLES:
            self._problem(path, 1, "expected the name of a recording below --audio")
        return None

    def _problem(self, path: Path, number: int, text: str) -> None:
        self._problems.append(f"{path}:{number}: {text}")

    def _finish(self, labels: list[Label]) -> list[Label]:
        """Labels without those of recordings of points alone; raises all problems as one error."""
        if self._problems:
            raise InputError(listing("--labels", self._problems))
        self.pointed -= {label.recording for label in labels if label.name is not None}
        return [label for label in labels if label.recording not in self.pointed]


def class_folders(recordings: Mapping[Path, Path]) -> list[Label]:
    """Tags from a folder per class: `CLASS/*`; recordings in `background` or `noise` have none.

    Raises InputError for recordings in no folder, and for names that classes cannot have.
    """
    loose = [path for path, relative in recordings.items() if len(relative.parts) < 2]
    if loose:
        raise InputError(
            f"--audio: without --labels expected a folder for each class, got files beside them: "
            f"{shortened(loose)}"
        )
    return [
        Label(path, None if relative.parts[0].lower() in NOISE else _folder_class(path, relative))
        for path, relative in recordings.items()
    ]


def _folder_class(path: Path, relative: Path) -> str:
    try:
        return class_name(relative.parts[0])
    except ValueError as error:
        raise InputError(f"{path}: name of the folder: {error}") from None
