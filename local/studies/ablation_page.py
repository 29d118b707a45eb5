"""The result of an ablation as an HTML page and as Markdown, from the same sections."""

from collections.abc import Callable
from pathlib import Path

from desed_task.errors import shortened
from desed_task.evaluation.comparison import POWER
from desed_task.files import write_file
from desed_task.report import write_page
from desed_task.report.blocks import (
    NOT_DEFINED,
    Block,
    Cell,
    Heading,
    Paragraph,
    Picture,
    Section,
    Table,
    format_signed,
    format_value,
    row,
)
from local.studies.ablation_pictures import curve_picture, seed_picture
from local.studies.differences import FinishedRuns, spread
from local.studies.markdown import markdown_page
from local.studies.run_metrics import METRIC_TITLES

PAGE, TEXT = "ablation.html", "ablation.md"
DIGITS = 3


def write_pages(finished: FinishedRuns, output: Path) -> list[Path]:
    """Write `ablation.html`, `ablation.md` and the pictures that the latter shows."""
    sections = [network_section(finished, network) for network in finished.networks]
    sections.append(
        Section(
            "curves",
            "Learning curves",
            "A curve that still rises at its end asks for more epochs.",
            [curve_picture(finished)],
        )
    )
    title = "Ablation"
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Picture):
                write_file(output / block.name, block.png)
    write_file(output / TEXT, markdown_page(title, sections))
    return [write_page(output / PAGE, title, sections), output / TEXT]


def network_section(finished: FinishedRuns, network: str) -> Section:
    """Values, differences and smallest findable differences of one network."""
    reference = finished.ablation.variants[finished.ablation.reference].title
    blocks: list[Block] = [
        seed_picture(finished, network),
        _table(finished, network, "Mean ± standard deviation over the seeds.", _mean),
        Heading(f"Difference from: {reference}"),
        _table(
            finished,
            network,
            "Mean of the paired differences [95 % interval over seeds and clips]; highlighted "
            "where the interval excludes 0. SOD: the interval covers the seeds, not the clips.",
            _difference,
        ),
        Heading("Smallest difference that would have been found"),
        _table(
            finished,
            network,
            f"Size of a true difference that this number of seeds and clips finds in "
            f"{POWER:.0%} of all repetitions.",
            _smallest,
        ),
    ]
    if finished.unfinished:
        blocks.append(Paragraph(f"Not finished: {shortened(finished.unfinished, most=20)}."))
    intro = (
        f"{finished.clips} test clips, {finished.replicates} replicates of the hierarchical "
        "bootstrap (docs/ablation.md). Of 20 intervals of variants without any effect, one "
        "excludes 0 by chance."
    )
    return Section(network, network.capitalize(), intro, blocks)


def _table(
    finished: FinishedRuns,
    network: str,
    caption: str,
    cell: Callable[[FinishedRuns, str, str, str], Cell],
) -> Table:
    rows = [
        row(
            variant.title,
            str(sum(network in result.values for result in finished.results[name].values())),
            *(cell(finished, name, network, metric) for metric in METRIC_TITLES),
        )
        for name, variant in finished.ablation.variants.items()
    ]
    return Table(caption, ("variant", "seeds", *METRIC_TITLES.values()), tuple(rows))


def _mean(finished: FinishedRuns, variant: str, network: str, metric: str) -> Cell:
    values = list(finished.values(variant, network, metric).values())
    if not values:
        return Cell(NOT_DEFINED)
    mean = format_value(sum(values) / len(values), DIGITS)
    deviation = spread(values)
    return Cell(mean if deviation is None else f"{mean} ± {deviation:.{DIGITS}f}")


def _difference(finished: FinishedRuns, variant: str, network: str, metric: str) -> Cell:
    found = finished.comparison(variant, network, metric)
    if found is None:
        return Cell(NOT_DEFINED)
    text = format_signed(found.difference, DIGITS)
    if found.low is not None and found.high is not None:
        text += f" [{format_signed(found.low, DIGITS)}, {format_signed(found.high, DIGITS)}]"
    return Cell(text, marked=found.found)


def _smallest(finished: FinishedRuns, variant: str, network: str, metric: str) -> Cell:
    found = finished.comparison(variant, network, metric)
    return Cell(format_value(None if found is None else found.smallest, DIGITS))
