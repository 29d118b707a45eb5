"""Stored embeddings of distorted clips are those of the encoder where it would give the same."""

from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor

from desed_task.augment import AUGMENTATIONS, Copy, DistortedBatch, distort
from desed_task.dataio.batch import ClipKind
from desed_task.encoder.alignment import align
from desed_task.encoder.encoder import FrameEncoder
from local.config.load import load_config
from local.embeddings import distorted_embeddings
from local.sed_trainer import CrossTaskSED
from tests.support.given_batches import given_batch
from tests.support.paths import CONFS
from tests.support.tiny import NETWORK
from tests.support.tiny_encoder import RATE, STEP

ROUNDING = 1e-3  # of float16
# 78 frames of 128 ms.
GRID = (*NETWORK, "net.pooling=[[2, 2], [1, 2], [1, 2]]")
FRAME = 2048  # samples


def level(audio: Tensor) -> Tensor:
    """Mean magnitude and mean square in each 20 ms: an encoder that is local in time."""
    blocks = audio.unfold(1, STEP, STEP)
    return torch.stack([blocks.abs().mean(dim=-1), 4 * blocks.square().mean(dim=-1)], dim=-1)


class Rows:
    """Embeddings of all rows of a step with one augmentation, of both modes.

    The level of the clips changes slowly: frames that follow each other are similar.

    Attributes:
        distorted: the rows.
        online, cached: `(rows, frames, 2)`.
        original: stored ones of the clips.
        settings, grid: of the encoder.
    """

    def __init__(self, augmentation: str) -> None:
        settings = ["sample_rate=16000", "frame_seconds=0.02", "dimension=2", "source=none:none"]
        values = [f"encoder.{each}" for each in settings]
        methods = (f"augs.aug_methods=[{augmentation}]", "augs.time_mask_length=0.05")
        online, cached = (
            load_config(CONFS / "demo.yaml", [*GRID, *values, *methods, f"encoder.mode={mode}"])
            for mode in ("online", "cached")
        )
        assert online.encoder is not None
        self.settings, self.grid = online.encoder, online.grid
        encoder = FrameEncoder(self.settings, level, self.grid, "0")
        batch = given_batch(online)
        seconds = torch.arange(online.grid.n_samples) / RATE
        phases = torch.arange(len(batch.audio))[:, None]
        envelope = 0.6 + 0.4 * torch.sin(2 * torch.pi * seconds / 5 + phases)
        batch = replace(batch, audio=batch.audio.sign() * 0.9 * envelope)
        stored = replace(batch, embeddings=encoder.steps(batch.audio).half())
        modules = CrossTaskSED(online, encoder=encoder), CrossTaskSED(cached, encoder_digest="0")
        self.distorted: DistortedBatch = distort(batch, modules[0]._augment_context())
        self.online, self.cached = (
            cast(Tensor, module.embeddings(each, self.distorted)["student"])
            for module, each in zip(modules, (batch, stored), strict=True)
        )
        self.original = align(stored.embeddings, self.settings, self.grid)  # type: ignore[arg-type]

    def rows(self, copy: Copy) -> Tensor:
        """Numbers of the rows of all kinds."""
        return self.distorted.rows(*ClipKind, copy=copy)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_rows_that_are_not_stored_are_dropped_and_the_others_agree(augmentation: str) -> None:
    found = Rows(augmentation)
    n_clips = len(found.original)
    assert len(found.cached) == len(found.online) == 3 * n_clips
    mixed, augmented = found.rows(Copy.MIXED), found.rows(Copy.AUGMENTED)
    assert len(mixed) == len(augmented) == n_clips
    assert not found.cached[mixed].any()
    original = found.rows(Copy.ORIGINAL)
    torch.testing.assert_close(
        found.cached[original], found.online[original], rtol=0, atol=ROUNDING
    )
    cached, online = found.cached[augmented], found.online[augmented]
    if augmentation == "Pitch shift":
        assert not cached.any()
    elif augmentation == "Time shift":
        _check_shifted(cached, online)
    elif augmentation == "Time mask":
        _check_masked(found)
    else:  # of mel bands
        torch.testing.assert_close(cached, online, rtol=0, atol=ROUNDING)


def _check_shifted(cached: Tensor, online: Tensor) -> None:
    """Equal but for a frame, to which the shift is rounded, and the eighth of one after 9.984 s."""
    step = (online - online.roll(1, dims=1)).abs().amax()
    assert (cached - online).abs().max() <= 1.125 * step + ROUNDING
    assert (cached.roll(3, dims=1) - online).abs().max() > 2 * step  # the test can fail


def _check_masked(found: Rows) -> None:
    """Blank where the audio is, the original's where it is not masked."""
    blank = equal = 0
    for kind, record in found.distorted.records.items():
        assert record.kept is not None
        cached = found.cached[found.distorted.rows(kind, copy=Copy.AUGMENTED)]
        original = found.original[found.distorted.rows(kind, copy=Copy.ORIGINAL)]
        n_frames = cached.shape[1]
        frames = record.kept[:, : n_frames * FRAME].unflatten(1, (n_frames, FRAME))
        kept, masked = frames.all(dim=-1), ~frames.any(dim=-1)
        assert not cached[masked].any()
        torch.testing.assert_close(cached[kept], original[kept])
        blank, equal = blank + int(masked.sum()), equal + int(kept.sum())
    assert blank > 10
    assert equal > 10


def test_each_kind_has_its_own_shift() -> None:
    found = Rows("Time shift")
    shifts = {kind: record.shift_frames for kind, record in found.distorted.records.items()}
    assert len(set(shifts.values())) > 1, shifts
    other = replace(
        found.distorted,
        records={
            kind: replace(record, shift_frames=shifts[ClipKind.WEAK])
            for kind, record in found.distorted.records.items()
        },
    )
    rows = found.distorted.rows(ClipKind.WEAK)
    expected, got = (
        distorted_embeddings(found.original, d, FRAME) for d in (found.distorted, other)
    )
    assert torch.equal(expected[rows], got[rows])
    assert not torch.equal(expected, got)


def test_the_mixture_of_the_features_is_that_of_the_encoder() -> None:
    found = Rows("Time shift")
    mixed = found.rows(Copy.MIXED)
    expected = align(level(found.distorted.audio[mixed]), found.settings, found.grid)
    torch.testing.assert_close(found.online[mixed], expected)
    assert not torch.allclose(expected, found.original, atol=0.01)
