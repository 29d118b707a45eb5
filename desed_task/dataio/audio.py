"""Reading audio files of one rate into one channel, with every defect an error.

Source: docs/recipe.md, "Data".
"""

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from desed_task.dataio.audio_streams import UnreadableError
from desed_task.dataio.sound_files import AudioFile
from desed_task.errors import InputError, file_error

logger = logging.getLogger(__name__)

# 16-bit samples are n / 2^15 with an integer n, exact in float32.
_FULL_SCALE = 2.0**15

Samples = NDArray[np.int16] | NDArray[np.float32]
"""`(samples,)`: int16 as 16-bit files store them, or float32 in [-1, 1]; see `as_float`."""
MAX_PEAK = 1.5
"""Float samples up to this magnitude are clipped to [-1, 1]; beyond, a file is refused."""
_Array = TypeVar("_Array", bound=NDArray[Any])

Channel = int | Literal["mix", "loudest"]
"""How channels become one: their mean (`mix`), the loudest, or one by its number from 1 on."""
MIX: Channel = "mix"
CANCELLED = 0.25
"""Channels cancel where their mean has less than this share of the energy that it has where they
do not depend on each other. Two channels of equal energy: a correlation below -0.75."""
_SILENCE = 1e-12  # mean square of what rounding leaves of a constant
_ENERGY_SAMPLES = 1 << 16  # summed in float32; the mean of as many is removed


class SampleError(InputError):
    """Samples that cannot be used; `open_audio` adds the file's name."""


class AudioInfo(NamedTuple):
    """Samples per second, channels, samples per channel that reading returns."""

    sample_rate: int
    channels: int
    frames: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


class Excerpt(NamedTuple):
    """A section of a file.

    Attributes:
        audio: `(samples,)`: int16 as stored where the file is mono with 16 bits, otherwise float32
            in [-1, 1].
        start: the file's sample at which `audio` begins.
        file_seconds: length of the whole file in seconds.
    """

    audio: Samples
    start: int
    file_seconds: float


def audio_info(path: str | Path, whole: bool = False) -> AudioInfo:
    """Rate, channels and length of a file; decoded only where its header cannot be trusted.

    Raises InputError naming a file that is missing, unreadable or empty, and, if it must be
    `whole`, one with less audio than it declares.
    """
    with open_audio(path, whole=whole) as file:
        return AudioInfo(file.sample_rate, file.channels, file.frames)


def estimated_seconds(path: str | Path) -> float:
    """Length that a file's header declares, in seconds; 0: unknown. Raises InputError."""
    with open_audio(path) as file:
        return file.header_frames / file.sample_rate


def read_audio(
    path: str | Path,
    sample_rate: int,
    start: int = 0,
    n_samples: int | None = None,
    channel: Channel = MIX,
) -> NDArray[np.float32]:
    """Samples of a file, `(samples,)`, float32 in [-1, 1].

    Args:
        path: an audio file.
        sample_rate: the rate that the file must have, in Hz.
        start: first sample to read.
        n_samples: number of samples, fewer where the file ends; None: all up to the end.
        channel: how channels become one, see `Mono`.

    Raises InputError naming a file that is missing, unreadable, empty, at another rate, or has
    samples that are NaN, infinite or beyond `MAX_PEAK`.
    """
    with open_audio(path, sample_rate) as file:
        return as_float(_read_samples(file, start, n_samples, Mono(channel)))


def read_at_own_rate(
    path: str | Path,
    start: int = 0,
    n_samples: int | None = None,
    channel: Channel = MIX,
    *,
    warn: bool = False,
) -> tuple[NDArray[np.float32], int]:
    """Samples as of `read_audio`, and the file's rate in Hz. Raises as `read_audio`."""
    mono = Mono(channel, path if warn else "")
    with open_audio(path) as file:
        return as_float(_read_samples(file, start, n_samples, mono)), file.sample_rate


