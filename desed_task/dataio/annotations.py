"""Readers for DESED's annotation files, each read and checked once (docs/recipe.md, "Data").

All are tab-separated with a header line: `filename onset offset event_label` (seconds),
`filename event_labels` (comma-separated tags), and `filename duration` (seconds); see
`desed_task.tables` for what they have in common. A repeated row is a warning.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from desed_task.errors import InputError, nearest, shortened
from desed_task.labels import Event
from desed_task.tables import Table, is_empty, quoted

STRONG_COLUMNS = ("filename", "onset", "offset", "event_label")
_MAX_TAGS = 10_000  # of a clip, repeated ones included
_MAX_NAME_LENGTH = 200  # characters that are compared with the known classes
_HINTED = 10  # problems of a file with a search for the nearest class


def read_strong(
    path: str | Path, classes: Sequence[str], durations: Mapping[str, float] | None = None
) -> dict[str, list[Event]]:
    """Events of each clip, `{filename: [Event, ...]}`, in file order; see `clip_events`.

    Offsets past the clip's end are accepted, onsets are not where `durations` (seconds by file
    name) has the clip. Raises InputError with all problems of the file.
    """

    def end_of(clip: str) -> float:
        return math.inf if durations is None else durations.get(clip, math.inf)

    def wav_name(line: int, name: str) -> str | None:
        return name if _check_wav(table, line, name) else None

    table = Table(path, STRONG_COLUMNS)
    return clip_events(table, classes, is_name=_is_wav, clip_of=wav_name, end_of=end_of)


def clip_events(
    table: Table,
    classes: Sequence[str],
    *,
    is_name: Callable[[str], bool],
    clip_of: Callable[[int, str], str | None],
    end_of: Callable[[str], float],
) -> dict[str, list[Event]]:
    """Events of each clip of a table with `STRONG_COLUMNS`, in file order.

    A row without event (only a file name, the rest empty or NaN) is a clip without events.
    Repeated rows are dropped with a warning.

    Args:
        table: the file.
        classes: the known classes.
        is_name: whether a row of a single field is a file name.
        clip_of: the clip that a line number and a file name mean, or None after the problem was
            noted in the table.
        end_of: seconds; an onset of the clip at or past it is a problem.

    Raises InputError with all problems of the file.
    """
    lines: dict[str, dict[Event, int]] = {}
    without_event: dict[str, tuple[int, str]] = {}
    for line, (name, *values) in table.rows(is_name):
        clip = clip_of(line, name)
        if is_empty(values[0]) and all(map(is_empty, values)):
            if clip is not None:
                lines.setdefault(clip, {})
                without_event[clip] = line, name
            continue
        end = math.inf if clip is None else end_of(clip)
        event = read_event(table, line, *values, classes=classes, end=end)
        if clip is not None and event is not None:
            first = lines.setdefault(clip, {}).setdefault(event, line)
            if first != line:
                text = f"{name} repeats the event {' '.join(values)} of line {first}: used once"
                table.warning(line, text)
    for clip, (line, name) in without_event.items():
        if lines[clip]:
            table.warning(line, f"{name} has a row without event, and events: the events are used")
    table.finish()
    return {clip: list(events) for clip, events in lines.items()}


def read_classes(path: str | Path) -> tuple[str, ...]:
    """The classes that occur in an event file, sorted.

    Raises InputError for a file without any event, or with rows that cannot be split.
    """
    table = Table(path, ("filename", "event_label"))
    classes = {label for _, (_, label) in _wav_rows(table) if not is_empty(label)}
    table.finish()
    if not classes:
        raise InputError(f"{path}: no classes: expected at least 1 event, got 0; name the classes")
    return tuple(sorted(classes))


def merge_overlaps(events: Iterable[Event], *, longest_gap: float = 0.0) -> list[Event]:
    """One clip's events in time order, those of a class that overlap merged into one.

    Events that only touch (one's offset is the next one's onset) stay two, unless pauses shorter
    than `longest_gap` seconds are closed.
    """
    merged: list[Event] = []
    latest: dict[str, int] = {}
    for event in sorted(events):
        index = latest.get(event.event_label)
        if index is not None and event.onset < merged[index].offset + longest_gap:
            offset = max(event.offset, merged[index].offset)
            merged[index] = merged[index]._replace(offset=offset)
        else:
            latest[event.event_label] = len(merged)
            merged.append(event)
    return merged


def read_weak(path: str | Path, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Tags of each clip, `{filename: (tag, ...)}`, in file order; a clip may have no tag.

    A tag that a row repeats (DESED's own file has some) is used once, without a warning.
    Raises InputError with all problems of the file.
    """
    table = Table(path, ("filename", "event_labels"))
    tags: dict[str, tuple[str, ...]] = {}
    for line, (name, text) in _wav_rows(table):
        if text.count(",") > _MAX_TAGS:
            count = text.count(",") + 1
            table.problem(line, f"event_labels: expected at most {_MAX_TAGS} tags, got {count}")
            continue
        labels = [] if is_empty(text) else [label.strip() for label in text.split(",")]
        for label in labels:
            is_known_class(table, line, label, classes)
        clip_tags = tuple(dict.fromkeys(labels))
        if name not in tags:
            tags[name] = clip_tags
        elif set(tags[name]) == set(clip_tags):
            table.warning(line, f"{name} is listed again: used once")
        else:
            table.problem(
                line, f"{name} is listed again: expected the same tags, got {quoted(text)}"
            )
    table.finish()
    return tags


