"""Reference training step: the specification, written in the most obvious way.

The oracle of tests/local/test_reference.py, and the baseline of `python -m benchmarks step
--reference`. It shares the batch's containers and the order of random draws with ours, nothing
else. Source: docs/recipe.md, "Features" and "One training step".
"""

import math
from fractions import Fraction

import torch
import torchaudio.functional as audio_functional
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, cross_entropy, mse_loss, pad

from desed_task.augment import AugmentContext, Copy, DistortedBatch, Record
from desed_task.dataio.batch import Batch, ClipKind
from desed_task.nnet.crnn import SEDOutput

SUPERVISED = {"sed_strong": 1.0, "sed_weak": 1.0, "sod": 0.2}
CONSISTENCY = {
    "sed_consistency": 1.0,
    "weak_consistency": 1.0,
    "sod_consistency": 0.05,
    "cross_task": 0.01,
    "self_consistency": 1.0,
}
SHARES = {
    ClipKind.SYNTHETIC: 0.25,
    ClipKind.WEAK: 0.25,
    ClipKind.UNLABELLED: 0.5,
    ClipKind.STRONG: 0.25,
}


def distort(batch: Batch, context: AugmentContext) -> DistortedBatch:
    """The originals, then per kind their mixed and their augmented copy, clip by clip."""
    audio, targets = list(batch.audio), list(batch.targets)
    kinds, copies = batch.kind.tolist(), [Copy.ORIGINAL] * len(batch.kind)
    records = {}
    for kind in sorted(set(batch.kind.tolist())):
        rows = [row for row, its_kind in enumerate(batch.kind.tolist()) if its_kind == kind]
        clips, labels = [batch.audio[row] for row in rows], [batch.targets[row] for row in rows]
        number = context.integer(*context.settings.mixup_scale)
        permutations = [
            torch.randperm(len(rows), generator=context.generator) for _ in range(number)
        ]
        for i in range(len(rows)):
            mixed, label = clips[i].clone(), labels[i].clone()
            for permutation in permutations:
                mixed = mixed + clips[permutation[i]]
                label = torch.maximum(label, labels[permutation[i]])
            audio.append(mixed)
            targets.append(label)
        name = context.settings.aug_methods[
            context.integer(0, len(context.settings.aug_methods) - 1)
        ]
        level = context.integer(1, context.settings.aug_scale)
        changed, shift = augment(name, clips, level, context)
        audio += changed
        targets += [torch.roll(label, shift, dims=-1) for label in labels]
        kinds += [kind] * (2 * len(rows))
        copies += [Copy.MIXED] * len(rows) + [Copy.AUGMENTED] * len(rows)
        records[ClipKind(kind)] = Record(
            torch.stack(permutations).to(batch.audio.device), name, shift
        )
    return DistortedBatch(
        audio=torch.stack(audio),
        targets=torch.stack(targets),
        kind=torch.tensor(kinds),
        copy=torch.tensor(copies),
        mel_gain=None,
        records=records,
    )


def augment(
    name: str, clips: list[Tensor], level: int, context: AugmentContext
) -> tuple[list[Tensor], int]:
    """Apply one of the recipe's three augmentations; returns clips and labels' shift in frames."""
    samples = clips[0].shape[-1]
    if name == "Time shift":
        share = context.settings.time_shift * level
        frames = math.floor(share * context.n_frames + 1e-6)
        return [torch.roll(clip, round(share * samples)) for clip in clips], frames
    if name == "Pitch shift":
        sign = 1 if context.integer(0, 1) else -1
        cents = sign * context.settings.pitch_shift * level
        return [pitch_shift(clip, cents) for clip in clips], 0
    if name == "Time mask":
        length = round(context.settings.time_mask_length * samples)
        number = context.settings.time_mask_number * level
        starts = torch.randint(
            0, samples - length + 1, (len(clips), number), generator=context.generator
        )
        masked = []
        for clip, clip_starts in zip(clips, starts.tolist(), strict=True):
            clip = clip.clone()
            for start in clip_starts:
                clip[start : start + length] = 0
            masked.append(clip)
        return masked, 0
    raise ValueError(f"augmentation {name!r}: expected one of the recipe's three")


def pitch_shift(clip: Tensor, cents: float) -> Tensor:
    """Audio `(samples,)`: stretched by a phase vocoder, then resampled to its old length.

    In double precision: the phase is a sum over the clip that float32 would lose.
    """
    ratio = Fraction(2 ** (cents / 1200)).limit_denominator(160)
    dtype, clip = clip.dtype, clip.double()
    window = torch.hann_window(512, device=clip.device, dtype=clip.dtype)
    spectrum = torch.stft(clip, 512, 128, window=window, return_complex=True)
    advance = torch.linspace(0, math.pi * 128, 257, device=clip.device, dtype=clip.dtype)[:, None]
    stretched = audio_functional.phase_vocoder(spectrum, float(1 / ratio), advance)
    longer = torch.istft(stretched, 512, 128, window=window, length=round(len(clip) * ratio))
    shifted = audio_functional.resample(longer, ratio.numerator, ratio.denominator)[: len(clip)]
    return pad(shifted, (0, len(clip) - len(shifted))).to(dtype)


