import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from desed_task.dataio import prepare
from desed_task.dataio.annotations import read_durations
from desed_task.dataio.audio import audio_info, read_audio
from desed_task.dataio.prepare import (
    Manifest,
    Prepared,
    clip_seconds,
    prepare_folder,
    to_16_bit,
)
from desed_task.dataio.recordings import wav_files
from desed_task.errors import FaultError, InputError
from desed_task.files import only_writer
from tests.support.audio_files import cut_off, tone, write_tone
from tests.support.paths import ROOT

Folders = tuple[Path, Path]

RATE = 16000


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return tmp_path / "original", tmp_path / "made" / "16k"


def resample(folders: Folders, workers: int = 1) -> Prepared:
    return prepare_folder(*folders, RATE, workers=workers, progress=False)


def times_of(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def loudest_hertz(audio: NDArray[np.floating], rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return np.fft.rfftfreq(len(audio), 1 / rate)[spectrum.argmax()]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("rate", [44100, 48000, 16000, 8000])
def test_a_tone_keeps_its_pitch_level_and_length(folders: Folders, rate: int, workers: int) -> None:
    for number in range(3):
        write_tone(folders[0] / f"{number}.wav", 1.0, rate, hertz=1000.0 * (number + 1))
    assert resample(folders, workers) == Prepared(made=3, existed=0)
    for number in range(3):
        path = folders[1] / f"{number}.wav"
        assert audio_info(path) == (RATE, 1, RATE)
        assert soundfile.info(path).subtype == "PCM_16"
        audio = read_audio(path, RATE)
        assert loudest_hertz(audio, RATE) == pytest.approx(1000 * (number + 1), abs=1)
        middle = audio[4000:12000]
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)


def test_frequencies_above_half_the_rate_are_removed(folders: Folders) -> None:
    write_tone(folders[0] / "high.wav", 1.0, 44100, hertz=12000.0)
    resample(folders)
    assert np.abs(read_audio(folders[1] / "high.wav", RATE)[1000:-1000]).max() < 1e-3


def test_resampling_does_not_shift_the_wave(folders: Folders) -> None:
    write_tone(folders[0] / "a.wav", 1.0, 44100, hertz=440.0)
    resample(folders)
    audio = read_audio(folders[1] / "a.wav", RATE)
    expected = tone(1.0, RATE, hertz=440.0)
    np.testing.assert_allclose(audio[1000:-1000], expected[1000:-1000], atol=2e-3)


def test_overshoot_of_the_resampler_is_clipped_and_does_not_wrap(folders: Folders) -> None:
    folders[0].mkdir()
    square = np.sign(tone(1.0, 44100, 100.0))
    soundfile.write(folders[0] / "a.wav", square, 44100, subtype="FLOAT")
    resample(folders)
    audio = read_audio(folders[1] / "a.wav", RATE)
    expected = np.sign(tone(1.0, RATE, 100.0))
    away_from_edges = np.abs(tone(1.0, RATE, 100.0)) > 0.2
    assert (np.sign(audio) == expected)[away_from_edges].all()
    assert audio.max() == pytest.approx(1, abs=1e-4)


def test_conversion_to_16_bit_rounds_and_clips() -> None:
    audio = np.array([0, 1.6 / 32768, -1.6 / 32768, 1.0, 1.7, -1.0, -3.0], dtype=np.float32)
    assert to_16_bit(audio).tolist() == [0, 2, -2, 32767, 32767, -32768, -32768]


def test_existing_files_are_kept(folders: Folders) -> None:
    for name in "abc":
        write_tone(folders[0] / f"{name}.wav", 0.2, 44100)
    resample(folders)
    before = times_of(folders[1])
    write_tone(folders[0] / "d.wav", 0.2, 44100)
    assert resample(folders) == Prepared(made=1, existed=3)
    after = times_of(folders[1])
    assert sorted(after) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    "damage",
    [
        cut_off,
        lambda path: cut_off(path, 0.0),
        lambda path: path.write_text("no audio"),
        lambda path: write_tone(path, 0.1),  # whole, but of less than the source
    ],
)
def test_an_incomplete_target_is_made_again(
    folders: Folders, damage: Callable[[Path], object]
) -> None:
    write_tone(folders[0] / "a.wav", 0.3, 44100)
    write_tone(folders[0] / "b.wav", 0.3, 44100)
    resample(folders)
    whole = (folders[1] / "a.wav").read_bytes()
    damage(folders[1] / "a.wav")
    assert resample(folders) == Prepared(made=1, existed=1)
    assert (folders[1] / "a.wav").read_bytes() == whole


