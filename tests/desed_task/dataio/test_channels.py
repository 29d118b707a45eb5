"""How the channels of a recording become one, wherever audio is read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from desed_task.dataio.audio import Mono, parse_channel, read_audio
from desed_task.dataio.prepare import prepare_folder
from desed_task.detect.reading import file_blocks
from desed_task.errors import InputError
from desed_task.making.cutting import cut_file

RATE = 8000
RANDOM = np.random.default_rng(0)
TONE = (np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE) * 0.4).astype(np.float32)
HISS = RANDOM.normal(0, 0.1, (2, len(TONE))).astype(np.float32)


def _stack(*channels: Any) -> NDArray[np.float32]:
    return np.stack(channels, axis=1).astype(np.float32)


CANCELLING = {
    "opposite polarity": (_stack(TONE, -TONE), 0),
    "with noise of their own": (_stack(TONE + HISS[0], -TONE + HISS[1]), None),
    "with a constant offset": (_stack(TONE + 0.3, -TONE + 0.3), None),
    "of other levels": (_stack(0.6 * TONE, -TONE), 1),
    "two of four": (_stack(TONE, -TONE, -TONE, TONE), 0),
    "three phases": (_stack(TONE, 0.5 * TONE, -1.5 * TONE), 2),
    "quiet": (_stack(TONE, -TONE) * np.float32(1e-3), 0),
}
AVERAGED = {
    "equal": _stack(TONE, TONE),
    "a silent channel": _stack(TONE, 0 * TONE),
    "independent": _stack(*HISS),
    "independent with other levels": _stack(HISS[0], 0.1 * HISS[1]),
    "wide stereo": _stack(TONE + 0.5 * HISS[0], TONE - 0.5 * HISS[0]),
    "silence": _stack(0 * TONE, 0 * TONE),
    "constant offsets": _stack(0 * TONE + 0.1, 0 * TONE - 0.1),
    "one inverted of three": _stack(TONE, TONE, -TONE),
}


@pytest.mark.parametrize("kind", CANCELLING)
def test_channels_that_cancel_are_not_averaged(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    audio, index = CANCELLING[kind]
    mono = Mono("mix", "x.wav")
    found = [mono(block).audio for block in np.array_split(audio, 3)]
    used = [index] if index is not None else [0, 1]
    assert any(np.array_equal(np.concatenate(found), audio[:, each]) for each in used)
    assert len(caplog.records) == 1
    assert "x.wav: the mean of the channels is silent (opposite polarity?): channel" in caplog.text


@pytest.mark.parametrize("kind", AVERAGED)
def test_other_channels_are_averaged(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    audio = AVERAGED[kind]
    np.testing.assert_array_equal(
        Mono("mix", "x.wav")(audio).audio, audio.mean(axis=1, dtype=np.float32)
    )
    assert not caplog.records


def test_the_mean_up_to_the_block_in_which_channels_cancel() -> None:
    first, second = AVERAGED["independent"], CANCELLING["opposite polarity"][0]
    mono = Mono()
    np.testing.assert_array_equal(mono(first).audio, first.mean(axis=1, dtype=np.float32))
    np.testing.assert_array_equal(np.abs(mono(second).audio), np.abs(TONE))
    assert np.abs(mono(first).audio).max() > 0.3  # of one channel


def test_chosen_channels() -> None:
    audio = _stack(0.1 * TONE, TONE, HISS[0])
    for channel, expected in ((1, 0), (2, 1), (3, 2), ("loudest", 1)):
        found = Mono(channel)(audio).audio  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, audio[:, expected])
    with pytest.raises(InputError, match="channel: expected mix, loudest or a number from 1 to 3"):
        Mono(4)(audio)
    assert [parse_channel(text) for text in ("mix", "loudest", "12")] == ["mix", "loudest", 12]
    for text in ("0", "-1", "left", "", "1.0", "²"):
        with pytest.raises(InputError, match="--channel: expected mix, loudest or a number from 1"):
            parse_channel(text)


def test_every_reader_has_the_choice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "in" / "a.wav"
    source.parent.mkdir()
    soundfile.write(source, _stack(0.3 * TONE, TONE, 0.2 * TONE), RATE, subtype="FLOAT")
    opposite = tmp_path / "opposite.wav"
    soundfile.write(opposite, _stack(0.9 * TONE, -TONE), RATE)

    def peaks(path: Path, channel: Any) -> list[float]:
        target = tmp_path / "clip.wav"
        cut_file(path, [(target, 0.0, 3.0)], channel)
        found = np.concatenate(list(file_blocks(path, RATE, channel)))
        each = (found, read_audio(path, RATE, channel=channel), soundfile.read(target)[0])
        return [float(np.abs(audio).max()) for audio in each]

    top = float(TONE.max())
    assert peaks(source, 1) == pytest.approx([0.3 * top] * 3, abs=1e-4)
    assert peaks(source, "loudest") == pytest.approx([top] * 3, abs=1e-4)
    assert peaks(source, "mix") == pytest.approx([0.5 * top] * 3, abs=1e-4)
    caplog.clear()
    assert peaks(opposite, "mix") == pytest.approx([top] * 3, abs=1e-4)
    assert caplog.text.count("opposite.wav: the mean of the channels is silent") == 2
    with pytest.raises(InputError, match=r"a\.wav: channel: expected mix, loudest or a number"):
        peaks(source, 9)
    soundfile.write(source, TONE, RATE, subtype="PCM_16")
    with pytest.raises(InputError, match=r"a\.wav: channel: expected .* from 1 to 1, got 2"):
        read_audio(source, RATE, channel=2)


def test_prepared_files_are_made_again_for_another_channel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    soundfile.write(source / "a.wav", _stack(TONE, 0.25 * TONE), RATE)
    soundfile.write(source / "b.wav", _stack(TONE, -TONE), RATE)

    def prepared(channel: Any) -> tuple[int, int, list[float]]:
        done = prepare_folder(source, target, RATE, progress=False, channel=channel)
        peaks = [np.abs(read_audio(target / name, RATE)).max() for name in ("a.wav", "b.wav")]
        return done.made, done.existed, [round(float(peak / TONE.max()), 2) for peak in peaks]

    assert prepared("mix") == (2, 0, [0.62, 1.0])
    assert "silent (opposite polarity?) in 1 of 2 files: the loudest" in caplog.text
    assert "data.channel selects another one: b.wav" in caplog.text
    assert prepared("mix") == (0, 2, [0.62, 1.0])
    assert prepared(2) == (2, 0, [0.25, 1.0])
    assert prepared(2) == (0, 2, [0.25, 1.0])
    manifest = tmp_path / "out.manifest.json"
    manifest.write_text(manifest.read_text().replace(", 2]", "]"))  # before there was a choice
    assert prepared("loudest") == (2, 0, [1.0, 1.0])
    manifest.unlink()
    assert prepared("loudest") == (2, 0, [1.0, 1.0])
