"""Batches for the training step: ours from worker processes, plain ones clip by clip.

Both routes deliver the same clips in the same order, without an end.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader, Sampler

from benchmarks.generated import write_clips
from benchmarks.systems import generated_truth
from desed_task.dataio.batch import Batch, Clip, ClipKind, collate
from desed_task.dataio.datasets import ClipDataset, ClipRequest, CombinedDataset
from desed_task.dataio.sampler import MixtureBatchSampler
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from local.classes import CLASSES

BATCHES = 10  # of different clips, before they come again in another order
SEED = 0


class Endless(Sampler[list[ClipRequest]]):
    """The batches of one epoch after the other, so that no epoch's start is waited for."""

    def __init__(self, epochs: MixtureBatchSampler) -> None:
        self._epochs = epochs

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        epoch = 0
        while True:
            self._epochs.set_epoch(epoch)
            yield from self._epochs
            epoch += 1


class StepData:
    """Generated clips of all kinds in one folder, as WAV files.

    Args:
        folder: an empty folder.
        shares: clips of each kind in a batch, in the order of `ClipKind`.
        grid: the clips' time axis.
    """

    def __init__(self, folder: Path, shares: Sequence[int], grid: FrameGrid) -> None:
        self.folder, self.grid = folder / "16k", grid
        self._shares = {str(int(kind)): share for kind, share in zip(ClipKind, shares, strict=True)}
        truth = generated_truth(np.random.default_rng(SEED), BATCHES * sum(shares))
        self.clips = list(truth.events.items())
        self.kinds = [
            kind for kind, n in zip(ClipKind, shares, strict=True) for _ in range(BATCHES * n)
        ]
        write_clips(self.folder, list(truth.events), grid)

    def batches(self, workers: int, device: torch.device) -> Iterator[Batch]:
        """As `local.data` serves and moves them; the audio is float32 on the device."""
        loader: DataLoader[Clip] = DataLoader(
            CombinedDataset([self._part(kind) for kind in ClipKind]),
            batch_sampler=self._sampler(),
            collate_fn=collate,
            num_workers=workers,
            pin_memory=device.type == "cuda",
        )
        for batch in loader:
            yield batch.to(device, non_blocking=True).with_float_audio()

    def plain_batches(self, device: torch.device) -> Iterator[Batch]:
        """Read clip by clip in this process, padded or cut at the end, labelled event by event."""
        for requests in self._sampler():
            clips = [self._read(request.index) for request in requests]
            yield Batch(
                audio=torch.stack([audio for audio, _ in clips]),
                targets=torch.stack([targets for _, targets in clips]),
                kind=torch.tensor([int(self.kinds[request.index]) for request in requests]),
                names=tuple(self.clips[request.index][0] for request in requests),
                seconds=torch.full((len(clips),), self.grid.clip_seconds, dtype=torch.float64),
            ).to(device)

    def _sampler(self) -> Endless:
        sizes = {name: BATCHES * share for name, share in self._shares.items()}
        return Endless(MixtureBatchSampler(sizes, self._shares, SEED))

    def _part(self, kind: ClipKind) -> ClipDataset:
        of_kind = [clip for clip, its in zip(self.clips, self.kinds, strict=True) if its == kind]
        if kind == ClipKind.SYNTHETIC:
            return ClipDataset.strong(self.folder, dict(of_kind), CLASSES, self.grid)
        if kind == ClipKind.WEAK:
            tags = {name: _tags(events) for name, events in of_kind}
            return ClipDataset.weak(self.folder, tags, CLASSES, self.grid)
        return ClipDataset.unlabelled(self.folder, dict(of_kind), CLASSES, self.grid)

    def _read(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        name, events = self.clips[index]
        samples, _ = soundfile.read(self.folder / name, dtype="float32")
        audio = torch.zeros(self.grid.n_samples)
        audio[: len(samples)] = torch.from_numpy(samples)[: self.grid.n_samples]
        targets = torch.zeros(len(CLASSES), self.grid.n_frames)
        if self.kinds[index] == ClipKind.SYNTHETIC:
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
