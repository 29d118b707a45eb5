import numpy as np
import pytest
import torch

from desed_task.dataio.batch import Clip, ClipKind, collate, float_audio

EVERY = torch.arange(-32768, 32768, dtype=torch.int16)


def clip(audio: torch.Tensor) -> Clip:
    return Clip(audio, torch.zeros(3, 5), ClipKind.WEAK, "a.wav", 1.5)


def test_16_bit_audio_is_int16_until_it_is_converted() -> None:
    batch = collate([clip(EVERY), clip(EVERY.flip(0))])
    assert batch.audio.dtype == torch.int16
    moved = batch.to("cpu", non_blocking=True)
    assert moved.audio.dtype == torch.int16
    given = moved.with_float_audio()
    assert given.audio.dtype == torch.float32
    expected = EVERY.numpy().astype(np.float64) / 32768
    np.testing.assert_array_equal(given.audio[0].double(), expected)
    assert given.names == batch.names
    assert torch.equal(given.seconds, batch.seconds)
    assert given.with_float_audio().audio is given.audio


def test_a_batch_with_one_float_clip_is_float() -> None:
    precise = torch.linspace(-1, 1, len(EVERY))
    batch = collate([clip(EVERY), clip(precise)])
    assert batch.audio.dtype == torch.float32
    assert torch.equal(batch.audio[0], float_audio(EVERY))
    assert torch.equal(batch.audio[1], precise)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_pinned_batch_is_the_same_on_the_gpu() -> None:
    batch = collate([clip(EVERY), clip(EVERY.flip(0))]).pin_memory()
    assert batch.audio.is_pinned()
    moved = batch.to("cuda", non_blocking=True)
    assert moved.audio.dtype == torch.int16
    given = moved.with_float_audio()
    assert torch.equal(given.audio.cpu(), batch.with_float_audio().audio)
