"""Distorted copies of a batch: hard mixup and one random augmentation per kind of clip.

Random numbers come from one `torch.Generator` on the CPU, so that a run repeats on any device.
Audio stays on the batch's device: there are no loops over clips, and no operation waits for a GPU.
Source: docs/recipe.md, "One training step", 1 and 2.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction
from functools import cache
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from desed_task.dataio.batch import Batch, ClipKind, to_device
from desed_task.settings import InnerFraction, Pair, Positive, PositiveInt, Settings, Values
from desed_task.transforms import Resample

AugmentationName = Literal["Time mask", "Pitch shift", "Time shift", "Frequency mask", "Filter"]

MAX_DENOMINATOR = 160  # of a pitch ratio: a small resampling filter, an error below 0.4 cent
VOCODER_WINDOW = 512  # samples
MIN_ENVELOPE = 1e-11  # of the sum of squared windows, as in torch.istft


class Copy(IntEnum):
    """Origin of a clip in a distorted batch."""

    ORIGINAL = 0
    MIXED = 1
    AUGMENTED = 2


class AugmentSettings(Settings):
    """Mixup and augmentation; each augmentation draws a level from 1 to `aug_scale`."""

    mixup: Literal["hard", "none"] = Field(
        description="`hard`: add a mixed copy of each clip, labels united; `none`: do not"
    )
    mixup_scale: Pair[PositiveInt] = Field(description="fewest and most clips added to each clip")
    aug_methods: Values[AugmentationName] = Field(
        description="augmentations to draw from: `Time mask`, `Pitch shift`, `Time shift`, "
        "`Frequency mask`, `Filter`; `[]`: no augmented copy"
    )
    aug_scale: PositiveInt = Field(description="largest level")
    time_shift: InnerFraction = Field(description="fraction of the clip per level")
    pitch_shift: Positive = Field(description="cents per level")
    time_mask_number: PositiveInt = Field(description="masked intervals per level")
    time_mask_length: InnerFraction = Field(description="fraction of the clip per interval")
    frequency_mask: PositiveInt = Field(description="masked bands per level")
    filter_bands: Pair[PositiveInt] = Field(
        description="fewest and most runs of bands, each with one gain"
    )
    filter_gain: Pair[float] = Field(description="dB, lowest and highest gain of the filter")

    @model_validator(mode="after")
    def _check(self) -> "AugmentSettings":
        for key in ("mixup_scale", "filter_bands", "filter_gain"):
            low, high = getattr(self, key)
            self._require(low <= high, key, "[lowest, highest]")
        scale = f"aug_scale {self.aug_scale}"
        self._require(
            self.time_shift * self.aug_scale < 1,
            "time_shift",
            f"less than 1 / {scale}",
            "aug_scale",
        )
        self._require(
            self.pitch_shift * self.aug_scale <= 1200,
            "pitch_shift",
            f"at most 1200 cents / {scale}",
            "aug_scale",
        )
        self._require_distinct("aug_methods")
        return self

    def check_input(self, n_mels: int) -> None:
        """Raise a misfit where an augmentation of mel bands needs more than `n_mels`."""
        self._require(
            "Filter" not in self.aug_methods or self.filter_bands[1] <= n_mels,
            "filter_bands",
            f"at most {n_mels} bands",
            "n_mels",
        )
        self._require(
            "Frequency mask" not in self.aug_methods
            or self.frequency_mask * self.aug_scale <= n_mels,
            "frequency_mask",
            f"at most {n_mels} bands / aug_scale {self.aug_scale}",
            "aug_scale",
            "n_mels",
        )


@dataclass(frozen=True)
class Record:
    """Mixup and augmentation of one kind of clip in one step.

    Attributes:
        permutations: `(permutations, clips)`, int64: clip i of the mixed copy is clip i plus the
            clips `permutations[:, i]` (positions within the kind); None without mixup.
        augmentation: name of the augmentation; None without an augmented copy.
        shift_frames: frames by which the augmented copy's labels are later, circularly.
        kept: `(clips, samples)` boolean, False where the augmented copy is masked; None: nowhere.
    """

    permutations: Tensor | None = None
    augmentation: str | None = None
    shift_frames: int = 0
    kept: Tensor | None = None


@dataclass(frozen=True)
class DistortedBatch:
    """The originals of a batch, then per kind its mixed and its augmented copy.

    Attributes:
        audio: `(clips, samples)`.
        targets: `(clips, classes, frames)`.
        kind: `(clips,)`, a `ClipKind` each, on the CPU.
        copy: `(clips,)`, a `Copy` each, on the CPU.
        mel_gain: `(clips, bands)`, factor of the magnitude mel spectrogram; None: all 1.
        records: mixup and augmentation of each kind in the batch.
    """

    audio: Tensor
    targets: Tensor
    kind: Tensor
    copy: Tensor
    mel_gain: Tensor | None
    records: Mapping[ClipKind, Record]

    def rows(self, *kinds: ClipKind, copy: Copy | None = None) -> Tensor:
        """Row numbers of these kinds (and this copy only), int64 on the audio's device."""
        chosen = torch.isin(self.kind, torch.tensor(kinds))
        if copy is not None:
            chosen &= self.copy == copy
        return to_device(chosen.nonzero().squeeze(1), self.audio.device)


