"""Sections of the report and the blocks they consist of, and values as text."""

from collections.abc import Sequence
from typing import NamedTuple

from desed_task.evaluation.results import MetricValue

NOT_DEFINED = "–"
NO_BREAK = "\N{NO-BREAK SPACE}"


class Marked(str):
    """The text of a highlighted cell or paragraph."""


class Table(NamedTuple):
    """Rows of cells; the first cell names the row.

    Attributes:
        caption: how to read the table.
        columns: headings.
        rows: as many cells each as there are columns.
        heading: above the table; empty: none.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    heading: str = ""


class Picture(NamedTuple):
    """A PNG.

    Attributes:
        name: file name, without a folder.
        png: content of the file.
        alt: description for readers who cannot see the picture.
        caption: how to read the picture.
    """

    name: str
    png: bytes
    alt: str
    caption: str


Block = Table | Picture | str
"""A string is a paragraph."""


class Section(NamedTuple):
    """A section of the report.

    Attributes:
        slug: its anchor on the page.
        title: its heading.
        intro: definitions, in one to three sentences.
        blocks: in reading order.
    """

    slug: str
    title: str
    intro: str
    blocks: Sequence[Block]


def section_pictures(sections: Sequence[Section]) -> list[Picture]:
    """All pictures in reading order."""
    return [block for each in sections for block in each.blocks if isinstance(block, Picture)]


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


def format_difference(
    difference: MetricValue, low: MetricValue, high: MetricValue, digits: int, mark: str = ""
) -> str:
    """A difference with its interval in brackets; highlighted if the interval excludes 0.

    Args:
        difference, low, high: None: undefined.
        digits: of the difference; the interval has 3.
        mark: added to a highlighted one.
    """
    if difference is None:
        return NOT_DEFINED
    text = format_signed(difference, digits)
    if low is None or high is None:
        return text
    text += f" {format_interval(format_signed(low, 3), format_signed(high, 3))}"
    return text if low <= 0 <= high else Marked(text + mark)


def format_interval(low: str, high: str) -> str:
    """Both ends in brackets, on one line."""
    return f"[{low},{NO_BREAK}{high}]"


def join_names(names: Sequence[str]) -> str:
    """Names as `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
