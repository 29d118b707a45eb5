"""Voices: speech, cats and dogs, by source-filter synthesis (interface: see `timbres`).

The source is a harmonic tone or noise (glottis, breath); the filter is a sum of resonances
(formants) in parallel. Frequencies are in Hz, lengths in seconds.
"""

import numpy as np

from desed_task.synthesis.domains import Draw
from desed_task.synthesis.signals import (
    Signal,
    add_at,
    curve,
    faded,
    noise,
    oscillator,
    resonance,
    seconds_to_samples,
    time_axis,
    unit_power,
)

VOWELS = (
    (280.0, 2250.0, 2900.0),
    (400.0, 2000.0, 2550.0),
    (730.0, 1150.0, 2450.0),
    (500.0, 1500.0, 2500.0),
    (450.0, 800.0, 2600.0),
    (310.0, 870.0, 2250.0),
)
"""First three formants of an adult's vowels in Hz."""
FORMANT_WIDTHS = (90.0, 130.0, 220.0)
"""Bandwidths of the formants in Hz."""
FORMANT_GAINS = (1.0, 0.6, 0.35)


def _formants(source: Signal, formants: tuple[float, ...], tract: float) -> Signal:
    """Return the source through parallel formants, whose frequencies are scaled by `tract`.

    `tract` is the inverse of the vocal tract's relative length (1: adult, above: child).
    """
    total = np.zeros_like(source)
    for frequency, width, gain in zip(formants, FORMANT_WIDTHS, FORMANT_GAINS, strict=True):
        total += gain * resonance(source, frequency * tract, width)
    return total


def _vowel(draw: Draw, samples: int, pitch_hz: float, tract: float, brightness: float) -> Signal:
    """Return a voiced sound of unit power that changes from one vowel to another.

    Harmonic k of the glottal source has the amplitude k^-brightness.
    """
    pitch = pitch_hz * curve(draw.rng.uniform(0.88, 1.12, 3), samples)
    source = oscillator(draw.rng, pitch, samples, [k**-brightness for k in range(1, 61)])
    first, second = draw.rng.choice(len(VOWELS), 2)
    glide = curve([0.0, 0.3, 1.0], samples)
    voiced = (1 - glide) * _formants(source, VOWELS[first], tract)
    voiced += glide * _formants(source, VOWELS[second], tract)
    return faded(unit_power(voiced), 0.025, 0.04)


def _fricative(draw: Draw, tract: float) -> Signal:
    """Return a consonant: a band of noise without voice."""
    samples = seconds_to_samples(draw.within(0.05, 0.12))
    centre = draw.within(3000.0, 6500.0) * tract
    bands = ((centre / 3, -35.0), (centre, 0.0), (centre * 2, -12.0))
    return faded(noise(draw.rng, samples, bands), 0.015, 0.015)


def speech(draw: Draw, samples: int) -> Signal:
    """Return syllables (fricative or none, then a vowel glide) with short pauses."""
    pitch = draw.log(95.0, 270.0)
    tract = draw.linear(0.92, 1.28)
    brightness = draw.linear(1.2, 0.8)
    syllable = draw.log(0.14, 0.24)
    total = np.zeros(samples, dtype=np.float32)
    start = 0
    while start < samples - 1000:
        if draw.chance(0.4):
            fricative = _fricative(draw, tract)
            add_at(total, draw.within(0.2, 0.7) * fricative, start)
            start += int(0.85 * len(fricative))
        length = min(seconds_to_samples(syllable * draw.within(0.6, 1.4)), samples - start)
        if length < 1000:
            break
        # The pitch falls over the utterance, as in a statement.
        fallen_pitch = pitch * (1.1 - 0.25 * start / samples)
        vowel = _vowel(draw, length, fallen_pitch, tract, brightness)
        add_at(total, vowel * draw.within(0.5, 1.0), start)
        start += length
        if draw.chance(0.2):
            start += seconds_to_samples(draw.within(0.04, 0.2))
    return faded(total, 0.005, 0.02)


def _meow(draw: Draw, samples: int, pitch_hz: float) -> Signal:
    """Return one call: the pitch rises and falls while the mouth opens and closes."""
    depth = draw.linear(0.15, 0.35)
    turn = draw.within(0.2, 0.5)
    knots = [1 - depth, 1.0, 1.0 - depth * draw.within(0.5, 1.3)]
    pitch = np.interp(np.linspace(0.0, 1.0, samples), [0.0, turn, 1.0], knots)
    trill = 1 + 0.015 * np.sin(2 * np.pi * draw.within(5.0, 9.0) * time_axis(samples))
    frequency = (pitch_hz * pitch * trill).astype(np.float32)
    source = oscillator(draw.rng, frequency, samples, [k**-0.6 for k in range(1, 21)])
    dark = resonance(source, draw.log(800.0, 1300.0), 500.0)
    bright = resonance(source, draw.log(1700.0, 3200.0), 800.0)
    opening = np.sin(np.pi * np.linspace(0.0, 1.0, samples) ** 0.8).astype(np.float32)
    call = (1 - opening) * dark + opening * bright + 0.3 * opening * source
    return faded(call * (0.15 + opening), 0.03, 0.05)


def cat(draw: Draw, samples: int) -> Signal:
    """Return meows: one of up to 1.5 times the usual length, or a row of them."""
    pitch = draw.log(380.0, 720.0)
    call = draw.log(0.5, 1.1)
    total = np.zeros(samples, dtype=np.float32)
    start = 0
    while samples - start > 4000:
        length = seconds_to_samples(call * draw.within(0.7, 1.3))
        if samples - start < 1.5 * length:
            length = samples - start
        add_at(total, _meow(draw, length, pitch * draw.within(0.92, 1.08)), start)
        start += length + seconds_to_samples(draw.within(0.05, 0.2))
    return total


def _bark(draw: Draw, samples: int, pitch_hz: float, roughness: float) -> Signal:
    """Return one bark: a tone that falls in pitch and breath, with a steep onset.

    `roughness` is the level of the breath relative to the tone.
    """
    progress = np.linspace(0.0, 1.0, samples)
    fall = draw.linear(0.35, 0.55)
    pitch = pitch_hz * (0.85 + 0.3 * np.sin(np.pi * progress**0.6) - fall * progress**2)
    tone = oscillator(draw.rng, pitch.astype(np.float32), samples, [k**-0.5 for k in range(1, 25)])
    breath = noise(draw.rng, samples, ((200.0, -15.0), (1200.0, 0.0), (9000.0, -20.0)))
    source = unit_power(tone) + roughness * breath
    throat = resonance(source, draw.log(650.0, 1300.0), 350.0)
    throat += 0.5 * resonance(source, draw.log(1500.0, 2900.0), 700.0)
    shape = np.exp(-2.5 * progress) * (1 - np.exp(-progress * samples / 250.0))
    return faded(throat * shape.astype(np.float32), 0.003, 0.02)


def dog(draw: Draw, samples: int) -> Signal:
    """Return barks with pauses."""
    pitch = draw.log(280.0, 800.0)
    roughness = draw.linear(0.4, 0.9)
    bark = draw.log(0.2, 0.11)
    pause = draw.log(0.12, 0.24)
    total = np.zeros(samples, dtype=np.float32)
    start = 0
    while samples - start > 3000:
        length = min(seconds_to_samples(bark * draw.within(0.8, 1.25)), samples - start)
        call = _bark(draw, length, pitch * draw.within(0.93, 1.07), roughness)
        add_at(total, call * draw.within(0.6, 1.0), start)
        start += length + seconds_to_samples(pause * draw.within(0.4, 1.0))
    return total
