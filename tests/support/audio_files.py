"""Small audio files, made where a test needs them."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray


def tone(
    seconds: float, rate: int, hertz: float = 1000.0, level: float = 0.5
) -> NDArray[np.float64]:
    """A sine, `(samples,)`."""
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write_tone(
    path: Path, seconds: float = 0.5, rate: int = 16000, hertz: float = 1000.0, channels: int = 1
) -> Path:
    """A WAV file with the same sine in all channels; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = np.repeat(tone(seconds, rate, hertz)[:, None], channels, axis=1)
    soundfile.write(path, audio, rate, subtype="PCM_16")
    return path


def cut_off(path: Path, keep: float = 0.5) -> None:
    """Keep only the first part of a file's bytes, as an interrupted copy does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
