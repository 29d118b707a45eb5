"""Recordings with less band than the model reads: one warning for all."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr
from numpy.typing import NDArray

from desed_task.dataio.bandwidth import Bandwidth
from desed_task.detect import Detector
from desed_task.detect.__main__ import main

RANDOM = np.random.default_rng(0)


def _hz(audio: NDArray[np.float32], rate: int = 16000, block: int = 80000) -> float:
    bandwidth = Bandwidth(rate)
    blocks = [audio[start : start + block] for start in range(0, len(audio), block)]
    assert sum(map(len, bandwidth.measured(blocks))) == len(audio)
    return bandwidth.hz


def test_the_end_of_the_spectrum() -> None:
    noise = RANDOM.normal(0, 0.1, 160_000).astype(np.float32)
    for rate in (8000, 11025, 12000):
        cut = soxr.resample(soxr.resample(noise, 16000, rate), rate, 16000)
        assert _hz(cut) == pytest.approx(rate / 2, rel=0.25)
        assert _hz(cut, block=777) == pytest.approx(rate / 2, rel=0.25)
    assert _hz(noise[:10]) == np.inf


def test_natural_spectra_do_not_end() -> None:
    """Noise, a steep slope, a tone, a chorus of crickets, rumble, silence."""
    noise = RANDOM.normal(0, 0.1, 160_000)
    time = np.arange(160_000) / 16000
    slope = scipy.signal.lfilter(*scipy.signal.butter(2, 500, fs=16000), noise)
    band = scipy.signal.lfilter(*scipy.signal.butter(2, (4000, 5000), "band", fs=16000), noise)
    quiet = noise * 0.003
    for audio in (noise, slope + quiet, np.sin(9000 * time) * 0.5 + quiet, band + quiet, 0 * noise):
        assert _hz(audio.astype(np.float32)) == np.inf


def test_one_warning_for_all_files(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The model of the tests reads up to 4 000 Hz."""
    for number in range(5):
        soundfile.write(tmp_path / f"narrow {number}.wav", RANDOM.normal(0, 0.1, 9000), 6000)
    soundfile.write(tmp_path / "wide.wav", RANDOM.normal(0, 0.1, 9000), 8000)
    given = [f"--model={model}", f"--output={tmp_path / 'out'}", "--workers=3"]
    assert main([*given, str(tmp_path)]) == 0
    (record,) = caplog.records
    assert record.getMessage().startswith("5 recordings have a narrower band than the 4000 Hz")
    assert record.getMessage().count(".wav (3000 Hz)") == 3  # those that ended first
    assert "and 2 more" in record.getMessage()
    caplog.clear()
    detector = Detector.load(model)
    detector(tmp_path / "wide.wav")
    assert not caplog.records
    detector(tmp_path / "narrow 1.wav")
    detector(np.zeros(6000), 4000)
    detector.stream(2000)
    for expected in ("narrow 1.wav (3000 Hz)", "audio (2000 Hz)", "stream (1000 Hz)"):
        assert expected in caplog.text
