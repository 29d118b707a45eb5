"""The output folder of a detection: a file per recording and format, and combined tables.

`OUTPUT/.detections/` has a record of each recording that is done: its path, size, time and a digest
of its content, what decided the events, and the events. A recording whose record still holds is
skipped. The combined tables are written from the records of all calls.

A recording keeps the name of its record. Where another recording has the name, it begins with as
many parent folders as distinguish it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from desed_task.dataio.recordings import file_state
from desed_task.detect.detector import Result
from desed_task.detect.events import Detection, Missed
from desed_task.detect.formats import COMBINED_FORMATS, FILE_FORMATS, Found, event_values
from desed_task.errors import InputError, shortened
from desed_task.files import DETECTIONS, atomic_write, fitting_name, write_file, writing
from desed_task.tables import joined_fields, read_text, split_fields

UNREADABLE = "unreadable.tsv"
_UNREADABLE_COLUMNS = ("file", "reason")
_ENDING_BYTES = 16  # of the longest ending of a file of a recording
_SAMPLES, _SAMPLE_BYTES = 8, 1 << 17


class Source(NamedTuple):
    """What identifies a recording.

    Attributes:
        path: with all links resolved.
        size, mtime_ns: bytes, and nanoseconds of the last change.
        content: digest of blocks of the file.
    """

    path: str
    size: int
    mtime_ns: int
    content: str


class Record(NamedTuple):
    """A recording that is done: digest of the settings, source, and its events."""

    digest: str
    source: Source
    found: Found


class Outputs:
    """Writes and finds the results in an output folder.

    Args:
        folder: is made where it is missing.
        formats: names of `FORMATS`.
        settings: what decides the events, as plain values: a record of others does not hold.
    """

    def __init__(self, folder: Path, formats: Sequence[str], settings: Mapping[str, Any]) -> None:
        self.folder, self.formats, self.settings = folder, formats, settings
        self._digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._records: dict[str, Record] = {}  # by name
        for path in sorted((folder / DETECTIONS).rglob("*.json")):
            record = _read_record(path, path.relative_to(folder / DETECTIONS))
            if record is not None:
                self._records[record.found.name] = record

    def named(self, recordings: Iterable[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
        """The recordings, with the names that they have in this folder.

        Args:
            recordings: files, and their paths relative to the folder in which they were found.

        Raises InputError where other recordings are done with other settings: tables of both would
        be wrong.
        """
        by_path = {record.source.path: name for name, record in self._records.items()}
        named: list[tuple[Path, Path]] = []
        names: set[str] = set()
        for path, relative in recordings:
            named.append((path, self._name(path, Path(_text(relative)), by_path, names)))
            names.add(named[-1][1].as_posix())
        others = [
            record.found.path
            for name, record in self._records.items()
            if name not in names and record.digest != self._digest
        ]
        if others and not COMBINED_FORMATS.keys().isdisjoint(self.formats):
            raise InputError(
                f"--output {self.folder}: {len(others)} other recordings are done there with "
                f"another model or other settings: {shortened(others)}; name another folder, or "
                "these recordings as well"
            )
        return named

    def is_done(self, path: Path, relative: Path) -> bool:
        """Whether a recording has results for this content and these settings."""
        record = self._records.get(relative.as_posix())
        return (
            record is not None
            and record.digest == self._digest
            and record.source == _source(path, record.source)
            and all(self._target(relative, name).is_file() for name in self._file_formats)
        )

    def knows_missed(self, relative: Path) -> bool:
        """Whether the record of a recording has the places where an event may be missing."""
        record = self._records.get(relative.as_posix())
        return record is not None and record.found.missed is not None

    def is_changed(self, relative: Path) -> bool:
        """Whether a recording that is not done has a record of these settings."""
        record = self._records.get(relative.as_posix())
        return record is not None and record.digest == self._digest

    def write(self, path: Path, relative: Path, result: Result) -> None:
        """Write a recording's files; its record comes last."""
        events = result.detections
        found = Found(_text(path), relative.as_posix(), result.seconds, events, result.missed)
        for each in self._file_formats:
            target = self._target(relative, each)
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            _write_parts(target, FILE_FORMATS[each].parts(found, result))
        source = _source(path) or Source(_text(os.path.realpath(path)), 0, 0, "")
        self._write_record(relative, Record(self._digest, source, found))

    def remove(self, path: Path, relative: Path) -> None:
        """Remove the record of a recording that exists and cannot be read any more."""
        if path.exists() and self._records.pop(relative.as_posix(), None) is not None:
            with writing(self._record_path(relative)):
                self._record_path(relative).unlink(missing_ok=True)

    @property
    def records(self) -> list[Record]:
        """The recordings that are done with these settings, by name."""
        return [
            record for _, record in sorted(self._records.items()) if record.digest == self._digest
        ]

    @property
    def found(self) -> list[Found]:
        """The recordings that are done, of all calls, sorted by name."""
        return [self._records[name].found for name in sorted(self._records, key=Path)]

    def write_combined(self) -> list[Path]:
        """Write the combined tables of all recordings that are done, sorted; their paths."""
        paths = []
        for name in self.formats:
            if name in COMBINED_FORMATS:
                file_name, parts = COMBINED_FORMATS[name]
                paths.append(self.folder / file_name)
                _write_parts(paths[-1], parts(self.found, self.settings))
        return paths

    def write_unreadable(
        self, recordings: Iterable[tuple[Path, Path]], reasons: Mapping[Path, str]
    ) -> Path:
        """Write the table of all files that cannot be read; it is removed where there are none.

        Args:
            recordings: of this call; other rows of the table do not change.
            reasons: why they cannot be read, by path.
        """
        path = self.folder / UNREADABLE
        tried = {_text(each) for each, _ in recordings}
        rows = [row for row in _unreadable_rows(path) if row[0] not in tried]
        rows += [(_text(each), reason) for each, reason in reasons.items()]
        if rows:
            lines = [joined_fields(row) for row in (_UNREADABLE_COLUMNS, *sorted(rows))]
            write_file(path, "".join(lines), durable=False)
        else:
            with writing(path):
                path.unlink(missing_ok=True)
        return path

    def target(self, relative: Path, ending: str) -> Path:
        """The file of a recording with this ending."""
        return self.folder / _fitting(relative, ending)

    @property
    def _file_formats(self) -> list[str]:
        return [name for name in self.formats if name in FILE_FORMATS]

    def _target(self, relative: Path, name: str) -> Path:
        return self.target(relative, FILE_FORMATS[name].ending)

    def _record_path(self, relative: Path) -> Path:
        return self.folder / DETECTIONS / _fitting(relative, ".json")

    def _name(
        self, path: Path, relative: Path, by_path: Mapping[str, str], taken: set[str]
    ) -> Path:
        """The name of a recording: that of its record, or one that no other recording has."""
        resolved = _text(os.path.realpath(path))
        if (known := by_path.get(resolved)) is not None:
            return Path(known)
        parts = Path(resolved).parts[1:]
        longer = (Path(*parts[-n:]) for n in range(len(relative.parts) + 1, len(parts) + 1))
        for name in (relative, *longer):
            record = self._records.get(name.as_posix())
            if name.as_posix() in taken:
                continue
            if record is None:
                return name
            if not os.path.exists(record.source.path) and _is_moved(path, record.source):
                source = record.source._replace(path=resolved)
                found = record.found._replace(path=_text(path))
                self._write_record(name, record._replace(source=source, found=found))
                return name
        raise InputError(f"--output {self.folder}: has another recording named {relative}")

    def _write_record(self, relative: Path, record: Record) -> None:
        path = self._record_path(relative)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        found = record.found
        content = {
            "digest": record.digest,
            "source": record.source,
            "name": found.name,
            "path": found.path,
            "seconds": found.seconds,
            "events": [event_values(event) for event in found.events],
            "missed": found.missed,
        }
        write_file(path, json.dumps(content, ensure_ascii=False), durable=False)
        self._records[relative.as_posix()] = record


