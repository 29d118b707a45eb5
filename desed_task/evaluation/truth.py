"""Ground truth: what happens in each clip, and how long the clip is (docs/recipe.md, "Data")."""

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desed_task.errors import InputError
from desed_task.evaluation.events import EventTable
from desed_task.evaluation.tsv import Problems, read_rows, read_seconds
from desed_task.labels import Event

NO_EVENT = ("", "nan", "NaN")
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class GroundTruth:
    """The true events of a set of clips.

    Args:
        classes: the classes that are evaluated, in the order of the scores.
        events: events by clip name, in time order; a clip without event has an empty list.
        durations: length of each clip in seconds, for the same clips.
    """

    classes: tuple[str, ...]
    events: dict[str, list[Event]]
    durations: dict[str, float]

    @classmethod
    def read(
        cls, tsv: str | Path, durations_tsv: str | Path, classes: Sequence[str]
    ) -> "GroundTruth":
        """Read an event file and its durations file, and check both.

        A row with only a file name, and a clip that only the durations file knows, mean: no
        events. Offsets past the clip's end stay (annotators heard longer clips). Events of one
        class that overlap in a clip are merged, with a warning that says how many.

        Args:
            tsv: columns filename, onset, offset, event_label; times in seconds.
            durations_tsv: columns filename, duration.
            classes: the known classes; another one in the file is an error.

        Raises:
            InputError: all problems of one file, each with its line and what would be right.
        """
        durations = read_durations(durations_tsv)
        events = read_events(tsv, classes)
        unknown = [name for name in events if name not in durations]
        if unknown:
            problems = Problems(tsv)
            for name in unknown:
                problems.add(None, f"clip {name!r} has no duration in {durations_tsv}")
            problems.raise_if_any()
        merged, lost = _merge_overlaps({name: events.get(name, []) for name in durations})
        if lost:
            warnings.warn(
                f"{tsv}: {lost} event(s) overlapped another of their class and were merged into it",
                stacklevel=2,
            )
        return cls(tuple(classes), merged, durations)

    def restricted(self, names: Iterable[str]) -> "GroundTruth":
        """Only these clips, in this order. Raises InputError for a clip that is not known."""
        chosen = list(dict.fromkeys(names))
        unknown = [name for name in chosen if name not in self.events]
        if unknown:
            raise InputError(
                f"{len(unknown)} clip(s) that the ground truth does not know, first {unknown[0]!r}"
            )
        return self._with_clips(chosen)

    def without_empty_clips(self) -> "GroundTruth":
        """Only the clips in which something happens."""
        return self._with_clips([name for name, events in self.events.items() if events])

    @property
    def total_seconds(self) -> float:
        """Length of all clips together, in seconds."""
        return float(sum(self.durations.values()))

    @property
    def total_hours(self) -> float:
        """Length of all clips together, in hours."""
        return self.total_seconds / SECONDS_PER_HOUR

    def table(self, names: Sequence[str]) -> EventTable:
        """The events as columns, with clips numbered as in `names` (others are left out)."""
        index = {label: number for number, label in enumerate(self.classes)}
        rows = [
            (clip, index[event.event_label], event.onset, event.offset)
            for clip, name in enumerate(names)
            for event in self.events.get(name, [])
        ]
        columns = np.array(rows, dtype=np.float64).reshape(-1, 4)
        clip, label = columns[:, :2].T.astype(np.int64)
        level = np.zeros(len(columns), dtype=np.int64)
        return EventTable(level, clip, label, columns[:, 2], columns[:, 3]).ordered()

    def duration_of(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Seconds per clip, `(clips,)`."""
        return np.array([self.durations[name] for name in names], dtype=np.float64)

    def _with_clips(self, names: Collection[str]) -> "GroundTruth":
        return GroundTruth(
            self.classes,
            {name: self.events[name] for name in names},
            {name: self.durations[name] for name in names},
        )


def read_durations(path: str | Path) -> dict[str, float]:
    """Seconds by file name. Raises InputError with all problems of the file."""
    problems = Problems(path)
    durations: dict[str, float] = {}
    for line, (name, text) in read_rows(path, ("filename", "duration"), problems):
        seconds = read_seconds(text)
        if not name:
            problems.add(line, "no filename")
        elif seconds is None or seconds == 0:
            problems.add(line, f"duration {text!r} of {name!r}; seconds above 0 are right")
        elif durations.get(name, seconds) != seconds:
            problems.add(line, f"{name!r} again, with another duration than {durations[name]:g}")
        else:
            durations[name] = seconds
    if not durations and not problems.lines:
        problems.add(None, "no clip; at least one row below the header is right")
    problems.raise_if_any()
    return durations


def read_events(path: str | Path, classes: Sequence[str]) -> dict[str, list[Event]]:
    """Events by file name, in file order. Raises InputError with all problems of the file."""
    problems = Problems(path)
    events: dict[str, list[Event]] = {}
    seen: dict[tuple[str, ...], int] = {}
    columns = ("filename", "onset", "offset", "event_label")
    for line, row in read_rows(path, columns, problems):
        name, *fields = row
        if tuple(row) in seen:
            problems.add(line, f"the same as line {seen[tuple(row)]}")
            continue
        seen[tuple(row)] = line
        if all(field in NO_EVENT for field in fields):
            events.setdefault(name, [])
            continue
        event, wrong = _parse_event(fields, classes)
        if wrong or not name:
            problems.add(line, wrong or "no filename")
        elif event is not None:
            events.setdefault(name, []).append(event)
    problems.raise_if_any()
    return events


def _parse_event(fields: Sequence[str], classes: Sequence[str]) -> tuple[Event | None, str]:
    """The event of a row, or what is wrong with it."""
    wrong = []
    onset, offset = read_seconds(fields[0]), read_seconds(fields[1])
    for column, text, value in (("onset", fields[0], onset), ("offset", fields[1], offset)):
        if value is None:
            wrong.append(f"{column} {text!r}; seconds >= 0 are right")
    if onset is not None and offset is not None and onset >= offset:
        wrong.append(f"onset {onset:g} is not before offset {offset:g}")
    if fields[2] not in classes:
        wrong.append(f"unknown class {fields[2]!r}; known: {', '.join(classes)}")
    if wrong or onset is None or offset is None:
        return None, "; ".join(wrong)
    return Event(onset, offset, fields[2]), ""


def _merge_overlaps(
    events: Mapping[str, Iterable[Event]],
) -> tuple[dict[str, list[Event]], int]:
    """Each clip's events in time order, overlapping ones of a class as one; and how many went."""
    merged: dict[str, list[Event]] = {}
    lost = 0
    for name, clip_events in events.items():
        last: dict[str, int] = {}
        kept: list[Event] = []
        for event in sorted(clip_events):
            place = last.get(event.event_label)
            if place is not None and event.onset < kept[place].offset:
                kept[place] = kept[place]._replace(offset=max(kept[place].offset, event.offset))
                lost += 1
            else:
                last[event.event_label] = len(kept)
                kept.append(event)
        merged[name] = kept
    return merged, lost
