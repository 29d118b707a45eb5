"""A recording of sounds: room, microphone, channels, peak level."""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from desed_task.synthesis.domains import Domain
from desed_task.synthesis.signals import SAMPLE_RATE, Signal, spectral_gains, time_axis

EARLIEST_REFLECTION_S = 0.004
"""Delay of the first reflection after the direct path."""
CHANNEL_DELAY_S = 0.037
"""Delay of the second channel's background, so that the channels' noises differ."""
OCTAVES_HZ = (62.5, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)


def impulse_response(rng: np.random.Generator, domain: Domain) -> Signal:
    """Return a room's impulse response: a direct path of 1, then exponentially decaying noise."""
    decay_s = rng.uniform(*domain.reverberation_s)
    ratio_db = rng.uniform(*domain.direct_to_reverberant_db)
    early = round(EARLIEST_REFLECTION_S * SAMPLE_RATE)
    samples = early + max(1, round(decay_s * SAMPLE_RATE * 0.75))
    response = rng.standard_normal(samples, dtype=np.float32)
    response *= np.exp(-time_axis(samples) * (3 * np.log(10) / max(decay_s, 1e-3)))
    response[:early] = 0.0
    response *= 10 ** (-ratio_db / 20) / max(float(np.linalg.norm(response)), 1e-9)
    response[0] = 1.0
    return response


def microphone_gains(rng: np.random.Generator, domain: Domain, bins: int) -> Signal:
    """Return a microphone's linear gains (bins,): random per octave, with an upper cut-off."""
    gains_db = rng.normal(0.0, domain.colouration_db, len(OCTAVES_HZ))
    gains = spectral_gains(bins, tuple(zip(OCTAVES_HZ, gains_db, strict=True)))
    cut_off = np.exp(rng.uniform(*np.log(domain.bandwidth_hz))) / (SAMPLE_RATE / 2)
    return gains / np.sqrt(1 + (np.linspace(0.0, 1.0, bins, dtype=np.float32) / cut_off) ** 12)


def record(
    rng: np.random.Generator, domain: Domain, sounds: Signal, background: Signal
) -> NDArray[np.float32]:
    """Return the recording (samples, channels) of sounds in a room, with a background.

    The direct path has no delay, so that the events' annotated times are exact.
    """
    channels = 2 if rng.random() < domain.stereo_share else 1
    shift = round(CHANNEL_DELAY_S * SAMPLE_RATE)
    backgrounds = [np.roll(background, channel * shift) for channel in range(channels)]
    if domain.reverberation_s[1] > 0:
        recording = _through_room(rng, domain, sounds, backgrounds)
    else:
        recording = np.stack([sounds + each for each in backgrounds], axis=1)
    peak = max(float(np.abs(recording).max()), 1e-9)
    return recording * np.float32(10 ** (rng.uniform(*domain.peak_db) / 20) / peak)


def _through_room(
    rng: np.random.Generator, domain: Domain, sounds: Signal, backgrounds: list[Signal]
) -> NDArray[np.float32]:
    """Return sounds convolved with one impulse response per channel, through one microphone."""
    size = scipy.fft.next_fast_len(len(sounds) + SAMPLE_RATE // 2, real=True)
    gains = microphone_gains(rng, domain, size // 2 + 1)
    spectrum = scipy.fft.rfft(sounds, size)
    columns = []
    for background in backgrounds:
        room = scipy.fft.rfft(impulse_response(rng, domain), size)
        recorded = (spectrum * room + scipy.fft.rfft(background, size)) * gains
        columns.append(scipy.fft.irfft(recorded, size)[: len(sounds)])
    return np.stack(columns, axis=1)