def _read_record(path: Path, relative: Path) -> Record | None:
    """A record, `relative` to the folder of records; None for a file that is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        events = [Detection(**event) for event in content["events"]]
        # Older versions wrote no name, and size and time as the source.
        name = content.get("name", relative.as_posix().removesuffix(".json"))
        missed = content.get("missed")  # as events, since when they are in the records
        missed = missed and [Missed(*each) for each in missed]
        found = Found(content["path"], name, content["seconds"], events, missed)
        source = content["source"]
        if len(source) == 2:
            source = [os.path.realpath(found.path), *source, ""]
        return Record(content["digest"], Source(*source), found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _source(path: Path, known: Source | None = None) -> Source | None:
    """What identifies a file; None for one that cannot be read, and where `known` is another."""
    try:
        resolved, state = _text(os.path.realpath(path)), file_state(path)
        if known is not None and (resolved, *state) != known[:3]:
            return None  # without reading it
        return Source(resolved, *state, _content_digest(path, state.size))
    except OSError:
        return None


def _is_moved(path: Path, source: Source) -> bool:
    """Whether a file has the content of a recording that is no longer at its path."""
    try:
        size, mtime_ns = file_state(path)
        return (size, mtime_ns, _content_digest(path, size)) == source[1:]
    except OSError:
        return False


def _content_digest(path: Path, size: int) -> str:
    """Digest of blocks that are spread over a file; of a short file, of all of it."""
    digest = hashlib.blake2b(digest_size=16)
    last = max(0, size - _SAMPLE_BYTES)
    with path.open("rb") as file:
        for start in sorted({last * n // (_SAMPLES - 1) for n in range(_SAMPLES)}):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _unreadable_rows(path: Path) -> list[tuple[str, str]]:
    """The rows of an earlier call; none where the table is missing or is not ours."""
    try:
        rows = [tuple(split_fields(line)) for line in read_text(path).split("\n") if line]
    except (InputError, ValueError):
        return []
    return [(row[0], row[1]) for row in rows[1:] if len(row) == 2]


def _fitting(relative: Path, ending: str) -> Path:
    """The path of a recording's file: a name that is too long for all endings is shortened."""
    name = fitting_name(os.fspath(relative.name), _ENDING_BYTES)
    return relative.with_name(f"{name}{ending}")


def _text(path: str | Path) -> str:
    """A path as text: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _write_parts(path: Path, parts: Iterable[str]) -> None:
    with atomic_write(path, durable=False) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(parts)
