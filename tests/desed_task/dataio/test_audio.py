import os
import resource
from pathlib import Path

import numpy as np
import pytest
import soundfile

from desed_task.dataio.audio import as_float, audio_info, fit_length, read_audio, read_excerpt
from desed_task.errors import FaultError, InputError
from tests.support.audio_files import cut_off, write_tone

RATE = 16000


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """A file whose sample n is n / 32768."""
    path = tmp_path / "ramp.wav"
    soundfile.write(path, np.arange(1000, dtype=np.int16), RATE, subtype="PCM_16")
    return path


def test_samples_are_those_of_the_file(ramp: Path) -> None:
    audio = read_audio(ramp, RATE)
    assert audio.dtype == np.float32
    assert audio.shape == (1000,)
    np.testing.assert_array_equal(audio * 32768, np.arange(1000))


def test_reading_begins_at_the_given_sample(ramp: Path) -> None:
    np.testing.assert_array_equal(read_audio(ramp, RATE, 300, 4) * 32768, [300, 301, 302, 303])
    np.testing.assert_array_equal(read_audio(ramp, RATE, 998, 4) * 32768, [998, 999])
    assert read_audio(ramp, RATE, 5000, 4).shape == (0,)


def test_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.array([[0.5, 0.25], [0.5, -0.5]]), RATE, subtype="PCM_16")
    np.testing.assert_array_equal(read_audio(path, RATE), np.array([0.375, 0.0], dtype=np.float32))
    assert audio_info(path) == (RATE, 2, 2)


def test_an_excerpt_of_a_longer_file_begins_where_its_seed_says(ramp: Path) -> None:
    starts = set()
    for seed in range(200):
        part = read_excerpt(ramp, RATE, 990, seed)
        np.testing.assert_array_equal(part.audio, np.arange(990) + part.start)
        assert part.file_seconds == 1000 / RATE
        starts.add(part.start)
    assert starts == set(range(11))  # both ends of the range are drawn as well
    again = read_excerpt(ramp, RATE, 990, 7)
    assert again.start == read_excerpt(ramp, RATE, 990, 7).start


def test_16_bit_samples_are_int16_and_others_float32(tmp_path: Path) -> None:
    every = np.arange(-32768, 32768, dtype=np.int16)
    cases = {"PCM_16": every, "PCM_24": every / 32768, "FLOAT": every / 32768}
    for subtype, audio in cases.items():
        path = tmp_path / f"{subtype}.wav"
        soundfile.write(path, audio, RATE, subtype=subtype)
        part = read_excerpt(path, RATE, len(every))
        assert part.audio.dtype == (np.int16 if subtype == "PCM_16" else np.float32)
        expected, _ = soundfile.read(path, dtype="float32")
        for found in (as_float(part.audio), read_audio(path, RATE)):
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, expected)
    stereo = tmp_path / "stereo.wav"
    soundfile.write(stereo, np.stack([every, every], axis=1), RATE, subtype="PCM_16")
    assert read_excerpt(stereo, RATE, 10).audio.dtype == np.float32


def test_an_excerpt_without_seed_begins_at_the_start(ramp: Path) -> None:
    part = read_excerpt(ramp, RATE, 10)
    assert part.start == 0
    np.testing.assert_array_equal(part.audio, np.arange(10))


def test_an_excerpt_of_a_shorter_file_is_all_of_it(ramp: Path) -> None:
    part = read_excerpt(ramp, RATE, 5000, seed=3)
    assert part.start == 0
    assert part.audio.shape == (1000,)


def test_fit_length_pads_at_the_end_and_crops() -> None:
    audio = np.array([1, 2, 3], dtype=np.float32)
    np.testing.assert_array_equal(fit_length(audio, 5), [1, 2, 3, 0, 0])
    np.testing.assert_array_equal(fit_length(audio, 2), [1, 2])
    np.testing.assert_array_equal(fit_length(audio, 3), audio)
    assert fit_length(audio, 5).dtype == np.float32


def test_another_rate_is_refused(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", rate=44100)
    with pytest.raises(InputError, match=r"a\.wav: sample rate: expected 16000 Hz, got 44100 Hz"):
        read_audio(path, RATE)
    with pytest.raises(InputError, match="44100"):
        read_excerpt(path, RATE, 10)


def test_unusable_files_are_named(tmp_path: Path) -> None:
    missing, text, empty, headed = (tmp_path / f"{name}.wav" for name in ("m", "t", "e", "h"))
    text.write_text("no audio at all")
    empty.write_bytes(b"")
    soundfile.write(headed, np.zeros(0), RATE)
    for path, reason in (
        (missing, "no such audio file"),
        (text, "cannot be read as audio"),
        (empty, "cannot be read as audio"),
        (headed, "no audio: expected at least 1 sample, got 0"),
    ):
        for read in (lambda path: read_audio(path, RATE), audio_info):
            with pytest.raises(InputError, match=reason) as caught:
                read(path)
            assert str(path) in str(caught.value)


def test_a_training_refuses_a_cut_off_file(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", seconds=1.0)
    assert len(read_excerpt(path, RATE, 2 * RATE).audio) == RATE
    cut_off(path)
    problem = r"a\.wav: cut off: expected 1\.00 s as its header declares, got 0\.50 s"
    with pytest.raises(InputError, match=problem):
        read_excerpt(path, RATE, 10)
    with pytest.raises(InputError, match=problem):
        audio_info(path, whole=True)
    assert len(read_audio(path, RATE)) == audio_info(path).frames == RATE / 2 - 11  # half the bytes


def test_nan_samples_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.array([0.0, np.nan]), RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"nan\.wav: samples: expected finite numbers, got NaN"):
        read_audio(path, RATE)


def test_floats_beyond_full_scale_are_clipped_up_to_a_peak_and_refused_beyond(
    tmp_path: Path,
) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.array([[0.5, 1.0], [-1.5, 1.5]]), RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(path, RATE), [0.75, 0.0])
    soundfile.write(path, np.array([0.0, -1.6]), RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"loud\.wav: samples: .* got a peak of 1\.6 \(integers"):
        read_audio(path, RATE)


def test_too_many_open_files_are_a_fault_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, [0.0] * 10, 16000)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    opened = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, limits[1]))
    try:
        while True:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        with pytest.raises(FaultError, match=r"a\.wav: cannot be read: Too many open files"):
            audio_info(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in opened:
            os.close(descriptor)
