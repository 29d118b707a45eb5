"""Readers for DESED's annotation files, each read and checked once (docs/recipe.md, "Data").

All are tab-separated with a header line: `filename onset offset event_label` (seconds),
`filename event_labels` (comma-separated tags), and `filename duration` (seconds).
Everything wrong with a file is reported together, in one InputError that names the file, the
lines, the values and what would be right. What is only odd (a repeated row) is a warning.
"""

import difflib
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from desed_task.errors import InputError
from desed_task.labels import Event

logger = logging.getLogger(__name__)

_MOST_REPORTED = 20
_NOTHING = {"", "nan", "na", "none"}


def read_strong(path: str | Path, classes: Sequence[str]) -> dict[str, list[Event]]:
    """Events of each clip, `{filename: [Event, ...]}`, in file order.

    A row without event (only a file name, the rest empty or NaN) says that the clip has none.
    Offsets past the clip's end are right as they are. Repeated rows are dropped with a warning.
    Raises InputError with all problems of the file.
    """
    table = _Table(path, ("filename", "onset", "offset", "event_label"))
    events: dict[str, dict[Event, None]] = {}
    without_event: dict[str, int] = {}
    for line, (name, *values) in table.rows():
        of_clip = events.setdefault(name, {})
        if all(is_nothing(value) for value in values):
            without_event[name] = line
            continue
        event = table.event(line, *values, classes=classes)
        if event in of_clip:
            table.oddity(line, f"{name} repeats the event {' '.join(values)}: counted once")
        elif event is not None:
            of_clip[event] = None
    for name, line in without_event.items():
        if events[name]:
            table.oddity(line, f"{name} has a row without event, and events: the events count")
    table.finish()
    return {name: list(of_clip) for name, of_clip in events.items()}


def read_classes(path: str | Path) -> tuple[str, ...]:
    """The classes that occur in an event file, sorted.

    Raises InputError for a file without any event, or with rows that cannot be split.
    """
    table = _Table(path, ("filename", "event_label"))
    classes = {label for _, (_, label) in table.rows() if not is_nothing(label)}
    table.finish()
    if not classes:
        raise InputError(f"{path}: no event, so no class is known; name the classes")
    return tuple(sorted(classes))


def merge_overlaps(events: Iterable[Event]) -> list[Event]:
    """One clip's events in time order, those of a class that overlap made one.

    Events that only touch (one's offset is the next one's onset) stay two.
    """
    merged: list[Event] = []
    latest: dict[str, int] = {}
    for event in sorted(events):
        place = latest.get(event.event_label)
        if place is not None and event.onset < merged[place].offset:
            offset = max(event.offset, merged[place].offset)
            merged[place] = merged[place]._replace(offset=offset)
        else:
            latest[event.event_label] = len(merged)
            merged.append(event)
    return merged


