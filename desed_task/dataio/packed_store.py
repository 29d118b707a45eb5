"""A set's clips in one memory-mapped file: read fast, and shared by all processes that read it.

The WAV files stay the truth; `packing` makes a store from them, checks it and makes it again. A
store is a folder beside that of the WAV files (`soundscapes_16k.store/`) of two files:

    samples.i16   the clips' samples one after the other, 16-bit integers, little-endian
    index.npz     which clip lies where, its checksum, and what its WAV file looked like; four bytes
                  follow, the CRC-32 of the rest

Only clips that a 16-bit file holds exactly (one channel of 16-bit integers) are packed; others are
in the index without samples, and read from their WAV file.
"""

import io
import os
import zlib
from bisect import bisect_left
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from desed_task.dataio.audio import Excerpt, excerpt_start
from desed_task.errors import InputError

SAMPLES, INDEX = "samples.i16", "index.npz"
SAMPLE_TYPE = np.dtype("<i2")
VERSION = 1
_OPENING_ATTEMPTS = 3
_CHECKSUM_BYTES = 4


class BrokenStoreError(Exception):
    """A store, or a part of it, is not there or not what it should be; the message says what."""


@dataclass(frozen=True)
class StoreIndex:
    """Which clip lies where. Arrays alone, which forked processes share; clips in order of name.

    Attributes:
        sample_rate: of all clips, in Hz.
        names: `(clips,)`, bytes, file names in UTF-8, sorted.
        ends: `(clips + 1,)`, int64: clip k's samples are those from ends[k] up to ends[k + 1].
        packed: `(clips,)`, bool: False where a clip is left to its WAV file.
        checksums: `(clips,)`, uint32: CRC-32 of each clip's bytes.
        source_bytes, source_times: `(clips,)`, int64: size of each WAV file in bytes, and when it
            was last changed, in nanoseconds.
    """

    sample_rate: int
    names: NDArray[np.bytes_]
    ends: NDArray[np.int64]
    packed: NDArray[np.bool_]
    checksums: NDArray[np.uint32]
    source_bytes: NDArray[np.int64]
    source_times: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_bytes(self) -> int:
        """Size of the samples' file."""
        return int(self.ends[-1]) * SAMPLE_TYPE.itemsize

    def place(self, name: str) -> int | None:
        """Number of a packed clip; None for any other."""
        wanted = name.encode()
        place = bisect_left(self.names, wanted)
        if place == len(self) or self.names[place] != wanted or not self.packed[place]:
            return None
        return place

    def write(self, path: Path) -> None:
        """Write it with its own checksum."""
        content = io.BytesIO()
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez(content, version=VERSION, **columns)
        with path.open("wb") as file:
            file.write(content.getbuffer())
            file.write(_checksum(content.getbuffer()))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check it. Raises BrokenStoreError where it is not there or damaged."""
        try:
            written = memoryview(path.read_bytes())
        except OSError as error:
            raise BrokenStoreError(f"{path}: cannot be read: {error.strerror}") from error
        if written[-_CHECKSUM_BYTES:] != _checksum(written[:-_CHECKSUM_BYTES]):
            raise BrokenStoreError(f"{path}: is cut off or damaged: its checksum does not fit")
        with np.load(io.BytesIO(written[:-_CHECKSUM_BYTES]), allow_pickle=False) as content:
            if int(content["version"]) != VERSION:
                raise BrokenStoreError(f"{path}: was made by another version of this program")
            arrays: dict[str, Any] = {field.name: content[field.name] for field in fields(cls)}
        return cls(**arrays | {"sample_rate": int(arrays["sample_rate"])})


class PackedStore:
    """A store that was prepared, open for reading.

    Processes that are forked share its index and the mapped samples; a pickled store carries its
    path alone and is opened again.

    Args:
        path: the store's folder.

    Raises InputError where it is not there, or not as long as its index says.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.index, self._samples = open_files(self.path)
        except BrokenStoreError as error:
            raise InputError(f"{error}; the preparation of its set makes it again") from error

    def excerpt(self, name: str, n_samples: int, seed: int | None = None) -> Excerpt | None:
        """At most `n_samples` of a clip, int16, drawn as `read_excerpt` does; None: not packed."""
        place = self.index.place(name)
        if place is None:
            return None
        first, end = int(self.index.ends[place]), int(self.index.ends[place + 1])
        start = excerpt_start(end - first, n_samples, seed)
        part = self._samples[first + start : min(first + start + n_samples, end)]
        # A copy: what is mapped cannot be written to, and tensors cannot tell.
        audio = np.array(part, dtype=np.int16)
        return Excerpt(audio, start, (end - first) / self.index.sample_rate)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]


def store_path(folder: str | Path) -> Path:
    """Where the store of a folder of WAV files lies: beside it."""
    folder = Path(os.path.abspath(folder))
    return folder.with_name(f"{folder.name}.store")


def open_files(path: Path) -> tuple[StoreIndex, NDArray[np.int16]]:
    """Index and mapped samples `(samples,)` of a store that belong together.

    Raises BrokenStoreError where they are not there, or the samples not as many as the index says.
    """
    for _ in range(_OPENING_ATTEMPTS):
        before = _identity(path / INDEX)
        index = StoreIndex.read(path / INDEX)
        samples = _map_samples(path / SAMPLES, index)
        # A rebuilding process removes the index before it replaces the samples.
        if before == _identity(path / INDEX):
            return index, samples
    raise BrokenStoreError(f"{path}: changes while it is opened")


def _map_samples(path: Path, index: StoreIndex) -> NDArray[np.int16]:
    try:
        found = path.stat().st_size
        if found != index.n_bytes:
            raise BrokenStoreError(f"{path}: has {found} bytes instead of {index.n_bytes}")
        if not found:  # an empty file cannot be mapped
            return np.zeros(0, dtype=SAMPLE_TYPE)
        return np.memmap(path, dtype=SAMPLE_TYPE, mode="r")
    except OSError as error:
        raise BrokenStoreError(f"{path}: cannot be read: {error.strerror}") from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _checksum(content: memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "little")
