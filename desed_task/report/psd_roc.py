"""Section on PSD-ROC curves, and the pictures of one system's curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from desed_task.drawing.style import (
    N_STYLES,
    WIDTH,
    Dash,
    class_text,
    legend_above,
    new_figure,
    nth_colour,
    nth_dash,
    plain,
    tidy,
    to_png,
)
from desed_task.evaluation.psds import PsdRoc, RocCurve
from desed_task.evaluation.results import SystemMetrics
from desed_task.files import write_file
from desed_task.report.blocks import Block, Heading, Paragraph, Picture, Section, join_names
from desed_task.report.systems import ReportInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FALSE_POSITIVES = "effective false positives per hour"
TRUE_POSITIVES = "true positive ratio"
PANELS_PER_ROW = 4
MAX_LARGE_PANELS = 24  # if there are more classes, six smaller panels are in a row
SCENARIOS = {
    "psds1": "exact onsets and offsets matter (detections must be covered by 70 % and cover 70 %)",
    "psds2": "classes must not be confused, times may be rough (10 %; cross triggers cost)",
}
INTRO = (
    "True positive ratio (share of the true events that are found) against effective false "
    "positives per hour (false detections, and cross triggers with their weight)."
)


class SystemRoc(NamedTuple):
    """A system's curves of one scenario; `n_points` operating points, or None if exact."""

    name: str
    roc: PsdRoc
    n_points: int | None


def psd_roc_section(report: ReportInput) -> Section:
    """The curves of both scenarios, effective and by class."""
    blocks: list[Block] = []
    for index, scenario in enumerate(SCENARIOS, start=1):
        blocks += [Heading(scenario.upper()), *_scenario_blocks(report, scenario, index)]
    return Section("psd-roc", "PSD-ROC curves", INTRO, blocks)


def _scenario_blocks(report: ReportInput, scenario: str, index: int) -> list[Block]:
    name = scenario.upper()
    rocs = _system_rocs(report, scenario)
    if not rocs:
        return [Paragraph(f"No curve: {name} needs true events, and scores or operating points.")]
    return [
        Picture(
            f"psd_roc_{index}.png",
            draw_effective_curves(rocs),
            f"PSD-ROC of {name}: true positive ratio against effective false positives per hour, "
            "one curve per system.",
            f"{name}: {SCENARIOS[scenario]}. The effective curve is the mean over the classes "
            f"minus their standard deviation; higher is better. {_areas(report, rocs)}",
        ),
        Picture(
            f"psd_roc_{index}_classes.png",
            draw_class_curves(rocs, report.classes),
            f"PSD-ROC of {name} for each class, one curve per system.",
            f"{name} by class: the same axes, one panel for each class of the ground truth.",
        ),
    ]


def _system_rocs(report: ReportInput, scenario: str) -> dict[int, SystemRoc]:
    """Curves by the system's number; exact ones where there are any."""
    rocs = {}
    for number, system in enumerate(report.systems):
        metrics = system.metrics
        if scenario in metrics.rocs:
            rocs[number] = SystemRoc(system.name, metrics.rocs[scenario], None)
        elif scenario in metrics.operating_rocs:
            n_points = len(metrics.scoring_input.thresholds)
            rocs[number] = SystemRoc(system.name, metrics.operating_rocs[scenario], n_points)
    return rocs


def _areas(report: ReportInput, rocs: Mapping[int, SystemRoc]) -> str:
    """Each system's PSDS, and which curves are exact, dashed or missing."""
    areas = []
    for name, roc, n_points in rocs.values():
        origin = "exact" if n_points is None else f"{n_points} operating points"
        areas.append(f"{name}: {roc.psds:.4f} ({origin})")
    exact = all(each.n_points is None for each in rocs.values())
    dashed = "" if exact else " Dashed: through operating points."
    missing = [name for number, name in report.names.items() if number not in rocs]
    without = f" Without a curve: {join_names(missing)}." if missing else ""
    return f"Area: {'; '.join(areas)}.{dashed}{without}"


def draw_effective_curves(rocs: Mapping[int, SystemRoc]) -> bytes:
    """PNG with the effective curve of each system, by its number."""
    figure = new_figure(4.4)
    axes = figure.add_subplot()
    for number, each in rocs.items():
        _draw_curve(axes, each.roc.total, each.roc, **_style(number, each), linewidth=2.2)
    axes.set(xlabel=FALSE_POSITIVES, ylabel=TRUE_POSITIVES)
    _finish(axes, rocs)
    _legend(figure, rocs)
    return to_png(figure)