def features(audio: Tensor) -> Tensor:
    """`(batch, samples)` -> scaled log-mel `(batch, 128 bands, frames)`."""
    window = torch.hamming_window(2048, periodic=False, device=audio.device)
    spectrum = torch.stft(audio, 2048, 256, window=window, return_complex=True).abs()
    bank = audio_functional.melscale_fbanks(1025, 0.0, 8000.0, 128, 16000).to(audio.device)
    mel = torch.matmul(spectrum.transpose(1, 2), bank).transpose(1, 2)
    decibel = torch.clamp(20 * torch.log10(torch.clamp(mel, min=1e-5)), -50, 80)
    low = decibel.amin(dim=(1, 2), keepdim=True)
    high = decibel.amax(dim=(1, 2), keepdim=True)
    return (decibel - low) / (high - low + 1e-8)


def loss_terms(
    student: SEDOutput, teacher: SEDOutput, distorted: DistortedBatch, counted: Tensor
) -> dict[str, Tensor]:
    """Unweighted terms of the recipe's table; `counted` `(classes,)` boolean, False for Dishes."""
    assert student.sod_logits is not None
    assert teacher.sod_logits is not None
    synthetic, weak = distorted.kind == ClipKind.SYNTHETIC, distorted.kind == ClipKind.WEAK
    real, strong = ~synthetic, synthetic | (distorted.kind == ClipKind.STRONG)
    targets = distorted.targets
    sod_labels = targets[strong][:, counted].sum(1).clamp(max=2).long()
    teacher_count = (teacher.strong[:, counted] > 0.5).sum(1).clamp(max=2)
    agree = (teacher_count == teacher.sod_logits.argmax(-1)).float()[real].unsqueeze(1)
    s, t = student.strong[real], teacher.strong[real]
    sed_consistency = binary_cross_entropy(student.strong[synthetic], teacher.strong[synthetic])
    sed_consistency = sed_consistency + binary_cross_entropy(agree * s, agree * t)
    sed_consistency = sed_consistency + 0.3 * binary_cross_entropy((1 - agree) * s, (1 - agree) * t)
    expected = student.strong[:, counted].sum(1).clamp(max=2)
    probability, state = torch.softmax(student.sod_logits, dim=-1).max(dim=-1)
    return {
        "sed_strong": binary_cross_entropy(student.strong[strong], targets[strong]),
        "sed_weak": binary_cross_entropy(student.weak[weak], targets[weak].amax(-1)),
        "sod": cross_entropy(student.sod_logits[strong].transpose(1, 2), sod_labels),
        "sed_consistency": sed_consistency,
        "weak_consistency": mse_loss(student.weak, teacher.weak),
        "sod_consistency": mse_loss(student.sod_logits, teacher.sod_logits),
        "cross_task": mse_loss(expected, probability * state),
        "self_consistency": sum(
            (
                SHARES[kind] * self_consistency(student, distorted, kind)
                for kind in distorted.records
            ),
            torch.zeros((), device=targets.device),
        ),
    }


def self_consistency(student: SEDOutput, distorted: DistortedBatch, kind: ClipKind) -> Tensor:
    """Half the mixup term plus half the augmentation term of one kind, clip by clip."""
    record = distorted.records[kind]
    assert record.permutations is not None
    total = torch.zeros((), device=student.weak.device)
    rows = {copy: distorted.rows(kind, copy=copy).tolist() for copy in Copy}
    for prediction in (student.weak, student.strong):
        original = [prediction[row] for row in rows[Copy.ORIGINAL]]
        predicted, targets, shifted = [], [], []
        for i, row in enumerate(rows[Copy.MIXED]):
            high, low = original[i] > 0.95, original[i] < 0.05
            for permutation in record.permutations:
                high = high | (original[permutation[i]] > 0.95)
                low = low & (original[permutation[i]] < 0.05)
            predicted.append(prediction[row] * (high | low))
            targets.append(high.float())
        for clip in original:
            shifted.append(
                torch.roll(clip, record.shift_frames, dims=-1) if clip.ndim == 2 else clip
            )
        total = total + 0.5 * mse_loss(torch.stack(predicted), torch.stack(targets))
        augmented = prediction[rows[Copy.AUGMENTED]]
        total = total + 0.5 * mse_loss(augmented, torch.stack(shifted))
    return total


def total_loss(terms: dict[str, Tensor], consistency_weight: float) -> Tensor:
    """Weighted sum of the terms; `consistency_weight` is w of the step."""
    total = torch.zeros_like(terms["sod"])
    for name, weight in SUPERVISED.items():
        total = total + weight * terms[name]
    for name, weight in CONSISTENCY.items():
        total = total + consistency_weight * weight * terms[name]
    return total


@torch.no_grad()
def average(student: nn.Module, teacher: nn.Module, step: int) -> None:
    """Teacher ← α·teacher + (1-α)·student after optimiser step number `step`, from 1."""
    alpha = min(1 - 1 / (step + 1), 0.999)
    for new, averaged in zip(student.parameters(), teacher.parameters(), strict=True):
        averaged.data.mul_(alpha).add_(new.data, alpha=1 - alpha)
