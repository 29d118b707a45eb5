"""The output folder of a detection: a file per recording and format, and combined tables.

`OUTPUT/.detections/` has a record of each recording that is done: the source's size and time, what
decided the events, and the events. A recording with a record that still holds is skipped; the
combined tables are written from the records.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from desed_task.detect.detector import Result
from desed_task.detect.events import Detection
from desed_task.detect.formats import COMBINED_FORMATS, FILE_FORMATS, Found, event_values
from desed_task.files import atomic_write, write_file, writing

RECORDS = ".detections"


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

    def is_done(self, path: Path, relative: Path) -> bool:
        """Whether the results of a recording are there, of this file and these settings."""
        content = self._record(relative)
        return (
            content is not None
            and self._holds(content, path)
            and all(self._target(relative, name).is_file() for name in self._file_formats)
        )

    def write(self, path: Path, relative: Path, result: Result) -> None:
        """Write a recording's files; its record comes last."""
        found = Found(str(path), relative.as_posix(), result.seconds, result.detections)
        for name in self._file_formats:
            target = self._target(relative, name)
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            _write_parts(target, FILE_FORMATS[name].parts(found, result))
        record = self._record_path(relative)
        with writing(record):
            record.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "digest": self._digest,
            "source": _state(path),
            "path": found.path,
            "seconds": found.seconds,
            "events": [event_values(event) for event in found.events],
        }
        write_file(record, json.dumps(content, ensure_ascii=False), durable=False)

    def write_combined(self, recordings: Iterable[tuple[Path, Path]]) -> list[Path]:
        """Write the combined tables of the recordings that are done; their paths."""
        paths = []
        done = [found for path, relative in recordings if (found := self._found(path, relative))]
        for name in self.formats:
            if name in COMBINED_FORMATS:
                file_name, parts = COMBINED_FORMATS[name]
                paths.append(self.folder / file_name)
                _write_parts(paths[-1], parts(done, self.settings))
        return paths

    def target(self, relative: Path, ending: str) -> Path:
        """The file of a recording with this ending."""
        return self.folder / relative.parent / (relative.name + ending)

    @property
    def _file_formats(self) -> list[str]:
        return [name for name in self.formats if name in FILE_FORMATS]

    def _target(self, relative: Path, name: str) -> Path:
        return self.target(relative, FILE_FORMATS[name].ending)

    def _record_path(self, relative: Path) -> Path:
        return self.folder / RECORDS / relative.parent / f"{relative.name}.json"

    def _record(self, relative: Path) -> dict[str, Any] | None:
        try:
            content = json.loads(self._record_path(relative).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        keys = {"digest", "source", "path", "seconds", "events"}
        return content if isinstance(content, dict) and keys <= content.keys() else None

    def _holds(self, content: Mapping[str, Any], path: Path) -> bool:
        """Whether a record is of these settings and of the current file."""
        return bool(content["digest"] == self._digest and content["source"] == _state(path))

    def _found(self, path: Path, relative: Path) -> Found | None:
        content = self._record(relative)
        if content is None or not self._holds(content, path):
            return None
        events = [Detection(**event) for event in content["events"]]
        return Found(content["path"], relative.as_posix(), content["seconds"], events)


def _write_parts(path: Path, parts: Iterable[str]) -> None:
    with atomic_write(path, durable=False) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(parts)


def _state(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
