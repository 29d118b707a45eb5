"""Storing the embeddings of a folder's clips: `desed_task.dataio.embeddings`."""

import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, filterfalse, islice
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from desed_task.dataio.batch import Batch, Clip, ClipKind, collate
from desed_task.dataio.datasets import ClipDataset, WindowDataset
from desed_task.dataio.embeddings import Embeddings, Record, mapped_rows, window_samples
from desed_task.dataio.recordings import wav_files
from desed_task.encoder.encoder import FrameEncoder
from desed_task.errors import InputError
from desed_task.files import only_writer, writing

_SAVE_SECONDS = 30.0  # between two manifests
_MAX = float(np.finfo(np.float16).max)


def store_embeddings(
    folder: str | Path,
    seconds: Mapping[str, float],
    encoder: FrameEncoder,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
    workers: int = 0,
    progress: bool = True,
) -> int:
    """Store the embeddings of a folder's clips that are not stored; returns the number of clips.

    Waits while another process stores embeddings of the same encoder.

    Args:
        folder: of the clips, at the rate of the encoder's grid.
        seconds: length of each clip of the folder by its file name.
        encoder: is moved to the device.
        device: that computes.
        batch_size: windows per batch.
        workers: processes that read audio; 0: this one.
        progress: print the size, show a progress bar.

    Raises InputError that names the clip whose embeddings are not finite or beyond the range of
    float16, FaultError where the file cannot be written, and as the encoder.
    """
    grid = encoder.grid

    def found() -> Embeddings:
        return Embeddings.of(folder, encoder.settings, grid, encoder.digest)

    if not found().missing(seconds, grid):
        return 0
    with only_writer(found().file, wait=True):
        stored = found()  # again: another process may have stored clips meanwhile
        names = stored.missing(seconds, grid)
        if not names:
            return 0
        events: dict[str, tuple[()]] = dict.fromkeys(names, ())
        clips = ClipDataset(folder, events, seconds, ClipKind.UNLABELLED, (), grid)
        encoder.to(device)
        with torch.inference_mode():
            steps, width = encoder.steps(torch.zeros(1, grid.n_samples, device=device)).shape[1:]
        lengths = clips.n_samples.tolist()
        starts = {n: window_samples(each, grid) for n, each in zip(names, lengths, strict=True)}
        total = sum(map(len, starts.values()))
        needed = total * steps * width * np.dtype(np.float16).itemsize
        if progress:
            shape = f"{total} windows of {steps} x {width}"
            size = tqdm.format_sizeof(needed, "B")
            print(f"{stored.file}: {len(names)} clips, {shape}, {size}")
        stored.records = {name: own for name, own in stored.records.items() if name in seconds}
        with (
            writing(stored.file, needed),
            _Writer(stored, starts, (steps, width)) as writer,
            tqdm(total=total, desc=Path(folder).name, unit="window", disable=not progress) as bar,
        ):
            for batch in _windows(clips, batch_size, workers):
                writer.add(batch.names, _float16(encoder, batch, folder, device))
                bar.update(len(batch.names))
    return len(names)


def _windows(clips: ClipDataset, batch_size: int, workers: int) -> DataLoader[Clip]:
    """Batches of the clips' windows; the global random state does not change."""
    return DataLoader(
        WindowDataset(clips),
        batch_size,
        num_workers=workers,
        collate_fn=collate,
        generator=torch.Generator(),
    )


def _float16(
    encoder: FrameEncoder, batch: Batch, folder: str | Path, device: torch.device | str
) -> NDArray[np.float16]:
    """Embeddings of clips, `(batch, steps, width)`."""
    with torch.inference_mode():
        steps = encoder.steps(batch.to(device).with_float_audio().audio)
        largest: Tensor = steps.abs().flatten(1).amax(dim=1)  # NaN where there is one
        rows: NDArray[np.float16] = steps.half().cpu().numpy()
    for name, value in zip(batch.names, largest.tolist(), strict=True):
        if not value <= _MAX:
            raise InputError(
                f"{Path(folder) / name}: embeddings of encoder.source {encoder.settings.source}: "
                f"expected finite values up to {_MAX:g}, which float16 can store, got {value:g}"
            )
    return rows


class _Writer:
    """Writes rows where the manifest has none, then adds their clips to it.

    Args:
        stored: of the folder; its records are extended.
        starts: of the windows of each new clip, in the order in which they are added.
        shape: of a row.
    """

    def __init__(
        self, stored: Embeddings, starts: Mapping[str, tuple[int, ...]], shape: tuple[int, int]
    ) -> None:
        self._stored, self._starts = stored, starts
        self._states = wav_files(stored.folder)
        self._new: list[int] = []  # rows of the clip that is not complete
        listed = Embeddings.read(stored.manifest)
        used = {row for each in listed.records.values() for row in each.rows} if listed else set()
        free = filterfalse(used.__contains__, count())
        rows = list(islice(free, sum(map(len, starts.values()))))
        self._rows: Iterator[int] = iter(rows)
        n_rows = max(rows) + 1
        try:
            mapped = mapped_rows(stored.file)
            n_rows = max(n_rows, len(mapped))
            header = _header((n_rows, *shape))
            fits = mapped.shape[1:] == shape and mapped.offset == len(header)  # type: ignore[attr-defined]
        except (OSError, ValueError):
            header, fits = _header((n_rows, *shape)), False
        if not fits:
            stored.records.clear()
            stored.manifest.unlink(missing_ok=True)
            stored.file.unlink(missing_ok=True)  # others may read it
            stored.file.touch()
        self._row_bytes = 2 * shape[0] * shape[1]
        self._begin = len(header)
        self._file = stored.file.open("r+b", buffering=0)
        self._file.truncate(self._begin + n_rows * self._row_bytes)
        self._write(header)
        self._saved = time.monotonic()

    def add(self, names: Sequence[str], embeddings: NDArray[np.float16]) -> None:
        """Write the next windows, `(windows, steps, width)`, of the named clips."""
        for name, window in zip(names, embeddings, strict=True):
            row = next(self._rows)
            self._file.seek(self._begin + row * self._row_bytes)
            self._write(window.tobytes())
            self._new.append(row)
            starts = self._starts[name]
            if len(self._new) == len(starts):
                self._stored.records[name] = Record(starts, tuple(self._new), self._states[name])
                self._new = []
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self._save()

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _save(self) -> None:
        os.fsync(self._file.fileno())
        self._stored.write()
        self._saved = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Keep what is complete, also after an error."""
        with self._file:
            self._save()


def _header(shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file of float16; NumPy leaves space for any number of rows."""
    header = io.BytesIO()
    content = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, content)
    return header.getvalue()