def read_excerpt(
    path: str | Path, sample_rate: int, n_samples: int, seed: int | None = None, *, start: int = 0
) -> Excerpt:
    """`n_samples` of a file from `start` on, or, with a `seed`, from a start drawn uniformly.

    Where the file ends before, the excerpt is shorter. Only the excerpt is read. Raises as
    `read_audio`, and for a file with less audio than it declares.
    """
    with open_audio(path, sample_rate, whole=True) as file:
        frames = file.frames
        spare = frames - n_samples
        if seed is not None and spare > 0:
            start = int(np.random.default_rng(seed).integers(spare, endpoint=True))
        audio = _read_samples(file, start, n_samples, Mono())
        return Excerpt(audio, start, frames / sample_rate)


def as_float(audio: Samples) -> NDArray[np.float32]:
    """Samples in [-1, 1], exact; float32 samples are returned unchanged."""
    if audio.dtype == np.int16:
        return audio.astype(np.float32) / np.float32(_FULL_SCALE)
    return audio.astype(np.float32, copy=False)


class MonoAudio(NamedTuple):
    """Samples `(samples,)`, float32 in [-1, 1], and the peak magnitude before clipping."""

    audio: NDArray[np.float32]
    peak: float


def check_channel(channel: Channel) -> None:
    """Raise InputError for a value that `Channel` does not have."""
    is_number = isinstance(channel, int) and not isinstance(channel, bool) and channel >= 1
    if channel not in ("mix", "loudest") and not is_number:
        raise InputError(f"--channel: expected mix, loudest or a number from 1 on, got {channel}")


def parse_channel(text: str) -> Channel:
    """The value of an option `--channel`. Raises InputError for any other text."""
    channel: Any = int(text) if text.isascii() and text.isdecimal() else text
    check_channel(channel)
    return channel


