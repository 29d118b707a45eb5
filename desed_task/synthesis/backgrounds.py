"""Background noises, and sounds without a label.

The interface is that of the target timbres: a `Draw` and a length in samples give a float32 signal
(samples,) of arbitrary level. Kinds are ordered from the synthetic to the recorded end. Frequencies
and rates are in Hz, times in seconds, gains of bands in dB.
"""

import numpy as np

from desed_task.synthesis.domains import Draw
from desed_task.synthesis.signals import (
    Signal,
    add_at,
    damped_modes,
    faded,
    impulses,
    noise,
    oscillator,
    random_curve,
    resonance,
    seconds_to_samples,
    unit_power,
)


def _brown(draw: Draw, samples: int) -> Signal:
    """Return noise that falls by 6 dB per octave."""
    return noise(draw.rng, samples, ((40.0, 0.0), (20480.0, -54.0)))


def _pink(draw: Draw, samples: int) -> Signal:
    """Return noise that falls by about 3 dB per octave (9 octaves from 40 Hz)."""
    return noise(draw.rng, samples, ((40.0, 0.0), (20480.0, -9.0 * draw.linear(3.6, 2.4))))


def _room_tone(draw: Draw, samples: int) -> Signal:
    """Return mains hum (harmonics of 50 or 60 Hz) and the noise of a quiet room."""
    mains = draw.rng.choice((50.0, 60.0))
    hum = oscillator(draw.rng, mains, samples, list(draw.rng.uniform(0.0, 1.0, 8)))
    air = noise(draw.rng, samples, ((60.0, 0.0), (300.0, -6.0), (8000.0, -34.0)))
    return draw.linear(0.3, 0.8) * unit_power(hum) + air


def _traffic(draw: Draw, samples: int) -> Signal:
    """Return low noise with a slowly varying level, as of passing cars."""
    swell = random_curve(draw.rng, samples, draw.log(0.3, 0.9), 0.25, 1.0)
    return swell * noise(draw.rng, samples, ((50.0, 0.0), (700.0, -6.0), (9000.0, -40.0)))


def _rain(draw: Draw, samples: int) -> Signal:
    """Return high noise and 300 drops per second, impulses through a wide resonance."""
    drops = resonance(impulses(draw.rng, samples, 300.0, 0.5), draw.within(1500.0, 4000.0), 2500.0)
    sheet = noise(draw.rng, samples, ((100.0, -10.0), (3000.0, 0.0), (16000.0, -10.0)))
    return sheet + 0.3 * unit_power(drops)


def background(draw: Draw, samples: int) -> Signal:
    """Return one of the background noises."""
    return draw.pick((_brown, _room_tone, _pink, _traffic, _rain))(draw, samples)


def _repeated(draw: Draw, samples: int, rate_hz: float, hit: Signal) -> Signal:
    """Return the same hit repeated with varying intervals and levels."""
    total = np.zeros(samples, dtype=np.float32)
    start = 0
    while start < samples:
        add_at(total, hit * draw.within(0.5, 1.0), start)
        start += seconds_to_samples(draw.within(0.8, 1.2) / rate_hz)
    return total


def _modes(draw: Draw, low_hz: float, high_hz: float, decay_s: float) -> Signal:
    """Return a struck object with four modes."""
    frequencies = draw.rng.uniform(low_hz, high_hz, 4)
    decays = decay_s * draw.rng.uniform(0.4, 1.0, 4)
    return damped_modes(
        seconds_to_samples(5 * decay_s), frequencies, decays, draw.rng.uniform(0.3, 1.0, 4)
    )


def _keys(draw: Draw, samples: int) -> Signal:
    """Return typing: clicks of noise."""
    click = noise(draw.rng, 400, ((600.0, -10.0), (2500.0, 0.0), (9000.0, -15.0)))
    return _repeated(draw, samples, draw.log(3.0, 7.0), faded(click, 0.0005, 0.006))


def _knocks(draw: Draw, samples: int) -> Signal:
    """Return knocks on wood: low modes."""
    return _repeated(draw, samples, draw.log(5.0, 3.0), _modes(draw, 150.0, 700.0, 0.03))


def _footsteps(draw: Draw, samples: int) -> Signal:
    """Return steps: low modes and a scrape of noise."""
    step = _modes(draw, 70.0, 300.0, 0.03)
    scrape = noise(draw.rng, len(step), ((300.0, 0.0), (3000.0, -20.0)))
    shape = np.exp(-np.arange(len(step)) / (0.015 * len(step) + 300)).astype(np.float32)
    return _repeated(draw, samples, draw.log(1.5, 2.4), step + 0.3 * scrape * shape)


def _whistle(draw: Draw, samples: int) -> Signal:
    """Return a nearly pure tone with a wandering pitch."""
    pitch = draw.log(900.0, 1800.0) * random_curve(draw.rng, samples, 3.0, 0.8, 1.2)
    return oscillator(draw.rng, pitch, samples, [1.0, 0.05])


def _notes(draw: Draw, samples: int) -> Signal:
    """Return a slow random melody of decaying notes on a pentatonic scale."""
    base = draw.log(180.0, 420.0)
    total = np.zeros(samples, dtype=np.float32)
    start = 0
    while start < samples:
        step = draw.rng.choice((0, 2, 4, 7, 9, 12))
        length = seconds_to_samples(draw.within(0.25, 0.6))
        note = oscillator(draw.rng, base * 2 ** (step / 12), length, [1.0, 0.5, 0.3, 0.15, 0.08])
        decay = np.exp(-np.arange(length) / (0.5 * length)).astype(np.float32)
        add_at(total, faded(note * decay, 0.004, 0.03), start)
        start += length
    return total


def _engine(draw: Draw, samples: int) -> Signal:
    """Return an idling engine: harmonics of a low, slowly varying firing rate."""
    rate = draw.log(28.0, 60.0) * random_curve(draw.rng, samples, 0.8, 0.85, 1.1)
    amplitudes = [k**-1.1 * float(draw.rng.uniform(0.3, 1.0)) for k in range(1, 25)]
    return oscillator(draw.rng, rate, samples, amplitudes)


def non_target(draw: Draw, samples: int) -> Signal:
    """Return a sound without a label."""
    kinds = (_keys, _knocks, _engine, _footsteps, _notes, _whistle)
    return faded(draw.pick(kinds)(draw, samples), 0.005, 0.05)
