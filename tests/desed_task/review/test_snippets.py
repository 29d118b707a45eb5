"""Sounds, spectrograms and the choice of places."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from desed_task.dataio.recordings import NOT_SEARCHED
from desed_task.review import DETECTED, POSSIBLY_MISSED, Audio, Place, choose_places
from desed_task.review.snippets import N_BANDS, Snippets, spectrogram, ticks

RATE = 16000


def _place(file: Path, onset: float, offset: float, seconds: float = 20.0) -> Place:
    return Place(Audio(file.name, file, seconds), onset, offset, "Dog", DETECTED, 0.5, 0.0)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "x.wav"
    audio = np.random.default_rng(0).integers(-9000, 9000, 20 * RATE, dtype=np.int16)
    soundfile.write(path, audio, RATE)
    return path


def test_a_sound_is_the_recording_two_seconds_around_the_event(
    recording: Path, tmp_path: Path
) -> None:
    places = [_place(recording, 5.5, 6), _place(recording, 0.5, 1), _place(recording, 19, 20)]
    names, problems = Snippets(tmp_path / "out", RATE).write(places)
    assert not problems
    whole, _ = soundfile.read(recording, dtype="int16")
    for place, (begin, end) in zip(places, [(3.5, 8), (0, 3), (17, 20)], strict=True):
        sound, rate = soundfile.read(tmp_path / "out" / f"{names[place]}.flac", dtype="int16")
        assert rate == RATE
        assert (sound == whole[round(begin * RATE) : round(end * RATE)]).all()
        picture = Image.open(tmp_path / "out" / f"{names[place]}.jpg")
        assert (picture.mode, picture.height) == ("L", N_BANDS)


def test_of_a_long_event_the_first_minute_is_cut(tmp_path: Path) -> None:
    assert _place(tmp_path, 10, 500, seconds=600).window == (8, 68)


def test_files_that_are_there_are_not_written_again(recording: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first, second = _place(recording, 5, 6), _place(recording, 9, 10)
    snippets = Snippets(folder, RATE)
    names = snippets.write([first, second])[0]
    paths = {each: folder / f"{names[each]}.flac" for each in names}
    for path in paths.values():
        path.write_bytes(b"known")
    (folder / "notes.txt").touch()
    assert snippets.write([second])[0] == {second: names[second]}
    assert paths[second].read_bytes() == b"known"
    snippets.remove_others([names[second]])
    expected = {f"{names[second]}.flac", f"{names[second]}.jpg", "notes.txt", NOT_SEARCHED}
    assert {path.name for path in folder.iterdir()} == expected
    os.utime(recording, ns=(1, 1))  # another file at the same path
    renamed = snippets.write([second])[0][second]
    assert soundfile.info(folder / f"{renamed}.flac").frames == 5 * RATE


def test_recordings_that_cannot_be_read_are_named(recording: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF no audio")
    places = [_place(path, 5, 6) for path in (broken, tmp_path / "none.wav", recording)]
    names, problems = Snippets(tmp_path / "out", RATE).write(places)
    assert names.keys() == {places[2]}
    assert problems.keys() == {broken, tmp_path / "none.wav"}


@pytest.mark.parametrize("hz", [300.0, 1000.0, 4000.0])
def test_a_tone_lies_at_its_tick_and_its_times(hz: float) -> None:
    """The darkest row is that of its frequency, and its columns are its seconds."""
    time = np.arange(4 * RATE) / RATE
    audio = (np.sin(2 * np.pi * hz * time) * ((time >= 1) & (time < 3))).astype(np.float32)
    picture = spectrogram(audio, RATE).astype(float)
    height = 1 - (picture.mean(axis=1).argmin() + 0.5) / N_BANDS
    mel = np.log10(1 + hz / 700) / np.log10(1 + RATE / 2 / 700)
    assert height == pytest.approx(mel, abs=1.5 / N_BANDS)
    dark = np.flatnonzero(picture.min(axis=0) < 100) / picture.shape[1] * 4
    assert (dark[0], dark[-1]) == pytest.approx((1, 3), abs=0.03)
    tick = {text: place for place, text in ticks(RATE)}.get(f"{hz / 1000:g} kHz", mel)
    assert tick == pytest.approx(mel)


def test_short_and_silent_sounds_have_pictures() -> None:
    for samples in (0, 1, 100, RATE):
        picture = spectrogram(np.zeros(samples, np.float32), RATE)
        assert picture.shape[0] == N_BANDS
        assert picture.shape[1] >= 1


def test_the_most_doubtful_places_are_chosen(tmp_path: Path) -> None:
    audio = Audio("x", tmp_path, 100.0)
    claims = [Place(audio, n, n + 1, "Dog", DETECTED, 0.5, doubt=-n) for n in range(100)]
    missed = [
        Place(audio, n, n + 1, "Cat", POSSIBLY_MISSED, 0.5, doubt=-n - 0.5) for n in range(90)
    ]
    shown, others = choose_places([*missed, *claims][::-1], most=80)
    assert [place for place in shown if place.kind is DETECTED] == claims[:80]
    assert [place for place in shown if place.kind is POSSIBLY_MISSED] == missed[:20]
    kinds = [place.kind is POSSIBLY_MISSED for place in shown]
    assert all(sum(kinds[n : n + 5]) == 1 for n in range(0, 100, 5))  # evenly mixed
    assert {*others} == {*claims[80:], *missed[20:]}