def read_weak(path: str | Path, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Tags of each clip, `{filename: (tag, ...)}`, in file order; no tag where none is named.

    A tag that a row repeats (DESED's own file has some) counts once, without a warning.
    Raises InputError with all problems of the file.
    """
    table = _Table(path, ("filename", "event_labels"))
    tags: dict[str, tuple[str, ...]] = {}
    for line, (name, listed) in table.rows():
        labels = [] if is_nothing(listed) else [label.strip() for label in listed.split(",")]
        for label in labels:
            table.check_class(line, label, classes)
        of_clip = tuple(dict.fromkeys(labels))
        if name not in tags:
            tags[name] = of_clip
        elif set(tags[name]) == set(of_clip):
            table.oddity(line, f"{name} is listed again: counted once")
        else:
            table.problem(line, f"{name} is listed again with other tags: one line per clip")
    table.finish()
    return tags


def read_durations(path: str | Path) -> dict[str, float]:
    """Length of each clip in seconds, `{filename: seconds}`, in file order.

    Raises InputError with all problems of the file.
    """
    table = _Table(path, ("filename", "duration"))
    durations: dict[str, float] = {}
    for line, (name, text) in table.rows():
        seconds = table.number(line, "duration", text)
        if seconds is None:
            continue
        if seconds <= 0:
            table.problem(line, f"duration {text} must be above 0 seconds")
        elif name not in durations:
            durations[name] = seconds
        elif durations[name] == seconds:
            table.oddity(line, f"{name} is listed again: counted once")
        else:
            table.problem(line, f"{name} is listed again with another duration: one line per clip")
    table.finish()
    return durations


def is_nothing(value: str) -> bool:
    """Whether a field says that there is nothing: empty, NaN, NA or None."""
    return value.lower() in _NOTHING


def read_text(path: str | Path) -> str:
    """The whole of a text file, with any line ends and with or without byte order mark.

    Raises InputError for a file that is not there or not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from error


class Findings:
    """Everything that is wrong or odd in one file, reported together by `finish`."""

    def __init__(self, path: str | Path):
        self.path = path
        self._problems: list[str] = []
        self._oddities: list[str] = []
        self._classes: Sequence[str] = ()

    def event(
        self, line: int, onset: str, offset: str, label: str, *, classes: Sequence[str]
    ) -> Event | None:
        """The event that a row's texts give (seconds), or None after its problems were noted."""
        begin = self.number(line, "onset", onset)
        end = self.number(line, "offset", offset)
        known = self.check_class(line, label, classes)
        if begin is None or end is None:
            return None
        if begin < 0:
            self.problem(line, f"onset {onset} must be 0 seconds or later")
        elif begin >= end:
            self.problem(line, f"onset {onset} must be before offset {offset}")
        elif known:
            return Event(begin, end, label)
        return None

    def number(self, line: int, column: str, text: str) -> float | None:
        """A finite number, or None after the problem was noted."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
        self.problem(line, f"{column} {text!r} is not a number of seconds")
        return None

    def check_class(self, line: int, label: str, classes: Sequence[str]) -> bool:
        """Whether a class is known; noted where it is not."""
        if label in classes:
            return True
        close = difflib.get_close_matches(label, classes, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        self.problem(line, f"class {label!r} is unknown{hint}")
        self._classes = classes
        return False

    def problem(self, line: int, text: str) -> None:
        """Note something that makes the file unusable."""
        self._problems.append(f"line {line}: {text}")

    def oddity(self, line: int, text: str) -> None:
        """Note something that is worth a warning."""
        self._oddities.append(f"line {line}: {text}")

    def finish(self) -> None:
        """Warn of what is odd; raise InputError with all that is wrong."""
        if self._oddities:
            logger.warning("%s", _listing(self.path, "oddities", self._oddities))
        if self._problems:
            known = f"\n  known classes: {', '.join(self._classes)}" if self._classes else ""
            raise InputError(_listing(self.path, "problems", self._problems) + known)


class _Table(Findings):
    """The rows of one file, and everything that is wrong or odd in it."""

    def __init__(self, path: str | Path, columns: Sequence[str]):
        super().__init__(path)
        self.columns = columns
        lines = read_text(path).split("\n")
        if not any(line.strip() for line in lines[1:]):
            raise InputError(
                f"{path}: is empty; expected a line of column names ({' '.join(columns)}) and rows"
            )
        self._header = [column.strip() for column in lines[0].split("\t")]
        self._lines = lines[1:]
        missing = [column for column in columns if column not in self._header]
        if missing:
            raise InputError(
                f"{path}: line 1: missing column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
                f"found {lines[0]!r}, expected {' '.join(columns)}, separated by tabs"
            )

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and the values of `columns`; rows that cannot be split are noted."""
        places = [self._header.index(column) for column in self.columns]
        width = len(self._header)
        for line, text in enumerate(self._lines, start=2):
            if not text.strip():
                continue
            fields = [field.strip() for field in text.split("\t")]
            if len(fields) == 1:  # only a file name: the clip has no event
                fields += [""] * (width - 1)
            if len(fields) != width:
                self.problem(
                    line, f"{text!r} has {len(fields)} fields, expected {width}, separated by tabs"
                )
                continue
            values = [fields[place] for place in places]
            if not values[0].lower().endswith(".wav"):
                self.problem(
                    line,
                    f"filename {values[0]!r} must end in .wav (are the columns separated by tabs?)",
                )
                continue
            yield line, values


def _listing(path: str | Path, what: str, lines: Sequence[str]) -> str:
    shown = "".join(f"\n  {line}" for line in lines[:_MOST_REPORTED])
    rest = len(lines) - _MOST_REPORTED
    more = f"\n  and {rest} more" if rest > 0 else ""
    return f"{path}: {what} in the file ({len(lines)}):{shown}{more}"
