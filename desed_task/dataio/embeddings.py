"""Embeddings of a folder's clips, stored once for each encoder (docs/encoders.md).

Beside a prepared folder: `FOLDER.embeddings-KEY.npy`, float16 `(rows, steps, width)`, with a row
for each window of each clip (`desed_task.windows`), and a manifest, `FOLDER.embeddings-KEY.json`:
the rows of each clip, and size and modification time of its file. Only rows in the manifest are
valid. New rows are written where it has none, flushed to the disk, and then added to it as a whole:
a process that is killed loses no stored clip, and one that reads meanwhile sees no row change.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from desed_task.dataio.recordings import FileState, wav_files
from desed_task.encoder.settings import EncoderSettings
from desed_task.files import write_file
from desed_task.frames import FrameGrid
from desed_task.windows import window_starts

logger = logging.getLogger(__name__)

_VERSION = 1  # of the manifest
# With the keys of its clock: an encoder is loaded to check another one.
_OUTPUT_KEYS = {
    *("sample_rate", "frame_seconds", "first_frame", "dimension"),
    *("layers", "join_layers", "tokens", "precision"),
}


class Record(NamedTuple):
    """A stored clip.

    Attributes:
        starts: first sample of each window.
        rows: the row of each window.
        file: state of the clip's file.
    """

    starts: tuple[int, ...]
    rows: tuple[int, ...]
    file: FileState


@dataclass
class Embeddings:
    """The stored embeddings of a folder's clips by one encoder.

    Attributes:
        folder: of the clips.
        source: the encoder's, as the settings had it.
        digest: the encoder's.
        output: values of the settings and of the audio that the embeddings depend on.
        records: the stored clips by name.
    """

    folder: Path
    source: str
    digest: str
    output: Mapping[str, Any]
    records: dict[str, Record] = field(default_factory=dict)

    @classmethod
    def of(
        cls, folder: str | Path, settings: EncoderSettings, grid: FrameGrid, digest: str
    ) -> Self:
        """Those of an encoder; without records where nothing valid is stored."""
        empty = cls(Path(folder), settings.source, digest, _output(settings, grid))
        found = cls.read(empty.manifest)
        same = found is not None and (found.digest, found.output) == (digest, empty.output)
        return found if found is not None and same else empty

    @classmethod
    def with_source(
        cls, folder: str | Path, settings: EncoderSettings, grid: FrameGrid
    ) -> list[Self]:
        """Those of all encoders that had the settings' source."""
        folder, output = Path(folder).absolute(), _output(settings, grid)
        prefix = f"{folder.name}.embeddings-"
        names = folder.parent.glob("*.json") if folder.parent.is_dir() else ()
        read = (cls.read(path) for path in sorted(names) if path.name.startswith(prefix))
        return [
            each
            for each in read
            if each is not None and (each.source, each.output) == (settings.source, output)
        ]

    @classmethod
    def read(cls, manifest: Path) -> Self | None:
        """The content of a manifest whose rows exist; None: there is none."""
        try:
            content = json.loads(manifest.read_text(encoding="utf-8"))
            if content["version"] != _VERSION:
                return None
            folder = manifest.with_name(manifest.name.rpartition(".embeddings-")[0])
            found = cls(folder, content["source"], content["digest"], content["output"])
            n_rows = len(mapped_rows(found.file))
            for name, (starts, rows, *state) in content["files"].items():
                if all(0 <= row < n_rows for row in rows):
                    found.records[name] = Record(tuple(starts), tuple(rows), FileState(*state))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s: cannot be used, embeddings are made again: %s", manifest, error)
            return None
        return found

    @property
    def file(self) -> Path:
        """The file of rows."""
        identity = json.dumps([self.digest, self.output], sort_keys=True)
        key = hashlib.sha256(identity.encode()).hexdigest()[:12]
        folder = self.folder.absolute()
        return folder.with_name(f"{folder.name}.embeddings-{key}.npy")

    @property
    def manifest(self) -> Path:
        """The manifest's file."""
        return self.file.with_suffix(".json")

    def missing(self, seconds: Mapping[str, float], grid: FrameGrid) -> list[str]:
        """Names of the clips that are not stored, or as they were before their file changed.

        `seconds` has the lengths of all clips.
        """
        files = wav_files(self.folder)
        return [
            name
            for name, length in seconds.items()
            if (record := self.records.get(name)) is None
            or record.file != files.get(name)
            or record.starts != window_samples(round(length * grid.sample_rate), grid)
        ]

    def rows(self, names: Sequence[str]) -> "StoredRows":
        """The rows of stored clips, by their position in `names`."""
        return StoredRows(self.file, [self.records[name].rows for name in names])

    def write(self) -> None:
        """Replace the manifest."""
        files = {n: (each.starts, each.rows, *each.file) for n, each in self.records.items()}
        content = {
            "version": _VERSION,
            "source": self.source,
            "digest": self.digest,
            "output": self.output,
            "files": files,
        }
        write_file(self.manifest, json.dumps(content))


class StoredRows:
    """Embeddings of some clips, in memory as far as they are read; worker processes share them.

    Args:
        file: of all rows.
        rows: those of each clip, one for each window.
    """

    def __init__(self, file: Path, rows: Sequence[Sequence[int]]) -> None:
        self._file = file
        self._rows = np.array([row for each in rows for row in each], dtype=np.int64)
        self._ends = np.cumsum([0, *map(len, rows)])
        self._mapped: NDArray[np.float16] | None = None

    def read(self, clip: int, window: int) -> NDArray[np.float16]:
        """`(steps, width)` of a window of a clip, by their numbers."""
        if self._mapped is None:
            self._mapped = mapped_rows(self._file)
        rows = self._rows[self._ends[clip] : self._ends[clip + 1]]
        return np.array(self._mapped[rows[window]])

    def __getstate__(self) -> dict[str, Any]:
        """Without the map, which would be copied into another process."""
        return self.__dict__ | {"_mapped": None}


def _output(settings: EncoderSettings, grid: FrameGrid) -> dict[str, Any]:
    encoder = settings.model_dump(mode="json", include=_OUTPUT_KEYS)
    return {"encoder": encoder, "sample_rate": grid.sample_rate, "samples": grid.n_samples}


def window_samples(n_samples: int, grid: FrameGrid) -> tuple[int, ...]:
    """First sample of each window of a clip."""
    return tuple(start * grid.samples_per_frame for start in window_starts(n_samples, grid))


def mapped_rows(file: Path) -> NDArray[np.float16]:
    """The rows of a file. Raises OSError and ValueError for one that has no such rows."""
    mapped: NDArray[np.float16] = np.load(file, mmap_mode="r")
    if mapped.dtype != np.float16 or mapped.ndim != 3:
        raise ValueError(f"{file}: expected float16 (rows, steps, width)")
    return mapped
