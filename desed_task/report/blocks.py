"""Sections of the report and the blocks they consist of, and values as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from desed_task.evaluation.results import MetricValue

NOT_DEFINED = "–"


@dataclass(frozen=True)
class Cell:
    """Text in a table, highlighted if `marked`."""

    text: str
    marked: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first column names the row.

    Args:
        caption: how to read the table.
        columns: headings.
        rows: as many cells each as there are columns.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A PNG.

    Args:
        name: file name, without a folder.
        png: content of the file.
        alt: description for readers who cannot see the picture.
        caption: how to read the picture.
    """

    kind: ClassVar[str] = "picture"
    name: str
    png: bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text."""

    kind: ClassVar[str] = "paragraph"
    text: str


Block = Table | Picture | Heading | Paragraph


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Args:
        slug: its anchor on the page.
        title: its heading.
        intro: definitions, in one to three sentences.
        blocks: in reading order.
    """

    slug: str
    title: str
    intro: str
    blocks: Sequence[Block]


def row(*cells: str | Cell) -> tuple[Cell, ...]:
    """A row of a table."""
    return tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells)


def format_value(value: MetricValue, digits: int = 4) -> str:
    """A metric or a count as text; None and NaN are undefined, integers have no digits."""
    if value is None or value != value:
        return NOT_DEFINED
    return f"{value:.{digits}f}" if isinstance(value, float) else f"{value:,}"


def format_count(count: MetricValue) -> str:
    """A count as text, also if it is a float."""
    return NOT_DEFINED if count is None else f"{count:,.0f}"


def format_share(share: MetricValue) -> str:
    """A share in per cent."""
    return NOT_DEFINED if share is None or share != share else f"{100 * share:.1f} %"


def format_signed(value: float, digits: int) -> str:
    """A number with its sign; `NOT_DEFINED` for NaN."""
    return NOT_DEFINED if value != value else f"{value:+.{digits}f}".replace("-", "−")


def join_names(names: Sequence[str]) -> str:
    """Names as `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
