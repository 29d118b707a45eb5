"""Recordings of any length -> clips and their events."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from desed_task.dataio.audio import MIX, Channel, Mono, open_audio, to_16_bit, wav_bytes
from desed_task.labels import Event

Span = tuple[float, float]
"""Begin and end in seconds."""
MIN_CLIP_S = 0.5  # shorter ends of recordings are no clips
MIN_REST_S = 0.02  # shorter pieces of events that a cut divides are dropped
MIN_TIME_S = 1e-3  # events that begin later in a clip's end are dropped; tables have milliseconds


class Annotated(NamedTuple):
    """A recording and what is known of it.

    Attributes:
        path: the file.
        relative: its path below the audio folder.
        events: with times.
        tags: of the whole recording.
        strong: whether its events are known, not only its tags.
        group: recordings of one group are in one set.
        split: of `SPLITS`, where a table names it.
        sections: begin and end in seconds of what is used of it, in order; None: all of it.
    """

    path: Path
    relative: Path
    events: tuple[Event, ...]
    tags: tuple[str, ...]
    strong: bool
    group: str
    split: str | None = None
    sections: tuple[Span, ...] | None = None

    @property
    def classes(self) -> set[str]:
        """Those that are heard in it."""
        return {event.event_label for event in self.events} | set(self.tags)


def cut(
    seconds: float, clip_seconds: float, overlap: float = 0.0, shortest: float = MIN_CLIP_S
) -> list[tuple[float, float]]:
    """Begin and end of the clips of a recording in seconds; a shorter end is no clip."""
    step = clip_seconds - overlap
    number = max(1, math.ceil((seconds - overlap) / step - 1e-9))
    clips = [(n * step, min(seconds, n * step + clip_seconds)) for n in range(number)]
    return [clip for n, clip in enumerate(clips) if n == 0 or clip[1] - clip[0] >= shortest]


def cut_sections(
    recording: Annotated, seconds: float, clip_seconds: float, overlap: float = 0.0
) -> list[Span]:
    """Begin and end of the clips of a recording, section by section."""
    sections = ((0.0, seconds),) if recording.sections is None else recording.sections
    return [
        (start + begin, start + end)
        for start, stop in sections
        for begin, end in cut(stop - start, clip_seconds, overlap)
    ]


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, those that overlap or touch merged into one."""
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((begin, end))
    return merged


def spans_between(spans: Iterable[Span], seconds: float) -> list[Span]:
    """What a recording of `seconds` has outside of spans that are in order and do not overlap."""
    edges = [0.0, *(edge for span in spans for edge in span), seconds]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]


def clip_events(recording: Annotated, begin: float, end: float) -> tuple[Event, ...]:
    """Events of a clip: those of the recording, split at its edges; tags last the whole clip."""
    if recording.tags:
        return tuple(Event(0.0, end - begin, name) for name in recording.tags)
    return tuple(event for event in _pieces(recording, begin, end) if event is not None)


def short_pieces(recording: Annotated, begin: float, end: float) -> int:
    """Number of the pieces of events in a clip that are too short to be its events."""
    return sum(event is None for event in _pieces(recording, begin, end))


def _pieces(recording: Annotated, begin: float, end: float) -> Iterator[Event | None]:
    """The piece of each event that is in a clip, by the clip's time; None: it is too short."""
    for onset, offset, name in recording.events:
        inside = Event(max(begin, onset), min(end, offset), name)
        if inside.offset <= inside.onset:
            continue
        is_cut = inside != Event(onset, offset, name)
        too_short = is_cut and inside.offset - inside.onset < MIN_REST_S
        if too_short or inside.onset >= end - MIN_TIME_S:
            yield None
        else:
            yield Event(inside.onset - begin, inside.offset - begin, name)


def cut_file(
    path: Path, clips: Sequence[tuple[Path, float, float]], channel: Channel = MIX
) -> list[float]:
    """Write sections of a recording as mono 16-bit WAV at its rate; their lengths in seconds.

    Args:
        path: the recording.
        clips: the file to write, and its begin and end in seconds.
        channel: how channels become one, see `Mono`.
    """
    lengths, mono = [], Mono(channel, path)
    with open_audio(path) as file:
        for target, begin, end in clips:
            start = round(begin * file.sample_rate)
            samples = round(end * file.sample_rate) - start
            audio = mono(file.read(start, samples)).audio
            target.write_bytes(wav_bytes(to_16_bit(audio), file.sample_rate))
            lengths.append(len(audio) / file.sample_rate)
    return lengths