@dataclass
class Augmented:
    """Result of one augmentation of the clips of one kind.

    Attributes:
        audio: `(clips, samples)`.
        shift_frames: frames by which the labels are later, circularly.
        mel_gain: `(clips, bands)`, factor of the magnitude mel spectrogram, or None.
        kept: `(clips, samples)` boolean, see `Record`.
    """

    audio: Tensor
    shift_frames: int = 0
    mel_gain: Tensor | None = None
    kept: Tensor | None = None


@dataclass(frozen=True)
class AugmentContext:
    """Arguments of an augmentation besides audio and level."""

    settings: AugmentSettings
    sample_rate: int
    n_frames: int
    n_mels: int
    generator: torch.Generator = field(repr=False)

    def integer(self, low: int, high: int) -> int:
        """A random integer from `low` to `high`, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))


def time_shift(audio: Tensor, level: int, context: AugmentContext) -> Augmented:
    """Shift later by `time_shift`·level of the clip, circularly; labels by whole frames."""
    share = context.settings.time_shift * level
    # 1e-6: a product that should be whole may be rounded to a value just below it.
    frames = math.floor(share * context.n_frames + 1e-6)
    samples = round(share * audio.shape[-1])
    return Augmented(audio.roll(samples, dims=-1), shift_frames=frames)


def pitch_shift(audio: Tensor, level: int, context: AugmentContext) -> Augmented:
    """Shift the pitch by ±`pitch_shift`·level cents, both signs with probability 0.5."""
    sign = 1 if context.integer(0, 1) else -1
    cents = sign * context.settings.pitch_shift * level
    return Augmented(shift_pitch(audio, cents, context.sample_rate))


def time_mask(audio: Tensor, level: int, context: AugmentContext) -> Augmented:
    """Zero `time_mask_number`·level random intervals of each clip; they may overlap."""
    clips, samples = audio.shape
    length = round(context.settings.time_mask_length * samples)
    number = context.settings.time_mask_number * level
    starts = torch.randint(0, samples - length + 1, (clips, number), generator=context.generator)
    starts = to_device(starts, audio.device)
    # +1 at each start and -1 at each end: the cumulative sum is 0 outside all intervals.
    edges = torch.zeros(clips, samples + 1, dtype=torch.int32, device=audio.device)
    ones = torch.ones(clips, number, dtype=torch.int32, device=audio.device)
    edges.scatter_add_(1, starts, ones).scatter_add_(1, starts + length, -ones)
    kept = edges.cumsum(1)[:, :-1] == 0
    return Augmented(audio * kept, kept=kept)


def frequency_mask(audio: Tensor, level: int, context: AugmentContext) -> Augmented:
    """Zero one random run of `frequency_mask`·level mel bands in each clip."""
    width = context.settings.frequency_mask * level
    first = torch.randint(
        0, context.n_mels - width + 1, (audio.shape[0], 1), generator=context.generator
    )
    band = torch.arange(context.n_mels)
    gain = ((band < first) | (band >= first + width)).to(audio.dtype)
    return Augmented(audio, mel_gain=to_device(gain, audio.device))


def filter_bands(audio: Tensor, level: int, context: AugmentContext) -> Augmented:
    """Multiply runs of mel bands by random gains; all clips have the same runs, not the same gains.

    The level has no effect.
    """
    settings = context.settings
    number = context.integer(*settings.filter_bands)
    cuts = torch.randperm(context.n_mels - 1, generator=context.generator)[: number - 1] + 1
    run = (torch.arange(context.n_mels)[:, None] >= cuts).sum(dim=1)
    low, high = settings.filter_gain
    uniform = torch.rand(audio.shape[0], number, generator=context.generator)
    gain = 10 ** ((low + (high - low) * uniform) / 20)
    return Augmented(audio, mel_gain=to_device(gain[:, run].to(audio.dtype), audio.device))


AUGMENTATIONS: Mapping[AugmentationName, Callable[[Tensor, int, AugmentContext], Augmented]] = {
    "Time mask": time_mask,
    "Pitch shift": pitch_shift,
    "Time shift": time_shift,
    "Frequency mask": frequency_mask,
    "Filter": filter_bands,
}


def shift_pitch(audio: Tensor, cents: float, sample_rate: int) -> Tensor:
    """Audio `(clips, samples)` with its pitch shifted by `cents` and the same duration.

    A phase vocoder stretches time by the pitch ratio, then resampling shortens it by that ratio.
    The ratio is the nearest fraction with a denominator of at most `MAX_DENOMINATOR`.
    """
    ratio = _pitch_ratio(cents)
    if ratio == 1:
        return audio
    hop = VOCODER_WINDOW // 4
    window = torch.hann_window(VOCODER_WINDOW, device=audio.device, dtype=audio.dtype)
    spectrum = torch.stft(audio, VOCODER_WINDOW, hop, window=window, return_complex=True).mT
    stretched = stretch_time(spectrum, float(ratio))
    samples = audio.shape[-1]
    stretched_audio = _overlap_add(stretched, window, hop, round(samples * ratio))
    resample = _resampler(ratio.numerator, ratio.denominator, audio.device, audio.dtype)
    shifted = resample(stretched_audio)
    return torch.nn.functional.pad(shifted, (0, max(0, samples - shifted.shape[-1])))[:, :samples]


def stretch_time(spectrum: Tensor, factor: float) -> Tensor:
    """Spectrum `(clips, frames, bins)` with about `factor` times as many frames: a phase vocoder.

    Source frame `t / factor` gives frame t its magnitude, between two source frames, and the
    difference of their phases is how far the phase advances to frame t + 1. Frames of source and
    result are equally far apart, so the expected advance of each bin adds only whole turns and is
    excluded: its sum over the clip is so large that float32 loses the phase.
    """
    positions = torch.arange(0, spectrum.shape[1], 1 / factor, dtype=torch.float64)
    before = positions.long()
    share = to_device((positions - before).to(spectrum.real.dtype), spectrum.device)[:, None]
    before = to_device(before, spectrum.device)
    spectrum = torch.nn.functional.pad(spectrum, (0, 0, 0, 1))  # frame after the last
    # Contiguous, since PyTorch is slow on complex and on strided memory.
    real, imaginary = spectrum.real.contiguous(), spectrum.imag.contiguous()
    magnitude, phase = real.hypot(imaginary), imaginary.atan2(real)
    stretched = magnitude.index_select(1, before).lerp(magnitude.index_select(1, before + 1), share)
    advance = phase.diff(dim=1).index_select(1, before[:-1])
    turned = torch.cat([phase[:, :1], advance], dim=1).cumsum(1)
    # Not torch.polar: on a CPU it takes five times as long.
    return torch.complex(stretched * turned.cos(), stretched * turned.sin())


def _overlap_add(spectrum: Tensor, window: Tensor, hop: int, length: int) -> Tensor:
    """`(clips, length)`: centred `torch.istft` of `(clips, frames, bins)`.

    PyTorch's own checks the overlap of its windows on the CPU and waits for the GPU to do so. `hop`
    must divide the window.
    """
    frames = torch.fft.irfft(spectrum, len(window)) * window
    # The squared windows go through the same sum as one more clip: they are the envelope.
    hops = torch.cat([frames, window.square().expand_as(frames[:1])]).unflatten(2, (-1, hop))
    clips, n_frames, hops_per_window, _ = hops.shape
    total = hops.new_zeros(clips, n_frames + hops_per_window - 1, hop)
    for offset in range(hops_per_window):
        total[:, offset : offset + n_frames] += hops[:, :, offset]
    signal, envelope = total.flatten(1).split([clips - 1, 1])
    start = len(window) // 2
    audio = (signal / envelope.clamp(min=MIN_ENVELOPE))[:, start : start + length]
    return torch.nn.functional.pad(audio, (0, length - audio.shape[1]))


def prepare_pitch_shift(settings: AugmentSettings, device: torch.device) -> None:
    """Make the resampling filters of all pitch shifts that the settings can draw, on the device.

    Made in a training step, they would be copied to the GPU while it is waited for.
    """
    for level in range(1, settings.aug_scale + 1):
        for sign in (-1, 1):
            ratio = _pitch_ratio(sign * settings.pitch_shift * level)
            _resampler(ratio.numerator, ratio.denominator, device, torch.float32)


def _pitch_ratio(cents: float) -> Fraction:
    return Fraction(2 ** (cents / 1200)).limit_denominator(MAX_DENOMINATOR)


@cache
def _resampler(before: int, after: int, device: torch.device, dtype: torch.dtype) -> Resample:
    return Resample(before, after, dtype=dtype).to(device)


def mix(values: Tensor, permutations: Tensor) -> Tensor:
    """`values` `(clips, …)` plus its rows in each of `permutations` `(permutations, clips)`."""
    return values + sum(values[permutation] for permutation in permutations)


def mix_targets(targets: Tensor, permutations: Tensor) -> Tensor:
    """OR of `targets` `(clips, …)` in {0, 1} and its rows in each permutation."""
    return torch.stack([targets, *(targets[row] for row in permutations)]).amax(dim=0)


@dataclass(frozen=True)
class _Clips:
    """Some clips of a distorted batch, all of one `copy`; fields as in `DistortedBatch`."""

    audio: Tensor
    targets: Tensor
    kind: Tensor
    copy: Copy
    mel_gain: Tensor | None = None


def distort(batch: Batch, context: AugmentContext) -> DistortedBatch:
    """The batch's clips, then for each kind in order its mixed and its augmented copy.

    The batch is not changed. Audio keeps its precision under autocast too.
    """
    originals = _Clips(batch.audio, batch.targets, batch.kind, Copy.ORIGINAL)
    groups, records = [originals], {}
    with torch.autocast(batch.audio.device.type, enabled=False):
        for kind in ClipKind:
            chosen = batch.is_kind(kind)
            rows = to_device(chosen.nonzero().squeeze(1), batch.audio.device)
            if len(rows):
                audio, targets = (x.index_select(0, rows) for x in (batch.audio, batch.targets))
                clips = _Clips(audio, targets, batch.kind[chosen], Copy.ORIGINAL)
                copies, records[kind] = _copies(clips, context)
                groups += copies
        return DistortedBatch(
            audio=torch.cat([group.audio for group in groups]),
            targets=torch.cat([group.targets for group in groups]),
            kind=torch.cat([group.kind for group in groups]),
            copy=torch.cat([torch.full_like(group.kind, group.copy) for group in groups]),
            mel_gain=_mel_gains(groups, context.n_mels),
            records=records,
        )


def _copies(clips: _Clips, context: AugmentContext) -> tuple[list[_Clips], Record]:
    """The mixed and the augmented copy of the clips of one kind, where the settings have them."""
    settings, copies = context.settings, []
    permutations, name, shift, kept = None, None, 0, None
    if settings.mixup == "hard":
        number = context.integer(*settings.mixup_scale)
        drawn = [
            torch.randperm(len(clips.audio), generator=context.generator) for _ in range(number)
        ]
        permutations = to_device(torch.stack(drawn), clips.audio.device)
        mixed = mix(clips.audio, permutations)
        targets = mix_targets(clips.targets, permutations)
        copies.append(_Clips(mixed, targets, clips.kind, Copy.MIXED))
    if settings.aug_methods:
        name = settings.aug_methods[context.integer(0, len(settings.aug_methods) - 1)]
        level = context.integer(1, settings.aug_scale)
        augmented = AUGMENTATIONS[name](clips.audio, level, context)
        shift, kept = augmented.shift_frames, augmented.kept
        targets = clips.targets.roll(shift, dims=-1)
        copies.append(
            _Clips(augmented.audio, targets, clips.kind, Copy.AUGMENTED, augmented.mel_gain)
        )
    return copies, Record(permutations, name, shift, kept)


def _mel_gains(groups: list[_Clips], n_mels: int) -> Tensor | None:
    gains = [group.mel_gain for group in groups]
    if all(gain is None for gain in gains):
        return None
    ones = [group.audio.new_ones(len(group.audio), n_mels) for group in groups]
    return torch.cat([one if gain is None else gain for gain, one in zip(gains, ones, strict=True)])
