"""Tables and sections of a report as Markdown."""

from collections.abc import Iterable, Sequence

from desed_task.report.blocks import Block, Marked, Picture, Section


def markdown_page(title: str, sections: Sequence[Section]) -> str:
    """Sections as Markdown; marked cells are bold, pictures are files beside the page."""
    lines = [f"# {title}"]
    for section in sections:
        lines += ["", f"## {section.title}", "", section.intro]
        for block in section.blocks:
            lines += ["", *_block_lines(block)]
    return "\n".join(lines) + "\n"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table."""
    lines = [columns, ["---"] * len(columns), *rows]
    escaped = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return [f"| {' | '.join(cells)} |" for cells in escaped]


def _block_lines(block: Block) -> list[str]:
    if isinstance(block, str):
        return [block]
    if isinstance(block, Picture):
        return [f"![{block.alt}]({block.name})", "", block.caption]
    rows = [
        [f"**{cell}**" if isinstance(cell, Marked) else cell for cell in row] for row in block.rows
    ]
    heading = [f"### {block.heading}", ""] if block.heading else []
    return [*heading, block.caption, "", *markdown_table(block.columns, rows)]
