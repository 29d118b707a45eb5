"""Making and checking packed stores (`packed_store` says what one is).

A store is made once. It is checked at every preparation, by the size and CRC-32 of its samples and
by name, size and time of change of the WAV files it was made from, and made again where anything
differs. Its files get their names when they are whole, the index last; one process makes it while
others that want to wait.
"""

import fcntl
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from desed_task.dataio.audio import is_16_bit, open_audio, read_samples
from desed_task.dataio.packed_store import (
    INDEX,
    SAMPLE_TYPE,
    SAMPLES,
    BrokenStoreError,
    StoreIndex,
    open_files,
    store_path,
)
from desed_task.dataio.prepare import wav_names
from desed_task.errors import InputError
from desed_task.files import appearing

logger = logging.getLogger(__name__)

_LOCK = "lock"
_PARTIAL = "*.partial-*"


class Packed(NamedTuple):
    """What a packing did.

    Attributes:
        path: the store's folder.
        clips: WAV files the store knows.
        left_out: how many of them are not of 16 bits and one channel, and read as WAV files.
        made: whether the store was made now; False: it was there, and is whole.
    """

    path: Path
    clips: int
    left_out: int
    made: bool


class Sources(NamedTuple):
    """WAV files of a folder as they are now, by name; the columns are those of `StoreIndex`."""

    names: NDArray[np.bytes_]
    source_bytes: NDArray[np.int64]
    source_times: NDArray[np.int64]


def pack_folder(
    folder: str | Path, sample_rate: int, workers: int = 1, progress: bool = True
) -> Packed:
    """Make the store of a folder of WAV files, or check the one that is there.

    Args:
        folder: WAV files at `sample_rate`; folders in it are not read.
        sample_rate: Hz.
        workers: threads that share the checking.
        progress: show progress bars.

    Raises InputError naming a WAV file that cannot be read or has another rate, the folder where it
    holds none, and the store's folder where it cannot be written. A store that is whole is only
    read.
    """
    folder, path = Path(folder), store_path(folder)
    if not wav_names(folder):
        raise InputError(f"{folder}: no .wav file that could be packed into {path}")
    if defect_of(path, folder, sample_rate, workers, progress) is not None:
        try:
            path.mkdir(exist_ok=True)
            with _alone(path):
                # Another process may have made it meanwhile.
                defect = defect_of(path, folder, sample_rate, workers, progress)
                if defect is not None:
                    _announce(path, defect)
                    return _make(path, folder, sample_rate, progress)
        except OSError as error:
            raise InputError(
                f"{path}: the packed store cannot be written: {error.strerror or error}; it needs "
                "a folder that can be written to, with space for 2 bytes a sample (without a "
                f"store the WAV files in {folder} are read)"
            ) from error
    return _packed(path, StoreIndex.read(path / INDEX), made=False)


def defect_of(
    path: Path, folder: Path, sample_rate: int, workers: int = 1, progress: bool = False
) -> str | None:
    """Why a store cannot be used for a folder's WAV files as they are now; None: it can.

    All of its samples are read, to compare their checksums.
    """
    try:
        index, samples = open_files(path)
    except BrokenStoreError as error:
        return str(error)
    if index.sample_rate != sample_rate:
        return f"{path}: is at {index.sample_rate} Hz, not {sample_rate} Hz"
    change = changes(index, sources_in(folder))
    if change is not None:
        return f"{path}: {change} in {folder} since it was made"
    broken = _first_broken(index, samples, workers, progress)
    if broken is not None:
        return f"{path / SAMPLES}: the samples of {broken} are not those that were written"
    return None


def sources_in(folder: str | Path) -> Sources:
    """Name, size and time of change of each WAV file in a folder, by name.

    Raises InputError naming the folder where a file vanishes meanwhile.
    """
    names = wav_names(folder)
    try:
        found = [os.stat(os.path.join(folder, name)) for name in names]
    except OSError as error:
        raise InputError(f"{folder}: changes while it is read: {error}") from error
    return Sources(
        names=np.array([name.encode() for name in names], dtype=np.bytes_),
        source_bytes=np.array([status.st_size for status in found], dtype=np.int64),
        source_times=np.array([status.st_mtime_ns for status in found], dtype=np.int64),
    )