def test_a_target_of_another_rate_is_an_error_and_stays(folders: Folders) -> None:
    write_tone(folders[0] / "a.wav", 0.3, 44100)
    write_tone(folders[0] / "b.wav", 0.3, 44100)
    wrong = write_tone(folders[1] / "a.wav", 0.3, 22050)
    with pytest.raises(
        InputError, match=r"a\.wav: sample rate: expected 16000 Hz, got 22050 Hz; delete"
    ):
        resample(folders)
    assert audio_info(wrong).sample_rate == 22050
    assert audio_info(folders[1] / "b.wav").sample_rate == RATE


@pytest.mark.parametrize("workers", [1, 2])
def test_broken_sources_are_named_after_all_others_were_made(
    folders: Folders, workers: int
) -> None:
    for name in "abcdef":
        write_tone(folders[0] / f"{name}.wav", 0.2, 44100)
    (folders[0] / "b.wav").write_text("no audio")
    cut_off(folders[0] / "d.wav")
    soundfile.write(folders[0] / "e.wav", np.array([0, np.nan]), 44100, subtype="FLOAT")
    with pytest.raises(InputError) as caught:
        resample(folders, workers)
    message = str(caught.value)
    assert f"{folders[1]}: 6 files: 3 problems:" in message
    for name, reason in (
        ("b", "cannot be read as audio"),
        ("d", "cut off"),
        ("e", "samples: expected finite numbers, got NaN"),
    ):
        assert f"{folders[0] / name}.wav: {reason}" in message
    assert list(wav_files(folders[1])) == ["a.wav", "c.wav", "f.wav"]


def test_a_source_that_becomes_broken_does_not_replace_a_good_target(folders: Folders) -> None:
    source = write_tone(folders[0] / "a.wav", 0.2, 44100)
    resample(folders)
    whole = (folders[1] / "a.wav").read_bytes()
    cut_off(source)
    with pytest.raises(InputError, match="cut off"):
        resample(folders)
    assert (folders[1] / "a.wav").read_bytes() == whole