def draw_class_curves(rocs: Mapping[int, SystemRoc], classes: Sequence[str]) -> bytes:
    """PNG with a panel per class, in each the curves of all systems.

    Args:
        rocs: by the system's number.
        classes: class names by index; a class without a curve gets no panel.
    """
    occurring = sorted({label for each in rocs.values() for label in each.roc.per_class})
    small = len(occurring) > MAX_LARGE_PANELS
    n_columns = min(6 if small else PANELS_PER_ROW, len(occurring))
    n_rows = -(-len(occurring) // n_columns)
    width = WIDTH if small else max(WIDTH * n_columns / PANELS_PER_ROW, 5.0)
    figure = new_figure(0.7 + (1.6 if small else 2.1) * n_rows, width=width)
    # Axes with fixed ticks that share nothing: shared ones take time by the square of their number.
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for axes in grid.flat[len(occurring) :]:
        axes.remove()
    for panel, (axes, label) in enumerate(zip(grid.flat, occurring, strict=False)):
        for number, each in rocs.items():
            if label in each.roc.per_class:
                curve = each.roc.per_class[label]
                _draw_curve(axes, curve, each.roc, **_style(number, each), linewidth=1.5)
        _finish(axes, rocs)
        limit = axes.get_xlim()[1]
        axes.set(xticks=(0, limit / 2, limit), yticks=(0, 0.5, 1))
        axes.set_title(class_text(classes[label], 28 if small else 34), fontsize=7 if small else 8)
        axes.tick_params(
            labelsize=8,
            labelbottom=panel + n_columns >= len(occurring),
            labelleft=panel % n_columns == 0,
        )
    figure.supxlabel(FALSE_POSITIVES, fontsize=9)
    figure.supylabel(TRUE_POSITIVES, fontsize=9)
    _legend(figure, rocs)
    return to_png(figure)


def write_psd_rocs(folder: str | Path, metrics: SystemMetrics, *, title: str) -> None:
    """Write `psd_roc_1.png` and `psd_roc_2.png`: the exact curves of a system and of its classes.

    A scenario whose PSDS is undefined gets no file.

    Args:
        folder: an existing folder.
        metrics: result of `evaluate`.
        title: beginning of the pictures' titles; the PSDS follows.
    """
    classes = metrics.scoring_input.truth.classes
    for index, scenario in enumerate(SCENARIOS, start=1):
        if scenario in metrics.rocs:
            picture = draw_all_curves(metrics.rocs[scenario], classes, title)
            write_file(Path(folder) / f"psd_roc_{index}.png", picture)


def draw_all_curves(roc: PsdRoc, classes: Sequence[str], title: str) -> bytes:
    """PNG with the effective curve and the curve of each class of one system.

    If there are more classes than line styles, those of the largest and of the smallest areas are
    named, and the others are thin grey lines.
    """
    figure = new_figure(5.5, width=9)
    axes = figure.add_subplot()
    areas = roc.class_psds()
    named = named_classes(areas)
    grey = {"color": "#bbbbbb", "linewidth": 0.7}
    others = [curve for label, curve in roc.per_class.items() if label not in named]
    for number, curve in enumerate(others):
        text = None if number else f"other classes: {len(others)}"
        _draw_curve(axes, curve, roc, label=text, **grey)
    for number, label in enumerate(named):
        _draw_curve(
            axes,
            roc.per_class[label],
            roc,
            label=f"{class_text(classes[label])} ({areas[label]:.3f})",
            color=nth_colour(number),
            linestyle=nth_dash(number),
            linewidth=1.6,
        )
    effective = f"mean - {roc.scenario.alpha_st:g} st. dev. ({roc.psds:.3f})"
    _draw_curve(axes, roc.total, roc, label=effective, color="#000000", linewidth=3.0)
    axes.set(
        xlim=(0, roc.scenario.max_efpr),
        ylim=(-0.02, 1.02),
        xlabel=FALSE_POSITIVES,
        ylabel=TRUE_POSITIVES,
        title=f"{plain(title, 60)}: {roc.scenario.name} = {roc.psds:.4f}",
    )
    tidy(axes)
    figure.legend(loc="outside right upper", title="class (share of the area)", fontsize="small")
    return to_png(figure)


def named_classes(areas: Mapping[int, float], most: int = N_STYLES) -> list[int]:
    """Class indices in ascending order: all, or of more than `most` half of them each with the
    largest and the smallest areas.
    """
    ranked = sorted(areas, key=lambda label: areas[label])
    return sorted(ranked if len(ranked) <= most else ranked[: most // 2] + ranked[-(most // 2) :])


def _draw_curve(axes: "Axes", curve: RocCurve, roc: PsdRoc, **style: Any) -> None:
    """Draw a curve as steps from 0 to the scenario's largest false positive rate."""
    max_efpr = roc.scenario.max_efpr
    inside = curve.efpr <= max_efpr
    x = [0.0, *curve.efpr[inside], max_efpr]
    y = [0.0, *curve.rate[inside]]
    axes.step(x, [*y, y[-1]], where="post", **style)


def _finish(axes: "Axes", rocs: Mapping[int, SystemRoc]) -> None:
    limit = max(each.roc.scenario.max_efpr for each in rocs.values())
    axes.set(xlim=(0, limit), ylim=(-0.02, 1.02))
    tidy(axes)


def _style(number: int, each: SystemRoc) -> dict[str, Any]:
    return {"color": nth_colour(number), "linestyle": _dash(number, each)}


def _dash(number: int, each: SystemRoc) -> Dash:
    """A curve that is not exact is dashed."""
    return nth_dash(number) if each.n_points is None else "--"


def _legend(figure: "Figure", rocs: Mapping[int, SystemRoc]) -> None:
    names = {number: each.name for number, each in rocs.items()}
    dashes = {number: _dash(number, each) for number, each in rocs.items()}
    legend_above(figure, names, dashes=dashes)
