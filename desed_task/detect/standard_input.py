"""Audio of standard input: raw 16-bit PCM, or a WAV stream, whose header has rate and format.

Other containers are recognised by their first bytes and refused: their bytes are no samples.
Source of the header: Microsoft, "Multiple channel audio data and WAVE files"; EBU Tech 3306 (RF64).
"""

import logging
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.errors import InputError

logger = logging.getLogger(__name__)

NAME = "standard input"
_CHUNK = 1 << 16  # bytes
_UNKNOWN_LENGTH = 0x7FFF_F000  # programs that stream declare as much or more, or 0
_MAX_HEADER = 1 << 24  # bytes before the audio
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_CONTAINERS = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"FORM": "AIFF",
    b".snd": "AU",
    b"caff": "CAF",
    b"riff": "W64",
    b"RIFX": "big-endian WAV",
    b"\x1a\x45\xdf\xa3": "Matroska or WebM",
    b"\x30\x26\xb2\x75": "WMA",
    b"#!AMR": "AMR",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
}
_KBIT_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBIT_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
"""Bit rates of MPEG-1 and of MPEG-2 and 2.5, layer III, by the index in a frame's header."""
_MAX_MPEG_FRAME = 1442 + 4  # bytes, with the header of the next frame


class PcmFormat(NamedTuple):
    """Rate in Hz, channels, bytes of a sample, and whether samples are floats."""

    rate: int
    channels: int
    width: int = 2
    is_float: bool = False


class Pcm:
    """The samples of a stream of bytes, as they arrive.

    Args:
        stream: a binary file that need not be seekable.
        rate, channels: of raw 16-bit little-endian PCM; None: 16000 Hz, 1. A WAV stream's are
            those of its header.

    Attributes:
        format: of the samples.

    Raises InputError for containers other than WAV, for a WAV header that cannot be used, and
    where it has another rate or number of channels than given.
    """

    def __init__(
        self, stream: BinaryIO, rate: int | None = None, channels: int | None = None
    ) -> None:
        self._read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
        self._rest = b""
        self._left: int | None = None  # bytes of a WAV stream whose length is declared
        self._fill(_MAX_MPEG_FRAME if self._starts_with(b"\xff") else 12)
        container = _container(self._rest)
        if container:
            raise InputError(
                f"{NAME}: {container}: expected raw PCM (arecord -t raw) or WAV: decode it before "
                "(ffmpeg -i - -f wav -), or name a file instead of -"
            )
        if self._rest[:4] in (b"RIFF", b"RF64", b"BW64") and self._rest[8:12] == b"WAVE":
            self.format = self._header()
            for option, given, found in (
                ("rate", rate, self.format.rate),
                ("channels", channels, self.format.channels),
            ):
                if given not in (None, found):
                    raise InputError(
                        f"{NAME}: WAV: --{option}: expected that of its header, {found}, or "
                        f"nothing, got {given}"
                    )
        else:
            self.format = PcmFormat(
                16000 if rate is None else rate, 1 if channels is None else channels
            )

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Samples `(samples, channels)`, float32.

        Warns where the stream ends within a sample, or before its declared length. Raises
        InputError for a stream without a sample.
        """
        frame = self.format.width * self.format.channels
        n_frames = 0
        while chunk := self._next():
            whole = len(chunk) // frame * frame
            self._rest = chunk[whole:]
            if whole:
                n_frames += whole // frame
                yield _decoded(chunk[:whole], self.format)
        if self._rest:
            logger.warning(
                "%s: incomplete last sample, dropped: expected %d bytes (%d channels of %d bits), "
                "got %d",
                NAME,
                frame,
                self.format.channels,
                8 * self.format.width,
                len(self._rest),
            )
        if self._left:
            logger.warning(
                "%s: WAV: ends before its declared length: %.3f s are missing",
                NAME,
                self._left / frame / self.format.rate,
            )
        if not n_frames:
            raise InputError(f"{NAME}: no audio: expected at least 1 sample, got 0")

    def _next(self) -> bytes:
        """The bytes of the next block, those that were held first; empty at the end."""
        held, self._rest = self._rest, b""
        if self._left == 0:
            if not self._goes_on():
                return b""
            held, self._rest = held + self._rest, b""
        chunk = self._read(_CHUNK)
        if not chunk and len(held) < self.format.width * self.format.channels:
            self._rest = held
            return b""
        if self._left is not None:
            chunk = chunk[: self._left]
            self._left -= len(chunk)
        return held + chunk

    def _goes_on(self) -> bool:
        """Whether samples follow those that a WAV header declares, not the name of a chunk."""
        self._fill(4)
        if not self._rest or (self._rest.isascii() and self._rest.decode().isprintable()):
            self._rest = b""
            return False
        logger.warning("%s: WAV: longer than its header declares, read to its end", NAME)
        self._left = None
        return True

    def _fill(self, size: int) -> None:
        """Hold at least `size` bytes, fewer at the stream's end."""
        while len(self._rest) < size and (chunk := self._read(size - len(self._rest))):
            self._rest += chunk

    def _starts_with(self, magic: bytes) -> bool:
        self._fill(len(magic))
        return self._rest.startswith(magic)

    def _take(self, size: int) -> bytes:
        self._fill(size)
        if len(self._rest) < size or size > _MAX_HEADER:
            raise InputError(f"{NAME}: WAV: expected chunks fmt and data, got a header without")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def _header(self) -> PcmFormat:
        """Read up to the samples of a WAV stream."""
        self._take(12)
        found: PcmFormat | None = None
        long_size = None
        while True:
            name, size = struct.unpack("<4sI", self._take(8))
            if name == b"data":
                break
            content = self._take(size + size % 2)
            if name == b"fmt ":
                found = _wav_format(content)
            elif name == b"ds64" and size >= 16:
                long_size = struct.unpack_from("<Q", content, 8)[0]
        if found is None:
            raise InputError(f"{NAME}: WAV: expected a chunk fmt before the audio, got none")
        if size == 0xFFFF_FFFF and long_size:
            size = long_size
        elif size == 0 or size >= _UNKNOWN_LENGTH:
            return found
        self._left = size
        return found


