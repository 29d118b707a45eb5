"""Rows of label files: one event or tag each, with the values of its file, unchanged."""

from typing import NamedTuple

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}
"""How many of a unit are a second; of the unit `samples` the recording's rate."""
SAMPLES = "samples"


class Time(NamedTuple):
    """A time or a length: value, unit (of `UNITS`, or `samples`), and the name of its column."""

    value: float
    unit: str = "s"
    column: str = ""

    def seconds(self, sample_rate: int) -> float:
        """The time in seconds for a recording of this rate in Hz."""
        return self.value / (sample_rate if self.unit == SAMPLES else UNITS[self.unit])


class Row(NamedTuple):
    """A row of a label file.

    Attributes:
        where: file and line.
        recording: its path as the file has it; empty: the recording that the file's name means.
        label: the class; empty: none.
        onset, offset, duration: None: the row has none.
        position: begin of the event in its recording, where `onset` and `offset` are times in
            several recordings that follow each other.
        group, split: of the recording.
        reviewed: begin and end of the stretch of the recording whose events are all in the table,
            of the table of a review page; None: of other files.
        is_timed: whether the file has times; a row of it without times and class means no event.
    """

    where: str
    recording: str
    label: str
    onset: Time | None = None
    offset: Time | None = None
    duration: Time | None = None
    position: Time | None = None
    group: str | None = None
    split: str | None = None
    reviewed: tuple[Time, Time] | None = None
    is_timed: bool = True
