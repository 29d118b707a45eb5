"""Files of every format are read as far as their data go, whatever their headers declare."""

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from desed_task.dataio.audio import audio_info, open_audio, read_audio
from desed_task.dataio.sound_files import AudioFile
from desed_task.detect.reading import file_blocks
from desed_task.errors import InputError
from tests.support.audio_files import cut_off

SECONDS = 12
# Format, encoding and rate.
FORMATS = {
    "wav": ("WAV", "PCM_16", 16000),
    "24.wav": ("WAV", "PCM_24", 22050),
    "float.wav": ("WAV", "FLOAT", 48000),
    "ulaw.wav": ("WAV", "ULAW", 8000),
    "adpcm.wav": ("WAV", "MS_ADPCM", 16000),
    "gsm.wav": ("WAV", "GSM610", 8000),
    "aiff": ("AIFF", "PCM_16", 16000),
    "au": ("AU", "PCM_16", 16000),
    "caf": ("CAF", "PCM_16", 16000),
    "alac.caf": ("CAF", "ALAC_16", 16000),
    "w64": ("W64", "PCM_16", 16000),
    "rf64": ("RF64", "PCM_16", 16000),
    "flac": ("FLAC", "PCM_16", 16000),
    "44.ogg": ("OGG", "VORBIS", 44100),
    "8.ogg": ("OGG", "VORBIS", 8000),
    "48.opus": ("OGG", "OPUS", 48000),
    "16.opus": ("OGG", "OPUS", 16000),
    "8.mp3": ("MP3", "MPEG_LAYER_III", 8000),
    "16.mp3": ("MP3", "MPEG_LAYER_III", 16000),
    "22.mp3": ("MP3", "MPEG_LAYER_III", 22050),
    "24.mp3": ("MP3", "MPEG_LAYER_III", 24000),
    "44.mp3": ("MP3", "MPEG_LAYER_III", 44100),
    "48.mp3": ("MP3", "MPEG_LAYER_III", 48000),
}
Formats = dict[str, Path]


def _signal(rate: int, seconds: float = SECONDS, seed: int = 0) -> NDArray[np.float64]:
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(times))
    return 0.3 * np.sin(2 * np.pi * (300 + 40 * times) * times) + 0.04 * noise


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Formats:
    """A file of each format."""
    folder = tmp_path_factory.mktemp("formats")
    paths = {}
    for name, (kind, subtype, rate) in FORMATS.items():
        paths[name] = folder / f"x.{name}"
        soundfile.write(paths[name], _signal(rate), rate, format=kind, subtype=subtype)
    return paths


def _frames(path: Path) -> int:
    """Samples that reading in blocks, at once, by `audio_info` and the detector give."""
    with open_audio(path) as file:
        found = sum(map(len, file.blocks(7001)))
    info = audio_info(path)
    assert info.frames == found == len(read_audio(path, info.sample_rate))
    assert sum(map(len, file_blocks(path, info.sample_rate))) == found
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_pieces_are_those_of_the_whole_file(formats: Formats, name: str) -> None:
    path = formats[name]
    with AudioFile(path) as file:
        whole, rate = file.read(), file.sample_rate
        assert file.frames == len(whole) >= SECONDS * rate
    if not name.endswith("gsm.wav"):
        np.testing.assert_array_equal(
            whole, soundfile.read(path, always_2d=True, dtype="float32")[0]
        )
    draw = np.random.default_rng(1)
    starts = [int(each) for each in draw.integers(0, len(whole), 12)]
    starts += [0, *(2 * rate + np.cumsum(draw.integers(0, rate, 12))).tolist(), len(whole) - 9]
    with AudioFile(path) as open_file:
        for start in starts:
            expected = whole[start : start + 1000]
            np.testing.assert_allclose(open_file.read(start, 1000), expected, rtol=0, atol=2e-7)
    for start in (starts[0], len(whole) - 9, len(whole) + 5):
        with AudioFile(path) as file:
            np.testing.assert_allclose(file.read(start), whole[start:], rtol=0, atol=2e-7)


CUT = [name for name in FORMATS if not name.endswith("caf")]


