"""Events of many clips as columns, and the overlaps between two such tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from desed_task.labels import Event

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EventTable:
    """Events as columns of equal length, ordered by level, clip, class and onset.

    Args:
        level: which operating point (threshold) an event belongs to; zeros for ground truth.
        clip: index into a list of clip names.
        label: index into a list of classes.
        onset, offset: seconds from the clip's start.
    """

    level: Ints
    clip: Ints
    label: Ints
    onset: Floats
    offset: Floats

    def __len__(self) -> int:
        return len(self.clip)

    def select(self, chosen: NDArray[np.bool_] | Ints | slice) -> Self:
        """The rows that a mask, indices or a slice select."""
        return type(self)(*(column[chosen] for column in vars(self).values()))

    def at_level(self, level: int) -> Self:
        """The events of one operating point, as level 0."""
        rows = self.select(slice(*np.searchsorted(self.level, [level, level + 1])))
        return replace(rows, level=np.zeros(len(rows), dtype=np.int64))

    def ordered(self) -> Self:
        """The rows ordered by level, clip, class and onset."""
        return self.select(np.lexsort((self.onset, self.label, self.clip, self.level)))

    def gaps(self) -> Floats:
        """Seconds to the next event of the same level, clip and class, `(events,)`; inf: none.

        A gap below 0 is an overlap.
        """
        gaps = np.full(len(self), np.inf)
        columns = (self.level, self.clip, self.label)
        same = np.all([column[1:] == column[:-1] for column in columns], axis=0)
        gaps[:-1][same] = (self.onset[1:] - self.offset[:-1])[same]
        return gaps

    def trimmed(self, durations: Floats) -> Self:
        """The events cut at the end of their clip, without those that begin after it.

        `durations` is `(clips,)`, seconds.
        """
        inside = self.select(self.onset < durations[self.clip])
        return replace(inside, offset=np.minimum(inside.offset, durations[inside.clip]))


def event_table(
    levels: Sequence[Mapping[str, Sequence[Event]]], names: Sequence[str], classes: Sequence[str]
) -> EventTable:
    """Events by clip name, at each operating point, as columns.

    Args:
        levels: events by clip name of each operating point.
        names: the clips' names by number; events of other clips are excluded.
        classes: class names by number.
    """
    number = {label: k for k, label in enumerate(classes)}
    values = (
        value
        for level, events in enumerate(levels)
        for clip, name in enumerate(names)
        for onset, offset, label in events.get(name, ())
        for value in (level, clip, number[label], onset, offset)
    )
    columns = np.fromiter(values, dtype=np.float64).reshape(-1, 5)
    level, clip, label = columns[:, :3].T.astype(np.int64)
    return EventTable(level, clip, label, columns[:, 3], columns[:, 4]).ordered()


class Overlaps(NamedTuple):
    """Pairs of a detected and a true event of one clip that share time, in the tables' order.

    `detection` and `truth` are row numbers, `seconds` the shared time; `same_class` is whether
    both events are of one class.
    """

    detection: Ints
    truth: Ints
    seconds: Floats
    same_class: NDArray[np.bool_]

    def select(self, chosen: NDArray[np.bool_]) -> tuple[Ints, Ints, Floats]:
        """Detections, true events and shared seconds of the selected pairs."""
        return self.detection[chosen], self.truth[chosen], self.seconds[chosen]


def find_overlaps(detections: EventTable, truth: EventTable) -> Overlaps:
    """All pairs of a detection (any level) and a true event that share time."""
    detection, true = pairs_per_clip(detections.clip, truth.clip)
    seconds = np.minimum(detections.offset[detection], truth.offset[true])
    seconds -= np.maximum(detections.onset[detection], truth.onset[true])
    shared = seconds > 0
    detection, true, seconds = detection[shared], true[shared], seconds[shared]
    return Overlaps(detection, true, seconds, detections.label[detection] == truth.label[true])


def pairs_per_clip(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """Rows (i, j) of all pairs with `left[i] == right[j]`, by i, then j; `right` is ascending."""
    first = np.searchsorted(right, left, side="left")
    count = np.searchsorted(right, left, side="right") - first
    return np.repeat(np.arange(len(left)), count), expand_ranges(first, count)


def expand_ranges(first: Ints, count: Ints) -> Ints:
    """The numbers `first[k] ... first[k] + count[k] - 1`, one range after another."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(first - (ends - count), count)


def sums(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Sum of the values of each group, `(n_groups,)`."""
    return np.bincount(group, weights=values, minlength=n_groups).astype(np.float64)
