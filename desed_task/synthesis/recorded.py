"""Sounds from recordings: their audible sections, their bandwidth, and a source of scenes.

A recording's bursts of sound are the stretches above a threshold, joined over pauses shorter than
`pause` seconds. The threshold is `AUDIBLE_DB` below the recording's peak or, where the recording
has audible noise of its own, `ABOVE_NOISE_DB` above that noise. Each burst is one event; what is
between bursts is not used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.signal
import soxr

from desed_task.dataio.audio import MIX, Channel, read_at_own_rate
from desed_task.dataio.bandwidth import spectrum_end, spectrum_size
from desed_task.synthesis import backgrounds
from desed_task.synthesis.domains import Draw
from desed_task.synthesis.signals import (
    AUDIBLE_DB,
    ENVELOPE_BLOCK,
    SAMPLE_RATE,
    Signal,
    above_rumble,
    add_at,
    envelope,
    faded,
    seconds_to_samples,
    trimmed,
)

ABOVE_NOISE_DB = 9.0
MIN_SPAN_DB = 24.0
"""A recording whose quietest tenth is less far below its peak is one continuous sound."""
MIN_ENERGY = 0.05
"""A burst with less energy, relative to the recording's strongest burst, is not an event."""
MIN_CUT_S = 1.0
"""A continuous sound is used in lengths from this one to its own."""
EDGE_S = 0.005
CROSSFADE_S = 0.1


@dataclass(frozen=True)
class Section:
    """A section of a recording that is one sound: samples `start` to `stop` at `SAMPLE_RATE`.

    `continuous`: the sound neither begins nor ends within the recording.
    """

    path: Path
    start: int
    stop: int
    continuous: bool = False

    @property
    def seconds(self) -> float:
        """Length."""
        return (self.stop - self.start) / SAMPLE_RATE


@lru_cache(maxsize=128)
def read_sound(path: Path, cutoff_hz: float, channel: Channel = MIX) -> Signal:
    """Samples of an audio file, `(samples,)` at `SAMPLE_RATE`, without frequencies above a cutoff.

    Raises InputError for a file that cannot be read.
    """
    return low_passed(resampled(path, channel=channel), cutoff_hz)


def resampled(
    path: Path, start: int = 0, n_samples: int | None = None, channel: Channel = MIX
) -> Signal:
    """Samples of a file at `SAMPLE_RATE`; `start` and `n_samples` are at the file's rate."""
    audio, rate = read_at_own_rate(path, start, n_samples, channel)
    if rate != SAMPLE_RATE:
        audio = soxr.resample(audio, rate, SAMPLE_RATE, quality="HQ")
    return audio


def low_passed(signal: Signal, cutoff_hz: float) -> Signal:
    """The signal without frequencies above the cutoff (elliptic filter, both directions)."""
    if cutoff_hz >= 0.49 * SAMPLE_RATE:
        return signal
    sos = scipy.signal.ellip(8, 0.1, 40.0, cutoff_hz, fs=SAMPLE_RATE, output="sos")
    shortest = 3 * (2 * len(sos) + 1)
    padding = min(len(signal) - 1, shortest)
    return np.asarray(scipy.signal.sosfiltfilt(sos, signal, padlen=padding), dtype=np.float32)


def bandwidth(path: Path, channel: Channel = MIX) -> float:
    """Effective bandwidth of a recording in Hz: half its rate, or where its spectrum breaks off.

    Warns of channels that cancel.
    """
    audio, rate = read_at_own_rate(path, channel=channel, warn=True)
    _, power = scipy.signal.welch(audio, rate, nperseg=min(len(audio), spectrum_size(rate)))
    return spectrum_end(power, rate)


def bursts(signal: Signal, pause_s: float) -> list[tuple[int, int]]:
    """First sample and end of each burst of sound; see the module's text. None in silence."""
    levels = envelope(above_rumble(signal))
    peak = float(levels.max(initial=0.0))
    if peak < 1e-5:
        return []
    audible = np.flatnonzero(levels > _threshold(levels, peak))
    gaps = (np.diff(audible) - 1) * ENVELOPE_BLOCK
    breaks = np.flatnonzero((gaps > 0) & (gaps >= pause_s * SAMPLE_RATE))
    firsts = audible[np.concatenate([[0], breaks + 1])]
    ends = audible[np.concatenate([breaks, [len(audible) - 1]])] + 1
    energy = np.concatenate([[0.0], np.cumsum(np.square(levels))])
    energies = energy[ends] - energy[firsts]
    strong = energies >= MIN_ENERGY * energies.max()
    return [
        (int(first) * ENVELOPE_BLOCK, min(int(end) * ENVELOPE_BLOCK, len(signal)))
        for first, end in zip(firsts[strong], ends[strong], strict=True)
    ]


