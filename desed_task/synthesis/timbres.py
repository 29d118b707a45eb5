"""The ten target sounds: class name -> function that synthesises one event of the class.

A timbre takes a `Draw` (which has the domain) and a length in samples, and returns a float32 signal
(samples,) of arbitrary level that sounds for the whole length, with gaps of at most 0.25 s. Of two
ends that a value is drawn between, the first is the synthetic end. Frequencies and rates are in Hz,
times in seconds, levels in dB or, where two sounds are mixed, relative amplitudes.
"""

from collections.abc import Callable

import numpy as np
import scipy.ndimage

from desed_task.synthesis.domains import Draw
from desed_task.synthesis.signals import (
    Signal,
    add_at,
    curve,
    damped_modes,
    faded,
    impulses,
    noise,
    oscillator,
    random_curve,
    resonance,
    seconds_to_samples,
    time_axis,
    unit_power,
)
from desed_task.synthesis.voices import cat, dog, speech

Timbre = Callable[[Draw, int], Signal]


def harmonic_amplitudes(harmonics: int, exponent: float) -> list[float]:
    """Return k^-exponent for each harmonic k from 1 on."""
    return [float(k**-exponent) for k in range(1, harmonics + 1)]


def _gate(samples: int, rate_hz: float, duty: float) -> Signal:
    """Return a periodic switch between 1 and 0 without clicks, 1 at the first sample.

    `duty` is the share of a period that is on.
    """
    on = ((time_axis(samples) * rate_hz) % 1.0 < duty).astype(np.float32)
    return scipy.ndimage.uniform_filter1d(on, 180, mode="nearest")


def _beeps(draw: Draw, samples: int) -> Signal:
    """Return an alarm clock: one harmonic tone, switched on and off."""
    tone = oscillator(
        draw.rng, draw.log(1100.0, 3400.0), samples, harmonic_amplitudes(5, draw.linear(2.2, 0.6))
    )
    return tone * _gate(samples, draw.log(9.0, 2.6), draw.linear(0.5, 0.8))


def _two_tone(draw: Draw, samples: int) -> Signal:
    """Return a siren: a harmonic tone that alternates between two pitches."""
    low = draw.log(1000.0, 2000.0)
    high = low * draw.linear(1.2, 1.8)
    second = (time_axis(samples) * draw.log(1.0, 5.0)) % 1.0 < 0.5
    frequency = np.where(second, high, low).astype(np.float32)
    return oscillator(draw.rng, frequency, samples, harmonic_amplitudes(8, draw.linear(1.6, 0.8)))


def _struck(draw: Draw, samples: int, rate_hz: float, decay_s: float) -> Signal:
    """Return a bell: inharmonic partials, struck at an even rate and decaying after each stroke."""
    base = draw.log(1100.0, 2400.0)
    ratios = np.array([1.0, 2.0, 2.76, 3.9, 5.4]) * draw.rng.uniform(0.97, 1.03, 5)
    since_stroke = (time_axis(samples) * rate_hz) % 1.0 / rate_hz
    total = np.zeros(samples, dtype=np.float32)
    for ratio, size in zip(ratios, draw.rng.uniform(0.3, 1.0, 5), strict=True):
        total += size / np.sqrt(ratio) * oscillator(draw.rng, base * ratio, samples, [1.0])
    return total * np.exp(-since_stroke / decay_s).astype(np.float32)


def _ringing_bell(draw: Draw, samples: int) -> Signal:
    """Return the bell of a mechanical alarm clock or telephone."""
    return _struck(draw, samples, draw.log(9.0, 20.0), draw.log(0.12, 0.3))


def alarm_bell_ringing(draw: Draw, samples: int) -> Signal:
    """Return beeps, a ringing bell or a two-tone alarm: tonal and periodic."""
    kind = draw.pick((_beeps, _ringing_bell, _two_tone))
    return faded(kind(draw, samples), 0.003, 0.02)


def blender(draw: Draw, samples: int) -> Signal:
    """Return a motor's harmonics and noise; its speed rises at first and varies with the load.

    Every harmonic that is a multiple of the number of blades is stronger.
    """
    speed = random_curve(draw.rng, samples, draw.log(0.8, 2.5), 1.0 - draw.linear(0.1, 0.25), 1.0)
    speed *= 1 - 0.6 * np.exp(-time_axis(samples) / draw.log(0.15, 0.5)).astype(np.float32)
    frequency = draw.log(130.0, 330.0) * speed
    amplitudes = np.array(harmonic_amplitudes(40, draw.linear(0.5, 1.0)))
    amplitudes *= draw.rng.uniform(0.1, 1.0, 40)
    blades = draw.rng.integers(3, 6)
    amplitudes[blades - 1 :: blades] *= 3.0
    tone = unit_power(oscillator(draw.rng, frequency, samples, list(amplitudes)))
    centre = draw.log(1200.0, 3500.0)
    grinding = noise(draw.rng, samples, ((centre / 6, -30.0), (centre, 0.0), (centre * 4, -20.0)))
    level = draw.linear(0.35, 0.9) * random_curve(draw.rng, samples, 6.0, 0.4, 1.0)
    return faded(tone + level * grinding * speed, 0.03, 0.12)


