"""What a set of many clips costs before its first batch, and what each worker process holds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from desed_task.dataio.annotations import read_strong
from desed_task.dataio.batch import Clip, collate
from desed_task.dataio.coverage import cover
from desed_task.dataio.datasets import ClipDataset
from desed_task.dataio.packed_store import INDEX, SAMPLES, PackedStore, StoreIndex, store_path
from desed_task.dataio.packing import changes, sources_in
from desed_task.dataio.sampler import MixtureBatchSampler
from desed_task.frames import FrameGrid
from local.classes import CLASSES

GRID = FrameGrid()
EVENTS_PER_CLIP = 8
"""About as many as AudioSet-strong has (its clips: about 100 000, of 10 s)."""
BATCH = 24
_BATCHES_SERVED = 40


@dataclass
class LargeSet:
    """Figures of one set; times in seconds, each measured once.

    Attributes:
        entries: clips.
        annotations_s, coverage_s: reading its TSV file; looking for its files.
        sources_s: comparing each file's size and time with the index.
        opening_s: opening the store.
        dataset_s: making the data set.
        sampler_s, sampler_first_s: a whole epoch of batches; the first one.
        index_bytes, dataset_bytes: arrays of the store's index and of the data set.
        worker_mb: memory that each worker has for itself after some batches, in MB.
    """

    entries: int
    annotations_s: float = 0.0
    coverage_s: float = 0.0
    sources_s: float = 0.0
    opening_s: float = 0.0
    dataset_s: float = 0.0
    sampler_s: float = 0.0
    sampler_first_s: float = 0.0
    index_bytes: int = 0
    dataset_bytes: int = 0
    worker_mb: list[float] = field(default_factory=list)


def measure_large_set(folder: Path, entries: int, workers: int) -> LargeSet:
    """Generate a set of so many clips in an empty folder, and measure."""
    audio, tsv = generate(folder, entries)
    figures = LargeSet(entries)
    with _seconds(figures, "annotations_s"):
        annotations = read_strong(tsv, CLASSES)
    with _seconds(figures, "coverage_s"):
        found = cover("large", audio, annotations).found
    with _seconds(figures, "opening_s"):
        store = PackedStore(store_path(audio))
    with _seconds(figures, "sources_s"):
        change = changes(store.index, sources_in(audio))
    if change is not None:
        raise RuntimeError(f"{audio}: {change}")
    with _seconds(figures, "dataset_s"):
        events = {name: annotations[name] for name in found}
        clips = ClipDataset.strong(audio, events, CLASSES, GRID, store)
    with _seconds(figures, "sampler_first_s"):
        next(iter(_sampler(clips)))
    with _seconds(figures, "sampler_s"):
        drawn = sum(len(batch) for batch in _sampler(clips))
    if drawn != entries // BATCH * BATCH:
        raise RuntimeError(f"{drawn} clips drawn of {entries}")
    figures.index_bytes = _array_bytes(store.index)
    figures.dataset_bytes = _array_bytes(clips)
    figures.worker_mb = _worker_memory(clips, workers)
    return figures


def generate(folder: Path, entries: int) -> tuple[Path, Path]:
    """Empty WAV files, their annotations, and a store of silence; folder and TSV file."""
    audio, tsv = folder / "16k", folder / "strong.tsv"
    audio.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"Y{number:011d}_{number % 600:06d}.wav" for number in range(entries)]
    for name in names:
        (audio / name).touch()
    onsets = (np.arange(EVENTS_PER_CLIP) + rng.uniform(0, 0.9, (entries, EVENTS_PER_CLIP))).round(3)
    labels = rng.integers(len(CLASSES), size=onsets.shape)
    with tsv.open("w", encoding="utf-8") as file:
        file.write("filename\tonset\toffset\tevent_label\n")
        for name, of_clip, classes in zip(names, onsets.tolist(), labels.tolist(), strict=True):
            for onset, label in zip(of_clip, classes, strict=True):
                file.write(f"{name}\t{onset}\t{onset + 1.5:.3f}\t{CLASSES[label]}\n")
    sources = sources_in(audio)
    index = StoreIndex(
        sample_rate=GRID.sample_rate,
        names=sources.names,
        ends=np.arange(entries + 1, dtype=np.int64) * GRID.n_samples,
        packed=np.ones(entries, dtype=bool),
        checksums=np.zeros(entries, dtype=np.uint32),
        source_bytes=sources.source_bytes,
        source_times=sources.source_times,
    )
    store = store_path(audio)
    store.mkdir()
    with (store / SAMPLES).open("wb") as file_of_samples:
        file_of_samples.truncate(index.n_bytes)  # a hole: it takes no space
    index.write(store / INDEX)
    return audio, tsv


def _sampler(clips: ClipDataset) -> MixtureBatchSampler:
    return MixtureBatchSampler({"clips": len(clips)}, {"clips": BATCH}, seed=0)


def _worker_memory(clips: ClipDataset, workers: int) -> list[float]:
    """Memory written by each worker process alone, after `_BATCHES_SERVED` batches, in MB.

    What it only reads, such as mapped samples, is the operating system's cache.
    """
    if workers == 0 or not Path("/proc/self/smaps_rollup").is_file():
        return []
    loader: DataLoader[Clip] = DataLoader(
        clips, batch_sampler=_sampler(clips), collate_fn=collate, num_workers=workers
    )
    batches: Any = iter(loader)
    for _ in range(min(_BATCHES_SERVED, len(loader) - workers)):
        next(batches)
    return [_private_mb(process.pid) for process in batches._workers]


def _private_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return sizes["Private_Dirty"] * 1024 / 1e6


def _array_bytes(holder: Any) -> int:
    arrays = [value for value in vars(holder).values() if isinstance(value, np.ndarray)]
    return sum(array.nbytes for array in arrays)


@contextmanager
def _seconds(figures: LargeSet, name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    setattr(figures, name, time.perf_counter() - start)