def _threshold(levels: np.ndarray, peak: float) -> float:
    below_peak = peak * 10 ** (-AUDIBLE_DB / 20)
    sounding = levels[levels > peak * 1e-4]  # without digital silence
    noise = float(np.quantile(sounding, 0.1))
    if noise > peak * 10 ** (-MIN_SPAN_DB / 20):
        return below_peak
    return max(below_peak, noise * 10 ** (ABOVE_NOISE_DB / 20))


def events_of(
    path: Path, cutoff_hz: float, pause_s: float, channel: Channel = MIX
) -> list[Section]:
    """The events of a recording; none where it is silent."""
    signal = read_sound(path, cutoff_hz, channel)
    edge = seconds_to_samples(0.05)
    return [
        Section(path, start, stop, start < edge and stop > len(signal) - edge)
        for start, stop in bursts(signal, pause_s)
    ]


def extent_of(path: Path, cutoff_hz: float, channel: Channel = MIX) -> Section | None:
    """A background without the silence at its ends; None where it is silent."""
    found = bursts(read_sound(path, cutoff_hz, channel), np.inf)
    return Section(path, found[0][0], found[-1][1], True) if found else None


def looped(rng: np.random.Generator, signal: Signal, samples: int) -> Signal:
    """`(samples,)` of a background from a random time on, repeated with cross-fades."""
    fade = min(seconds_to_samples(CROSSFADE_S), len(signal) // 4)
    start = int(rng.integers(0, max(1, len(signal) - fade * 2)))
    if len(signal) - start >= samples:
        return signal[start : start + samples]
    ramp = np.sin(0.5 * np.pi * (np.arange(fade) + 0.5) / max(1, fade)).astype(np.float32)
    total = np.zeros(samples, dtype=np.float32)
    position, piece = 0, signal[start:].copy()
    while position < samples:
        if fade:
            piece[-fade:] *= ramp[::-1]
        add_at(total, piece, position)
        position += max(1, len(piece) - fade)
        piece = signal.copy()
        piece[:fade] *= ramp
    return total


@dataclass(frozen=True)
class RecordedSounds:
    """A `SoundSource` of recordings of one split.

    `events`: per class the sections of each recording; `ambiences`: the backgrounds, none for
    synthetic ones. Sounds without a label are synthetic. All are limited to `cutoff_hz`;
    `channel`: how channels become one.
    """

    events: Mapping[str, Sequence[Sequence[Section]]]
    ambiences: Sequence[Section]
    cutoff_hz: float
    channel: Channel = MIX

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""
        return tuple(self.events)

    def weight(self, label: str) -> float:
        """All classes are equally frequent."""
        del label
        return 1.0

    def events_per_clip(self, label: str) -> float:
        """From 3 for short sounds to 1 for those that last three seconds or longer."""
        seconds = [section.seconds for each in self.events[label] for section in each]
        return float(np.clip(4.0 / (1.0 + np.median(seconds)), 1.0, 3.0))

    def draw_length(self, rng: np.random.Generator, label: str, longest: float) -> float:
        """The length of a random section, or less where the sound is continuous."""
        recordings = self.events[label]
        sections = recordings[int(rng.integers(len(recordings)))]
        section = sections[int(rng.integers(len(sections)))]
        seconds = section.seconds
        if section.continuous and seconds > MIN_CUT_S:
            seconds = float(np.exp(rng.uniform(np.log(MIN_CUT_S), np.log(seconds))))
        return min(seconds, longest)

    def event(self, draw: Draw, label: str, samples: int) -> Signal:
        """A section of this length; if there is none, the start of a longer one, or a shorter one.

        Continuous sounds are cut at a random time.
        """
        sections = [section for each in self.events[label] for section in each]
        lengths = np.array([section.stop - section.start for section in sections])
        cuts = np.array([section.continuous for section in sections]) & (lengths >= samples)
        exact = np.abs(lengths - samples) <= ENVELOPE_BLOCK
        longer = lengths > samples
        for fitting in (exact, cuts, longer, lengths == lengths.max()):
            if fitting.any():
                break
        section = sections[int(draw.rng.choice(np.flatnonzero(fitting)))]
        spare = section.stop - section.start - samples
        first = int(draw.rng.integers(spare + 1)) if section.continuous and spare > 0 else 0
        start = section.start + first
        stop = min(start + samples, section.stop)
        sound = read_sound(section.path, self.cutoff_hz, self.channel)[start:stop]
        return faded(trimmed(sound) if section.continuous else sound, EDGE_S / 5, EDGE_S)

    def background(self, draw: Draw, samples: int) -> Signal:
        """A recorded background, or synthetic noise where there are none."""
        if not self.ambiences:
            return low_passed(backgrounds.background(draw, samples), self.cutoff_hz)
        section = self.ambiences[int(draw.rng.integers(len(self.ambiences)))]
        sound = read_sound(section.path, self.cutoff_hz, self.channel)[section.start : section.stop]
        return looped(draw.rng, sound, samples)

    def non_target(self, draw: Draw, samples: int) -> Signal:
        """A synthetic sound without a label."""
        return low_passed(backgrounds.non_target(draw, samples), self.cutoff_hz)