def changes(index: StoreIndex, sources: Sources) -> str | None:
    """How WAV files differ from those an index was made from; None: they are the same."""
    if np.array_equal(index.names, sources.names):
        same = index.source_bytes == sources.source_bytes
        altered = np.flatnonzero(~same | (index.source_times != sources.source_times))
        if not len(altered):
            return None
        return f"{_text(index.names[altered[0]])} and {len(altered) - 1} others were changed"
    new = len(np.setdiff1d(sources.names, index.names, assume_unique=True))
    gone = len(np.setdiff1d(index.names, sources.names, assume_unique=True))
    return f"{new} files were added and {gone} removed"


def _make(path: Path, folder: Path, sample_rate: int, progress: bool) -> Packed:
    """Write samples and index, under other names until both are whole."""
    for partial in path.glob(_PARTIAL):  # of a run that was killed
        partial.unlink()
    # Their state before they are read: what changes meanwhile differs at the next check.
    sources = sources_in(folder)
    names = [_text(name) for name in sources.names]
    with appearing(path / INDEX) as index_path:
        with appearing(path / SAMPLES) as samples_path:
            with samples_path.open("wb") as file:
                columns = _write_samples(file, folder, names, sample_rate, progress)
            # No reader meets an old index with new samples.
            (path / INDEX).unlink(missing_ok=True)
        index = StoreIndex(sample_rate, sources.names, *columns, *sources[1:])
        index.write(index_path)
    return _packed(path, index, made=True)


def _write_samples(
    file: BinaryIO, folder: Path, names: Sequence[str], sample_rate: int, progress: bool
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.uint32]]:
    """Append all clips; `ends`, `packed` and `checksums` of the index."""
    lengths = np.zeros(len(names) + 1, dtype=np.int64)
    packed = np.zeros(len(names), dtype=bool)
    checksums = np.zeros(len(names), dtype=np.uint32)
    bar = tqdm(names, desc=f"{folder.name}, packed", unit="file", disable=not progress)
    for number, name in enumerate(bar):
        with open_audio(folder / name, sample_rate) as audio:
            if not is_16_bit(audio):
                continue
            samples = read_samples(audio, 0, -1).astype(SAMPLE_TYPE, copy=False)
        file.write(samples.data)
        lengths[number + 1] = len(samples)
        packed[number] = True
        checksums[number] = zlib.crc32(samples.data)
    return lengths.cumsum(), packed, checksums


def _first_broken(
    index: StoreIndex, samples: NDArray[np.int16], workers: int, progress: bool
) -> str | None:
    """Name of the first clip whose samples have another checksum than the index says."""

    def differs(number: int) -> bool:
        part = samples[index.ends[number] : index.ends[number + 1]]
        return zlib.crc32(part.data) != index.checksums[number]

    numbers = np.flatnonzero(index.packed)
    with (
        ThreadPoolExecutor(max(1, workers)) as threads,
        tqdm(total=len(numbers), desc="Packed store", unit="clip", disable=not progress) as bar,
    ):
        for start in range(0, len(numbers), 1024):
            block = numbers[start : start + 1024]
            for number, broken in zip(block, threads.map(differs, block), strict=True):
                if broken:
                    return _text(index.names[number])
            bar.update(len(block))
    return None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process makes this store; a lock goes with the process that holds it."""
    with (path / _LOCK).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _announce(path: Path, defect: str) -> None:
    if (path / SAMPLES).exists() or (path / INDEX).exists():
        logger.warning("%s: the packed store is made again", defect)
    else:
        logger.info("%s: the packed store is made", path)


def _packed(path: Path, index: StoreIndex, made: bool) -> Packed:
    left_out = int(len(index) - index.packed.sum())
    if left_out:
        logger.warning(
            "%s: %d of %d clips are not of one channel and 16 bits; their WAV files are read",
            path,
            left_out,
            len(index),
        )
    return Packed(path, len(index), left_out, made)


def _text(name: bytes) -> str:
    return bytes(name).decode()
