"""Clips, the kinds of labels they have, and batches that mix these kinds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor
from torch.utils.data import default_collate


class ClipKind(IntEnum):
    """The training set that a clip is of, or one with such labels (docs/recipe.md).

    Labels are per frame (synthetic, strong), tags (weak) or none. Strong clips are recorded, as
    weak and unlabelled ones.
    """

    SYNTHETIC = 0
    WEAK = 1
    UNLABELLED = 2
    STRONG = 3


FRAME_LABELLED = (ClipKind.SYNTHETIC, ClipKind.STRONG)
RECORDED = (ClipKind.WEAK, ClipKind.UNLABELLED, ClipKind.STRONG)


@dataclass(frozen=True)
class Clip:
    """One clip as a data set returns it.

    Attributes:
        audio: `(samples,)`, the clip or a section of it, padded to the common length: int16 as
            16-bit files store them, or float32 in [-1, 1]; see `float_audio`.
        targets: `(classes, frames)`, float32 in {0, 1}: frame labels of the audio of a strongly
            labelled clip; the tags repeated over all frames of a weakly labelled one; zeros for
            an unlabelled one.
        kind: the kind of its targets.
        name: the file name with extension, as in the annotations.
        seconds: length of the whole clip, in seconds.
        first_frame: frame of the clip at which a window begins (`WindowDataset`); 0 for the
            random crops of training.
        embeddings: `(steps, width)`, float16, stored ones of an encoder; None: none are stored.
    """

    audio: Tensor
    targets: Tensor
    kind: ClipKind
    name: str
    seconds: float
    first_frame: int = 0
    embeddings: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Stacked clips, or windows of clips; number b is row b of every tensor.

    Attributes:
        audio: `(batch, samples)`: int16 until it is on the device if all clips are, otherwise
            float32 in [-1, 1]; see `with_float_audio`.
        targets: `(batch, classes, frames)`, float32 in {0, 1}; see `Clip.targets`.
        kind: `(batch,)`, int64, a `ClipKind` each; always on the CPU, so that selecting clips does
            not wait for the device.
        names: file names, length batch.
        seconds: `(batch,)`, float64, lengths of the whole clips.
        first_frames: see `Clip.first_frame`, length batch; empty: all are 0.
        embeddings: `(batch, steps, width)`, float16; see `Clip.embeddings`.
    """

    audio: Tensor
    targets: Tensor
    kind: Tensor
    names: tuple[str, ...]
    seconds: Tensor
    first_frames: tuple[int, ...] = ()
    embeddings: Tensor | None = None

    @property
    def tags(self) -> Tensor:
        """`(batch, classes)`: classes active in any frame."""
        return self.targets.amax(dim=-1)

    def is_kind(self, kind: ClipKind) -> Tensor:
        """`(batch,)` boolean mask of the clips of one kind, on the CPU."""
        return self.kind == kind

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch on another device; `kind` stays on the CPU."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def with_float_audio(self) -> "Batch":
        """The same batch with float32 audio in [-1, 1], converted on its device."""
        return replace(self, audio=float_audio(self.audio))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory (PyTorch's loader calls this)."""
        return self._with(Tensor.pin_memory)

    def _with(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        audio, targets, seconds = map(change, (self.audio, self.targets, self.seconds))
        embeddings = None if self.embeddings is None else change(self.embeddings)
        return replace(self, audio=audio, targets=targets, seconds=seconds, embeddings=embeddings)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor copied to a device, without waiting for a GPU that is still computing."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def float_audio(audio: Tensor) -> Tensor:
    """int16 samples -> float32 in [-1, 1], exact; floats are returned unchanged. Any shape."""
    return audio.float() * 2.0**-15 if audio.dtype == torch.int16 else audio


def collate(clips: Sequence[Clip]) -> Batch:
    """Stack clips of equal length into a batch; in a worker process, into shared memory.

    If some clips are float32, the int16 ones are converted.
    """
    audio = [clip.audio for clip in clips]
    if any(samples.dtype != torch.int16 for samples in audio):
        audio = [float_audio(samples) for samples in audio]
    embeddings = [clip.embeddings for clip in clips if clip.embeddings is not None]
    return Batch(
        audio=default_collate(audio),
        targets=default_collate([clip.targets for clip in clips]),
        kind=torch.tensor([int(clip.kind) for clip in clips]),
        names=tuple(clip.name for clip in clips),
        seconds=torch.tensor([clip.seconds for clip in clips], dtype=torch.float64),
        first_frames=tuple(clip.first_frame for clip in clips),
        embeddings=default_collate(embeddings) if len(embeddings) == len(clips) else None,
    )
