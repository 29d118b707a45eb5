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
    Section,
    Table,
    format_difference,
    format_value,
    section_pictures,
)
from local.run.folders import TRAINING_SECONDS
from local.studies.ablation_pictures import curve_picture, seed_picture
from local.studies.finished import COMPARED, METRIC_TITLES, FinishedRuns, spread
from local.studies.markdown import markdown_page

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
    for picture in section_pictures(sections):
        write_file(output / picture.name, picture.png)
    write_file(output / TEXT, markdown_page("Ablation", sections))
    return [write_page(output / PAGE, "Ablation", sections), output / TEXT]


def network_section(finished: FinishedRuns, network: str) -> Section:
    """Values, differences and smallest findable differences of one network."""
    ablation = finished.ablation

    def row(name: str, values: Sequence[str], *compared: str) -> list[str]:
        trained = sum(network in result.values for result in finished.results[name].values())
        return [ablation.variants[name].title, *compared, str(trained), *values]

    def differences(caption: str, heading: str, cell: Callable[[Comparison | None], str]) -> Table:
        """A row per variant and reference."""
        rows = [
            row(
                name,
                [
                    cell(finished.comparison(name, reference, network, metric))
                    for metric in COMPARED
                ],
                ablation.variants[reference].title,
            )
            for name in ablation.variants
            for reference in ablation.references(name)
        ]
        columns = ("variant", "compared with", "seeds", *COMPARED.values())
        return Table(caption, columns, rows, heading)

    means = [
        row(
            name,
            [_mean([*finished.values(name, network, m).values()], m) for m in METRIC_TITLES],
        )
        for name in ablation.variants
    ]
    blocks: list[Block] = [
        seed_picture(finished, network),
        Table(
            "Mean ± standard deviation over the seeds.",
            ("variant", "seeds", *METRIC_TITLES.values()),
            means,
        ),
        differences(
            "Mean of the paired differences [95 % interval over seeds and clips]; highlighted "
            "where the interval excludes 0. SOD: the interval covers the seeds, not the clips.",
            "Differences",
            _difference,
        ),
        differences(
            f"Size of a true difference that this number of seeds and clips finds in "
            f"{POWER:.0%} of all repetitions.",
            "Smallest difference that would have been found",
            _smallest,
        ),
    ]
    if finished.unfinished:
        blocks.append(f"Not finished: {shortened(finished.unfinished, most=20)}.")
    intro = (
        f"{finished.clips} test clips, {finished.replicates} replicates of the hierarchical "
        "bootstrap (docs/ablation.md). Of 20 intervals of variants without any effect, one "
        "excludes 0 by chance."
    )
    return Section(network, network.capitalize(), intro, blocks)


def _mean(values: list[float], metric: str) -> str:
    if not values:
        return NOT_DEFINED
    digits = 0 if metric == TRAINING_SECONDS else DIGITS
    mean, deviation = format_value(sum(values) / len(values), digits), spread(values)
    return mean if deviation is None else f"{mean} ± {deviation:.{digits}f}"


def _difference(found: Comparison | None) -> str:
    if found is None:
        return NOT_DEFINED
    return format_difference(found.difference, found.low, found.high, DIGITS)


def _smallest(found: Comparison | None) -> str:
    return format_value(None if found is None else found.smallest, DIGITS)
