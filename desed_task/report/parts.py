"""What a report is made of: systems go in; sections of tables, pictures and sentences come out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.results import MetricValue, SystemMetrics

if TYPE_CHECKING:
    from desed_task.evaluation.bootstrap import Interval, Intervals

NOT_DEFINED = "–"


@dataclass(frozen=True, eq=False)
class SodResult:
    """A network's second task: how many sounds there are in a frame, 0, 1, or 2 and more.

    Args:
        confusion: frames `(3, 3)`, rows: true state, columns: what the network said.
        agreement: share of the frames in which the number of classes that its SED says equals
            its SOD's state; None if it was not counted.
    """

    confusion: NDArray[np.int64]
    agreement: float | None


@dataclass(frozen=True, eq=False)
class ReportSystem:
    """A system to report on.

    Args:
        name: its name in the report.
        metrics: what `evaluate` found.
        sod: its second task, where it has one.
        note: a remark, for instance how it was post-processed.
    """

    name: str
    metrics: SystemMetrics
    sod: SodResult | None = None
    note: str | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """All that the sections are made from.

    Args:
        systems: one or more, judged on the same truth.
        intervals: of their figures.
        audio: folder of the clips' audio files.
    """

    systems: Sequence[ReportSystem]
    intervals: "Intervals | None" = None
    audio: Path | None = None

    @property
    def names(self) -> list[str]:
        """The systems' names."""
        return [system.name for system in self.systems]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names."""
        return self.systems[0].metrics.scoring_input.truth.classes


@dataclass(frozen=True)
class Cell:
    """Text in a table; a marked one stands out."""

    text: str
    marked: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first column names the row.

    Args:
        caption: how to read it.
        columns: headings.
        rows: as many cells each as there are columns.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Picture:
    """A PNG.

    Args:
        name: of its file, without a folder.
        png: the file's bytes.
        alt: what is drawn, for those who do not see it.
        caption: how to read it.
    """

    name: str
    png: bytes
    alt: str
    caption: str
    kind: str = field(default="picture", init=False)


@dataclass(frozen=True)
class Text:
    """A paragraph; a heading begins a part of a section."""

    text: str
    heading: bool = False
    kind: str = field(default="text", init=False)


Block = Table | Picture | Text


@dataclass(frozen=True)
class Section:
    """A chapter of the report.

    Args:
        slug: its address in the page.
        title: its heading.
        intro: what is defined and shown, in a sentence or two.
        blocks: in reading order.
    """

    slug: str
    title: str
    intro: str
    blocks: tuple[Block, ...]


def row(*texts: str | Cell) -> tuple[Cell, ...]:
    """A table's row."""
    return tuple(text if isinstance(text, Cell) else Cell(text) for text in texts)


def shown(value: MetricValue, digits: int = 4) -> str:
    """A figure as text; None and NaN are not defined, whole numbers have no digits."""
    if value is None or value != value:
        return NOT_DEFINED
    return f"{value:.{digits}f}" if isinstance(value, float) else f"{value:,}"


def shown_share(value: MetricValue) -> str:
    """A share in per cent."""
    return NOT_DEFINED if value is None or value != value else f"{100 * value:.1f} %"


def shown_interval(value: MetricValue, interval: "Interval | None") -> str:
    """A figure with its interval in brackets, if there is one."""
    if interval is None or interval.low is None or interval.high is None:
        return shown(value)
    return f"{shown(value)} [{shown(interval.low, 3)}, {shown(interval.high, 3)}]"


def class_name(label: str) -> str:
    """A class as one writes it."""
    return label.replace("_", " ").strip() or label


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