class Mono:
    """Blocks of one recording, `(samples, channels)` -> one channel, clipped to [-1, 1].

    With `mix` the channels are averaged up to the block in which they cancel, as those of opposite
    polarity do (see `CANCELLED`); from there on the loudest is used, with one warning. The loudest
    channel has the most energy; a later block changes it where another one then has twice as much.

    Args:
        channel: how channels become one.
        name: of the recording, for the warning; empty: no warning.

    Attributes:
        cancelled: whether channels cancelled in a block.
    """

    def __init__(self, channel: Channel = MIX, name: str | Path = "") -> None:
        self.cancelled = False
        self._channel, self._name = channel, name
        self._energies: NDArray[np.float64] | float = 0.0  # of all blocks, by channel
        self._loudest: int | None = None  # before the first sound

    def __call__(self, audio: NDArray[np.float32]) -> MonoAudio:
        """One channel of a block `(samples, channels)`.

        Raises SampleError for samples that are NaN, infinite or beyond `MAX_PEAK`, and for a number
        that no channel has.
        """
        peak = float(np.abs(audio).max(initial=0.0))
        if not np.isfinite(peak):
            raise SampleError("samples: expected finite numbers, got NaN or infinity")
        if peak > MAX_PEAK:
            raise SampleError(
                f"samples: expected magnitudes of at most 1 ({MAX_PEAK:g} with clipping), "
                f"got a peak of {peak:g} (integers stored as floats?)"
            )
        if peak > 1:
            audio = np.clip(audio, -1, 1)
        return MonoAudio(self._one_channel(audio), peak)

    def check(self, channels: int) -> None:
        """Raise SampleError for a chosen channel that a recording of so many does not have."""
        if not isinstance(self._channel, str) and not 1 <= self._channel <= channels:
            raise SampleError(
                f"channel: expected mix, loudest or a number from 1 to {channels}, got "
                f"{self._channel}"
            )

    def _one_channel(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        channels = audio.shape[1]
        self.check(channels)
        if not isinstance(self._channel, str):
            return audio[:, self._channel - 1]
        if channels == 1:
            return audio[:, 0]
        energies, mean_energy = _energies(audio)
        self._energies = self._energies + energies
        most, loudest = int(np.argmax(self._energies)), self._loudest
        if loudest is None or self._energies[most] > 2 * self._energies[loudest]:
            loudest = most
            self._loudest = most if self._energies[most] else None
        if self._channel == "loudest":
            return audio[:, loudest]
        if not self.cancelled and mean_energy < CANCELLED * energies.mean() / channels:
            self.cancelled = True
            if self._name:
                logger.warning(
                    "%s: the mean of the channels is silent (opposite polarity?): channel %d, the "
                    "loudest, is used instead; --channel selects another one",
                    self._name,
                    loudest + 1,
                )
        return audio[:, loudest] if self.cancelled else audio.mean(axis=1, dtype=np.float32)


def _energies(audio: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Energy of each channel, `(channels,)`, and that of their mean, without constant offsets."""
    energies, mean_energy = np.zeros(audio.shape[1]), 0.0
    for start in range(0, len(audio), _ENERGY_SAMPLES):
        signals = audio[start : start + _ENERGY_SAMPLES].T.copy()  # (channels, samples)
        signals -= signals.mean(axis=1, keepdims=True)
        mean = signals.mean(axis=0)
        energies += np.einsum("cs,cs->c", signals, signals)
        mean_energy += float(np.einsum("s,s->", mean, mean))
    energies[energies < _SILENCE * len(audio)] = 0.0
    return energies, mean_energy


def to_16_bit(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples in [-1, 1) as 16-bit integers, rounded; values outside are clipped."""
    return np.clip(np.rint(audio * 32768.0), -32768, 32767).astype(np.int16)


def wav_bytes(audio: NDArray[np.int16] | NDArray[np.float32], sample_rate: int) -> memoryview:
    """A WAV file with 16 bits of samples `(samples,)` or `(samples, channels)`.

    It is made in memory, so that errors of writing it are the system's own, not soundfile's.
    """
    content = io.BytesIO()
    soundfile.write(content, audio, sample_rate, subtype="PCM_16", format="WAV")
    return content.getbuffer()


def fit_length(audio: _Array, n_samples: int) -> _Array:
    """`(n_samples,)`: the first samples, zero-padded at the end; a view where nothing is padded."""
    if len(audio) >= n_samples:
        cropped: Any = audio[:n_samples]
        return cropped
    padded: Any = np.zeros(n_samples, dtype=audio.dtype)
    padded[: len(audio)] = audio
    return padded


@contextmanager
def open_audio(
    path: str | Path, sample_rate: int | None = None, *, whole: bool = False
) -> Iterator[AudioFile]:
    """An open file, if given at `sample_rate` Hz; `whole`: with all the audio that it declares.

    Raises InputError naming the file, also for failures while reading inside the block.
    """
    if not os.path.isfile(path):  # Path.is_file: a fifth of the time that opening takes
        raise InputError(f"{path}: no such audio file")
    try:
        with AudioFile(path, whole) as file:
            if sample_rate is not None and file.sample_rate != sample_rate:
                raise UnreadableError(
                    f"sample rate: expected {sample_rate} Hz, got {file.sample_rate} Hz"
                )
            yield file
    except (SampleError, UnreadableError) as error:
        raise InputError(f"{path}: {error}") from error
    except soundfile.LibsndfileError as error:
        _raise_system_error(path)
        text = f"{path}: cannot be read as audio: {error.error_string}"
        raise InputError(text) from error
    except (soundfile.SoundFileError, ValueError) as error:
        _raise_system_error(path)
        raise InputError(f"{path}: cannot be read as audio: {error}") from error
    except OSError as error:
        raise file_error(path, error) from error


def _raise_system_error(path: str | Path) -> None:
    """Raise the system's error where a file cannot be opened: libsndfile hides the reason."""
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise file_error(path, error) from error


def _read_samples(file: AudioFile, start: int, n_samples: int | None, mono: Mono) -> Samples:
    """`n_samples` from `start` on (None: all that follow), fewer where the file ends.

    Raises SampleError for samples that are NaN, infinite or beyond `MAX_PEAK`.
    """
    mono.check(file.channels)
    if file.subtype == "PCM_16" and file.channels == 1:
        samples: NDArray[np.int16] = file.read(start, n_samples, "int16")[:, 0]
        return samples
    return mono(file.read(start, n_samples)).audio