def dishes(draw: Draw, samples: int) -> Signal:
    """Return clinks in quick succession: modal percussion with a click of noise at each hit."""
    total = np.zeros(samples, dtype=np.float32)
    start = 0
    while start < samples:
        modes = int(draw.rng.integers(5, 9))
        frequencies = draw.log(1500.0, 3000.0) * draw.rng.uniform(1.0, 3.5, modes)
        longest = draw.log(0.025, 0.08)
        decays = longest * draw.rng.uniform(0.3, 1.0, modes)
        length = min(samples - start, seconds_to_samples(5 * longest))
        clink = damped_modes(length, frequencies, decays, draw.rng.uniform(0.2, 1.0, modes))
        click = noise(draw.rng, min(length, 130), ((500.0, -12.0), (4000.0, 0.0)))
        add_at(clink, draw.linear(0.3, 0.8) * faded(click, 0.0003, 0.002), 0)
        add_at(total, clink * draw.within(0.35, 1.0), start)
        start += seconds_to_samples(draw.log(0.06, 0.22) * draw.within(0.6, 1.4))
    return faded(total, 0.0005, 0.01)


def electric_shaver_toothbrush(draw: Draw, samples: int) -> Signal:
    """Return a steady buzz: many harmonics below a broad spectral peak, weakly modulated.

    `rate` is the armature's frequency; the beat is that of motor and cutter.
    """
    rate = draw.log(70.0, 260.0)
    wander = random_curve(draw.rng, samples, 1.5, 0.994, 1.006)
    count = int(9000 / rate)
    harmonics = np.arange(1, count + 1) * rate
    peak = draw.log(2200.0, 5500.0)
    shape = np.exp(-0.5 * (np.log2(harmonics / peak) / draw.linear(0.9, 1.4)) ** 2) + 0.08
    amplitudes = shape * draw.rng.uniform(0.5, 1.0, count)
    amplitudes[: max(1, count // 20)] *= 3.0
    buzz = unit_power(oscillator(draw.rng, rate * wander, samples, list(amplitudes)))
    depth = draw.linear(0.15, 0.5)
    beat = 1 + depth * np.sin(2 * np.pi * draw.log(8.0, 25.0) * time_axis(samples))
    contact = random_curve(draw.rng, samples, 2.0, 0.6, 1.0)
    hiss = noise(draw.rng, samples, ((1500.0, -25.0), (5000.0, 0.0), (12000.0, -10.0)))
    return faded((buzz * beat.astype(np.float32) + 0.15 * hiss) * contact, 0.03, 0.04)


def frying(draw: Draw, samples: int) -> Signal:
    """Return crackles (random impulses of log-normal size through resonances) and steady hiss."""
    hiss_from = draw.log(2500.0, 5500.0)
    hiss = noise(draw.rng, samples, ((hiss_from / 4, -32.0), (hiss_from, 0.0), (14000.0, -8.0)))
    crackle = np.zeros(samples, dtype=np.float32)
    for _ in range(2):
        pops = impulses(draw.rng, samples, draw.log(18.0, 60.0), draw.linear(0.7, 1.1))
        crackle += resonance(pops, draw.log(2200.0, 5000.0) * draw.within(0.7, 1.4), 900.0)
    swell = random_curve(draw.rng, samples, 1.0, 0.6, 1.0)
    return faded((draw.linear(0.6, 1.1) * unit_power(crackle) + hiss) * swell, 0.08, 0.1)


def running_water(draw: Draw, samples: int) -> Signal:
    """Return coloured noise that fluctuates, and drops: impulses through narrow resonances."""
    centre = draw.log(900.0, 2400.0)
    bands = ((centre / 8, -22.0), (centre, 0.0), (centre * 5, -14.0), (20000.0, -26.0))
    splash = noise(draw.rng, samples, bands)
    splash *= random_curve(draw.rng, samples, draw.log(8.0, 16.0), 0.35, 1.0)
    drops = np.zeros(samples, dtype=np.float32)
    for _ in range(4):
        hits = impulses(draw.rng, samples, draw.log(25.0, 70.0), 0.6)
        drops += resonance(hits, draw.log(450.0, 1500.0) * draw.within(0.6, 1.6), 35.0)
    mixture = splash + draw.linear(0.9, 1.5) * unit_power(drops)
    return faded(mixture * random_curve(draw.rng, samples, 0.7, 0.7, 1.0), 0.06, 0.1)


def vacuum_cleaner(draw: Draw, samples: int) -> Signal:
    """Return broad noise of air and a fan's harmonics, both swelling with each stroke."""
    body = draw.log(350.0, 900.0)
    bands = ((60.0, -18.0), (body, 0.0), (body * 4, -draw.linear(8.0, 3.0)), (16000.0, -30.0))
    air = noise(draw.rng, samples, bands)
    run_up = 1 - 0.5 * np.exp(-time_axis(samples) / draw.log(0.3, 0.8))
    fan = draw.log(220.0, 560.0) * run_up.astype(np.float32)
    whine = oscillator(draw.rng, fan, samples, [1.0, 0.5, 0.7, 0.2, 0.3, 0.1, 0.15])
    stroke = curve(draw.rng.uniform(0.75, 1.0, max(2, samples // 30000)), samples)
    mixture = air + draw.linear(0.85, 0.65) * unit_power(whine)
    return faded(mixture * stroke * run_up.astype(np.float32), 0.08, 0.15)


TIMBRES: dict[str, Timbre] = {
    "Alarm_bell_ringing": alarm_bell_ringing,
    "Blender": blender,
    "Cat": cat,
    "Dishes": dishes,
    "Dog": dog,
    "Electric_shaver_toothbrush": electric_shaver_toothbrush,
    "Frying": frying,
    "Running_water": running_water,
    "Speech": speech,
    "Vacuum_cleaner": vacuum_cleaner,
}
"""The timbre of each class, in the order of the data set."""

CLASSES = tuple(TIMBRES)
