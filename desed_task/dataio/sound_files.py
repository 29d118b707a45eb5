"""An open audio file whose samples are read as far as its data go, whatever its header declares.

libsndfile reads the number of samples that a header declares, or that it estimates. Where the file
has more, `AudioFile` continues after them: with the bytes that follow (PCM, MP3), with the stream
that follows (joined Ogg and FLAC files), or with a header without a length (FLAC). Where it has
less, what was read is counted. Tested with soundfile 0.14.0 and libsndfile 1.2.2.
"""

import io
import logging
import mmap
import os
import re
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Dtype = Literal["int16", "float32"]
PREROLL_SECONDS = 4.0
"""Decoded and dropped before a piece: after a seek decoders need this long to return to the state
that they have in sequence (MP3 1 s, Opus 2 s)."""
_BLOCK_SECONDS = 5.0
_MAX_BLOCK = 1 << 24
"""Samples of all channels, where the file's length is not certain."""
_TOLERANCE_SECONDS = 0.1
"""MPEG headers count in frames, and encoders differ by one."""
_MAX_REST_BYTES = {"MP3": 4096}
"""Fewer bytes after the audio (1024 of other formats) are padding or frames that were not read."""
_UNKNOWN_FRAMES = 1 << 40
_CLAIMED_SIZE = 1 << 40
_UNKNOWN_BYTES = 0x7FFF_F000
"""Programs that stream cannot know the length and declare this much or more in 32 bits."""

