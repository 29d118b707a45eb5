"""Distorted copies of a batch: hard mixup and one drawn augmentation per kind of clip.

Every drawn number comes from one `torch.Generator` on the CPU, so a run repeats on any device;
everything that touches audio runs on the batch's device, without loops over clips, and nothing
waits for it.
Source: docs/recipe.md, "One training step", 1 and 2.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torchaudio.functional import phase_vocoder
from torchaudio.transforms import Resample

from desed_task.dataio.batch import Batch, ClipKind, to_device

LARGEST_DENOMINATOR = 160  # of a pitch ratio: keeps its resampling filter small, within 0.4 cent
VOCODER_WINDOW = 512  # samples
SMALLEST_ENVELOPE = 1e-11  # of overlapping windows, as in torch.istft


class Copy(IntEnum):
    """What a clip of a distorted batch is."""

    ORIGINAL = 0
    MIXED = 1
    AUGMENTED = 2


@dataclass(frozen=True)
class AugmentSettings:
    """Settings of mixup and augmentations, named as the keys of `augs`.

    Each augmentation draws a level from 1 to `aug_scale`.

    Attributes:
        mixup: `hard`: add a mixed copy; `none`: do not.
        mixup_scale: fewest and most permutations added.
        aug_methods: names of `AUGMENTATIONS` to draw from; empty: no augmented copy.
        aug_scale: largest level.
        time_shift: share of the clip per level.
        pitch_shift: cents per level.
        time_mask_number: intervals per level.
        time_mask_length: share of the clip per interval.
        frequency_mask: bands per level.
        filter_bands: fewest and most bands.
        filter_gain: lowest and highest gain in dB.
    """

    mixup: Literal["hard", "none"]
    mixup_scale: tuple[int, int]
    aug_methods: tuple[str, ...]
    aug_scale: int
    time_shift: float
    pitch_shift: float
    time_mask_number: int
    time_mask_length: float
    frequency_mask: int
    filter_bands: tuple[int, int]
    filter_gain: tuple[float, float]


@dataclass(frozen=True)
class Record:
    """What was done to one kind of clip in one step.

    Attributes:
        permutations: `(permutations, clips)`, int64: clip i of the mixed copy is clip i plus the
            clips `permutations[:, i]` (positions within the kind); None without mixup.
        augmentation: name of the augmentation; None without one.
        shift_frames: frames by which labels moved later, circularly (0: not at all).
    """

    permutations: Tensor | None = None
    augmentation: str | None = None
    shift_frames: int = 0


@dataclass(frozen=True)
class DistortedBatch:
    """The originals of a batch, then per kind its mixed and its augmented copy.

    Attributes:
        audio: `(clips, samples)`.
        targets: `(clips, classes, frames)`.
        kind: `(clips,)`, a `ClipKind` each, on the CPU.
        copy: `(clips,)`, a `Copy` each, on the CPU.
        mel_gain: `(clips, bands)`, factor on the magnitude mel spectrogram; None: all 1.
        records: what was done, per kind that the batch holds.
    """

    audio: Tensor
    targets: Tensor
    kind: Tensor
    copy: Tensor
    mel_gain: Tensor | None
    records: Mapping[ClipKind, Record]

    def rows(self, *kinds: ClipKind, copy: Copy | None = None) -> Tensor:
        """Row numbers of these kinds (and this copy of theirs), int64 on the audio's device."""
        chosen = torch.isin(self.kind, torch.tensor(kinds))
        if copy is not None:
            chosen &= self.copy == copy
        return to_device(chosen.nonzero().squeeze(1), self.audio.device)


@dataclass
class Augmented:
    """The outcome of one augmentation of clips of one kind.

    Attributes:
        audio: `(clips, samples)`.
        shift_frames: frames by which the labels move later, circularly.
        mel_gain: `(clips, bands)` or None.
    """

    audio: Tensor
    shift_frames: int = 0
    mel_gain: Tensor | None = None


