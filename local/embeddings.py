"""Embeddings of the clips of a training step, from those that are stored for the originals.

Source: docs/encoders.md, "Stored embeddings".
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from desed_task.augment import Copy, DistortedBatch

CHANGES_SOUND = ("Pitch shift",)
"""Augmentations whose audio has other embeddings, which are not stored."""


def distorted_embeddings(
    original: Tensor, distorted: DistortedBatch, samples_per_frame: int
) -> Tensor:
    """Those of the originals `(clips, frames, width)` -> of all rows `(rows, frames, width)`.

    A shift in time shifts them, a mask in time blanks them, a gain of mel bands does not change
    the audio. Mixed and pitch-shifted clips have none: 0.
    """
    n_clips, n_rows = len(original), len(distorted.audio)
    rows = torch.cat([original, original.new_zeros(n_rows - n_clips, *original.shape[1:])])
    for kind, record in distorted.records.items():
        if record.augmentation is not None and record.augmentation not in CHANGES_SOUND:
            source = distorted.rows(kind, copy=Copy.ORIGINAL)
            copies = original.index_select(0, source).roll(record.shift_frames, dims=1)
            if record.kept is not None:
                centres = torch.arange(copies.shape[1], device=copies.device) * samples_per_frame
                centres += samples_per_frame // 2
                kept = record.kept[:, centres.clamp(max=record.kept.shape[1] - 1)]
                copies = copies * kept[..., None]
            rows[distorted.rows(kind, copy=Copy.AUGMENTED)] = copies
    return rows


def drop_clips(
    embeddings: Sequence[Tensor], probability: float, generator: torch.Generator
) -> list[Tensor]:
    """Set all embeddings of some rows to 0: the same rows of every `(rows, frames, width)`."""
    if not probability:
        return list(embeddings)
    kept = torch.rand(len(embeddings[0]), generator=generator) >= probability
    return [each * kept.to(each.device, each.dtype)[:, None, None] for each in embeddings]
