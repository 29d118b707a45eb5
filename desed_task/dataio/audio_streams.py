"""What libsndfile reads as one stream of samples: an audio file, or a section of one.

Where a header declares less than the data have, a stream continues after it: with the bytes that
follow (PCM), or with a header without a length (FLAC, MP3). Tested with soundfile 0.14.0 and
libsndfile 1.2.2.
"""

import io
import os
import re
import struct
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

Dtype = Literal["int16", "float32"]
KINDS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3")
"""libsndfile's names of the formats that are read."""
_UNKNOWN_FRAMES = 1 << 40
_CLAIMED_SIZE = 1 << 40
_UNKNOWN_BYTES = 0x7FFF_F000
"""Programs that stream cannot know the length and declare this much or more in 32 bits."""

# libsndfile's remark on a header that declares more bytes than there are.
_CUT = re.compile(
    r"^ *(data|SSND|Data Size|riff|Riff size)\s*:? (\d+) \(?should be (\d+)", re.MULTILINE
)
# Bytes of a sample.
_WIDTHS = {"PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4}
_WIDTHS |= {"FLOAT": 4, "DOUBLE": 8}
_BIG_ENDIAN = ("AIFF", "AU", "CAF")
# Bytes with which a stream begins that may follow another one in the same file.
MARKS = {"OGG": re.compile(b"OggS\0\2"), "FLAC": re.compile(b"fLaC[\0\x80]\0\0\x22")}
_SEARCH_BYTES = 1 << 18
"""Bytes that a search reads at once. Memory mapping would end the process on a read error."""
_OVERLAP = 16
_OGG_HEAD = 27 + 255
_FLAC_TOTAL = 26
"""Byte of a FLAC stream after the 36 bits that are its number of samples, 0 where it is unknown."""
_READ_AHEAD = 1 << 16
"""libsndfile may have read as many bytes after the samples that it returned."""
_MPEG_LENGTH = re.compile(b"Xing|Info|VBRI")
_MAX_MPEG_FRAME = 1441
_MAX_REST = {"MP3": 4096}
"""Fewer bytes after the audio (1024 of other formats) are padding or frames that were not read."""
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
# The name and the size with which a chunk of a container begins, and its alignment.
_RIFF = (struct.Struct("<4sI"), 2)
CHUNKS = dict.fromkeys(["WAV", "WAVEX", "RF64"], _RIFF) | {
    "AIFF": (struct.Struct(">4sI"), 2),
    "CAF": (struct.Struct(">4sQ"), 1),
    "W64": (struct.Struct("<16sQ"), 8),  # its sizes include these 24 bytes
}


class UnreadableError(ValueError):
    """A file that cannot be used; the message is without its name."""


class _Section(io.RawIOBase):
    """Bytes `start` to `stop` of a file, the first of them replaced by `head`, as its own file.

    `claimed`: whether a far larger size is reported. libsndfile then reads an MP3 file without a
    length until its data end, not to a length that it estimates from the size.
    """

    def __init__(
        self, fd: int, start: int, stop: int, head: bytes = b"", claimed: bool = False
    ) -> None:
        super().__init__()
        self.start, self.stop, self.claimed = start, stop, claimed
        self._fd, self._head, self._at = fd, head, 0

    @property
    def position(self) -> int:
        """Number of the byte in the file that is read next."""
        return min(self.start + self._at, self.stop)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position. libsndfile moves to the end to learn the size."""
        end = _CLAIMED_SIZE if self.claimed and not offset else self.stop - self.start
        self._at = max(0, (0, self._at, end)[whence] + offset)
        return self._at

    def tell(self) -> int:
        """The current position."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as there are bytes."""
        wanted = min(len(buffer), max(0, self.stop - self.start - self._at))
        data = os.pread(self._fd, wanted, self.start + self._at)
        if self._at < len(self._head):
            head = self._head[self._at :][: len(data)]
            data = head + data[len(head) :]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def write(self, data: Any) -> int:
        """Never called; soundfile asks for it."""
        raise io.UnsupportedOperation("write")


class Stream(soundfile.SoundFile):
    """What libsndfile reads as one file: a file, or a section of one.

    Reads in sequence: soundfile's own methods seek after each block, and repeat the former block
    where the data end early.

    Attributes:
        begin, stop: the file's first byte of it, and the byte after it.
        kind, encoding: libsndfile's names of its format and subtype.
        declared: samples that its header declares; None where that is unknown.
        estimate: of its samples, where that is unknown.
        follows: whether other samples of the file are before it.
        is_unlimited: whether libsndfile reads it to its data's end, not to the declared length.
        width: bytes of a sample, by which its place is found; None for compressed audio, in which
            a decoder needs time after a seek.
        is_bounded: whether `stop` is known; a FLAC file is not searched for a further stream before
            that is needed.
        broken: whether nothing more can be read of it.
    """

    def __init__(
        self,
        fd: int,
        stop: int,
        section: _Section | None = None,
        declared: int | None = None,
        estimate: int = 0,
        *,
        follows: bool = False,
        **raw: Any,
    ) -> None:
        self.fd, self.stop, self.follows, self.estimate = fd, stop, follows, estimate
        self.section, self.begin = section, 0 if section is None else section.start
        self.is_bounded, self.broken, self.done = True, False, 0
        if section is None:
            os.lseek(fd, 0, os.SEEK_SET)
        super().__init__(fd if section is None else section, closefd=False, **raw)
        self.kind, self.encoding = str(self.format), str(self.subtype)
        self.can_seek = super().seekable()
        self.width = _WIDTHS.get(self.encoding) if self.kind not in MARKS else None
        self.first_byte = self.position
        is_claimed = section is not None and section.claimed
        self.is_unlimited = is_claimed or self.frames >= _UNKNOWN_FRAMES
        self.declared = declared if self.is_unlimited else 0 if raw else self.frames
        if self.kind == "MP3" and self.can_seek:
            self.go_to(0)  # as soundfile does: rounding differs after a seek

    # soundfile's own looks each name up in the tags that it can write.
    __setattr__ = object.__setattr__

    def seekable(self) -> bool:
        """False, so that soundfile never seeks on its own."""
        return False

    @property
    def position(self) -> int:
        """The file's byte that libsndfile reads next."""
        if self.section is not None:
            return self.section.position
        return os.lseek(self.fd, 0, os.SEEK_CUR)

    @property
    def end(self) -> int:
        """The file's byte after the samples, once they are read."""
        if self.width is not None:
            return self.first_byte + self.frames * self.channels * self.width
        return self.stop if self.kind in MARKS else self.position

    def find_stop(self, start: int) -> None:
        """Search for a further FLAC stream after a byte of the file."""
        self.is_bounded = True
        mark = _mark(self.fd, start, self.stop, self.kind)
        if mark is not None and self.section is not None:
            self.stop = self.section.stop = mark

    def go_to(self, sample: int) -> None:
        """Continue at a sample."""
        if not self.is_bounded:
            self.find_stop(self.begin)
        self.seek(sample)
        self.done = sample

    def following(self, n_samples: int, dtype: Dtype) -> NDArray[Any]:
        """The next samples, `(samples, channels)`, at most `n_samples`; none at the end."""
        if not self.is_bounded and self.done == self.declared:
            at = self.position
            self.find_stop(max(self.begin, at - _READ_AHEAD))
            self.broken = self.stop <= at
        # libsndfile fills what it has no samples for with zeros.
        frames = self.frames if self.is_bounded else self.declared or 0
        left = 0 if self.broken else max(0, frames - self.done)
        block: NDArray[Any] = np.empty((min(n_samples, left), self.channels), dtype)
        if not left:
            return block
        try:
            block = self.read(out=block)
        except soundfile.LibsndfileError:
            if not self.can_seek:
                raise
            if not self.is_bounded:
                self.find_stop(self.begin)
            # What was read before the error is in the block.
            sample = self.tell()
            if not (self.follows or self.position >= self.stop or sample == self.declared):
                raise
            self.broken = True
            block = block[: max(0, sample - self.done)]
        self.done += len(block)
        return block

    def declared_frames(self, found: int) -> int:
        """Samples that the header declares, also where libsndfile corrects it; else `found`."""
        size = struct.pack("<Q", self.end - self.first_byte)[:4] if self.width else b""
        if size and os.pread(self.fd, 4, self.first_byte - 4) == size:
            return self.frames  # a WAV file that declared what it had
        for name, declared, present in _CUT.findall(self.extra_info):
            if name == "riff" and self.kind != "W64":
                continue
            is_known = int(declared) < _UNKNOWN_BYTES or self.kind in ("W64", "RF64")
            if 0 < int(present) < int(declared) and is_known:
                return round(found * int(declared) / int(present))
        return found if self.declared is None else self.declared

    def continued(self, stop: int) -> "Stream":
        """The bytes after the samples, as samples of the same encoding."""
        endian = self.endian
        if endian == "FILE":
            endian = "BIG" if self.kind in _BIG_ENDIAN else "LITTLE"
        return Stream(
            self.fd,
            stop,
            _Section(self.fd, self.end, stop),
            follows=True,
            format="RAW",
            samplerate=self.samplerate,
            channels=self.channels,
            subtype=self.encoding,
            endian=endian,
        )


def open_stream(fd: int, begin: int, size: int, follows: bool) -> Stream:
    """The stream that begins at a byte of a file of `size` bytes.

    Raises UnreadableError for a format that is not read.
    """
    head = os.pread(fd, _FLAC_TOTAL, begin)
    if MARKS["OGG"].match(head):
        stop = _mark(fd, begin, size, "OGG") or size
        section = _Section(fd, begin, stop) if begin or stop < size else None
        return Stream(fd, stop, section, follows=follows)
    if MARKS["FLAC"].match(head) and len(head) == _FLAC_TOTAL:
        # Without a length, libsndfile reads until the data end.
        total = int.from_bytes(head[-5:], "big") & 0xF_FFFF_FFFF
        is_bounded = not total or size - begin <= _READ_AHEAD
        stop = (_mark(fd, begin, size, "FLAC") if is_bounded else None) or size
        section = _Section(fd, begin, stop, head[:-5] + bytes([head[-5] & 0xF0, 0, 0, 0, 0]))
        stream = Stream(fd, stop, section, total or None, follows=follows)
        stream.is_bounded = is_bounded
        return stream
    stream = Stream(fd, size, _Section(fd, begin, size) if begin else None, follows=follows)
    if stream.kind not in KINDS:
        stream.close()
        raise UnreadableError(f"format: expected one of {', '.join(KINDS)}, got {stream.kind}")
    if stream.kind == "FLAC" and (mark := _mark(fd, begin, size, "FLAC")):  # after an ID3 tag
        stream.close()
        return open_stream(fd, mark, size, follows)
    if stream.kind == "MP3" and not _has_mpeg_length(stream):
        estimate = stream.frames
        stream.close()
        section = _Section(fd, begin, size, claimed=True)
        stream = Stream(fd, size, section, None, estimate, follows=follows)
    return stream


def _has_mpeg_length(stream: Stream) -> bool:
    """Whether an MP3 stream begins with a header that declares its length."""
    begin = max(stream.begin, stream.first_byte - 2 * _MAX_MPEG_FRAME)
    return bool(_MPEG_LENGTH.search(os.pread(stream.fd, stream.first_byte - begin, begin)))


def _mark(fd: int, start: int, stop: int, kind: str) -> int | None:
    """The byte at which the next stream begins after the one that begins at `start`."""
    mark, begin = MARKS[kind], start
    while mark == MARKS["OGG"]:  # the first pages of multiplexed streams follow each other
        page = os.pread(fd, _OGG_HEAD, start)
        if not mark.match(page):
            break
        begin = start
        start += 27 + page[26] + sum(page[27 : 27 + page[26]]) if len(page) > 26 else 1
    at = begin + 1
    while block := os.pread(fd, min(_SEARCH_BYTES, max(0, stop - at)), at):
        if found := mark.search(block):
            return at + found.start()
        at += _SEARCH_BYTES - _OVERLAP
    return None


def has_last_page(stream: Stream) -> bool:
    """Whether an Ogg stream's last page is there, and whole."""
    start = max(stream.begin, stream.stop - _SEARCH_BYTES)
    content = os.pread(stream.fd, stream.stop - start, start)
    at = content.rfind(b"OggS")
    page = content[at : at + _OGG_HEAD]
    if at < 0 or len(page) < 27 or not page[5] & 4:
        return False
    return at + 27 + page[26] + sum(page[27 : 27 + page[26]]) <= len(content)


def is_rest(stream: Stream, start: int, stop: int) -> bool:
    """Whether the bytes after the audio are none, few, tags or other chunks of the container."""
    if stop - start < _MAX_REST.get(stream.kind, 1024):
        return True
    if os.pread(stream.fd, 16, start).startswith(_TAGS):
        return True
    if stream.kind not in CHUNKS:
        return False
    form, alignment = CHUNKS[stream.kind]
    # Some programs write no padding after an odd number of bytes.
    begins = {start, start + -start % alignment}
    return any(_are_chunks(stream, at, stop, form, alignment) for at in begins)


def _are_chunks(stream: Stream, start: int, stop: int, form: struct.Struct, alignment: int) -> bool:
    """Whether bytes are chunks of a container and nothing else."""
    at = start
    while at < stop:
        head = os.pread(stream.fd, form.size, at)
        if len(head) < form.size or not re.match(rb"[ -~]{4}", head):
            return False
        length = form.unpack(head)[1] + (0 if stream.kind == "W64" else form.size)
        length = max(form.size, length)
        at += length + -length % alignment
    return at < stop + alignment
