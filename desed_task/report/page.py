"""The report's HTML page and picture files."""

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from desed_task.drawing.style import DPI
from desed_task.files import write_file
from desed_task.report.blocks import Marked, Section, section_pictures
from desed_task.report.boundaries import boundary_section
from desed_task.report.class_scores import class_section
from desed_task.report.clips import clip_section
from desed_task.report.confusion import confusion_section
from desed_task.report.headlines import headline_section
from desed_task.report.polyphony import polyphony_section
from desed_task.report.psd_roc import psd_roc_section
from desed_task.report.reliability import reliability_section
from desed_task.report.systems import ReportInput, ReportSystem
from desed_task.report.thresholds import threshold_section

if TYPE_CHECKING:
    from desed_task.evaluation.bootstrap import Intervals

PAGE = "report.html"
PICTURES = "report_pictures"
PIXELS_PER_INCH = 108  # of a picture on the page
SECTIONS: tuple[Callable[[ReportInput], Section | None], ...] = (
    headline_section,
    psd_roc_section,
    class_section,
    threshold_section,
    reliability_section,
    confusion_section,
    polyphony_section,
    boundary_section,
    clip_section,
)


def write_report(
    folder: str | Path,
    systems: Sequence[ReportSystem],
    *,
    title: str,
    intervals: "Intervals | None" = None,
    audio: Path | None = None,
    recordings: Mapping[str, str] | None = None,
) -> Path:
    """Write `report.html`, which needs no other file, and its pictures to `report_pictures/`.

    PNG files of an earlier report are removed from `report_pictures/`. Each file is complete when
    it appears, the page last.

    Args:
        folder: made if it does not exist.
        systems: at least one, with different names, scored against the same ground truth.
        title: heading of the page.
        intervals: confidence intervals of the metrics and of their differences.
        audio: folder of the clips' audio files, for spectrograms.
        recordings: name of the recording that each clip was cut from, by clip; None: unknown.

    Returns: path of the page.

    Raises ValueError for no system, equal names, or different ground truths.
    """
    _check(systems)
    folder = Path(folder)
    report = ReportInput(systems, intervals, audio, recordings)
    made = [make_section(report) for make_section in SECTIONS]
    sections = [section for section in made if section is not None]
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    written = {pictures / picture.name: picture.png for picture in section_pictures(sections)}
    for path, png in written.items():
        write_file(path, png)
    for path in set(pictures.glob("*.png")) - set(written):
        path.unlink()
    return write_page(folder / PAGE, title, sections)


def write_page(path: Path, title: str, sections: Sequence[Section]) -> Path:
    """Write sections as an HTML page that needs no other file; returns its path."""
    page = _environment().get_template(PAGE).render(title=title, sections=sections)
    write_file(path, page)
    return path


def _check(systems: Sequence[ReportSystem]) -> None:
    if not systems:
        raise ValueError("systems of the report: expected at least 1, got 0")
    names = [system.name for system in systems]
    if len(set(names)) != len(names):
        raise ValueError(f"systems of the report: expected different names, got {names}")
    truths = [system.metrics.scoring_input.truth for system in systems]
    for system, truth in zip(systems, truths, strict=True):
        if truth != truths[0]:
            raise ValueError(
                f"system {system.name!r}: expected the ground truth of system {names[0]!r}, "
                "got another one"
            )


def _environment() -> Environment:
    """Jinja's environment, in which all text is escaped."""
    environment = Environment(
        loader=PackageLoader("desed_task.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["marked"] = lambda cell: isinstance(cell, Marked)
    environment.filters |= {
        "breakable": _breakable,
        "data_uri": _data_uri,
        "displayed_size": _displayed_size,
    }
    return environment


def _breakable(text: str) -> Markup:
    """A text that a narrow column may break after an underscore."""
    return escape(text).replace("_", Markup("_<wbr>"))


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _displayed_size(png: bytes) -> tuple[int, int]:
    """Width and height on the page in pixels, from the PNG's header."""
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    return round(width * PIXELS_PER_INCH / DPI), round(height * PIXELS_PER_INCH / DPI)
