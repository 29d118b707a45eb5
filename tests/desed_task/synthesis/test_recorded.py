"""Sounds from recordings: bursts, bandwidth, backgrounds of any length, continuous sounds."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from desed_task.synthesis.domains import SYNTHETIC, Draw
from desed_task.synthesis.recorded import (
    RecordedSounds,
    Section,
    bandwidth,
    bursts,
    looped,
    low_passed,
)
from desed_task.synthesis.signals import SAMPLE_RATE
from tests.support.audio_files import tone


def test_bursts_have_the_times_of_a_hand_made_signal() -> None:
    second = SAMPLE_RATE
    audio = np.zeros(3 * second, dtype=np.float32)
    audio += 1e-3 * np.random.default_rng(0).standard_normal(len(audio)).astype(np.float32)
    wave = tone(1.0, second).astype(np.float32)
    for start, stop in ((0.5, 0.8), (1.0, 1.1), (2.0, 2.5)):
        first, end = round(start * second), round(stop * second)
        audio[first:end] += wave[: end - first]
    audio[round(1.5 * second) : round(1.51 * second)] += 0.3 * wave[:441]  # a click
    for pause, expected in (
        (0.1, [(0.5, 0.8), (1.0, 1.1), (2.0, 2.5)]),
        (0.3, [(0.5, 1.1), (2.0, 2.5)]),
        (np.inf, [(0.5, 2.5)]),
    ):
        found = np.array(bursts(audio, pause)) / second
        np.testing.assert_allclose(found, expected, atol=0.006)
    assert not bursts(np.zeros(5000, dtype=np.float32), 0.2)


def shaped_noise(samples: int, rate: int, gain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise with linear gains on a frequency axis from 0 to half the rate."""
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(samples))
    axis = np.linspace(0, 1, len(gain))
    return 0.05 * np.fft.irfft(
        spectrum * np.interp(np.linspace(0, 1, len(spectrum)), axis, gain), samples
    )


def test_bandwidth_is_where_a_filter_cut() -> None:
    axis = np.linspace(0, 22050, 2000)
    dark = 10.0 ** (-axis / 22050 * 70 / 20)  # falls by 70 dB, as many sounds do
    for name, gain, expected in (
        ("white", np.ones(2000), 22050.0),
        ("dark", dark, 22050.0),
        ("cut", np.where(axis < 7000, dark, 0.0), 7000.0),
    ):
        audio = shaped_noise(88200, 44100, gain).astype(np.float32)
        assert bandwidth(audio, 44100) == pytest.approx(expected, abs=700), name
    beep = tone(1.0, 44100, 5000.0) + 1e-4 * shaped_noise(44100, 44100, np.ones(2))
    assert bandwidth(beep.astype(np.float32), 44100) == 22050.0


def test_low_pass_removes_what_is_above() -> None:
    audio = (tone(0.5, SAMPLE_RATE, 3000.0) + tone(0.5, SAMPLE_RATE, 9000.0)).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(low_passed(audio, 8000.0) * np.hanning(len(audio))))
    assert spectrum[4500] < 1e-3 * spectrum[1500]
    before = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))[1500]
    assert spectrum[1500] == pytest.approx(before, rel=0.05)


def test_a_short_background_fills_a_clip_without_gaps() -> None:
    background = tone(0.7, SAMPLE_RATE).astype(np.float32)
    filled = looped(np.random.default_rng(0), background, 3 * SAMPLE_RATE)
    power = np.sqrt(np.mean(filled.reshape(-1, 441) ** 2, axis=1))
    assert len(filled) == 3 * SAMPLE_RATE
    assert power.min() > 0.1


def test_a_continuous_sound_is_cut_to_any_length(tmp_path: Path) -> None:
    path = tmp_path / "motor.wav"
    soundfile.write(path, tone(3.0, SAMPLE_RATE), SAMPLE_RATE)
    sounds = RecordedSounds({"Motor": [[Section(path, 0, 3 * SAMPLE_RATE, True)]]}, (), 22050.0)
    rng = np.random.default_rng(0)
    lengths = [sounds.draw_length(rng, "Motor", 2.5) for _ in range(50)]
    assert 1.0 <= min(lengths) < 1.3
    assert 2.2 < max(lengths) <= 2.5
    event = sounds.event(Draw(rng, SYNTHETIC), "Motor", 50000)
    assert len(event) == pytest.approx(50000, abs=440)
