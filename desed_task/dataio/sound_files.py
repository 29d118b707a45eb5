"""An open audio file whose samples are read as far as its data go, whatever its header declares.

libsndfile reads the number of samples that a header declares, or that it estimates. Where the file
has more, `AudioFile` continues with the stream that follows; where it has less, what was read is
counted.
"""

import logging
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from desed_task.dataio.audio_streams import (
    CHUNKS,
    MARKS,
    Dtype,
    Stream,
    UnreadableError,
    has_last_page,
    is_rest,
    open_stream,
)

logger = logging.getLogger(__name__)

PREROLL_SECONDS = 4.0
"""Decoded and dropped before a piece: after a seek decoders need this long to return to the state
that they have in sequence (MP3 1 s, Opus 2 s)."""
_BLOCK_SECONDS = 5.0
_MIN_BLOCK = 1 << 24
"""Samples of all channels that are read at once also where the file is smaller."""
_TOLERANCE_SECONDS = 0.1
"""MPEG headers count in frames, and encoders differ by one."""
_CUT_OFF = "cut off"
_LONGER = "longer than declared"
_reported: set[str] = set()


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
        self._stream: Stream | None = None
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
        self._stream = stream = open_stream(self._fd, 0, self._size, follows=False)
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

    def _leave(self, stream: Stream) -> None:
        """At the end of a stream: compare it with what is declared, open what follows it."""
        found = self._at - self._start
        self._compare(stream, found)
        following = self._next(stream, found)
        stream.close()
        self._stream, self._start = following, self._at
        if following is None:
            self._report(self._at)

    def _compare(self, stream: Stream, found: int) -> None:
        """Record what a stream declares, against the samples that were found."""
        declared = stream.declared_frames(found)
        tolerance = _TOLERANCE_SECONDS * self.sample_rate if stream.width is None else 0
        if stream.kind == "OGG" and has_last_page(stream):
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
        if not is_rest(stream, stream.end, self._size):
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

    def _next(self, stream: Stream, found: int) -> Stream | None:
        """The stream that follows one whose `found` samples have been read; None at the end."""
        kind, at = stream.kind, stream.end
        is_known = kind not in MARKS and found > 0
        if at >= self._size or (is_known and is_rest(stream, at, self._size)):
            return None
        following = None
        try:
            if kind in MARKS or (kind == "MP3" and (found or not stream.follows)):
                following = open_stream(self._fd, at, self._size, follows=True)
            elif stream.width is not None:
                following = stream.continued(self._size)
        except (soundfile.LibsndfileError, UnreadableError):
            following = None
        if following is None:
            n_bytes = self._size - at
            if kind in CHUNKS:
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
