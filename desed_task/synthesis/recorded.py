"""Sounds from recordings: their audible sections, their bandwidth, and a source of scenes.

A recording's bursts of sound are the stretches above a threshold, joined over pauses shorter than
`pause` seconds. The threshold is `AUDIBLE_DB` below the recording's peak or, where the recording
has audible noise of its own, `ABOVE_NOISE_DB` above that noise. Each burst is one event; what is
between bursts is not used.

Bandwidth must not identify a class. In a share of the scenes all sounds are limited to the
bandwidth of one of the narrow recordings; only in these are narrow recordings used, unless their
class has no others. So all sounds of a scene have one bandwidth, where the recordings allow it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft
import scipy.signal
import soxr
from numpy.typing import NDArray

from desed_task.dataio.audio import MIX, Channel, read_at_own_rate
from desed_task.dataio.bandwidth import CLIFF_HZ, spectrum_end, spectrum_size
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
FILLED = 100.0
"""Ratio of the power in the octave below a spectrum's end to that above it."""
WIDE_HZ = 7200.0
"""Recordings of at least this bandwidth are treated alike: networks at 16 kHz read hardly more."""
MIN_BANDWIDTH_HZ = 1000.0
MIN_LIMITED_SHARE = 0.1
"""Share of the scenes with a limit, where there are narrow recordings; or the share of these."""
MIN_ENERGY_BELOW = 0.01
"""A sound with less of its energy below a limit is not used under this limit."""


@dataclass(frozen=True)
class Section:
    """A section of a recording that is one sound: samples `start` to `stop` at `SAMPLE_RATE`.

    Attributes:
        continuous: whether the sound neither begins nor ends within the recording.
        bandwidth_hz: of the recording.
        lowest_hz: the lowest limit under which the sound is still heard.
    """

    path: Path
    start: int
    stop: int
    continuous: bool = False
    bandwidth_hz: float = SAMPLE_RATE / 2
    lowest_hz: float = 0.0

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
    return _resampled(*read_at_own_rate(path, start, n_samples, channel))


def _resampled(audio: Signal, rate: int) -> Signal:
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


def bandwidth(audio: NDArray[np.float32], rate: int) -> float:
    """Effective bandwidth of samples at `rate` in Hz: half the rate, or where a spectrum ends.

    A spectrum that is empty below its end as well is that of a high tone, not of a low-pass filter.
    """
    frequencies, power = scipy.signal.welch(
        audio, rate, nperseg=min(len(audio), spectrum_size(rate))
    )
    end = spectrum_end(power, rate)
    below, above = (frequencies > end / 2) & (frequencies < end), frequencies > end + CLIFF_HZ
    if end < rate / 2 and np.median(power[below]) < FILLED * power[above].max():
        return rate / 2
    return end


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


def lowest_limit(signal: Signal) -> float:
    """The frequency in Hz below which a sound has the share `MIN_ENERGY_BELOW` of its energy."""
    size = scipy.fft.next_fast_len(len(signal), real=True)
    energy = np.cumsum(np.square(np.abs(scipy.fft.rfft(above_rumble(signal), size))))
    return float(np.searchsorted(energy, MIN_ENERGY_BELOW * energy[-1]) * SAMPLE_RATE / size)


def sections_of(path: Path, pause_s: float, channel: Channel = MIX) -> list[Section]:
    """The events of a recording; none where it is silent.

    With an infinite pause one section: the recording without the silence at its ends. Warns of
    channels that cancel. Raises InputError for a file that cannot be read.
    """
    audio, rate = read_at_own_rate(path, channel=channel, warn=True)
    width_hz = max(MIN_BANDWIDTH_HZ, bandwidth(audio, rate))
    signal = _resampled(audio, rate)
    edge = seconds_to_samples(0.05)
    return [
        Section(
            *(path, start, stop, start < edge and stop > len(signal) - edge),
            *(width_hz, lowest_limit(signal[start:stop])),
        )
        for start, stop in bursts(signal, pause_s)
    ]


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

    Attributes:
        events: per class the sections of each recording.
        ambiences: the backgrounds, none for synthetic ones. Sounds without a label are synthetic.
        cutoff_hz: limit of all sounds.
        channel: how channels become one.
    """

    events: Mapping[str, Sequence[Sequence[Section]]]
    ambiences: Sequence[Section]
    cutoff_hz: float
    channel: Channel = MIX

    def drawn(self, rng: np.random.Generator) -> "RecordedSounds":
        """The sounds for one scene, in a share of the scenes with the limit of a narrow recording.

        A limit under which no class could be heard is not drawn.
        """
        share = self.limited_share
        if share and rng.random() < share:
            limited = self.limited(float(rng.choice(self._narrow_hz)))
            if limited.events:
                return limited
        return self.limited(self.cutoff_hz)

    @property
    def wide_hz(self) -> float:
        """The bandwidth from which on a recording is used in scenes without a limit."""
        return min(WIDE_HZ, self.cutoff_hz)

    @property
    def limited_share(self) -> float:
        """The share of scenes with a limit."""
        narrow, recordings = len(self._narrow_hz), len(self._bandwidths_hz)
        return max(MIN_LIMITED_SHARE, narrow / recordings) if narrow else 0.0

    @property
    def _bandwidths_hz(self) -> list[float]:
        first = [each[0] for recordings in self.events.values() for each in recordings]
        return [section.bandwidth_hz for section in (*first, *self.ambiences)]

    @property
    def _narrow_hz(self) -> list[float]:
        return [hz for hz in self._bandwidths_hz if hz < self.wide_hz]

    def limited(self, limit_hz: float) -> "RecordedSounds":
        """The sounds that are heard below a limit and reach it, limited to it.

        Of a class without such sounds, those that do not reach it. Classes without any are absent.
        """

        def fitting(sections: Sequence[Section]) -> Sequence[Section]:
            return [each for each in sections if each.lowest_hz <= limit_hz]

        def widest(recordings: Sequence[Sequence[Section]]) -> Sequence[Sequence[Section]]:
            heard = [found for each in recordings if (found := fitting(each))]
            enough = min(limit_hz, self.wide_hz)
            return [each for each in heard if each[0].bandwidth_hz >= enough] or heard

        widest_of = {label: widest(recordings) for label, recordings in self.events.items()}
        events = {label: recordings for label, recordings in widest_of.items() if recordings}
        ambiences = [each for (each,) in widest([[each] for each in self.ambiences])]
        return replace(self, events=events, ambiences=ambiences, cutoff_hz=limit_hz)

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
        return faded(trimmed(sound), EDGE_S / 5, EDGE_S)

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