def test_files_of_an_interrupted_run_are_made_again(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write_tone(folders[0] / f"{name}.wav", 0.2, 44100)
    write = Path.write_bytes

    def interrupted(path: Path, content: bytes) -> None:
        if "/.b." in str(path):
            write(path, content[: len(content) // 2])
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        resample(folders)
    assert os.listdir(folders[1]) == ["a.wav"]
    assert list(Manifest.read(folders[1], RATE).records) == ["a.wav"]
    monkeypatch.undo()
    killed = folders[1] / ".b.partial-4711.wav"  # what a run that was killed leaves
    killed.write_bytes(b"half")
    assert resample(folders) == Prepared(made=2, existed=1)
    assert sorted(os.listdir(folders[1])) == ["a.wav", "b.wav", "c.wav"]


@pytest.mark.parametrize("original", [None, "absent", "empty"])
def test_a_target_without_source_is_used_unchanged(
    folders: Folders, tmp_path: Path, original: str | None
) -> None:
    (tmp_path / "empty").mkdir()
    write_tone(folders[1] / "a.wav", 0.2)
    write_tone(folders[1] / "b.wav", 0.2, channels=2)
    before = times_of(folders[1])
    source = None if original is None else tmp_path / original
    done = prepare_folder(source, folders[1], RATE, progress=False)
    assert done == Prepared(made=0, existed=2)
    assert times_of(folders[1]) == before


def test_a_target_without_source_is_checked(folders: Folders) -> None:
    write_tone(folders[1] / "a.wav", 0.2)
    write_tone(folders[1] / "b.wav", 0.2, rate=44100)
    write_tone(folders[1] / "c.wav", 0.2)
    cut_off(folders[1] / "c.wav")
    with pytest.raises(InputError) as caught:
        prepare_folder(None, folders[1], RATE, progress=False)
    assert "3 files: 2 problems:" in str(caught.value)
    assert "b.wav: sample rate: expected 16000 Hz, got 44100 Hz" in str(caught.value)
    assert "c.wav: cut off" in str(caught.value)


def test_neither_folder_is_an_error_that_names_both(folders: Folders) -> None:
    with pytest.raises(InputError) as caught:
        resample(folders)
    assert str(folders[0]) in str(caught.value)
    assert str(folders[1]) in str(caught.value)
    assert not folders[1].exists()


def resampled(source: Path) -> Path:
    """The prepared copy of a file, in another folder."""
    folder = source.parent.parent / "elsewhere"
    prepare_folder(source.parent, folder, RATE, progress=False)
    return folder / source.name


def test_one_process_prepares_a_folder(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    """Another one waits and uses its files; where all are prepared, none waits."""
    for name in "ab":
        write_tone(folders[0] / f"{name}.wav", 0.2, 44100)
    folders[1].mkdir(parents=True)
    with ThreadPoolExecutor(1) as second:
        with only_writer(folders[1]):
            waiting = second.submit(resample, folders)
            while "waiting until it ends" not in caplog.text:
                assert not waiting.done()
            (folders[1] / ".b.partial-1.wav").touch()  # of the first one, which writes
            shutil.copy(resampled(folders[0] / "a.wav"), folders[1] / "a.wav")
            assert (folders[1] / ".b.partial-1.wav").exists()
        assert waiting.result() == Prepared(made=1, existed=1)
    with only_writer(folders[1]):
        assert resample(folders) == Prepared(made=0, existed=2)


HOLDER = """
import os, pathlib, signal, sys
from desed_task.files import only_writer
with only_writer(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    signal.pause()
"""


def test_a_killed_process_is_not_waited_for(
    folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    write_tone(folders[0] / "a.wav", 0.2, 44100)
    folders[1].mkdir(parents=True)
    command = [sys.executable, "-c", HOLDER, str(folders[1])]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as holder,
        ThreadPoolExecutor(1) as second,
    ):
        assert holder.stdout is not None
        holder.stdout.readline()
        waiting = second.submit(resample, folders)
        while "waiting until it ends" not in caplog.text:
            assert not waiting.done()
        holder.kill()
        assert waiting.result() == Prepared(made=1, existed=0)


def test_other_files_hidden_files_and_subfolders_are_ignored(folders: Folders) -> None:
    write_tone(folders[0] / "a.WAV", 0.2, 44100)
    write_tone(folders[0] / "nested" / "b.wav", 0.2, 44100)
    write_tone(folders[0] / "._a.wav", 0.2, 44100)
    (folders[0] / "a.jams").write_text("{}")
    (folders[0] / "folder.wav").mkdir()
    assert resample(folders) == Prepared(made=1, existed=0)
    assert os.listdir(folders[1]) == ["a.WAV"]


def test_a_source_that_changed_is_made_again(folders: Folders) -> None:
    for name in "abc":
        write_tone(folders[0] / f"{name}.wav", 0.3, 44100)
    resample(folders)
    write_tone(folders[0] / "a.wav", 0.2, 44100)  # shorter
    write_tone(folders[0] / "b.wav", 0.3, 44100, hertz=300.0)  # other content of the same length
    assert resample(folders) == Prepared(made=2, existed=1)
    assert audio_info(folders[1] / "a.wav").seconds == pytest.approx(0.2)
    assert loudest_hertz(read_audio(folders[1] / "b.wav", RATE), RATE) == pytest.approx(300, abs=4)
    assert resample(folders) == Prepared(made=0, existed=3)


def test_a_source_with_another_time_and_the_same_content_is_not_made_again(
    folders: Folders,
) -> None:
    source = write_tone(folders[0] / "a.wav", 0.3, 44100)
    resample(folders)
    before = times_of(folders[1])
    os.utime(source, ns=(1, 2))
    assert resample(folders) == Prepared(made=0, existed=1)
    assert times_of(folders[1]) == before


def test_files_that_are_as_recorded_are_not_opened(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write_tone(folders[0] / f"{name}.wav", 0.3, 44100)
    resample(folders)
    monkeypatch.setattr(prepare, "open_audio", None)
    monkeypatch.setattr(prepare, "audio_info", None)
    monkeypatch.setattr(prepare, "content_digest", None)
    assert resample(folders) == Prepared(made=0, existed=3)
    lengths = dict.fromkeys(("a.wav", "b.wav", "c.wav"), 0.3)
    assert clip_seconds(folders[1], folders[0], RATE) == lengths


def test_without_a_manifest_a_copy_that_is_older_than_its_source_is_made_again(
    folders: Folders,
) -> None:
    for name in "ab":
        write_tone(folders[0] / f"{name}.wav", 0.3, 44100)
    resample(folders)
    (manifest,) = folders[1].parent.glob("*.json")
    assert manifest.name == "16k.manifest.json"
    manifest.unlink()
    os.utime(folders[1] / "a.wav", (1, 1))
    assert resample(folders) == Prepared(made=1, existed=1)


def test_a_broken_manifest_is_replaced(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    write_tone(folders[0] / "a.wav", 0.3, 44100)
    resample(folders)
    manifest = folders[1].with_name("16k.manifest.json")
    whole = manifest.read_text()
    for broken in ("", "[]", '{"version": 1}', whole[:-9], "\0"):
        caplog.clear()
        manifest.write_text(broken)
        assert resample(folders) == Prepared(made=0, existed=1)
        assert "16k.manifest.json: cannot be read" in caplog.text
        assert Manifest.read(folders[1], RATE).seconds == {"a.wav": 0.3}


def test_copies_that_lost_their_source_are_named_and_not_used(
    folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abcdef":
        write_tone(folders[0] / f"{name}.wav", 0.2, 44100)
    resample(folders)
    for name in "bcdef":
        (folders[0] / f"{name}.wav").unlink()
    assert resample(folders) == Prepared(made=0, existed=1)
    message = f"{folders[1]}: 5 files are not used, because {folders[0]} has no source of them: "
    assert caplog.messages == [message + "b.wav, c.wav, d.wav and 2 more"]
    assert clip_seconds(folders[1], folders[0], RATE) == {"a.wav": 0.2}
    assert len(wav_files(folders[1])) == 6
    (folders[0] / "a.wav").unlink()  # without any source the copies are what there is
    assert len(clip_seconds(folders[1], folders[0], RATE)) == 6
    assert len(clip_seconds(folders[1], None, RATE)) == 6
    assert resample(folders) == Prepared(made=0, existed=6)


def test_a_folder_that_cannot_be_written_is_used_where_nothing_is_to_be_made(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tone(folders[0] / "a.wav", 0.2, 44100)
    resample(folders)
    folders[1].with_name("16k.manifest.json").unlink()

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", read_only)
    assert resample(folders) == Prepared(made=0, existed=1)
    assert clip_seconds(folders[1], folders[0], RATE) == {"a.wav": 0.2}
    write_tone(folders[0] / "a.wav", 0.3, 44100)
    with pytest.raises(FaultError, match=r"a\.wav: cannot be written: .*Read-only file system"):
        resample(folders)


@pytest.mark.parametrize("level", [1.4, 0.9])
def test_floats_a_little_beyond_full_scale_are_clipped_with_one_warning(
    folders: Folders, caplog: pytest.LogCaptureFixture, level: float
) -> None:
    folders[0].mkdir()
    for number in range(3):
        audio = tone(0.3, RATE, 100.0, level=level if number else 0.5)
        soundfile.write(folders[0] / f"{number}.wav", audio, RATE, subtype="FLOAT")
    resample(folders)
    expected = np.clip(tone(0.3, RATE, 100.0, level=level), -1, 1)
    found = read_audio(folders[1] / "1.wav", RATE)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    clipped = f"{folders[1]}: 2 of 3 files had samples beyond full scale, which were clipped"
    assert caplog.messages == ([clipped] if level > 1 else [])


@pytest.mark.parametrize("with_source", [True, False])
def test_integers_stored_as_floats_are_refused_with_their_peak(
    folders: Folders, with_source: bool
) -> None:
    folder = folders[not with_source]
    folder.mkdir(parents=True)
    audio = np.round(tone(0.2, RATE, 100.0, level=20000.0))
    soundfile.write(folder / "a.wav", audio, RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=rf"{folder}/a\.wav: .* got a peak of 20000 \(integers"):
        resample(folders)


def durations(folders: Folders, tsv: Path) -> bool:
    """Prepare a folder with its durations file; whether that was written."""
    before = tsv.exists() and tsv.stat()
    prepare_folder(*folders, RATE, durations=tsv, progress=False)
    return tsv.stat() != before


def test_durations_are_those_of_the_files(folders: Folders) -> None:
    write_tone(folders[0] / "b.wav", 1.25)
    write_tone(folders[0] / "a.wav", 10.0)
    write_tone(folders[0] / "c.wav", 0.333125)
    tsv = folders[0].parent / "metadata" / "durations.tsv"
    assert durations(folders, tsv)
    assert tsv.read_text() == "filename\tduration\na.wav\t10.0\nb.wav\t1.25\nc.wav\t0.333125\n"
    assert read_durations(tsv) == {"a.wav": 10.0, "b.wav": 1.25, "c.wav": 0.333125}
    assert os.listdir(tsv.parent) == ["durations.tsv"]
    assert not durations(folders, tsv)


def test_written_durations_follow_the_audio(folders: Folders) -> None:
    tsv = folders[0].parent / "durations.tsv"
    for name in "ab":
        write_tone(folders[0] / f"{name}.wav", 1.0, 44100)
    assert durations(folders, tsv)
    write_tone(folders[0] / "a.wav", 0.5, 44100)
    (folders[0] / "b.wav").unlink()
    assert durations(folders, tsv)
    assert read_durations(tsv) == {"a.wav": 0.5}


def test_durations_of_the_user_are_compared_with_the_audio(folders: Folders) -> None:
    tsv = folders[0].parent / "durations.tsv"
    for name in "abcdef":
        write_tone(folders[0] / f"{name}.wav", 1.0, 44100)
    good = "filename\tduration\nz.wav\t3\n" + "".join(f"{name}.wav\t1.04\n" for name in "abc")
    tsv.write_text(good)
    assert not durations(folders, tsv)
    assert tsv.read_text() == good
    tsv.write_text("filename\tduration\na.wav\t1\n" + "".join(f"{n}.wav\t10\n" for n in "bcdef"))
    with pytest.raises(
        InputError, match=rf"{tsv}: .* b\.wav 10 s \(expected 1\.000 s\).* and 2 more"
    ):
        durations(folders, tsv)


def test_durations_of_an_earlier_run_without_manifest_are_not_replaced(folders: Folders) -> None:
    tsv = folders[0].parent / "durations.tsv"
    write_tone(folders[0] / "a.wav", 1.0, 44100)
    durations(folders, tsv)
    folders[1].with_name("16k.manifest.json").unlink()
    write_tone(folders[0] / "a.wav", 0.5, 44100)
    with pytest.raises(InputError, match=r"durations\.tsv: wrong durations: .* a\.wav 1 s"):
        durations(folders, tsv)
