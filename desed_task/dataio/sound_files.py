"""An open audio file whose samples are read as far as its data go, whatever its header declares.

libsndfile reads the number of samples that a header declares, or that it estimates. Where the file
has more, `AudioFile` continues after them: with the bytes that follow (PCM), with the stream that
follows (joined Ogg, FLAC and MP3 files), or with a header without a length (FLAC, MP3). Where it
has less, what was read is counted. Tested with soundfile 0.14.0 and libsndfile 1.2.2.
"""

import io
import logging
import os
import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Dtype = Literal["int16", "float32"]
KINDS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3")
"""libsndfile's names of the formats that are read."""
PREROLL_SECONDS = 4.0
"""Decoded and dropped before a piece: after a seek decoders need this long to return to the state
that they have in sequence (MP3 1 s, Opus 2 s)."""
_BLOCK_SECONDS = 5.0
_MIN_BLOCK = 1 << 24
"""Samples of all channels that are read at once also where the file is smaller."""
_TOLERANCE_SECONDS = 0.1
"""MPEG headers count in frames, and encoders differ by one."""
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
_MARKS = {"OGG": re.compile(b"OggS\0\2"), "FLAC": re.compile(b"fLaC[\0\x80]\0\0\x22")}
_SEARCH_BYTES = 1 << 18
"""Of a search; not by memory mapping, which ends the process where a disk cannot be read."""
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
_CHUNKS = dict.fromkeys(["WAV", "WAVEX", "RF64"], _RIFF) | {
    "AIFF": (struct.Struct(">4sI"), 2),
    "CAF": (struct.Struct(">4sQ"), 1),
    "W64": (struct.Struct("<16sQ"), 8),  # its sizes include these 24 bytes
}

_CUT_OFF = "cut off"
_LONGER = "longer than declared"
_reported: set[str] = set()


class UnreadableError(ValueError):
    """A file that cannot be used; the message is without its name."""


