"""Building blocks of sound synthesis: control curves, sources, filters, levels.

All signals are float32 arrays of shape (samples,) at `SAMPLE_RATE`.
"""

from collections.abc import Sequence

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

SAMPLE_RATE = 44100
AUDIBLE_DB = 30.0
"""Level below the envelope's peak at which a sound begins and ends."""
ENVELOPE_BLOCK = 220
"""Samples (5 ms) per value of the envelope."""
TABLE_SIZE = 4096
"""Samples of one period in the oscillator's wave table."""
MIN_LEVEL_HZ = 250.0
"""Corner frequency of the high-pass filter before levels are measured."""

Signal = NDArray[np.float32]
Band = tuple[float, float]
"""A point of a spectrum: (frequency in Hz, gain in dB)."""


def seconds_to_samples(seconds: float) -> int:
    """Return the number of samples, at least one."""
    return max(1, round(seconds * SAMPLE_RATE))


def time_axis(samples: int) -> NDArray[np.float64]:
    """Return the time of each sample in seconds."""
    return np.arange(samples) / SAMPLE_RATE


def curve(values: Sequence[float] | NDArray[np.float64], samples: int) -> Signal:
    """Stretch evenly spaced values over the samples with straight lines between them."""
    knots = np.linspace(0.0, samples - 1.0, len(values))
    return np.interp(np.arange(samples), knots, values).astype(np.float32)


def random_curve(
    rng: np.random.Generator, samples: int, changes_hz: float, low: float, high: float
) -> Signal:
    """Return a curve through new random values in low..high, `changes_hz` of them per second."""
    points = max(2, 1 + round(samples / SAMPLE_RATE * changes_hz))
    return curve(rng.uniform(low, high, points), samples)


def oscillator(
    rng: np.random.Generator,
    frequency_hz: Signal | float,
    samples: int,
    amplitudes: Sequence[float],
) -> Signal:
    """Return a harmonic tone without the harmonics above the Nyquist frequency.

    A wave table (one period, random phases) is read at the given frequency, which may vary.
    `amplitudes` has one value per harmonic, the fundamental first.
    """
    frequency = np.broadcast_to(np.asarray(frequency_hz, dtype=np.float64), (samples,))
    keep = max(1, min(len(amplitudes), int(SAMPLE_RATE / 2 / frequency.max())))
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, dtype=np.complex128)
    phases = rng.uniform(0.0, 2 * np.pi, len(amplitudes))[:keep]
    spectrum[1 : keep + 1] = np.asarray(amplitudes)[:keep] * np.exp(1j * phases)
    table = scipy.fft.irfft(spectrum, TABLE_SIZE).astype(np.float32) * (TABLE_SIZE / 2)
    phase = np.cumsum(frequency) * (TABLE_SIZE / SAMPLE_RATE)
    return table[phase.astype(np.int64) & (TABLE_SIZE - 1)]


def spectral_gains(bins: int, bands: Sequence[Band]) -> Signal:
    """Return linear gains (bins,) from 0 Hz to Nyquist, in dB linear over log-frequency."""
    grid = np.geomspace(20.0, SAMPLE_RATE / 2, 256)
    frequencies, gains_db = zip(*bands, strict=True)
    coarse = 10 ** (np.interp(np.log(grid), np.log(frequencies), gains_db) / 20)
    return np.interp(np.linspace(0.0, SAMPLE_RATE / 2, bins), grid, coarse).astype(np.float32)


def noise(rng: np.random.Generator, samples: int, bands: Sequence[Band]) -> Signal:
    """Return Gaussian noise of unit power with the spectrum of the given bands."""
    size = scipy.fft.next_fast_len(max(samples, 512), real=True)
    bins = size // 2 + 1
    gains = spectral_gains(bins, bands)
    spectrum = rng.standard_normal(2 * bins, dtype=np.float32).view(np.complex64) * gains
    return unit_power(scipy.fft.irfft(spectrum, size)[:samples])


