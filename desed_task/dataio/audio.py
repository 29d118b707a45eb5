"""Reading audio files: one rate, one channel, nothing silently wrong (docs/recipe.md, "Data")."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from desed_task.errors import InputError

# libsndfile's remark on a WAV file that ends before the length its header declares.
_SHORTER_THAN_DECLARED = re.compile(r"^data\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
# A file's samples of 16 bits are n / 2^15, n a whole number; exact in float32.
_FULL_SCALE = 2.0**15
# Written by programs that stream and cannot know the length: no claim about the file at all.
_UNKNOWN_LENGTH = 0x7FFF_F000

Samples = NDArray[np.int16] | NDArray[np.float32]
"""`(samples,)`: as 16-bit files hold them, or in [-1, 1]; `as_float` makes the latter of both."""
_Array = TypeVar("_Array", bound=NDArray[Any])


class AudioInfo(NamedTuple):
    """What a header says: samples per second, channels, samples per channel."""

    sample_rate: int
    channels: int
    frames: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


class Excerpt(NamedTuple):
    """A part of a file.

    Attributes:
        audio: `(samples,)`: int16 as stored where the file is mono and of 16 bits; otherwise
            float32 in [-1, 1].
        start: the file's sample at which `audio` begins.
        file_seconds: length of the whole file, in seconds.
    """

    audio: Samples
    start: int
    file_seconds: float


def audio_info(path: str | Path) -> AudioInfo:
    """Rate, channels and length of a file; only its header is read.

    Raises InputError naming the file when it is missing, unreadable, empty or cut off.
    """
    with open_audio(path) as file:
        return AudioInfo(file.samplerate, file.channels, file.frames)


def read_audio(
    path: str | Path, sample_rate: int, start: int = 0, n_samples: int | None = None
) -> NDArray[np.float32]:
    """Samples of a file, `(samples,)`, float32 in [-1, 1], channels averaged.

    Args:
        path: an audio file.
        sample_rate: the rate the file must have, in Hz; another one is an error.
        start: first sample that is read.
        n_samples: samples to read; fewer come back where the file ends. None: up to its end.

    Raises InputError naming the file when it is missing, unreadable, empty, cut off, not at
    `sample_rate`, or holds samples that are no numbers.
    """
    with open_audio(path, sample_rate) as file:
        return as_float(read_samples(file, start, -1 if n_samples is None else n_samples))


def read_excerpt(
    path: str | Path, sample_rate: int, n_samples: int, seed: int | None = None
) -> Excerpt:
    """At most `n_samples` of a file: all of a shorter one, a part of a longer one.

    The part begins at the file's start, or, with a `seed`, at a place drawn from it, uniformly.
    Only this part is read. Errors as in `read_audio`.
    """
    with open_audio(path, sample_rate) as file:
        start = excerpt_start(file.frames, n_samples, seed)
        return Excerpt(read_samples(file, start, n_samples), start, file.frames / sample_rate)


def excerpt_start(frames: int, n_samples: int, seed: int | None) -> int:
    """First sample of the part of `n_samples` that is taken of `frames`; see `read_excerpt`."""
    spare = frames - n_samples
    if seed is None or spare <= 0:
        return 0
    return int(np.random.default_rng(seed).integers(spare, endpoint=True))


def is_16_bit(file: soundfile.SoundFile) -> bool:
    """Whether a file's samples are handed on as they are stored: one channel of 16-bit integers."""
    return file.subtype == "PCM_16" and file.channels == 1


def as_float(audio: Samples) -> NDArray[np.float32]:
    """Samples in [-1, 1], exact; floats are returned as they are."""
    if audio.dtype == np.int16:
        return audio.astype(np.float32) / np.float32(_FULL_SCALE)
    return audio.astype(np.float32, copy=False)


def fit_length(audio: _Array, n_samples: int, offset: int = 0) -> _Array:
    """`(n_samples,)`: the samples from `offset` on, cropped, or zero-padded at the end.

    Without padding it is a view of `audio`, not a copy.
    """
    part: Any = audio[offset : offset + n_samples]
    if len(part) == n_samples:
        return part
    fitted: Any = np.zeros(n_samples, dtype=audio.dtype)
    fitted[: len(part)] = part
    return fitted


@contextmanager
def open_audio(path: str | Path, sample_rate: int | None = None) -> Iterator[soundfile.SoundFile]:
    """An open file that is readable, not empty, not cut off and, where given, at `sample_rate`.

    Raises InputError naming the file; failures while reading inside the block are named as well.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such audio file")
    try:
        with soundfile.SoundFile(path) as file:
            _check(file, path, sample_rate)
            yield file
    except (soundfile.SoundFileError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as audio: {error}") from error


def _check(file: soundfile.SoundFile, path: str | Path, sample_rate: int | None) -> None:
    if file.frames == 0:
        raise InputError(f"{path}: holds no audio")
    cut = _SHORTER_THAN_DECLARED.search(file.extra_info)
    if cut is not None:
        declared, present = int(cut[1]), int(cut[2])
        if present < declared < _UNKNOWN_LENGTH:
            raise InputError(
                f"{path}: is cut off: its header declares {declared} bytes of audio, "
                f"{present} are there"
            )
    if sample_rate is not None and file.samplerate != sample_rate:
        raise InputError(f"{path}: is at {file.samplerate} Hz, expected {sample_rate} Hz")


def read_samples(file: soundfile.SoundFile, start: int, n_samples: int) -> Samples:
    """`n_samples` from `start` on (-1: all that follow), fewer where the file ends.

    Raises ValueError for samples that are no numbers.
    """
    file.seek(min(start, file.frames))
    if is_16_bit(file):
        return file.read(n_samples, dtype="int16")
    audio = file.read(n_samples, dtype="float32", always_2d=True)
    mono = audio[:, 0] if audio.shape[1] == 1 else audio.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise ValueError("holds samples that are no numbers (NaN or infinite)")
    return mono
