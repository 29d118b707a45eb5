"""The result of an ablation as an HTML page and as Markdown, from the same sections."""

from collections.abc import Callable, Sequence
from pathlib import Path

from desed_task.errors import shortened
from desed_task.evaluation.comparison import POWER, Comparison
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
from local.studies.collect import Collected, spread
from local.studies.differences import METRIC_TITLES
from local.studies.pictures import curve_picture, seed_picture

PAGE, TEXT = "ablation.html", "ablation.md"
DIGITS = 3


def write_pages(collected: Collected, output: Path) -> list[Path]:
    """Write `ablation.html`, `ablation.md` and the pictures that the latter shows."""
    sections = [network_section(collected, network) for network in collected.networks]
    sections.append(
        Section(
            "curves",
            "Learning curves",
            "A curve that still rises at its end asks for more epochs.",
            [curve_picture(collected)],
        )
    )
    title = "Ablation"
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Picture):
                write_file(output / block.name, block.png)
    write_file(output / TEXT, markdown(title, sections))
    return [write_page(output / PAGE, title, sections), output / TEXT]


def network_section(collected: Collected, network: str) -> Section:
    """Values, differences and smallest findable differences of one network."""
    reference = collected.ablation.variants[collected.ablation.reference].title
    blocks: list[Block] = [
        seed_picture(collected, network),
        _table(collected, network, "Mean ± standard deviation over the seeds.", _mean),
        Heading(f"Difference from: {reference}"),
        _table(
            collected,
            network,
            "Mean of the paired differences [95 % interval over seeds and clips]; highlighted "
            "where the interval excludes 0. SOD: the interval covers the seeds, not the clips.",
            _difference,
        ),
        Heading("Smallest difference that would have been found"),
        _table(
            collected,
            network,
            f"Size of a true difference that this number of seeds and clips finds in "
            f"{POWER:.0%} of all repetitions.",
            _smallest,
        ),
    ]
    if collected.unfinished:
        blocks.append(Paragraph(f"Not finished: {shortened(collected.unfinished, most=20)}."))
    intro = (
        f"{collected.clips} test clips, {collected.replicates} replicates of the hierarchical "
        "bootstrap (docs/ablation.md). Of 20 intervals of variants without any effect, one "
        "excludes 0 by chance."
    )
    return Section(network, network.capitalize(), intro, blocks)


def _table(
    collected: Collected,
    network: str,
    caption: str,
    cell: Callable[[Collected, str, str, str], Cell],
) -> Table:
    rows = [
        row(
            variant.title,
            str(sum(network in result.values for result in collected.results[name].values())),
            *(cell(collected, name, network, metric) for metric in METRIC_TITLES),
        )
        for name, variant in collected.ablation.variants.items()
    ]
    return Table(caption, ("variant", "seeds", *METRIC_TITLES.values()), tuple(rows))


def _mean(collected: Collected, variant: str, network: str, metric: str) -> Cell:
    values = list(collected.values(variant, network, metric).values())
    if not values:
        return Cell(NOT_DEFINED)
    mean = format_value(sum(values) / len(values), DIGITS)
    deviation = spread(values)
    return Cell(mean if deviation is None else f"{mean} ± {deviation:.{DIGITS}f}")


def _compared(collected: Collected, variant: str, network: str, metric: str) -> Comparison | None:
    if variant == collected.ablation.reference:
        return None
    return collected.comparison(variant, network, metric)


def _difference(collected: Collected, variant: str, network: str, metric: str) -> Cell:
    found = _compared(collected, variant, network, metric)
    if found is None:
        return Cell(NOT_DEFINED)
    text = format_signed(found.difference, DIGITS)
    if found.low is not None and found.high is not None:
        text += f" [{format_signed(found.low, DIGITS)}, {format_signed(found.high, DIGITS)}]"
    return Cell(text, marked=found.found)


def _smallest(collected: Collected, variant: str, network: str, metric: str) -> Cell:
    found = _compared(collected, variant, network, metric)
    return Cell(format_value(None if found is None else found.smallest, DIGITS))


def markdown(title: str, sections: Sequence[Section]) -> str:
    """Sections as Markdown; highlighted cells are bold, pictures are files beside it."""
    lines = [f"# {title}"]
    for section in sections:
        lines += ["", f"## {section.title}", "", section.intro]
        for block in section.blocks:
            lines += ["", *_markdown_lines(block)]
    return "\n".join(lines) + "\n"


def _markdown_lines(block: Block) -> list[str]:
    if isinstance(block, Heading):
        return [f"### {block.text}"]
    if isinstance(block, Paragraph):
        return [block.text]
    if isinstance(block, Picture):
        return [f"![{block.alt}]({block.name})", "", block.caption]
    rows = [
        [f"**{cell.text}**" if cell.marked else cell.text for cell in row] for row in block.rows
    ]
    table = [list(block.columns), ["---"] * len(block.columns), *rows]
    return [block.caption, "", *(f"| {' | '.join(_escaped(cells))} |" for cells in table)]


def _escaped(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]