class AudioFile:
    """An open audio file of one of `KINDS`.

    A warning says, once in a process for each file, how much is missing or more than declared.

    Args:
        path: the file.
        whole: whether a file with less audio than it declares is refused.

    Attributes:
        sample_rate: Hz.
        channels: their number.
        subtype: libsndfile's name of the encoding.
        header_frames: samples per channel that the header of the first stream declares or
            libsndfile estimates; 0 where the length is unknown.

    Raises UnreadableError, soundfile's errors or those of the system for a file that cannot be
    read.
    """

    def __init__(self, path: str | Path, whole: bool = False) -> None:
        self._path, self._whole = path, whole
        self._fd = os.open(path, os.O_RDONLY)
        self._stream: _Stream | None = None
        try:
            self._size = os.fstat(self._fd).st_size
            self._open_first()
        except BaseException:
            self._close()
            raise

    def _open_first(self) -> None:
        """Begin at the file's first sample."""
        if self._stream is not None:
            self._stream.close()
        self._stream = stream = _open_stream(self._fd, 0, self._size, follows=False)
        self.sample_rate, self.channels = stream.samplerate, stream.channels
        self.subtype = stream.encoding
        self.header_frames = stream.declared or stream.estimate
        self._start = 0  # the file's sample at which the stream begins
        self._at = 0  # the file's sample that is next
        self._moved = False  # whether there was a seek
        self._expected = 0  # samples that are declared
        self._remarks: set[str] = set()
        self._quiet = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        os.close(self._fd)

    @property
    def frames(self) -> int:
        """Samples per channel that reading returns; decoded where the header cannot be trusted.

        Raises UnreadableError where there are none.
        """
        length = self._trusted_length()
        if length is None:
            changed = os.fstat(self._fd).st_mtime_ns
            length = _measured_length(str(self._path), self._whole, self._size, changed)
        return _not_empty(length)

    def blocks(self, n_samples: int | None = None, dtype: Dtype = "float32") -> Iterator[Any]:
        """The samples from the current one on, `(samples, channels)`, in blocks, to the end.

        Raises UnreadableError for a file without samples.
        """
        size = n_samples or self._block_size
        while len(block := self._following(size, dtype)):
            yield block
        _not_empty(self._at)

    def read(
        self, start: int = 0, n_samples: int | None = None, dtype: Dtype = "float32"
    ) -> NDArray[Any]:
        """`(samples, channels)` from `start` on, fewer where the file ends; None: to its end.

        They are equal to those of the whole file (of MP3 to rounding, 1e-7): what a decoder returns
        directly after a seek is not used.
        """
        if start == 0 == self._at and n_samples is None:
            stop = self._trusted_length()
            found = self._until(stop, dtype)
            if stop is None:
                _not_empty(self._at)
            return found
        stop = self.frames if n_samples is None else start + n_samples
        if stop > self.header_frames and not self._is_unlimited:
            stop = min(stop, self.frames)
        self._go_to(start, stop)
        found = self._until(stop, dtype)
        if self._at < stop and self._moved:  # the header declares more than there is
            self._open_first()
            self._skip_to(start)
            found = self._until(stop, dtype)
        return found

    @property
    def _block_size(self) -> int:
        return max(1, round(_BLOCK_SECONDS * self.sample_rate))

    @property
    def _is_unlimited(self) -> bool:
        return self._stream is not None and self._stream.is_unlimited

    def _until(self, stop: int | None, dtype: Dtype) -> NDArray[Any]:
        """The samples from the current one to `stop`, or to the file's end."""
        found = []
        while stop is None or self._at < stop:
            end = stop or self.header_frames
            size = end - self._at if end > self._at else 16 * self._block_size
            block = self._following(size, dtype)
            if not len(block):
                break
            found.append(block)
        if len(found) == 1:
            return found[0]
        return np.concatenate([np.empty((0, self.channels), dtype), *found])

    def _skip_to(self, start: int) -> None:
        while self._at < start:
            if not len(self._following(min(self._block_size, start - self._at), "float32")):
                return

    def _go_to(self, start: int, stop: int) -> None:
        """Make `start` the next sample; by a seek only where it saves reading."""
        stream = self._stream
        exact = stream is not None and stream.width is not None
        begin = max(0, start - (0 if exact else round(PREROLL_SECONDS * self.sample_rate)))
        if not begin <= self._at <= start:
            is_inside = self._is_unlimited or stop <= self.header_frames
            if stream is not None and is_inside and stream.can_seek and not stream.follows:
                try:
                    stream.go_to(begin)
                    self._at, self._moved = begin, True
                except soundfile.LibsndfileError:  # of a file that is cut off
                    self._open_first()
            elif self._at > start:
                self._open_first()
        self._skip_to(start)

    def _following(self, n_samples: int, dtype: Dtype) -> NDArray[Any]:
        """The next samples; none at the end of the file."""
        # What a header declares may be far more than the file has.
        n_samples = min(n_samples, max(1, max(_MIN_BLOCK, 4 * self._size) // self.channels))
        while self._stream is not None:
            block = self._stream.following(n_samples, dtype)
            if len(block):
                self._at += len(block)
                return block
            self._leave(self._stream)
        return np.empty((0, self.channels), dtype)

    def _leave(self, stream: "_Stream") -> None:
        """At the end of a stream: compare it with what is declared, open what follows it."""
        found = self._at - self._start
        self._compare(stream, found)
        following = self._next(stream, found)
        stream.close()
        self._stream, self._start = following, self._at
        if following is None:
            self._report(self._at)

    def _compare(self, stream: "_Stream", found: int) -> None:
        """Record what a stream declares, against the samples that were found."""
        declared = stream.declared_frames(found)
        tolerance = _TOLERANCE_SECONDS * self.sample_rate if stream.width is None else 0
        if stream.kind == "OGG" and _has_last_page(stream):
            if declared - found > tolerance:  # libsndfile continues after pages that it drops
                raise UnreadableError(
                    f"damaged: expected {declared / self.sample_rate:.2f} s as its last page "
                    f"declares, got {found / self.sample_rate:.2f} s; times would be wrong"
                )
        elif declared - found > tolerance:
            self._remarks.add(_CUT_OFF)
        elif stream.kind == "OGG":
            self._remarks.add("cut off: expected the last page of its stream, got none")
        elif stream.broken and stream.declared is None:
            self._remarks.add("cut off or damaged at its end")
        if found - declared > tolerance:
            self._remarks.add(_LONGER)
        self._expected += declared

    def _report(self, found: int) -> None:
        """Log, once, what differs."""
        seconds = f"{found / self.sample_rate:.2f} s"
        for remark in sorted(self._remarks if not self._quiet else ()):
            text = remark
            if remark in (_CUT_OFF, _LONGER):
                declared = self._expected / self.sample_rate
                text += f": expected {declared:.2f} s as its header declares, got {seconds}"
            if self._whole and remark != _LONGER:
                raise UnreadableError(text)
            text = f"{self._path}: {text}; the {seconds} that it has are used"
            if text not in _reported:
                _reported.add(text)
                logger.warning("%s", text)

    def _trusted_length(self) -> int | None:
        """The header's length, where it is all that the file has and is cheap to check."""
        stream, length = self._stream, self.header_frames
        if stream is None or stream.follows or stream.width is None or not length:
            return None
        if not _is_rest(stream, stream.end, self._size):
            return None
        self._compare(stream, length)
        self._report(length)
        self._remarks.clear()
        self._expected = 0
        return length

    def _ends_where_declared(self) -> bool:
        """Whether the last second of audio is where the header says, and nothing follows it."""
        stream, begin = self._stream, self.header_frames - self.sample_rate
        if stream is None or begin < self.sample_rate or not stream.can_seek:
            return False
        self._quiet = True
        try:
            stream.go_to(begin)
            self._at = begin
            self._skip_to(1 << 62)
        except (soundfile.LibsndfileError, UnreadableError):
            return False
        return self._at == self.header_frames and not self._remarks

    def _next(self, stream: "_Stream", found: int) -> "_Stream | None":
        """The stream that follows one whose `found` samples have been read; None at the end."""
        kind, at = stream.kind, stream.end
        if at >= self._size or (found and _is_rest(stream, at, self._size)):
            return None
        following = None
        try:
            if kind in _MARKS or (kind == "MP3" and (found or not stream.follows)):
                following = _open_stream(self._fd, at, self._size, follows=True)
            elif stream.width is not None:
                following = stream.continued(self._size)
        except (soundfile.LibsndfileError, UnreadableError):
            following = None
        if following is None:
            n_bytes = self._size - at
            if kind in _CHUNKS:
                raise UnreadableError(
                    f"{n_bytes} bytes after the {found / self.sample_rate:.2f} s that its header "
                    f"declares: expected none, because {self.subtype} cannot be continued"
                )
            self._remarks.add(f"{n_bytes} bytes after its audio cannot be read as audio")
        elif (following.samplerate, following.channels) != (self.sample_rate, self.channels):
            got = f"{following.samplerate} Hz, {following.channels} channels"
            following.close()
            raise UnreadableError(
                f"joined of different streams: expected {self.sample_rate} Hz, {self.channels} "
                f"channels as in its first, got {got}"
            )
        return following


@lru_cache(maxsize=1 << 16)
def _measured_length(path: str, whole: bool, size: int, mtime_ns: int) -> int:
    """Samples of a file of this size and time, by decoding its end, or all where that differs."""
    with AudioFile(path, whole) as file:
        if file._ends_where_declared():
            return file.header_frames
        file._open_first()
        file._skip_to(1 << 62)
        return file._at


def _not_empty(length: int) -> int:
    if length == 0:
        raise UnreadableError("no audio: expected at least 1 sample, got 0")
    return length


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
        """The file's byte that is read next."""
        return min(self.start + self._at, self.stop)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; libsndfile asks for the size by moving to the end."""
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


class _Stream(soundfile.SoundFile):
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
        width: bytes of a sample; None where they differ, so that only seeks to a constant width
            are exact.
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
        self.width = _WIDTHS.get(self.encoding) if self.kind not in _MARKS else None
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
        return self.stop if self.kind in _MARKS else self.position

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

    def continued(self, stop: int) -> "_Stream":
        """The bytes after the samples, as samples of the same encoding."""
        endian = self.endian
        if endian == "FILE":
            endian = "BIG" if self.kind in _BIG_ENDIAN else "LITTLE"
        return _Stream(
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


def _open_stream(fd: int, begin: int, size: int, follows: bool) -> _Stream:
    """The stream that begins at a byte of a file of `size` bytes.

    Raises UnreadableError for a format that is not read.
    """
    head = os.pread(fd, _FLAC_TOTAL, begin)
    if _MARKS["OGG"].match(head):
        stop = _mark(fd, begin, size, "OGG") or size
        section = _Section(fd, begin, stop) if begin or stop < size else None
        return _Stream(fd, stop, section, follows=follows)
    if _MARKS["FLAC"].match(head) and len(head) == _FLAC_TOTAL:
        # Without a length, libsndfile reads until the data end.
        total = int.from_bytes(head[-5:], "big") & 0xF_FFFF_FFFF
        section = _Section(fd, begin, size, head[:-5] + bytes([head[-5] & 0xF0, 0, 0, 0, 0]))
        stream = _Stream(fd, size, section, total or None, follows=follows)
        stream.is_bounded = False
        if not total:
            stream.find_stop(begin)
        return stream
    stream = _Stream(fd, size, _Section(fd, begin, size) if begin else None, follows=follows)
    if stream.kind not in KINDS:
        stream.close()
        raise UnreadableError(f"format: expected one of {', '.join(KINDS)}, got {stream.kind}")
    if stream.kind == "FLAC" and (mark := _mark(fd, begin, size, "FLAC")):  # after an ID3 tag
        stream.close()
        return _open_stream(fd, mark, size, follows)
    if stream.kind == "MP3" and not _has_mpeg_length(stream):
        estimate = stream.frames
        stream.close()
        section = _Section(fd, begin, size, claimed=True)
        stream = _Stream(fd, size, section, None, estimate, follows=follows)
    return stream


def _has_mpeg_length(stream: _Stream) -> bool:
    """Whether an MP3 stream begins with a header that declares its length."""
    begin = max(stream.begin, stream.first_byte - 2 * _MAX_MPEG_FRAME)
    return bool(_MPEG_LENGTH.search(os.pread(stream.fd, stream.first_byte - begin, begin)))


def _mark(fd: int, start: int, stop: int, kind: str) -> int | None:
    """The byte at which the next stream begins after the one that begins at `start`."""
    mark, begin = _MARKS[kind], start
    while mark == _MARKS["OGG"]:  # the first pages of multiplexed streams follow each other
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


def _has_last_page(stream: _Stream) -> bool:
    """Whether an Ogg stream's last page is there, and whole."""
    start = max(stream.begin, stream.stop - _SEARCH_BYTES)
    content = os.pread(stream.fd, stream.stop - start, start)
    at = content.rfind(b"OggS")
    page = content[at : at + _OGG_HEAD]
    if at < 0 or len(page) < 27 or not page[5] & 4:
        return False
    return at + 27 + page[26] + sum(page[27 : 27 + page[26]]) <= len(content)


def _is_rest(stream: _Stream, start: int, stop: int) -> bool:
    """Whether the bytes after the audio are none, few, tags or other chunks of the container."""
    if stop - start < _MAX_REST.get(stream.kind, 1024):
        return True
    if os.pread(stream.fd, 16, start).startswith(_TAGS):
        return True
    if stream.kind not in _CHUNKS:
        return False
    form, alignment = _CHUNKS[stream.kind]
    # Some programs write no padding after an odd number of bytes.
    begins = {start, start + -start % alignment}
    return any(_are_chunks(stream, at, stop, form, alignment) for at in begins)


def _are_chunks(
    stream: _Stream, start: int, stop: int, form: struct.Struct, alignment: int
) -> bool:
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