@dataclass(frozen=True)
class AugmentContext:
    """What an augmentation may need beside the audio."""

    settings: AugmentSettings
    sample_rate: int
    n_frames: int
    n_mels: int
    generator: torch.Generator = field(repr=False)

    def integer(self, low: int, high: int) -> int:
        """One integer of low..high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))


def time_shift(audio: Tensor, level: int, context: AugmentContext) -> Augmented:
    """Shift later by `time_shift`·level of the clip, circularly; labels by whole frames."""
    share = context.settings.time_shift * level
    # The small number undoes the rounding of the product where it should be whole.
    frames = math.floor(share * context.n_frames + 1e-6)
    samples = round(share * audio.shape[-1])
    return Augmented(audio.roll(samples, dims=-1), shift_frames=frames)


def pitch_shift(audio: Tensor, level: int, context: AugmentContext) -> Augmented:
    """Shift the pitch by ±`pitch_shift`·level cents (either sign in half of the draws)."""
    sign = 1 if context.integer(0, 1) else -1
    cents = sign * context.settings.pitch_shift * level
    return Augmented(shift_pitch(audio, cents, context.sample_rate))


def time_mask(audio: Tensor, level: int, context: AugmentContext) -> Augmented:
    """Zero `time_mask_number`·level random intervals, other ones in each clip."""
    clips, samples = audio.shape
    length = round(context.settings.time_mask_length * samples)
    number = context.settings.time_mask_number * level
    starts = torch.randint(0, samples - length + 1, (clips, number), generator=context.generator)
    starts = to_device(starts, audio.device)
    edges = torch.zeros(clips, samples + 1, dtype=torch.int32, device=audio.device)
    ones = torch.ones(clips, number, dtype=torch.int32, device=audio.device)
    edges.scatter_add_(1, starts, ones).scatter_add_(1, starts + length, -ones)
    return Augmented(audio * (edges.cumsum(1)[:, :-1] == 0))


def frequency_mask(audio: Tensor, level: int, context: AugmentContext) -> Augmented:
    """Zero one run of `frequency_mask`·level mel bands, another one in each clip."""
    width = context.settings.frequency_mask * level
    first = torch.randint(
        0, context.n_mels - width + 1, (audio.shape[0], 1), generator=context.generator
    )
    band = torch.arange(context.n_mels)
    gain = ((band < first) | (band >= first + width)).to(audio.dtype)
    return Augmented(audio, mel_gain=to_device(gain, audio.device))


def filter_bands(audio: Tensor, level: int, context: AugmentContext) -> Augmented:
    """A gain per clip and run of mel bands; the runs' boundaries are shared by the clips.

    The level plays no part.
    """
    settings = context.settings
    number = context.integer(*settings.filter_bands)
    cuts = torch.randperm(context.n_mels - 1, generator=context.generator)[: number - 1] + 1
    run = (torch.arange(context.n_mels)[:, None] >= cuts).sum(dim=1)
    low, high = settings.filter_gain
    uniform = torch.rand(audio.shape[0], number, generator=context.generator)
    gain = 10 ** ((low + (high - low) * uniform) / 20)
    return Augmented(audio, mel_gain=to_device(gain[:, run].to(audio.dtype), audio.device))


AUGMENTATIONS: Mapping[str, Callable[[Tensor, int, AugmentContext], Augmented]] = {
    "Time mask": time_mask,
    "Pitch shift": pitch_shift,
    "Time shift": time_shift,
    "Frequency mask": frequency_mask,
    "Filter": filter_bands,
}


def shift_pitch(audio: Tensor, cents: float, sample_rate: int) -> Tensor:
    """Audio `(clips, samples)` with its pitch moved by `cents`, its duration kept.

    A phase vocoder stretches time by the pitch ratio, resampling takes the stretch back. The
    ratio is the nearest fraction with a denominator of at most 160.
    """
    ratio = Fraction(2 ** (cents / 1200)).limit_denominator(LARGEST_DENOMINATOR)
    if ratio == 1:
        return audio
    hop = VOCODER_WINDOW // 4
    window = torch.hann_window(VOCODER_WINDOW, device=audio.device, dtype=audio.dtype)
    spectrum = torch.stft(audio, VOCODER_WINDOW, hop, window=window, return_complex=True)
    advance = torch.linspace(
        0, math.pi * hop, spectrum.shape[-2], device=audio.device, dtype=audio.dtype
    )[:, None]
    stretched = phase_vocoder(spectrum, float(1 / ratio), advance)
    samples = audio.shape[-1]
    longer = _overlap_add(stretched, window, hop, round(samples * ratio))
    shifted = _resampler(ratio.numerator, ratio.denominator, audio.device, audio.dtype)(longer)
    return torch.nn.functional.pad(shifted, (0, max(0, samples - shifted.shape[-1])))[:, :samples]


def _overlap_add(spectrum: Tensor, window: Tensor, hop: int, length: int) -> Tensor:
    """`torch.istft` of `(clips, bins, frames)`, centred; `(clips, length)`.

    PyTorch's looks at its window's overlap, and waits for the GPU to do so. `hop` must divide the
    window.
    """
    frames = torch.fft.irfft(spectrum, len(window), dim=1).transpose(1, 2) * window
    parts = torch.cat([frames, window.square().expand_as(frames[:1])]).unflatten(2, (-1, hop))
    clips, number, overlaps, _ = parts.shape
    total = parts.new_zeros(clips, number + overlaps - 1, hop)
    for place in range(overlaps):
        total[:, place : place + number] += parts[:, :, place]
    signal, envelope = total.flatten(1).split([clips - 1, 1])
    start = len(window) // 2
    audio = (signal / envelope.clamp(min=SMALLEST_ENVELOPE))[:, start : start + length]
    return torch.nn.functional.pad(audio, (0, length - audio.shape[1]))


@lru_cache(maxsize=64)
def _resampler(before: int, after: int, device: torch.device, dtype: torch.dtype) -> Resample:
    return Resample(before, after, dtype=dtype).to(device)


def mix(values: Tensor, permutations: Tensor) -> Tensor:
    """`values` `(clips, …)` plus its rows in each of `permutations` `(permutations, clips)`."""
    return values + sum(values[permutation] for permutation in permutations)


def mix_targets(targets: Tensor, permutations: Tensor) -> Tensor:
    """OR of `targets` `(clips, …)` in {0, 1} and its rows in each permutation."""
    return torch.stack([targets, *(targets[row] for row in permutations)]).amax(dim=0)


def distort(batch: Batch, context: AugmentContext) -> DistortedBatch:
    """The batch's clips and, per kind, their mixed and their augmented copy.

    The batch is not changed. The order of the copies is that of the kinds, mixed before augmented.
    Audio keeps its precision, under autocast as well.
    """
    with torch.autocast(batch.audio.device.type, enabled=False):
        return _distort(batch, context)


def _distort(batch: Batch, context: AugmentContext) -> DistortedBatch:
    audio, targets, kinds = [batch.audio], [batch.targets], [batch.kind]
    copies = [torch.full_like(batch.kind, Copy.ORIGINAL)]
    gains: list[Tensor | None] = [None]
    records = {}
    methods = context.settings.aug_methods

    def add(clips: Tensor, labels: Tensor, kind: ClipKind, copy: Copy, gain: Tensor | None) -> None:
        audio.append(clips)
        targets.append(labels)
        kinds.append(torch.full_like(batch.kind[: len(clips)], kind))
        copies.append(torch.full_like(batch.kind[: len(clips)], copy))
        gains.append(gain)

    for kind in ClipKind:
        rows = to_device(batch.of_kind(kind).nonzero().squeeze(1), batch.audio.device)
        if len(rows) == 0:
            continue
        clips, labels = batch.audio.index_select(0, rows), batch.targets.index_select(0, rows)
        permutations, augmentation, shift = None, None, 0
        if context.settings.mixup == "hard":
            number = context.integer(*context.settings.mixup_scale)
            drawn = [torch.randperm(len(clips), generator=context.generator) for _ in range(number)]
            permutations = to_device(torch.stack(drawn), clips.device)
            add(mix(clips, permutations), mix_targets(labels, permutations), kind, Copy.MIXED, None)
        if methods:
            augmentation = methods[context.integer(0, len(methods) - 1)]
            level = context.integer(1, context.settings.aug_scale)
            done = AUGMENTATIONS[augmentation](clips, level, context)
            shift = done.shift_frames
            add(done.audio, labels.roll(shift, dims=-1), kind, Copy.AUGMENTED, done.mel_gain)
        records[kind] = Record(permutations, augmentation, shift)
    return DistortedBatch(
        audio=torch.cat(audio),
        targets=torch.cat(targets),
        kind=torch.cat(kinds),
        copy=torch.cat(copies),
        mel_gain=_stack_gains(gains, [len(part) for part in audio], context.n_mels, batch.audio),
        records=records,
    )


def _stack_gains(
    gains: list[Tensor | None], sizes: list[int], n_mels: int, like: Tensor
) -> Tensor | None:
    if all(gain is None for gain in gains):
        return None
    parts = [
        like.new_ones(size, n_mels) if gain is None else gain
        for gain, size in zip(gains, sizes, strict=True)
    ]
    return torch.cat(parts)
