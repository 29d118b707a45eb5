"""Ground truth: the true events of each clip, and its length (docs/recipe.md, "Data")."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desed_task.dataio.annotations import merge_overlaps, read_durations, read_strong
from desed_task.errors import InputError
from desed_task.evaluation.events import EventTable, event_table
from desed_task.labels import Event

logger = logging.getLogger(__name__)


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

        A row with only a file name, and a clip that only the durations file names, are clips
        without events. Offsets past the clip's end are not cut (annotators heard longer clips);
        onsets there are an error. Events of one class that overlap in a clip are merged, with a
        warning that has their number.

        Args:
            tsv: columns filename, onset, offset, event_label; times in seconds.
            durations_tsv: columns filename, duration.
            classes: the known classes; another one in the file is an error.

        Raises:
            InputError: all problems of one file, each with its line and what was expected.
        """
        durations = read_durations(durations_tsv)
        events = read_strong(tsv, classes, durations)
        unknown = [name for name in events if name not in durations]
        if unknown:
            raise InputError(
                f"{tsv}: expected clips with a duration in {durations_tsv}, got {len(unknown)} "
                f"other(s), first {unknown[0]!r}"
            )
        events_by_clip = {name: events.get(name, []) for name in durations}
        return cls.merged(classes, events_by_clip, durations, source=str(tsv))

    @classmethod
    def merged(
        cls,
        classes: Sequence[str],
        events: Mapping[str, Sequence[Event]],
        durations: Mapping[str, float],
        *,
        source: str,
    ) -> "GroundTruth":
        """The ground truth with overlapping events of one class merged; a warning has their number.

        `source` names the file in the warning.
        """
        whole = {name: merge_overlaps(clip_events) for name, clip_events in events.items()}
        lost = sum(map(len, events.values())) - sum(map(len, whole.values()))
        if lost:
            logger.warning(
                "%s: %d event(s) overlapped another of their class and were merged into it",
                source,
                lost,
            )
        return cls(tuple(classes), whole, {name: durations[name] for name in events})

    def restricted(self, names: Iterable[str]) -> "GroundTruth":
        """Only these clips, in this order. Raises InputError for a clip without ground truth."""
        chosen = dict.fromkeys(names)
        self.require(chosen)
        return GroundTruth(
            self.classes,
            {name: self.events[name] for name in chosen},
            {name: self.durations[name] for name in chosen},
        )

    def require(self, names: Iterable[str]) -> None:
        """Raise InputError for names that are no clips of the ground truth."""
        unknown = [name for name in names if name not in self.events]
        if unknown:
            raise InputError(
                f"expected clips of the ground truth, got {len(unknown)} other(s), "
                f"first {unknown[0]!r}"
            )

    def table(self, names: Sequence[str]) -> EventTable:
        """The events as columns, with clips numbered as in `names` (other clips are excluded)."""
        return event_table([self.events], names, self.classes)

    def duration_of(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Seconds per clip, `(clips,)`."""
        return np.array([self.durations[name] for name in names], dtype=np.float64)
