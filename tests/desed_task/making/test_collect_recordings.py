"""Recordings that cannot be read, channels and long names, where a data set is made of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.errors import InputError
from local.collect import main

RATE = 1000
N = 12


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """Options for twelve stereo recordings of 4 s with one event each."""
    folder = tmp_path / "audio"
    folder.mkdir()
    tone = np.sin(np.arange(4 * RATE)) * 0.5
    for number in range(N):
        soundfile.write(folder / f"r{number:02d}.wav", np.stack([tone, tone / 2], 1), RATE)
    rows = [(f"r{n:02d}.wav", 1.0, 2.0, "Bell") for n in range(N)]
    table = pd.DataFrame(rows, columns=["filename", "onset", "offset", "event_label"])
    table.to_csv(tmp_path / "labels.csv", index=False)
    names = {"audio": "audio", "labels": "labels.csv", "output": "out"}
    return [f"--{option}={tmp_path / name}" for option, name in names.items()]


def _peaks(out: Path) -> dict[str, float]:
    """The peak of each clip by the name of its recording."""
    clips = pd.read_csv(out / "metadata" / "clips.tsv", sep="\t").set_index("filename")
    found = {path.name: path for path in out.rglob("*.wav")}
    assert found.keys() == set(clips.index)
    return {
        Path(clips.loc[name, "recording"]).name: float(np.abs(soundfile.read(path)[0]).max())
        for name, path in found.items()
    }


def test_all_unreadable_recordings_are_named_or_skipped(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By their headers, and those whose audio cannot be used; others that have no label do not
    matter."""
    audio, out = tmp_path / "audio", tmp_path / "out"
    bad = [audio / f"r{number:02d}.wav" for number in (1, 4, 5, 7, 8, 10, 11)]
    for path in bad:
        path.write_bytes(b"RIFF no audio")
    (audio / "without label.wav").write_bytes(b"RIFF no audio")
    with pytest.raises(InputError) as caught:
        main(given)
    assert all(f"{path}: cannot be read as audio" in str(caught.value) for path in bad)
    assert str(caught.value).endswith("--skip_unreadable: makes the data set without them")
    assert "without label" not in str(caught.value)
    assert not out.exists()
    broken = np.zeros((4 * RATE, 1), np.float32)
    broken[-1] = np.nan
    soundfile.write(audio / "r00.wav", broken, RATE, subtype="FLOAT")
    main([*given, "--skip_unreadable"])
    table = pd.read_csv(out / "metadata" / "unreadable.tsv", sep="\t")
    assert list(table["file"]) == [str(audio / "r00.wav"), *map(str, bad)]
    assert "NaN" in table["reason"][0]
    assert _peaks(out).keys() == {f"r{number:02d}.wav" for number in (2, 3, 6, 9)}
    assert str(out / "metadata" / "unreadable.tsv") in capsys.readouterr().out


def test_audio_that_cannot_be_used_is_named_before_anything_is_written(
    given: list[str], tmp_path: Path
) -> None:
    for name in ("r03.wav", "r09.wav"):
        soundfile.write(tmp_path / "audio" / name, np.full(400, np.nan), 100, subtype="FLOAT")
    with pytest.raises(InputError, match=r"(?s)r03\.wav: .*NaN.*r09\.wav: .*NaN.*--skip_unreada"):
        main(given)
    assert not (tmp_path / "out").exists()


def test_channels(given: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tone = np.sin(np.arange(4 * RATE)) * 0.5
    soundfile.write(tmp_path / "audio" / "r03.wav", np.stack([tone, -tone], 1), RATE)
    main(given)
    expected = {f"r{number:02d}.wav": 0.375 for number in range(N)} | {"r03.wav": 0.5}
    assert _peaks(tmp_path / "out") == pytest.approx(expected, abs=1e-3)
    assert caplog.text.count("r03.wav: the mean of the channels is silent") == 1
    second = [*given[:2], f"--output={tmp_path / 'second'}", "--channel=2"]
    main(second)
    expected = {f"r{number:02d}.wav": 0.25 for number in range(N)} | {"r03.wav": 0.5}
    assert _peaks(tmp_path / "second") == pytest.approx(expected, abs=1e-3)
    with pytest.raises(InputError, match="--channel: expected mix, loudest or a number"):
        main([*given, "--channel=left"])


def test_names_of_any_length(given: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    stem = "猫" * 80
    (folder / "r00.wav").rename(folder / f"{stem}.wav")
    table = pd.read_csv(tmp_path / "labels.csv").replace("r00.wav", f"{stem}.wav")
    table.to_csv(tmp_path / "labels.csv", index=False)
    main(given)
    assert len(_peaks(tmp_path / "out")) == N
