"""Each augmentation against an independent check: pitch of a tone, time of an impulse, labels."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchaudio.functional import phase_vocoder

from desed_task.augment import (
    AUGMENTATIONS,
    AugmentContext,
    AugmentSettings,
    Copy,
    distort,
    filter_bands,
    frequency_mask,
    mix,
    mix_targets,
    shift_pitch,
    stretch_time,
    time_mask,
    time_shift,
)
from desed_task.dataio.batch import Batch, ClipKind
from desed_task.frames import FrameGrid
from desed_task.labels import Event, encode_strong

GRID = FrameGrid()
SETTINGS = AugmentSettings(
    mixup="hard",
    mixup_scale=(1, 2),
    aug_methods=("Time mask", "Pitch shift", "Time shift"),
    aug_scale=5,
    time_shift=0.1,
    pitch_shift=50.0,
    time_mask_number=5,
    time_mask_length=0.01,
    frequency_mask=2,
    filter_bands=(2, 4),
    filter_gain=(-7.5, 6.0),
)


def _context(seed: int = 0, **changes: object) -> AugmentContext:
    return AugmentContext(
        settings=SETTINGS.model_copy(update=changes),
        sample_rate=GRID.sample_rate,
        n_frames=GRID.n_frames,
        n_mels=128,
        generator=torch.Generator().manual_seed(seed),
    )


def _tone(frequency: float, seconds: float = 2.0) -> Tensor:
    time = torch.arange(round(seconds * 16000), dtype=torch.float64) / 16000
    return (0.5 * torch.sin(2 * math.pi * frequency * time)).float()[None]


def _measured_frequency(audio: Tensor) -> float:
    """Frequency of a tone by the peak of a long zero-padded spectrum, interpolated."""
    middle = audio[0, 4000:-4000].double().numpy()
    size = 1 << 20
    spectrum = np.log(np.abs(np.fft.rfft(middle * np.hanning(len(middle)), size)) + 1e-12)
    peak = int(spectrum.argmax())
    left, top, right = spectrum[peak - 1 : peak + 2]
    return (peak + 0.5 * (left - right) / (left - 2 * top + right)) * 16000 / size


@pytest.mark.parametrize("cents", [-250, -200, -150, -100, -50, 50, 100, 150, 200, 250])
@pytest.mark.parametrize("frequency", [220.0, 1000.0, 3000.0])
def test_pitch_shift_is_within_5_cents(cents: float, frequency: float) -> None:
    shifted = shift_pitch(_tone(frequency), cents, 16000)
    assert shifted.shape == (1, 32000)
    measured = 1200 * math.log2(_measured_frequency(shifted) / frequency)
    assert measured == pytest.approx(cents, abs=5)


@pytest.mark.parametrize("factor", [0.8652, 0.97, 1.1, 1.1557])
def test_stretched_time_equals_torchaudio_in_double_precision(factor: float) -> None:
    audio = torch.randn(2, 32000, generator=torch.Generator().manual_seed(3))
    spectrum = torch.stft(audio, 512, 128, window=torch.hann_window(512), return_complex=True)
    advance = torch.linspace(0, math.pi * 128, 257, dtype=torch.float64)[:, None]
    expected = phase_vocoder(spectrum.to(torch.complex128), 1 / factor, advance)
    stretched = stretch_time(spectrum.mT, factor).mT
    assert (stretched - expected).abs().max() < 1e-4 * expected.abs().max()


def test_pitch_shift_keeps_onset_and_offset() -> None:
    audio = torch.zeros(1, 160000)
    audio[0, 80000:96000] = _tone(800.0, 1.0)[0]
    for cents in (-250.0, 250.0):
        shifted = shift_pitch(audio, cents, 16000)
        active = (shifted[0].abs() > 0.1).nonzero()
        assert abs(int(active[0]) - 80000) < 320
        assert abs(int(active[-1]) - 96000) < 320


def test_sign_of_a_pitch_shift_is_positive_in_half_of_the_draws() -> None:
    tone = _tone(500.0, 1.0)  # crosses zero about 1000 times
    context = _context(pitch_shift=240.0)
    higher = []
    for _ in range(200):
        shifted = AUGMENTATIONS["Pitch shift"](tone, 1, context).audio
        higher.append(int((shifted.sign().diff() != 0).sum()) > 1000)
    assert 70 <= sum(higher) <= 130  # 100 ± 4 standard deviations


@pytest.mark.parametrize(("level", "frames"), [(1, 15), (2, 31), (3, 46), (4, 62), (5, 78)])
def test_time_shift_moves_audio_later_and_labels_with_it(level: int, frames: int) -> None:
    audio = torch.zeros(1, 160000)
    audio[0, 20000] = 1.0
    shifted = time_shift(audio, level, _context())
    assert int(shifted.audio[0].argmax()) == 20000 + 16000 * level
    assert shifted.shift_frames == frames
    event = Event(2.0, 3.0, "a")
    moved = Event(2.0 + level, 3.0 + level, "a")
    labels = torch.from_numpy(encode_strong([event], ["a"], GRID)).roll(shifted.shift_frames, -1)
    expected = torch.from_numpy(encode_strong([moved], ["a"], GRID))
    # Labels move by whole frames, so an edge may be one frame off.
    assert (labels != expected).sum() <= 2


def test_time_shift_is_circular() -> None:
    audio = torch.zeros(1, 160000)
    audio[0, 150000] = 1.0
    assert int(time_shift(audio, 5, _context()).audio[0].argmax()) == 150000 + 80000 - 160000


@pytest.mark.parametrize("level", [1, 5])
def test_time_mask_zeroes_intervals_of_one_percent(level: int) -> None:
    masked = time_mask(torch.ones(40, 160000), level, _context())
    assert set(masked.audio.unique().tolist()) == {0.0, 1.0}
    for clip in masked.audio:
        edges = torch.diff(clip, prepend=torch.ones(1), append=torch.ones(1))
        lengths = (edges == 1).nonzero() - (edges == -1).nonzero()
        assert 1 <= len(lengths) <= 5 * level
        assert lengths.min() >= 1600  # overlapping intervals join
        assert lengths.sum() <= 5 * level * 1600
    zeroed = (masked.audio == 0).float().mean()
    assert zeroed == pytest.approx(1 - 0.99 ** (5 * level), abs=0.01)
    assert not torch.equal(masked.audio[0], masked.audio[1])


def test_frequency_mask_is_one_run_per_clip() -> None:
    gain = frequency_mask(torch.zeros(50, 10), 3, _context()).mel_gain
    assert gain is not None
    assert gain.shape == (50, 128)
    first = [int(row.argmin()) for row in gain]
    for row, band in zip(gain, first, strict=True):
        assert row[band : band + 6].sum() == 0
        assert row.sum() == 122
    assert len(set(first)) > 10


def test_filter_runs_are_shared_and_gains_differ_by_clip() -> None:
    numbers = set()
    for seed in range(30):
        gain = filter_bands(torch.zeros(8, 10), 1, _context(seed)).mel_gain
        assert gain is not None
        decibel = 20 * gain.log10()
        assert decibel.min() >= -7.5
        assert decibel.max() <= 6.0
        cuts = [set(torch.diff(row).nonzero().flatten().tolist()) for row in gain]
        assert all(cut == cuts[0] for cut in cuts)
        assert not torch.equal(gain[0], gain[1])
        numbers.add(len(cuts[0]) + 1)
    assert numbers == {2, 3, 4}


def test_mixup_adds_audio_and_unites_labels() -> None:
    values = torch.tensor([[1.0], [10.0], [100.0]])
    permutations = torch.tensor([[1, 2, 0], [0, 1, 2]])
    assert mix(values, permutations).flatten().tolist() == [12.0, 120.0, 201.0]
    labels = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]])
    united = mix_targets(labels, torch.tensor([[1, 2, 0]]))
    assert united.flatten().tolist() == [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]


def _batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    kinds = [0] * 2 + [1] * 2 + [2] * 4  # of the published recipe
    return Batch(
        audio=torch.rand(8, 16000, generator=generator) - 0.5,
        targets=(torch.rand(8, 10, 156, generator=generator) > 0.8).float(),
        kind=torch.tensor(kinds),
        names=tuple(f"{number}.wav" for number in range(8)),
        seconds=torch.full((8,), 1.0),
    )


@pytest.mark.parametrize("seed", range(12))
def test_distort_makes_two_copies_per_kind(seed: int) -> None:
    batch = _batch()
    before = batch.audio.clone(), batch.targets.clone()
    distorted = distort(batch, _context(seed))
    assert torch.equal(batch.audio, before[0])
    assert torch.equal(batch.targets, before[1])
    assert distorted.copy.tolist() == [0] * 8 + [1, 1, 2, 2] * 2 + [1] * 4 + [2] * 4
    assert distorted.kind.tolist() == [0] * 2 + [1] * 2 + [2] * 4 + [0] * 4 + [1] * 4 + [2] * 8
    assert list(distorted.records) == [ClipKind.SYNTHETIC, ClipKind.WEAK, ClipKind.UNLABELLED]
    for kind, record in distorted.records.items():
        original = distorted.rows(kind, copy=Copy.ORIGINAL)
        mixed = distorted.rows(kind, copy=Copy.MIXED)
        augmented = distorted.rows(kind, copy=Copy.AUGMENTED)
        assert record.permutations is not None
        added = sum(distorted.audio[original][row] for row in record.permutations)
        torch.testing.assert_close(distorted.audio[mixed], distorted.audio[original] + added)
        moved = distorted.targets[original].roll(record.shift_frames, dims=-1)
        assert torch.equal(distorted.targets[augmented], moved)
        assert (record.shift_frames > 0) == (record.augmentation == "Time shift")


def test_distort_repeats_with_the_same_generator_state() -> None:
    first, second = (distort(_batch(), _context(3)) for _ in range(2))
    assert torch.equal(first.audio, second.audio)
    other = distort(_batch(), _context(4))
    assert not torch.equal(first.audio, other.audio)


def test_only_augmented_copies_have_mel_gains() -> None:
    distorted = distort(_batch(), _context(aug_methods=("Frequency mask",)))
    assert distorted.mel_gain is not None
    masked = (distorted.mel_gain == 0).any(dim=1)
    assert torch.equal(masked, distorted.copy == Copy.AUGMENTED)


def test_disabled_copies_are_not_made() -> None:
    neither = distort(_batch(), _context(mixup="none", aug_methods=()))
    assert len(neither.audio) == 8
    only_mixed = distort(_batch(), _context(aug_methods=()))
    assert only_mixed.copy.unique().tolist() == [Copy.ORIGINAL, Copy.MIXED]
    assert only_mixed.records[ClipKind.WEAK].augmentation is None


def test_every_method_and_level_is_drawn() -> None:
    drawn = [distort(_batch(), _context(seed)).records.values() for seed in range(40)]
    names = {record.augmentation for records in drawn for record in records}
    shifts = {record.shift_frames for records in drawn for record in records}
    numbers = {len(record.permutations) for records in drawn for record in records}  # type: ignore[arg-type]
    assert names == set(SETTINGS.aug_methods)
    assert shifts == {0, 15, 31, 46, 62, 78}
    assert numbers == {1, 2}


def test_audio_keeps_its_precision_under_autocast() -> None:
    for method in ("Pitch shift", "Time mask"):
        plain = distort(_batch(), _context(aug_methods=(method,)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            autocast = distort(_batch(), _context(aug_methods=(method,)))
        assert autocast.audio.dtype == torch.float32
        assert torch.equal(autocast.audio, plain.audio)
