"""Events per recorded hour, of recordings whose names have date and time.

Recorders name a file by its start: `20240503_071500.WAV` (AudioMoth), `SITE_20240503_071500.wav`,
`S4A01234_20240503_071500.wav` (Song Meter). What is before the date is the site; without it, the
site is the name of the nearest folder that is no date.

An hour in which nothing was recorded has no row and no rate: it is not known to be without events.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from desed_task.detect.formats import Found
from desed_task.tables import table_text

COLUMNS = ("site", "date", "hour", "minutes", "event_label", "events", "events_per_hour")
_DATE = r"(?<!\d)(20\d\d)-?(\d\d)-?(\d\d)"
_START = re.compile(_DATE + r"[T_ -]?(\d\d)[-.:]?(\d\d)[-.:]?(\d\d)(?!\d)")
_NO_SITE = re.compile(rf"{_DATE}(?!\d)|data", re.IGNORECASE)
_HOUR = timedelta(hours=1)


class Start(NamedTuple):
    """Where and when a recording begins; the time is that of the recorder's clock."""

    site: str
    time: datetime


class Hour(NamedTuple):
    """An hour at a site."""

    site: str
    begin: datetime


@dataclass(frozen=True)
class Activity:
    """What was recorded and found in each hour.

    Attributes:
        seconds: that were recorded in an hour; the others are not known.
        events: that begin in an hour, by hour and class.
        n_recordings: number of the recordings with a time.
    """

    seconds: Mapping[Hour, float]
    events: Counter[tuple[Hour, str]]
    n_recordings: int

    @property
    def sites(self) -> list[str]:
        """Names of the sites, sorted."""
        return sorted({hour.site for hour in self.seconds})


def recording_start(path: str) -> Start | None:
    """Site and time of a recording by its path; None for a name without date and time."""
    whole = Path(os.path.abspath(path))
    match = _START.search(whole.stem)
    if match is None:
        return None
    try:
        time = datetime(*map(int, match.groups()))  # type: ignore[arg-type]
    except ValueError:  # no such day or hour
        return None
    folders = (name for name in reversed(whole.parts[1:-1]) if not _NO_SITE.fullmatch(name))
    return Start(whole.stem[: match.start()].strip("_-. ") or next(folders, ""), time)


def count_activity(recordings: Iterable[Found]) -> Activity:
    """Recorded time and events by hour; recordings without a time are not used."""
    seconds: dict[Hour, float] = defaultdict(float)
    events: Counter[tuple[Hour, str]] = Counter()
    n_recordings = 0
    for recording in recordings:
        start = recording_start(recording.path)
        if start is None:
            continue
        n_recordings += 1
        for begin, part in _by_hour(start.time, recording.seconds):
            seconds[Hour(start.site, begin)] += part
        for event in recording.events:
            time = start.time + timedelta(seconds=event.onset)
            events[Hour(start.site, _hour(time)), event.event_label] += 1
    return Activity(seconds, events, n_recordings)


def activity_table(activity: Activity, classes: Sequence[str]) -> str:
    """Text of a TSV file: a row for each recorded hour and class, also those without events."""
    rows = []
    for hour in sorted(activity.seconds):
        seconds = activity.seconds[hour]
        for label in classes:
            events = activity.events[hour, label]
            date, number = f"{hour.begin:%Y-%m-%d}", f"{hour.begin:%H}"
            rate = f"{events * 3600 / seconds:.2f}"
            rows.append((hour.site, date, number, f"{seconds / 60:.2f}", label, events, rate))
    return table_text(COLUMNS, rows)


def _by_hour(start: datetime, seconds: float) -> Iterator[tuple[datetime, float]]:
    """The hours of a recording, and how many seconds of it are in each."""
    end = start + timedelta(seconds=seconds)
    while start < end:
        following = min(_hour(start) + _HOUR, end)
        yield _hour(start), (following - start).total_seconds()
        start = following


def _hour(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)
