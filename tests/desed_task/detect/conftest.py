from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, whose scores vary."""
    folder = tmp_path_factory.mktemp("model")
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of many kinds: rates, channels, lengths, names, and two broken ones."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "sub ♪" / ".hidden").mkdir(parents=True)
    random = np.random.default_rng(0)

    def write(name: str, seconds: float, rate: int, channels: int = 1) -> None:
        time = np.arange(round(seconds * rate)) / rate
        loud = (np.sin(2 * np.pi * time / 1.7) > 0) * 0.3 + 1e-3
        tones = np.sin(2 * np.pi * 440 * time) + random.normal(0, 0.5, len(time))
        audio = np.stack([loud * tones / (channel + 1) for channel in range(channels)], axis=1)
        soundfile.write(folder / name, audio.clip(-1, 1), rate)

    write("long.wav", 11.3, 8000)
    write("long.flac", 5.0, 44100, 2)
    write("short.WAV", 0.7, 16000)
    write("sub ♪/a b.ogg", 3.0, 22050)
    write("sub ♪/.hidden/no.wav", 1.0, 8000)
    write(".no.wav", 1.0, 8000)
    (folder / "broken.wav").write_bytes(b"RIFF no audio")
    (folder / "empty.wav").touch()
    (folder / "notes.txt").write_text("no recording")
    return folder
