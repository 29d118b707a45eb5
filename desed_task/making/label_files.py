"""Labels as people have them: Audacity and Raven files, tables of any columns, folders per class.

Every reader gives `Label`s of recordings below one audio folder. Source of the formats: the manuals
of Audacity ("Importing and Exporting Labels") and Raven (selection tables).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from desed_task.dataio.audio import audio_info
from desed_task.dataio.recordings import files_below
from desed_task.errors import InputError, file_error, listing, nearest, shortened
from desed_task.files import visible_entries
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
_HINTED = 10  # problems with a search for the nearest file name


class Label(NamedTuple):
    """A label of a recording.

    Attributes:
        recording: the audio file.
        name: class; None: the recording is labelled, and has no event here.
        onset, offset: seconds; None: a tag of the whole recording.
        group: recordings of one group are in one set; None: the table has no column of groups.
    """

    recording: Path
    name: str | None
    onset: float | None = None
    offset: float | None = None
    group: str | None = None


class LabelReader:
    """Reads label files for the recordings of one folder.

    Args:
        recordings: audio files, with their paths relative to the audio folder.
        group_column: name of a column with groups.

    Attributes:
        points: number of labels without length (Audacity's points), which are ignored.
        pointed: recordings that have no other labels; what happens in them is not known.
    """

    def __init__(self, recordings: Mapping[Path, Path], group_column: str | None = None) -> None:
        self.points = 0
        self.pointed: set[Path] = set()
        self._recordings, self._group_column = recordings, group_column
        self._problems: list[str] = []
        self._seconds = cache(lambda recording: audio_info(recording).seconds)
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path, relative in recordings.items():
            keys = {relative.as_posix(), relative.with_suffix("").as_posix(), path.name, path.stem}
            for key in keys:
                self._by_name[normalised(key)].append(path)

    def read(self, source: Path) -> list[Label]:
        """Labels of one file, or of all Audacity, Raven, CSV and TSV files below a folder.

        Raises InputError with all problems of the files.
        """
        files = {source: Path(source.name)}
        if source.is_dir():
            found = files_below(source, {".txt", *_TABLES})
            files = {path: path.relative_to(source) for path in found}
        if not files:
            raise InputError(f"--labels {source}: expected .txt, .csv or .tsv files, got none")
        labels = [label for path, relative in files.items() for label in self._read(path, relative)]
        if self._problems:
            raise InputError(listing("--labels", self._problems))
        self.pointed -= {label.recording for label in labels if label.name is not None}
        return [label for label in labels if label.recording not in self.pointed]

    def _read(self, path: Path, relative: Path) -> Iterator[Label]:
        lines = read_text(path).split("\n")
        is_table = path.suffix.lower() in _TABLES or lines[0].lower().startswith(_RAVEN)
        yield from (self._table if is_table else self._audacity)(path, relative, lines)

    def _audacity(self, path: Path, relative: Path, lines: Sequence[str]) -> Iterator[Label]:
        """Lines `onset TAB offset TAB label`; lines that begin with a backslash are frequencies."""
        recording = self._of_label_file(relative)
        if recording is None:
            self._problem(f"{path}:1", "expected the name of a recording below --audio")
            return
        yield Label(recording, None)
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("\\"):
                continue
            fields, where = line.split("\t"), f"{path}:{number}"
            if len(fields) < 3 or not fields[2].strip():
                self._problem(where, f"expected onset, offset, label, got {quoted(line)}")
            else:
                yield from self._label(where, recording, *fields[:3], group=None)

    def _table(self, path: Path, relative: Path, lines: Sequence[str]) -> Iterator[Label]:
        """Rows of a CSV or TSV file with columns of any of the names in `COLUMNS`."""
        first = next((line for line in lines if line.strip()), "")
        separator = next((mark for mark in "\t;," if mark in first), "\t")
        rows = list(self._rows(path, lines, separator))
        header = [name.lower() for name in rows[0][1]] if rows else []
        columns = {
            meaning: next((header.index(name) for name in names if name in header), None)
            for meaning, names in COLUMNS.items()
        }
        if self._group_column is not None:
            if self._group_column.lower() not in header:
                raise InputError(f"{path}:1: --group: expected a column {self._group_column}")
            columns["group"] = header.index(self._group_column.lower())
        own = None if columns["file"] is not None else self._of_label_file(relative)
        missing = [m for m in ("label", *(() if own else ("file",))) if columns[m] is None]
        if missing:
            wanted = "; ".join(f"{m}: {shortened(COLUMNS[m], 4)}" for m in missing)
            raise InputError(
                f"{path}:1: missing columns: expected one of {wanted}; got {quoted(first)}"
            )
        for number, fields in rows[1:]:
            fields += [""] * (len(header) - len(fields))
            values = {m: "" if index is None else fields[index] for m, index in columns.items()}
            yield from self._row(f"{path}:{number}", own, values)

    def _rows(
        self, path: Path, lines: Sequence[str], separator: str
    ) -> Iterator[tuple[int, list[str]]]:
        """Line number and fields of the lines that are not blank."""
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, split_fields(line, separator)
                except ValueError as error:
                    self._problem(f"{path}:{number}", str(error))

    def _row(self, where: str, own: Path | None, values: Mapping[str, str]) -> Iterator[Label]:
        """Labels of a row by the meaning of its columns; `own`: the recording of the whole file."""
        recording = own or self._named(where, values["file"])
        if recording is None:
            return
        onset, offset, group = values["onset"], values["offset"], values.get("group")
        if is_empty(offset) and not is_empty(values["duration"]) and not is_empty(onset):
            begin, length = (self._number(where, text) for text in (onset, values["duration"]))
            if begin is None or length is None:
                return
            offset = repr(begin + length)
        yield Label(recording, None, group=group)
        for label in [values["label"]] if onset else values["label"].split(","):
            if not is_empty(label):
                yield from self._label(where, recording, onset, offset, label, group=group)

    def _label(
        self, where: str, recording: Path, onset: str, offset: str, label: str, *, group: str | None
    ) -> Iterator[Label]:
        """The label of a row's texts; none after a problem, and for a point."""
        try:
            name = class_name(label.strip())
        except ValueError as error:
            self._problem(where, f"label: {error}")
            return
        if is_empty(onset) and is_empty(offset):
            yield Label(recording, name, group=group)
            return
        begin, end = (self._number(where, text) for text in (onset, offset))
        seconds = self._seconds(recording)
        if begin is None or end is None:
            return
        if begin == end:
            self.points += 1
            self.pointed.add(recording)
        elif not 0 <= begin < end:
            self._problem(where, f"expected 0 <= onset < offset, got {onset}, {offset}")
        elif begin >= seconds:
            self._problem(
                where,
                f"onset: expected less than the recording's {seconds:g} s, got {onset} "
                "(milliseconds?)",
            )
        else:
            yield Label(recording, name, begin, min(end, seconds), group)

    def _number(self, where: str, text: str) -> float | None:
        try:
            value = float(text.replace(",", "."))
        except ValueError:
            value = float("nan")
        if abs(value) < float("inf"):
            return value
        self._problem(where, f"expected a number of seconds, got {quoted(text)}")
        return None

    def _named(self, where: str, name: str) -> Path | None:
        """The recording that a table names, by its path, its file name, or without its ending."""
        given = name.replace("\\", "/")
        for key in (given, given.rsplit("/", maxsplit=1)[-1], Path(given).stem):
            found = self._by_name.get(normalised(key), [])
            if len(found) == 1:
                return found[0]
            if found:
                expected = f"expected one recording, got {shortened(found)}"
                self._problem(where, f"{quoted(name)}: {expected}")
                return None
        known = [relative.as_posix() for relative in self._recordings.values()]
        hint = nearest(name, known) if len(self._problems) < _HINTED else ""
        self._problem(where, f"no such recording below --audio: {quoted(name)}{hint}")
        return None

    def _of_label_file(self, relative: Path) -> Path | None:
        """The recording of a label file, by its name: `x.txt`, `x.wav.txt`, `x.Table.1.….txt`."""
        stem = relative.with_suffix("").as_posix()
        stems = [stem, re.sub(r"(\.Table\.\d+)?(\.selections)?$", "", stem), stem.split(".")[0]]
        for key in (*stems, *(Path(each).name for each in stems)):
            found = self._by_name.get(normalised(key), [])
            if len(found) == 1:
                return found[0]
        return None

    def _problem(self, where: str, text: str) -> None:
        self._problems.append(f"{where}: {text}")


def class_folders(recordings: Mapping[Path, Path]) -> list[Label]:
    """Tags from a folder per class: `CLASS/*`; recordings in `background` or `noise` have none.

    Args:
        recordings: audio files, with their paths relative to the audio folder.

    Raises InputError for recordings in no folder, and for names that classes cannot have.
    """
    loose = [path for path, relative in recordings.items() if len(relative.parts) < 2]
    if loose:
        raise InputError(
            f"--audio: without --labels expected a folder for each class, got files beside them: "
            f"{shortened(loose)}"
        )
    return [
        Label(path, None if relative.parts[0].lower() in NOISE else _class(path, relative.parts[0]))
        for path, relative in recordings.items()
    ]


def class_files(folder: Path) -> dict[str, list[Path]]:
    """The audio files of each class: a subfolder per class, sorted by name.

    Raises InputError for a folder without classes, for names that classes cannot have, and for
    classes without audio files.
    """
    try:
        classes = [path for path in visible_entries(folder) if path.is_dir()]
    except OSError as error:
        raise file_error(folder, error) from error
    if not classes:
        raise InputError(f"{folder}: expected a folder for each class, got none")
    found: dict[str, list[Path]] = defaultdict(list)  # two folders may have a name in two forms
    for path in classes:
        found[_class(path, path.name)] += files_below(path)
    empty = [name for name, paths in found.items() if not paths]
    if empty:
        raise InputError(f"{folder}: no audio files in the folder of {shortened(empty)}")
    return dict(found)


def _class(path: Path, folder: str) -> str:
    """The class that a folder's name is; a message names `path`."""
    try:
        return class_name(folder)
    except ValueError as error:
        raise InputError(f"{path}: name of the folder: {error}") from None