def _wav_format(content: bytes) -> PcmFormat:
    """The format of a chunk `fmt`. Raises InputError for one that is no PCM."""
    if len(content) < 16:
        raise InputError(f"{NAME}: WAV: chunk fmt: expected 16 bytes, got {len(content)}")
    code, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", content)
    if code == _EXTENSIBLE and len(content) >= 26:
        code = struct.unpack_from("<H", content, 24)[0]
    width = align // channels if channels else 0
    widths = {_PCM: (1, 2, 3, 4), _FLOAT: (4, 8)}.get(code, ())
    if width not in widths or width * channels != align or bits > 8 * width or not rate:
        raise InputError(
            f"{NAME}: WAV: expected PCM of 8 to 32 bits or floats of 32 or 64, got format {code}, "
            f"{bits} bits, {channels} channels, {rate} Hz: convert it before, or name a file "
            "instead of -"
        )
    return PcmFormat(rate, channels, width, code == _FLOAT)


def _decoded(data: bytes, form: PcmFormat) -> NDArray[np.float32]:
    """Bytes of whole samples -> `(samples, channels)`."""
    if form.is_float:
        samples = np.frombuffer(data, f"<f{form.width}").astype(np.float32)
    elif form.width == 1:
        samples = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
    elif form.width == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        samples = wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    else:
        full_scale = np.float32(2 ** (8 * form.width - 1))
        samples = np.frombuffer(data, f"<i{form.width}").astype(np.float32) / full_scale
    return samples.astype(np.float32, copy=False).reshape(-1, form.channels)


def _container(head: bytes) -> str:
    """The container whose first bytes these are; empty for samples and for WAV."""
    if head[4:8] == b"ftyp":
        return "MP4"
    length = _mpeg_frame(head)
    if length and _mpeg_frame(head[length:]):
        return "MP3"
    return next((name for magic, name in _CONTAINERS.items() if head.startswith(magic)), "")


def _mpeg_frame(head: bytes) -> int:
    """Bytes of the frame of MPEG layer III that begins here; 0: none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, kbit = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or rate == 3 or not 1 <= kbit <= 14:
        return 0
    hertz = (44100, 48000, 32000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    scale, table = (144, _KBIT_1) if version == 3 else (72, _KBIT_2)
    return scale * 1000 * table[kbit - 1] // hertz + (head[2] >> 1 & 1)