# libsndfile's remark on a header that declares more bytes than there are, where it has one.
_CUT = re.compile(
    r"^ *(data|SSND|BODY|Data Size|Data length|riff|Riff size)\s*:? (\d+) \(?should be (\d+)",
    re.MULTILINE,
)
_COUNTED = re.compile(r"^ *Frames +: (\d+)$", re.MULTILINE)  # of AVR and MPC2K
_SAMPLE_COUNT = re.compile(rb"sample_count -i (\d+)")  # of NIST
_CONSTANT_WIDTH = frozenset(
    ["PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
)
_BIG_ENDIAN = frozenset(["AIFF", "AU", "CAF"])
# Bytes with which a stream begins that follows another one in the same file.
_MARKS = {"OGG": b"OggS\0\2", "FLAC": b"fLaC"}
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
_MPEG_HEADERS = re.compile(b"Xing|Info|VBRI")
_MAX_MPEG_FRAME = 1441
_FLAC_HEAD = 26
"""Bytes up to the total number of samples, whose 36 bits end here."""
_SMALL_FLAC = 1 << 16
"""libsndfile reads ahead, so that unread bytes of a small file cannot be counted."""


_CUT_OFF = "cut off"
_LONGER = "longer than declared"
_reported: set[str] = set()


class UnreadableError(ValueError):
    """A file that cannot be used; the message is without its name."""


class _Chunks(NamedTuple):
    """How a container's chunks are written."""

    identifier: int
    size: str
    alignment: int
    size_of_all: bool = False

    def fill(self, fd: int, start: int, stop: int) -> bool:
        """Whether the bytes from `start` to `stop` are chunks and nothing else."""
        head = self.identifier + struct.calcsize(self.size)
        at = _rounded(start, self.alignment)
        while at < stop:
            name = os.pread(fd, head, at)
            if len(name) < head or not re.match(rb"[ -~]{4}", name):
                return False
            (length,) = struct.unpack(self.size, name[self.identifier :])
            length = max(head, length if self.size_of_all else head + length)
            at = _rounded(at + length, self.alignment)
        return at <= _rounded(stop, self.alignment)


_RIFF = _Chunks(4, "<I", 2)
_CHUNKS = {
    "WAV": _RIFF,
    "WAVEX": _RIFF,
    "RF64": _RIFF,
    "AIFF": _Chunks(4, ">I", 2),
    "CAF": _Chunks(4, ">Q", 1),
    "W64": _Chunks(16, "<Q", 8, size_of_all=True),
}


def _rounded(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


class _Section(io.RawIOBase):
    """Bytes `start` to `stop` of a file after `head`, as a file of its own.

    `claimed`: whether a far larger size is reported. libsndfile then reads an MP3 file without a
    length until its data end, not to a length that it estimates from the size.
    """

    def __init__(
        self, fd: int, start: int, stop: int, head: bytes = b"", claimed: bool = False
    ) -> None:
        super().__init__()
        self._fd, self._start, self._head, self._at = fd, start, head, 0
        self._size = len(head) + stop - start
        self.begin, self.claimed = start - len(head), claimed

    @property
    def position(self) -> int:
        """The file's byte that is read next."""
        return self._start + min(self._at, self._size) - len(self._head)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; libsndfile asks for the size by moving to the end."""
        end = _CLAIMED_SIZE if self.claimed and not offset else self._size
        self._at = max(0, (0, self._at, end)[whence] + offset)
        return self._at

    def tell(self) -> int:
        """The current position."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as there are bytes."""
        wanted = min(len(buffer), max(0, self._size - self._at))
        data = self._head[self._at : self._at + wanted]
        if len(data) < wanted:
            offset = self._start + self._at + len(data) - len(self._head)
            data += os.pread(self._fd, wanted - len(data), offset)
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
        claimed: see `_Section`.
        kind, encoding: libsndfile's names of its format and subtype.
        declared: samples that its header declares; None where that is unknown.
        follows: whether other samples of the file are before it.
        is_undeclared: whether the file's header does not cover it.
        broken: whether its data end in an error.
    """

    def __init__(
        self,
        fd: int,
        stop: int,
        section: _Section | None = None,
        declared: int | None = None,
        *,
        follows: bool = False,
        is_undeclared: bool = False,
        **raw: Any,
    ) -> None:
        self.fd, self.stop, self.section, self.follows = fd, stop, section, follows
        self.begin = 0 if section is None else section.begin
        self.claimed = section is not None and section.claimed
        self.is_undeclared, self.broken, self.done = is_undeclared, False, 0
        if section is None:
            os.lseek(fd, 0, os.SEEK_SET)
        super().__init__(fd if section is None else section, closefd=False, **raw)
        self.kind, self.encoding = str(self.format), str(self.subtype)
        self.first_byte = self.position
        known = self.frames < _UNKNOWN_FRAMES and not raw and not self.claimed
        self.declared = self.frames if declared is None and known else declared
        if self.kind == "MP3" and self.can_seek:
            self.go_to(0)  # as soundfile does: rounding differs after a seek

    @property
    def head(self) -> bytes:
        """Its first bytes."""
        return os.pread(self.fd, 1024, self.begin)

    def seekable(self) -> bool:
        """False, so that soundfile never seeks on its own."""
        return False

    @property
    def can_seek(self) -> bool:
        """Whether libsndfile can."""
        return bool(super().seekable())

    @property
    def position(self) -> int:
        """The file's byte that libsndfile reads next."""
        if self.section is not None:
            return self.section.position
        return os.lseek(self.fd, 0, os.SEEK_CUR)

    def go_to(self, sample: int) -> None:
        """Continue at a sample."""
        self.seek(sample)
        self.done = sample

    def following(self, n_samples: int, dtype: Dtype) -> NDArray[Any]:
        """The next samples, `(samples, channels)`, at most `n_samples`; none at the end."""
        # libsndfile fills what it has no samples for with zeros.
        left = 0 if self.broken else max(0, self.frames - self.done)
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


class AudioFile:
    """An open audio file of any format that libsndfile reads.

    A warning says, once in a process for each file, how much is missing or more than declared.

    Args:
        path: the file.
        whole: whether a file with less audio than it declares is refused.

    Attributes:
        sample_rate: Hz.
        channels: their number.
        subtype: libsndfile's name of the encoding.
        header_frames: samples per channel that the header declares or libsndfile estimates; 0 where
            the length is unknown.

    Raises UnreadableError, soundfile's errors or those of the system for a file that cannot be
    read.
    """

    def __init__(self, path: str | Path, whole: bool = False) -> None:
        self._path, self._whole = path, whole
        self._fd = os.open(path, os.O_RDONLY)
        self._stream: _Stream | None = None
        self._is_one_stream: bool | None = None  # of a FLAC file; unknown before it is needed
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
        self._stream = stream = _Stream(self._fd, self._size)
        if stream.kind == "SDS":  # libsndfile invents what is missing of it
            raise UnreadableError("expected another format, got a MIDI sample dump")
        self.sample_rate, self.channels = stream.samplerate, stream.channels
        self.subtype = stream.encoding
        self.header_frames = stream.frames if stream.frames < _UNKNOWN_FRAMES else 0
        section = self._first_section(stream)
        if section is not None:
            stream.close()
            self._stream = _Stream(self._fd, *section)
        self._start = 0  # the file's sample at which the stream begins
        self._at = 0  # the file's sample that is next
        self._moved = False  # whether there was a seek
        self._length: int | None = None
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
        if self._length is None:
            state = os.fstat(self._fd).st_mtime_ns
            self._length = self._trusted_length() or _measured_length(
                str(self._path), self._whole, self._size, state
            )
        return self._not_empty(self._length)

    def blocks(self, n_samples: int | None = None, dtype: Dtype = "float32") -> Iterator[Any]:
        """The samples from the current one on, `(samples, channels)`, in blocks, to the end.

        Raises UnreadableError for a file without samples.
        """
        size = n_samples or self._block_size
        while len(block := self._following(size, dtype)):
            yield block
        self._not_empty(self._at)

    def read(
        self, start: int = 0, n_samples: int | None = None, dtype: Dtype = "float32"
    ) -> NDArray[Any]:
        """`(samples, channels)` from `start` on, fewer where the file ends; None: to its end.

        They are equal to those of the whole file (of MP3 to rounding, 1e-7): what a decoder returns
        directly after a seek is not used.
        """
        if start == 0 == self._at and n_samples is None:
            self._length = self._trusted_length()
            if self._length is None:
                return self._array(self.blocks(16 * self._block_size, dtype), dtype)
            return self._array(self._until(self._length, dtype), dtype)
        stop = self.frames if n_samples is None else start + n_samples
        if stop > self.header_frames and not self._is_unlimited:
            stop = min(stop, self.frames)
        self._go_to(start, stop)
        found = self._array(self._until(stop, dtype), dtype)
        if self._at < stop and self._moved:  # the header declares more than there is
            self._open_first()
            self._skip_to(start)
            found = self._array(self._until(stop, dtype), dtype)
        return found

    @property
    def _block_size(self) -> int:
        return max(1, round(_BLOCK_SECONDS * self.sample_rate))

    @property
    def _is_unlimited(self) -> bool:
        """Whether libsndfile seeks and reads to the data's end, not to the header's length."""
        return self._stream is not None and self._stream.claimed

    def _array(self, blocks: Iterable[NDArray[Any]], dtype: Dtype) -> NDArray[Any]:
        found = list(blocks)
        if len(found) == 1:
            return found[0]
        return np.concatenate([np.empty((0, self.channels), dtype), *found])

    def _not_empty(self, length: int) -> int:
        if length == 0:
            raise UnreadableError("no audio: expected at least 1 sample, got 0")
        return length

    def _until(self, stop: int, dtype: Dtype) -> Iterator[NDArray[Any]]:
        while self._at < stop:
            left = stop - self._at
            size = left if left == self._length else min(left, 16 * self._block_size)
            block = self._following(size, dtype)
            if not len(block):
                return
            yield block

    def _skip_to(self, start: int) -> None:
        while self._at < start:
            if not len(self._following(min(self._block_size, start - self._at), "float32")):
                return

    def _go_to(self, start: int, stop: int) -> None:
        """Make `start` the next sample; by a seek only where it saves reading."""
        stream = self._stream
        exact = stream is not None and _has_constant_width(stream)
        begin = max(0, start - (0 if exact else round(PREROLL_SECONDS * self.sample_rate)))
        if not begin <= self._at <= start:
            is_inside = self._is_unlimited or stop <= self.header_frames
            if stream is not None and is_inside and self._can_seek(stream):
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
        if n_samples * self.channels > _MAX_BLOCK and n_samples != self._length:
            n_samples = max(1, _MAX_BLOCK // self.channels)
        while self._stream is not None:
            block = self._stream.following(n_samples, dtype)
            if len(block):
                self._at += len(block)
                return block
            self._leave(self._stream)
        return np.empty((0, self.channels), dtype)

    def _leave(self, stream: _Stream) -> None:
        """At the end of a stream: compare it with what is declared, open what follows it."""
        found = self._at - self._start
        self._compare(stream, found)
        following = self._next(stream, found)
        stream.close()
        self._stream, self._start = following, self._at
        if following is None:
            self._length = self._at
            self._report(self._at)

    def _compare(self, stream: _Stream, found: int) -> None:
        """Record what a stream declares, against the samples that were found."""
        declared = _declared_frames(stream, found)
        tolerance = 0 if _has_constant_width(stream) else _TOLERANCE_SECONDS * self.sample_rate
        if declared - found > tolerance:
            self._remarks.add(_CUT_OFF)
        elif stream.kind == "OGG" and not _has_last_page(self._fd, stream):
            self._remarks.add("cut off: expected the last page of its stream, got none")
        elif stream.broken and stream.declared is None and not stream.is_undeclared:
            self._remarks.add("cut off or damaged at its end")
        if found - declared > tolerance:
            self._remarks.add(_LONGER)
        self._expected += declared

    def _report(self, found: int) -> None:
        """Log, once, what differs."""
        seconds = f"{found / self.sample_rate:.2f} s"
        for remark in sorted(self._remarks if not self._quiet else ()):
            text = f"{self._path}: {remark}"
            if remark in (_CUT_OFF, _LONGER):
                declared = self._expected / self.sample_rate
                text += f": expected {declared:.2f} s as its header declares, got {seconds}"
            if self._whole and remark != _LONGER:
                raise UnreadableError(text.removeprefix(f"{self._path}: "))
            if text not in _reported:
                _reported.add(text)
                logger.warning("%s; the %s that it has are used", text, seconds)

    def _trusted_length(self) -> int | None:
        """The header's length, where it is all that the file has and is cheap to check."""
        stream = self._stream
        if stream is None or stream.follows or not _has_constant_width(stream):
            return None
        sample = stream.done
        stream.go_to(self.header_frames)
        end = stream.position
        stream.go_to(sample)
        if not self.header_frames or not _is_rest(self._fd, end, self._size, stream.kind):
            return None
        self._compare(stream, self.header_frames)
        self._report(self.header_frames)
        self._remarks.clear()
        self._expected = 0
        return self.header_frames

    def _ends_where_declared(self) -> bool:
        """Whether the last second of audio is where the header says, and nothing follows it."""
        stream, begin = self._stream, self.header_frames - self.sample_rate
        if stream is None or begin < self.sample_rate or not self._can_seek(stream):
            return False
        self._quiet = True
        try:
            stream.go_to(begin)
            self._at = begin
            self._skip_to(1 << 62)
        except (soundfile.LibsndfileError, UnreadableError):
            return False
        return self._at == self.header_frames and not self._remarks

    def _can_seek(self, stream: _Stream) -> bool:
        """Whether libsndfile finds samples by their numbers: not in what it does not read whole."""
        if not stream.can_seek or stream.follows:
            return False
        if stream.kind == "FLAC" and self._is_one_stream is None:
            self._is_one_stream = _mark(self._fd, 0, self._size, "FLAC") is None
        return stream.kind != "FLAC" or (bool(self._is_one_stream) and stream.section is None)

    def _first_section(self, stream: _Stream) -> tuple[Any, ...] | None:
        """The section of the file to read first, as arguments of `_Stream`; None: all of it."""
        fd, size = self._fd, self._size
        if stream.kind == "OGG":
            stop = _mark(fd, 0, size, "OGG")
            return None if stop is None else (stop, _Section(fd, 0, stop))
        if stream.kind == "FLAC" and (size <= _SMALL_FLAC or not self.header_frames):
            stop = _mark(fd, 0, size, "FLAC") or size
            section = _unlimited_flac(fd, 0, stop)
            return None if section is None else (stop, section, self.header_frames or None)
        if stream.kind == "MP3" and not _has_mpeg_length(stream):
            return (size, _Section(fd, 0, size, claimed=True))
        return None

    def _next(self, stream: _Stream, found: int) -> "_Stream | None":
        """The stream that follows one whose `found` samples have been read; None at the end."""
        kind = stream.kind
        if _has_constant_width(stream):
            stream.go_to(stream.frames)  # libsndfile reads ahead
        at = stream.position
        following, skipped = None, 0
        try:
            if stream.follows and not found:  # what it was opened for is no audio
                pass
            elif kind in _MARKS:
                mark = stream.stop
                if kind == "FLAC" and mark == self._size:
                    # libsndfile reads ahead: a short file may follow within what it has read
                    begin = stream.begin if at < mark else max(stream.begin, mark - _SMALL_FLAC)
                    mark = _mark(self._fd, begin, mark, kind) or mark
                if mark < self._size:
                    stop = _mark(self._fd, mark, self._size, kind) or self._size
                    section = _Section(self._fd, mark, stop)
                    following = _Stream(self._fd, stop, section, follows=True)
                elif kind == "FLAC" and at < self._size and stream.section is None:
                    patched = _unlimited_flac(self._fd, 0, self._size)
                    if patched is not None:
                        following = _Stream(
                            self._fd, self._size, patched, follows=True, is_undeclared=True
                        )
                        skipped = found
            elif at >= self._size or (found and _is_rest(self._fd, at, self._size, kind)):
                return None
            elif kind == "MP3":
                section = _Section(self._fd, at, self._size)
                following = _Stream(self._fd, self._size, section, follows=True)
                if not _has_mpeg_length(following):
                    following.close()
                    section = _Section(self._fd, at, self._size, claimed=True)
                    following = _Stream(self._fd, self._size, section, follows=True)
            elif _has_constant_width(stream):
                following = self._raw(stream, at)
        except soundfile.LibsndfileError:
            following = None
        if following is None:
            is_cut = kind == "OGG" and not _has_last_page(self._fd, stream)
            if is_cut or _is_rest(self._fd, at, self._size, kind):
                return None
            if kind in _CHUNKS:
                raise UnreadableError(
                    f"{self._size - at} bytes after the {found / self.sample_rate:.2f} s that its "
                    f"header declares: expected none, because {self.subtype} cannot be continued"
                )
            self._remarks.add(f"{self._size - at} bytes after its audio cannot be read as audio")
            return None
        if (following.samplerate, following.channels) != (self.sample_rate, self.channels):
            got = f"{following.samplerate} Hz, {following.channels} channels"
            following.close()
            raise UnreadableError(
                f"joined of different streams: expected {self.sample_rate} Hz, {self.channels} "
                f"channels as in its first, got {got}"
            )
        while skipped and len(block := following.following(min(skipped, 1 << 20), "float32")):
            skipped -= len(block)
        return following

    def _raw(self, stream: _Stream, start: int) -> _Stream:
        """The rest of a file, as samples of the encoding of the stream before it."""
        endian = stream.endian
        if endian == "FILE":
            endian = "BIG" if stream.kind in _BIG_ENDIAN else "LITTLE"
        return _Stream(
            self._fd,
            self._size,
            _Section(self._fd, start, self._size),
            follows=True,
            is_undeclared=True,
            format="RAW",
            samplerate=self.sample_rate,
            channels=self.channels,
            subtype=self.subtype,
            endian=endian,
        )


@lru_cache(maxsize=1 << 16)
def _measured_length(path: str, whole: bool, size: int, mtime_ns: int) -> int:
    """Samples of a file of this size and time, by decoding its end, or all where that differs."""
    with AudioFile(path, whole) as file:
        if file._ends_where_declared():
            return file.header_frames
    with AudioFile(path, whole) as file:
        file._skip_to(1 << 62)
        return file._at


def _has_constant_width(stream: _Stream) -> bool:
    """Whether a sample's place in the file follows from its number, so that seeks are exact."""
    constant = stream.encoding in _CONSTANT_WIDTH and stream.kind not in ("FLAC", "OGG", "SDS")
    return constant and stream.can_seek


def _declared_frames(stream: _Stream, found: int) -> int:
    """Samples that a stream's header declares; those found where it declares none."""
    if stream.is_undeclared:
        return 0
    remarks = stream.extra_info
    for name, declared, present in _CUT.findall(remarks):
        if name == "riff" and stream.kind != "W64":
            continue
        is_known = int(declared) < _UNKNOWN_BYTES or stream.kind in ("W64", "RF64")
        if 0 < int(present) < int(declared) and is_known:
            return round(found * int(declared) / int(present))
    if stream.kind in ("AVR", "MPC2K") and (counted := _COUNTED.search(remarks)):
        return int(counted[1])
    if stream.kind == "NIST" and (sample_count := _SAMPLE_COUNT.search(stream.head)):
        return int(sample_count[1])
    return found if stream.declared is None else stream.declared


def _has_mpeg_length(stream: _Stream) -> bool:
    """Whether an MP3 stream begins with a header that declares its length."""
    begin = max(stream.begin, stream.first_byte - 2 * _MAX_MPEG_FRAME)
    return bool(_MPEG_HEADERS.search(os.pread(stream.fd, stream.first_byte - begin, begin)))


def _unlimited_flac(fd: int, start: int, stop: int) -> _Section | None:
    """A FLAC stream without a length, which libsndfile reads until its data end."""
    head = bytearray(os.pread(fd, _FLAC_HEAD, start))
    if not head.startswith(_MARKS["FLAC"]):
        return None
    head[-5] &= 0xF0
    head[-4:] = bytes(4)
    return _Section(fd, start + _FLAC_HEAD, stop, bytes(head))


def _mark(fd: int, start: int, stop: int, kind: str) -> int | None:
    """The byte at which the next stream begins after the one that begins at `start`."""
    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as content:
        at, begin = start, start
        while kind == "OGG" and content[at : at + 6] == _MARKS[kind]:  # multiplexed streams
            lengths = content[at + 27 : at + 27 + content[at + 26]] if at + 26 < stop else b""
            begin, at = at, at + 27 + len(lengths) + sum(lengths)
        at = content.find(_MARKS[kind], begin + 1, stop)
        while kind == "FLAC" and at >= 0 and content[at + 5 : at + 8] != b"\0\0\x22":
            at = content.find(_MARKS[kind], at + 1, stop)
    return at if at >= 0 else None


def _has_last_page(fd: int, stream: _Stream) -> bool:
    """Whether an Ogg stream's last page is there, and whole."""
    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as content:
        at = content.rfind(b"OggS", stream.begin, stream.stop)
        page = content[at : at + 27 + 255]
    if at < 0 or len(page) < 27 or not page[5] & 4:
        return False
    return at + 27 + page[26] + sum(page[27 : 27 + page[26]]) <= stream.stop


def _is_rest(fd: int, start: int, stop: int, kind: str) -> bool:
    """Whether the bytes after the audio are none, few, tags or other chunks of the container."""
    if stop - start < _MAX_REST_BYTES.get(kind, 1024):
        return True
    if os.pread(fd, 16, start).startswith(_TAGS):
        return True
    chunks = _CHUNKS.get(kind)
    return chunks is not None and chunks.fill(fd, start, stop)