def read_durations(path: str | Path) -> dict[str, float]:
    """Length of each clip in seconds, `{filename: seconds}`, in file order.

    Raises InputError with all problems of the file.
    """
    table = Table(path, ("filename", "duration"))
    durations: dict[str, float] = {}
    for line, (name, text) in _wav_rows(table):
        seconds = table.number(line, "duration", text)
        if seconds is None:
            continue
        if seconds <= 0:
            table.problem(line, f"duration: expected more than 0 s, got {text}")
        elif name not in durations:
            durations[name] = seconds
        elif durations[name] == seconds:
            table.warning(line, f"{name} is listed again: used once")
        else:
            known = f"{durations[name]:g}"
            table.problem(line, f"{name} is listed again: expected duration {known}, got {text}")
    table.finish()
    return durations


def read_clip_recordings(path: str | Path) -> dict[str, str]:
    """The recording that each clip was cut from, `{filename: recording}`, in file order.

    Of a table of clips as `local.collect` writes it; other columns are not read. Raises InputError
    with all problems of the file.
    """
    table = Table(path, ("filename", "recording"))
    recordings: dict[str, str] = {}
    for line, (name, recording) in _wav_rows(table):
        if not recording:
            table.problem(line, "recording: expected a name, got none")
        elif recordings.setdefault(name, recording) != recording:
            known = quoted(recordings[name])
            table.problem(
                line, f"{name} is listed again: expected recording {known}, got {quoted(recording)}"
            )
    table.finish()
    return recordings


def read_event(
    table: Table,
    line: int,
    onset: str,
    offset: str,
    label: str,
    *,
    classes: Sequence[str],
    end: float = math.inf,
) -> Event | None:
    """The event of a row's texts (seconds), or None after its problems were noted in the table.

    An onset at or past `end` is a problem: the times may be in another unit.
    """
    begin = table.number(line, "onset", onset)
    finish = table.number(line, "offset", offset)
    known = is_known_class(table, line, label, classes)
    if begin is None or finish is None:
        return None
    if begin < 0:
        table.problem(line, f"onset: expected at least 0 s, got {onset}")
    elif begin >= finish:
        table.problem(line, f"offset: expected more than the onset {onset}, got {offset}")
    elif begin >= end:
        table.problem(
            line, f"onset: expected less than the clip's {end:g} s, got {onset} (milliseconds?)"
        )
    elif known:
        return Event(begin, finish, label)
    return None


def is_known_class(table: Table, line: int, label: str, classes: Sequence[str]) -> bool:
    """Whether `classes` has the class; if not, the problem is noted in the table."""
    if label in classes:
        return True
    hint = nearest(label[:_MAX_NAME_LENGTH], classes) if table.n_problems < _HINTED else ""
    got = quoted(label) + hint
    table.problem(line, f"unknown class: expected one of {shortened(classes)}, got {got}")
    return False


def _wav_rows(table: Table) -> Iterator[tuple[int, list[str]]]:
    """Rows whose file name, the first column, ends in .wav; any other name is a problem."""
    for line, values in table.rows(_is_wav):
        if _check_wav(table, line, values[0]):
            yield line, values


def _check_wav(table: Table, line: int, name: str) -> bool:
    """Whether a name ends in .wav; if not, the problem is noted in the table."""
    if not _is_wav(name):
        text = f"filename: expected a name that ends in .wav, got {quoted(name)}"
        table.problem(line, text)
    return _is_wav(name)


def _is_wav(name: str) -> bool:
    return name.lower().endswith(".wav")
