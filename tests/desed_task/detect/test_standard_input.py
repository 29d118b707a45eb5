"""Standard input: raw PCM, WAV streams of all kinds, and containers that are no samples."""

import io
import logging
import struct
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from desed_task.detect.standard_input import Pcm
from desed_task.errors import InputError

RATE = 22050
AUDIO = np.round(np.random.default_rng(0).uniform(-0.9, 0.9, (3001, 2)) * 128) / 128


class Pipe(io.RawIOBase):
    """A stream that cannot seek and returns few bytes at a time."""

    def __init__(self, data: bytes, most: int = 1000) -> None:
        self._data, self._most = io.BytesIO(data), most

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, self._most))


def _read(data: bytes, *given: Any, most: int = 1000) -> tuple[Any, NDArray[np.float32]]:
    source = Pcm(Pipe(data, most), *given)  # type: ignore[arg-type]
    return source.format, np.concatenate(list(source.blocks()))


def _wav(**options: Any) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, AUDIO, RATE, **{"format": "WAV", "subtype": "PCM_16"} | options)
    return content.getvalue()


def _declaring(data: bytes, n_bytes: int) -> bytes:
    """A WAV file whose header declares other lengths, as programs that stream write it."""
    begin = data.index(b"data") + 4
    riff = struct.pack("<I", min(n_bytes + 36, 0xFFFFFFFF))
    return data[:4] + riff + data[8:begin] + struct.pack("<I", n_bytes) + data[begin + 4 :]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("most", [1, 997, 1 << 20])
def test_wav_streams_have_the_samples_of_the_file(subtype: str, container: str, most: int) -> None:
    data = _wav(format=container, subtype=subtype)
    form, samples = _read(data, most=most)
    assert (form.rate, form.channels) == (RATE, 2)
    np.testing.assert_array_equal(samples, AUDIO)


@pytest.mark.parametrize("declared", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_unknown_lengths_are_read_to_the_end(declared: int) -> None:
    np.testing.assert_array_equal(_read(_declaring(_wav(), declared))[1], AUDIO)


def test_declared_lengths_are_compared(caplog: pytest.LogCaptureFixture) -> None:
    data = _wav()
    np.testing.assert_array_equal(_read(data + b"LIST\x04\0\0\0INFO")[1], AUDIO)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(_read(_declaring(data, 4000))[1], AUDIO)
        assert "longer than its header declares" in caplog.text
        np.testing.assert_array_equal(_read(data[:-4000])[1], AUDIO[:2001])
        assert "ends before its declared length: 0.045 s are missing" in caplog.text


def test_raw_samples(caplog: pytest.LogCaptureFixture) -> None:
    samples = (AUDIO * 32768).astype("<i2")
    form, found = _read(samples.tobytes() + b"\x01", 8000, 2)
    assert (form.rate, form.channels) == (8000, 2)
    np.testing.assert_array_equal(found, AUDIO)
    assert "incomplete last sample, dropped: expected 4 bytes (2 channels" in caplog.text
    assert _read(bytes(10))[1].shape == (5, 1)
    form, _ = _read(b"\xff\xfb\x90\x00" * 2000)  # begins as an MPEG frame does
    assert form.rate == 16000


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
    + [(name, "PCM_16") for name in ("AIFF", "AU", "CAF", "W64")],
)
def test_other_containers_are_refused(container: str, subtype: str) -> None:
    content = io.BytesIO()
    loud = np.repeat(AUDIO, 20, axis=0)[:, :1] * 0.5
    soundfile.write(content, loud, 48000, format=container, subtype=subtype)
    with pytest.raises(InputError, match=f"(?i){container}: expected raw PCM .arecord -t raw. or"):
        _read(content.getvalue(), 48000)


@pytest.mark.parametrize(
    ("data", "given", "message"),
    [
        (b"", (), "no audio: expected at least 1 sample, got 0"),
        (b"\0", (), "no audio: expected at least 1 sample"),
        (_wav()[:44], (), "no audio: expected at least 1 sample"),
        (_wav()[:30], (), "WAV: expected chunks fmt and data"),
        (
            _wav(),
            (16000,),
            "--rate: expected that of its header, 22050, or nothing, got 16000",
        ),
        (_wav(), (None, 1), "WAV: --channels: expected that of its header, 2"),
        (_wav(subtype="ULAW"), (), "WAV: expected PCM of 8 to 32 bits or floats .* got format 7"),
        (b"\0\0\0\x20ftypM4A " + bytes(99), (), "MP4: expected raw PCM"),
    ],
)
def test_what_cannot_be_read(data: bytes, given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _read(data, *given)
