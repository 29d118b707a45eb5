"""The evaluation report: one or more systems side by side, as a page and as Markdown."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from desed_task.files import atomic_write
from desed_task.report.drawing import DPI
from desed_task.report.parts import (
    Picture,
    ReportSystem,
    Section,
    Source,
)
from desed_task.report.sections import all_sections

if TYPE_CHECKING:
    from desed_task.evaluation.bootstrap import Intervals

PAGE = "report.html"
MARKDOWN = "report.md"
PICTURES = "report_pictures"
PIXELS_PER_INCH = 108  # of a picture on the page


def write_report(
    folder: str | Path,
    systems: Sequence[ReportSystem],
    *,
    title: str,
    intervals: "Intervals | None" = None,
    audio: Path | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write `report.html`, which needs no other file, and the same as `report.md` with pictures.

    The Markdown's pictures are in `report_pictures/`; PNG files of an earlier report there are
    removed. Each file is complete when it appears, the page last.

    Args:
        folder: made if it is not there.
        systems: judged on the same clips; each with a name of its own.
        title: the report's heading.
        intervals: of the figures, and of differences between systems.
        audio: folder with the clips' audio files, for spectrograms.
        notes: remarks under the heading.

    Returns: the page's path.

    Raises ValueError for no system, a name given twice, or systems judged on different truths.
    """
    _check(systems)
    folder = Path(folder)
    sections = all_sections(Source(systems, intervals, audio))
    pages = {
        name: _environment()
        .get_template(name)
        .render(title=title, notes=notes, sections=sections, pictures=PICTURES)
        for name in (MARKDOWN, PAGE)
    }
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    _write_pictures(folder / PICTURES, sections)
    for name, text in pages.items():
        with atomic_write(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return folder / PAGE


def _check(systems: Sequence[ReportSystem]) -> None:
    if not systems:
        raise ValueError("no system to report on; one or more are right")
    names = [system.name for system in systems]
    if len(set(names)) != len(names):
        raise ValueError(f"systems {names}: each needs a name of its own")
    first = systems[0].metrics.scoring_input.truth
    for system in systems[1:]:
        truth = system.metrics.scoring_input.truth
        if truth != first:
            raise ValueError(
                f"{system.name!r} was judged on another truth than {names[0]!r}; one is right"
            )


def _write_pictures(folder: Path, sections: Sequence[Section]) -> None:
    """Write the sections' pictures and remove all other PNG files."""
    pictures = [block for part in sections for block in part.blocks if isinstance(block, Picture)]
    for picture in pictures:
        with atomic_write(folder / picture.name) as partial:
            partial.write_bytes(picture.png)
    for path in set(folder.glob("*.png")) - {folder / picture.name for picture in pictures}:
        path.unlink()


def _environment() -> Environment:
    """Templates: all text is escaped in the page, and by the filter `md` in the Markdown."""
    environment = Environment(
        loader=PackageLoader("desed_task.report"),
        autoescape=lambda name: name == PAGE,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "anchor": _anchor,
        "data_uri": _data_uri,
        "md": _markdown_text,
        "size": _size,
    }
    return environment


def _markdown_text(text: str) -> str:
    """The text on one line, with everything escaped that Markdown would read."""
    return re.sub(r"([\\`*_{}\[\]<>|#&~$!])", r"\\\1", " ".join(text.split()))


def _anchor(title: str) -> str:
    """The address that Markdown readers give a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _size(png: bytes) -> tuple[int, int]:
    """Width and height on the page, from the PNG's header."""
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    return round(width * PIXELS_PER_INCH / DPI), round(height * PIXELS_PER_INCH / DPI)