@pytest.mark.parametrize("name", CUT)
def test_a_file_with_less_than_it_declares(
    formats: Formats, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"cut.{name}"
    path.write_bytes(formats[name].read_bytes())
    cut_off(path)
    rate = audio_info(path).sample_rate
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = _frames(path)
    assert 0.4 * SECONDS * rate < found < 0.55 * SECONDS * rate
    sound = found - rate // 10  # the last block of a compressed file is incomplete
    whole = read_audio(formats[name], rate)
    np.testing.assert_allclose(read_audio(path, rate)[:sound], whole[:sound], rtol=0, atol=2e-7)
    for start in (0, sound - 2000):
        piece = read_audio(path, rate, start, 1000)
        np.testing.assert_allclose(piece, whole[start : start + 1000], rtol=0, atol=2e-7)
    assert len(read_audio(path, rate, found - 9, 1000)) == 9
    assert len(read_audio(path, rate, found + rate, 1000)) == 0
    assert caplog.messages == []  # it was reported by the first look at it
    with pytest.raises(InputError, match=f"{path}: cut off"):
        audio_info(path, whole=True)


def test_the_warning_has_the_declared_and_the_found_seconds(
    formats: Formats, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("wav", "flac", "44.mp3"):
        path = tmp_path / name
        path.write_bytes(formats[name].read_bytes())
        cut_off(path)
        with caplog.at_level(logging.WARNING):
            seconds = _frames(path) / audio_info(path).sample_rate
        expected = f"expected 12.00 s as its header declares, got {seconds:.2f} s"
        assert [text for text in caplog.messages if str(path) in text] == [
            f"{path}: cut off: {expected}; the {seconds:.2f} s that it has are used"
        ]


def test_a_cut_caf_file_is_refused(formats: Formats, tmp_path: Path) -> None:
    path = tmp_path / "cut.caf"
    path.write_bytes(formats["caf"].read_bytes())
    cut_off(path)
    with pytest.raises(InputError, match=r"cut\.caf: cannot be read as audio"):
        audio_info(path)


def _sizes(name: str, marker: bytes, form: str, *values: int) -> list[tuple[str, bytes, str, int]]:
    return [(name, marker, form, value) for value in values]


@pytest.mark.parametrize(
    ("name", "marker", "form", "value"),
    [
        *_sizes("wav", b"data", "<I", 0, 2 * 16000, 0x7FFF_F000, 0xFFFF_FFFF),
        *_sizes("24.wav", b"data", "<I", 0, 3 * 22050),
        *_sizes("float.wav", b"data", "<I", 4 * 48000),
        *_sizes("ulaw.wav", b"data", "<I", 8000),
        *_sizes("aiff", b"SSND", ">I", 2 * 16000 + 8),
        *_sizes("au", b".snd\0\0\0\x18", ">I", 2 * 16000, 0, 0xFFFF_FFFF),
        *_sizes("w64", b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", "<Q", 24 + 32000),
    ],
)
def test_a_file_with_more_than_it_declares_is_read_to_its_end(
    formats: Formats, tmp_path: Path, name: str, marker: bytes, form: str, value: int
) -> None:
    path = tmp_path / name
    content = bytearray(formats[name].read_bytes())
    place = content.index(marker) + len(marker)
    content[place : place + struct.calcsize(form)] = struct.pack(form, value)
    path.write_bytes(content)
    rate = FORMATS[name][2]
    assert _frames(path) == SECONDS * rate
    np.testing.assert_array_equal(read_audio(path, rate), read_audio(formats[name], rate))
    for start in (0, rate // 2, 5 * rate, 11 * rate):
        piece = read_audio(path, rate, start, rate)
        np.testing.assert_array_equal(piece, read_audio(formats[name], rate, start, rate))


def test_a_size_that_wrapped_is_reported_and_other_chunks_are_no_audio(
    formats: Formats, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = bytearray(formats["wav"].read_bytes())
    path = tmp_path / "chunks.wav"
    path.write_bytes(content + b"LIST" + struct.pack("<I", 3001) + bytes(3002) + b"id3 \0\0\0\0")
    with caplog.at_level(logging.WARNING):
        assert _frames(path) == SECONDS * 16000
        assert caplog.messages == []
        path = tmp_path / "odd.wav"  # without the byte of padding that should follow
        soundfile.write(path, _signal(16000)[:-1], 16000, subtype="PCM_U8")
        path.write_bytes(path.read_bytes()[: 44 + 191_999] + b"LIST" + bytes([0, 9, 0, 0] * 577))
        assert _frames(path) == SECONDS * 16000 - 1
        assert caplog.messages == []
        content[40:44] = struct.pack("<I", 16000)
        path = tmp_path / "wrapped.wav"
        path.write_bytes(content)
        _frames(path)
    (text,) = caplog.messages
    assert "longer than declared: expected 0.50 s as its header declares, got 12.00 s" in text


def test_a_compressed_wav_file_with_more_than_it_declares_is_refused(
    formats: Formats, tmp_path: Path
) -> None:
    for name in ("gsm.wav", "adpcm.wav"):
        content = bytearray(formats[name].read_bytes())
        place = content.index(b"data") + 4
        content[place : place + 4] = struct.pack("<I", 65 * 200 if name == "gsm.wav" else 256 * 20)
        path = tmp_path / name
        path.write_bytes(content)
        for read in (audio_info, lambda path: list(file_blocks(path, 16000))):
            with pytest.raises(InputError, match=f"{name}: .* bytes after the .* expected none"):
                read(path)


@pytest.mark.parametrize("total", [0, 16000, 16000 * 100])
@pytest.mark.parametrize("seconds", [SECONDS, 0.5])
def test_a_flac_file_with_a_wrong_length(tmp_path: Path, total: int, seconds: float) -> None:
    path = tmp_path / "a.flac"
    audio = _signal(16000, seconds)
    soundfile.write(path, audio, 16000)
    expected, _ = soundfile.read(path, dtype="float32")
    content = bytearray(path.read_bytes())
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36 | total
    content[18:26] = packed.to_bytes(8, "big")
    path.write_bytes(content)
    assert _frames(path) == len(audio)
    np.testing.assert_array_equal(read_audio(path, 16000), expected)
    for start in (5000, 130_000):
        piece = expected[start : start + 2000]
        np.testing.assert_array_equal(read_audio(path, 16000, start, 2000), piece)


@pytest.mark.parametrize("name", ["44.ogg", "48.opus", "flac", "44.mp3"])
@pytest.mark.parametrize("seconds", [SECONDS, 0.3])
def test_joined_files_are_read_to_their_end(tmp_path: Path, name: str, seconds: float) -> None:
    kind, subtype, rate = FORMATS[name]
    parts = []
    for seed in range(3):
        path = tmp_path / f"{seed}.{name}"
        soundfile.write(path, _signal(rate, seconds, seed), rate, format=kind, subtype=subtype)
        parts.append(path)
    joined = tmp_path / f"joined.{name}"
    joined.write_bytes(b"".join(path.read_bytes() for path in parts))
    whole = np.concatenate([read_audio(path, rate) for path in parts])
    assert _frames(joined) == len(whole)
    np.testing.assert_array_equal(read_audio(joined, rate), whole)
    for start in (0, len(whole) // 4, len(whole) // 3 - 500, len(whole) // 2, len(whole) - 9):
        piece = read_audio(joined, rate, start, 999)
        np.testing.assert_allclose(piece, whole[start : start + 999], rtol=0, atol=2e-7)


def test_joined_streams_of_different_rates_are_refused(formats: Formats, tmp_path: Path) -> None:
    path = tmp_path / "joined.ogg"
    path.write_bytes(formats["44.ogg"].read_bytes() + formats["8.ogg"].read_bytes())
    with pytest.raises(InputError, match=r"expected 44100 Hz, 1 channels .* got 8000 Hz"):
        list(file_blocks(path, 44100))


@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
def test_an_mp3_file_without_a_length_is_read_to_its_end(tmp_path: Path, mode: str) -> None:
    """Its first frame, which has the length, is removed; libsndfile then estimates it."""
    path, rate = tmp_path / "a.mp3", 44100
    quiet = np.zeros(6 * rate)
    audio = np.concatenate([quiet, _signal(rate)])
    soundfile.write(path, audio, rate, bitrate_mode=mode, compression_level=0.3)
    whole = read_audio(path, rate)
    content = path.read_bytes()
    assert content.index(b"Xing" if b"Xing" in content else b"Info") < 40
    rates = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    length = 144000 * rates[content[2] >> 4] // rate + (content[2] >> 1 & 1)
    path.write_bytes(content[length:] + b"TAG" + bytes(125))
    found = read_audio(path, rate)
    assert _frames(path) == len(found) >= len(whole)
    delay = 1105  # of the encoder and the decoder, declared in the frame that was removed
    np.testing.assert_array_equal(found[delay : delay + len(whole)], whole[: len(found) - delay])
    for start in (0, 3 * rate, 15 * rate):
        piece = read_audio(path, rate, start, 5000)
        np.testing.assert_allclose(piece, found[start : start + 5000], rtol=0, atol=2e-7)


def test_bytes_that_are_no_audio_are_reported(
    formats: Formats, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("44.mp3", "flac"):
        path = tmp_path / name
        path.write_bytes(formats[name].read_bytes() + bytes(200_000))
        with caplog.at_level(logging.WARNING):
            assert _frames(path) == SECONDS * FORMATS[name][2]
        assert "bytes after its audio cannot be read as audio" in caplog.messages[-1]


@pytest.mark.parametrize("kind", ["SDS", "AVR", "NIST", "VOC"])
def test_a_format_that_is_not_read_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, _signal(16000, 1), 16000, format=kind, subtype="PCM_16")
    with pytest.raises(InputError, match=rf"a\.wav: format: expected one of WAV, .* got {kind}"):
        audio_info(path)


def test_a_tag_before_flac_is_no_audio(formats: Formats, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    tag = b"ID3\3\0\0\0\0\2\0" + bytes(256)
    for n_streams in (1, 2):
        path.write_bytes((tag + formats["flac"].read_bytes()) * n_streams)
        whole = np.tile(read_audio(formats["flac"], 16000), n_streams)
        assert _frames(path) == len(whole)
        np.testing.assert_array_equal(read_audio(path, 16000), whole)
        for start in (5 * 16000, len(whole) - 99):
            piece = read_audio(path, 16000, start, 99)
            np.testing.assert_array_equal(piece, whole[start : start + 99])


@pytest.mark.parametrize("name", ["44.ogg", "48.opus", "flac", "44.mp3"])
def test_a_file_that_is_damaged_in_the_middle_is_refused(
    formats: Formats, tmp_path: Path, name: str
) -> None:
    """libsndfile drops a damaged Ogg page: all that follows it would be too early."""
    content = bytearray(formats[name].read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6000] = bytes(6000)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: (damaged: expected 12.00 s|cannot be read)"):
        list(file_blocks(path, 16000))


def test_every_byte_may_be_missing(formats: Formats, tmp_path: Path) -> None:
    """Wherever a file ends, reading ends as well, with an error or with no more than it had."""
    for name in ("wav", "flac", "44.ogg", "48.opus", "24.mp3", "gsm.wav", "aiff", "w64"):
        content = formats[name].read_bytes()
        for kept in np.random.default_rng(2).integers(1, len(content), 12).tolist():
            path = tmp_path / f"{kept}.{name}"
            path.write_bytes(content[:kept])
            try:
                found = sum(map(len, file_blocks(path, 16000)))
            except InputError:
                continue
            assert found <= (SECONDS + 0.1) * 16000


@pytest.mark.parametrize("name", ["wav", "flac", "44.ogg", "aiff"])
def test_a_file_that_is_cut_while_it_is_read_is_reported(
    formats: Formats, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(formats[name].read_bytes())
    with open_audio(path) as file, caplog.at_level(logging.WARNING):
        blocks = file.blocks()
        found = len(next(blocks))
        cut_off(path, 0.7)
        found += sum(map(len, blocks))
    assert found < 0.75 * SECONDS * FORMATS[name][2]
    assert f"{path}: cut off: expected 12.00 s" in caplog.messages[-1]


@pytest.mark.parametrize("seconds", [SECONDS, 0.03])
def test_a_short_flac_stream_may_begin_or_end_a_file(
    formats: Formats, tmp_path: Path, seconds: float
) -> None:
    short, path = tmp_path / "short.flac", tmp_path / "a.flac"
    soundfile.write(short, 0.001 * _signal(16000, 0.03), 16000)
    soundfile.write(path, _signal(16000, seconds, 1), 16000)
    parts = [short, path, short]
    whole = np.concatenate([read_audio(part, 16000) for part in parts])
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert _frames(path) == len(whole)
    np.testing.assert_array_equal(read_audio(path, 16000), whole)
