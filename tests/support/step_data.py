"""Clips for the training step: ours from worker processes, the reference's read one by one.

Both deliver the same clips in the same order, without an end.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader, Sampler
from tqdm import tqdm

from desed_task.dataio.batch import Batch, Clip, ClipKind, collate
from desed_task.dataio.datasets import ClipDataset, ClipRequest, CombinedDataset, tag_events
from desed_task.dataio.embeddings import StoredRows
from desed_task.dataio.sampler import MixtureBatchSampler
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from tests.support.classes import CLASSES
from tests.support.generated_system import generated_truth

BATCHES = 10  # with different clips, before all clips are drawn again in another order
SEED = 0


def write_noise(folder: Path, names: Sequence[str], grid: FrameGrid) -> None:
    """Write 16-bit WAV files of noise, of the grid's rate and length, all different."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(-9000, 9000, grid.n_samples).astype(np.int16)
    for number, name in enumerate(tqdm(names, desc=folder.name, unit="file", leave=False)):
        soundfile.write(folder / name, np.roll(noise, 97 * number), grid.sample_rate, "PCM_16")


class EndlessSampler(Sampler[list[ClipRequest]]):
    """Batches of one epoch after the other."""

    def __init__(self, sampler: MixtureBatchSampler) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        epoch = 0
        while True:
            self._sampler.set_epoch(epoch)
            yield from self._sampler
            epoch += 1


class StepData:
    """WAV files of all kinds in one folder.

    Args:
        folder: an empty folder.
        clips_per_kind: originals of each kind in a batch, in the order of `ClipKind`; three
            numbers: none of the kind `STRONG`.
        grid: the clips' time axis.
        embeddings: steps and width of a clip's stored embeddings, which are random; None: none.
    """

    def __init__(
        self,
        folder: Path,
        clips_per_kind: Sequence[int],
        grid: FrameGrid,
        embeddings: tuple[int, int] | None = None,
    ) -> None:
        self.folder, self.grid = folder / "16k", grid
        self._embeddings = None if embeddings is None else folder / "embeddings.npy"
        numbers = dict(zip(ClipKind, clips_per_kind, strict=False))
        self._batch = {str(int(kind)): number for kind, number in numbers.items()}
        n_clips, rng = BATCHES * sum(clips_per_kind), np.random.default_rng(SEED)
        truth = generated_truth(rng, n_clips, grid.clip_seconds)
        self.clips = list(truth.events.items())
        self.kinds = [kind for kind, number in numbers.items() for _ in range(BATCHES * number)]
        write_noise(self.folder, list(truth.events), grid)
        if embeddings is not None:
            np.save(folder / "embeddings.npy", rng.normal(size=(n_clips, *embeddings)).astype("f2"))

    def batches(self, workers: int, device: torch.device) -> Iterator[Batch]:
        """Batches as `local.data` serves and moves them; float32 audio on the device."""
        loader: DataLoader[Clip] = DataLoader(
            CombinedDataset([self._clips(kind) for kind in dict.fromkeys(self.kinds)]),
            batch_sampler=self._sampler(),
            collate_fn=collate,
            num_workers=workers,
            pin_memory=device.type == "cuda",
        )
        for batch in loader:
            yield batch.to(device, non_blocking=True).with_float_audio()

    def reference_batches(self, device: torch.device) -> Iterator[Batch]:
        """Batches read clip by clip in this process, padded at the end, labelled by event."""
        for requests in self._sampler():
            clips = [self._read(request.index) for request in requests]
            yield Batch(
                audio=torch.stack([audio for audio, _ in clips]),
                targets=torch.stack([targets for _, targets in clips]),
                kind=torch.tensor([int(self.kinds[request.index]) for request in requests]),
                names=tuple(self.clips[request.index][0] for request in requests),
                seconds=torch.full((len(clips),), self.grid.clip_seconds, dtype=torch.float64),
            ).to(device)

    def _sampler(self) -> EndlessSampler:
        sizes = {name: BATCHES * number for name, number in self._batch.items()}
        return EndlessSampler(MixtureBatchSampler(sizes, self._batch, SEED))

    def _clips(self, kind: ClipKind) -> ClipDataset:
        clips = dict(clip for clip, k in zip(self.clips, self.kinds, strict=True) if k == kind)
        if kind == ClipKind.WEAK:
            clips = tag_events({name: _tags(events) for name, events in clips.items()})
        elif kind == ClipKind.UNLABELLED:
            clips = {name: [] for name in clips}
        seconds = dict.fromkeys(clips, self.grid.clip_seconds)
        rows = None
        if self._embeddings is not None:
            numbers = [[n] for n, k in enumerate(self.kinds) if k == kind]
            rows = StoredRows(self._embeddings, numbers)
        return ClipDataset(self.folder, clips, seconds, kind, CLASSES, self.grid, rows)

    def _read(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        name, events = self.clips[index]
        samples, _ = soundfile.read(self.folder / name, dtype="float32")
        audio = torch.zeros(self.grid.n_samples)
        audio[: len(samples)] = torch.from_numpy(samples)[: self.grid.n_samples]
        targets = torch.zeros(len(CLASSES), self.grid.n_frames)
        if self.kinds[index] in (ClipKind.SYNTHETIC, ClipKind.STRONG):
            for event in events:
                first = self.grid.onset_to_frame(event.onset)
                end = self.grid.offset_to_frame(event.offset)
                targets[CLASSES.index(event.event_label), first:end] = 1
        if self.kinds[index] == ClipKind.WEAK:
            for tag in _tags(events):
                targets[CLASSES.index(tag)] = 1
        return audio, targets


def _tags(events: Sequence[Event]) -> tuple[str, ...]:
    return tuple(sorted({event.event_label for event in events}))
