"""What each prepared audio file was made from, so that changed sources are noticed.

A folder's manifest is a JSON file beside it: for each file its length, and size and modification
time of the file and of its source, with a digest of the source's content. Files whose sizes and
times are as recorded need not be opened.
"""

import hashlib
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from desed_task.dataio.audio import MIX, Channel
from desed_task.dataio.recordings import FileState
from desed_task.errors import FaultError
from desed_task.files import write_file

logger = logging.getLogger(__name__)

SUFFIX = ".manifest.json"
_VERSION = 1


class Record(NamedTuple):
    """A prepared file.

    Attributes:
        frames: its samples per channel.
        copy: its state.
        source: state of its source; None for a file without source.
        digest: of its source's content; None where the file was not made by this program.
        channel: how the source's channels became one.
    """

    frames: int
    copy: FileState
    source: FileState | None = None
    digest: str | None = None
    channel: Channel = MIX

    def is_current(
        self, source: FileState | None, copy: FileState | None, channel: Channel
    ) -> bool:
        """Whether all is as recorded; without a source, source and channel make no difference."""
        return self.copy == copy and (
            source is None or (source, channel) == (self.source, self.channel)
        )


@dataclass
class Manifest:
    """Records of a folder's files by name.

    Attributes:
        folder: the folder.
        sample_rate: rate of its files in Hz.
        records: the recorded files.
        durations_digest: of the last durations file that was written from these files.
    """

    folder: Path
    sample_rate: int
    records: dict[str, Record] = field(default_factory=dict)
    durations_digest: str | None = None

    @classmethod
    def read(cls, folder: Path, sample_rate: int) -> Self:
        """The manifest beside a folder; empty if there is none, or one of another rate."""
        manifest = cls(folder, sample_rate)
        try:
            content = json.loads(manifest.path.read_text(encoding="utf-8"))
            if (content["version"], content["sample_rate"]) == (_VERSION, sample_rate):
                manifest.records = {name: _record(row) for name, row in content["files"].items()}
                manifest.durations_digest = content["durations_digest"]
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s: cannot be read, all files are checked: %s", manifest.path, error)
        return manifest

    @property
    def path(self) -> Path:
        """The manifest's file."""
        folder = Path(os.path.abspath(self.folder))
        return folder.with_name(f"{folder.name}{SUFFIX}")

    @property
    def seconds(self) -> dict[str, float]:
        """Length of each file in seconds."""
        return {name: record.frames / self.sample_rate for name, record in self.records.items()}

    def write(self) -> None:
        """Replace the file; where that is not possible (a read-only folder), log it."""
        content = {
            "version": _VERSION,
            "sample_rate": self.sample_rate,
            "durations_digest": self.durations_digest,
            "files": self.records,
        }
        try:
            write_file(self.path, json.dumps(content))
        except FaultError as error:
            logger.info("%s; the next run checks all files", error)


def content_digest(path: Path) -> str:
    """Digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _record(row: Any) -> Record:
    frames, copy, source, digest, *channel = row  # without channel before there was a choice
    states = FileState(*copy), source and FileState(*source)
    return Record(int(frames), *states, digest, *channel)