def impulses(rng: np.random.Generator, samples: int, rate_hz: float, spread: float) -> Signal:
    """Return impulses at random times, log-normal in size, with random signs."""
    count = max(1, int(rng.poisson(rate_hz * samples / SAMPLE_RATE)))
    sizes = rng.lognormal(0.0, spread, count) * rng.choice((-1.0, 1.0), count)
    places = rng.integers(0, samples, count)
    return np.bincount(places, weights=sizes, minlength=samples).astype(np.float32)


def resonance(signal: Signal, frequency_hz: float, bandwidth_hz: float) -> Signal:
    """Return a signal filtered by a two-pole resonance with a gain of about one at its peak."""
    frequency_hz = min(frequency_hz, 0.45 * SAMPLE_RATE)
    radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE)
    angle = 2 * np.pi * frequency_hz / SAMPLE_RATE
    denominator = [1.0, -2 * radius * np.cos(angle), radius**2]
    numerator = [(1 - radius**2) / 2, 0.0, -(1 - radius**2) / 2]
    return scipy.signal.lfilter(numerator, denominator, signal).astype(np.float32)


def damped_modes(
    samples: int,
    frequencies_hz: NDArray[np.float64],
    decays_s: NDArray[np.float64],
    amplitudes: NDArray[np.float64],
) -> Signal:
    """Return a sum of exponentially damped sines (modal synthesis of a struck object)."""
    time = time_axis(samples)[None, :]
    waves = np.sin(2 * np.pi * frequencies_hz[:, None] * time)
    damped = waves * np.exp(-time / decays_s[:, None])
    return (amplitudes @ damped).astype(np.float32)


def add_at(target: Signal, signal: Signal, start: int) -> None:
    """Add a signal to the target from sample `start` on, cut off at the target's end."""
    stop = min(len(target), start + len(signal))
    target[start:stop] += signal[: stop - start]


def unit_power(signal: Signal) -> Signal:
    """Scale a signal to a root mean square of one; silence is not changed."""
    power = float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))
    return (signal / max(power, 1e-9)).astype(np.float32)


def above_rumble(signal: Signal) -> NDArray[np.float64]:
    """Return the signal above `MIN_LEVEL_HZ`.

    Rumble below, which neither ears nor mel bands resolve, must not decide how loud a sound is.
    """
    pole = np.exp(-2 * np.pi * MIN_LEVEL_HZ / SAMPLE_RATE)
    return np.asarray(scipy.signal.lfilter([1.0, -1.0], [1.0, -pole], signal))


def level(signal: Signal) -> float:
    """Return the root mean square above the rumble."""
    return float(np.sqrt(np.mean(np.square(above_rumble(signal), dtype=np.float64))))


def within_full_scale(signal: Signal) -> Signal:
    """Return the signal, scaled down where its peak is above one."""
    return signal / np.float32(max(1.0, float(np.abs(signal).max(initial=0.0))))


def faded(signal: Signal, attack_s: float, release_s: float) -> Signal:
    """Return the signal with raised-cosine ramps at both ends, each at most half of it long."""
    result = signal.copy()
    for seconds, view in ((attack_s, result), (release_s, result[::-1])):
        ramp = min(seconds_to_samples(seconds), max(1, len(signal) // 2))
        view[:ramp] *= 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp) + 0.5) / ramp)
    return result


def envelope(signal: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the root mean square (blocks,) of consecutive blocks of `ENVELOPE_BLOCK` samples."""
    blocks = -(-len(signal) // ENVELOPE_BLOCK)
    padded = np.pad(signal.astype(np.float64), (0, blocks * ENVELOPE_BLOCK - len(signal)))
    return np.sqrt(np.mean(np.square(padded.reshape(blocks, ENVELOPE_BLOCK)), axis=1))


def trimmed(signal: Signal) -> Signal:
    """Return a sound cut to its audible extent, from the first to the last audible block."""
    levels = envelope(signal)
    audible = np.flatnonzero(levels > levels.max() * 10 ** (-AUDIBLE_DB / 20))
    if not len(audible):
        return signal[:0]
    return signal[audible[0] * ENVELOPE_BLOCK : (audible[-1] + 1) * ENVELOPE_BLOCK]
