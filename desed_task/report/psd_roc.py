"""Section on PSD-ROC curves, and the same pictures of one system."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from desed_task.drawing.style import (
    Dash,
    class_text,
    legend_above,
    new_figure,
    nth_colour,
    nth_dash,
    tidy,
    to_png,
)
from desed_task.evaluation.psds import PsdRoc, RocCurve
from desed_task.evaluation.results import SystemMetrics
from desed_task.files import write_file
from desed_task.report.blocks import Block, Picture, Section, join_names
from desed_task.report.systems import ReportInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FALSE_POSITIVES = "effective false positives per hour"
TRUE_POSITIVES = "true positive ratio"
EFFECTIVE_INCHES = 3.2
PANELS_PER_ROW = 4
MAX_LARGE_PANELS = 24  # if there are more classes, the panels are smaller
SMALL_PER_ROW = 6
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
    """The curves of both scenarios."""
    blocks = [_scenario_block(report, name, k) for k, name in enumerate(SCENARIOS, start=1)]
    return Section("psd-roc", "PSD-ROC curves", INTRO, blocks)


def _scenario_block(report: ReportInput, scenario: str, index: int) -> Block:
    name = scenario.upper()
    rocs = _system_rocs(report, scenario)
    if not rocs:
        return f"No curve: {name} needs true events, and scores or operating points."
    return Picture(
        f"psd_roc_{index}.png",
        draw_curves(rocs, report.classes),
        f"PSD-ROC of {name}, effective and by class: true positive ratio against effective false "
        "positives per hour, one curve per system.",
        f"{name}: {SCENARIOS[scenario]}. {_areas(report, rocs)}",
    )


def _system_rocs(report: ReportInput, scenario: str) -> dict[int, SystemRoc]:
    """Curves by the system's number; exact ones where there are any."""
    rocs = {}
    for number, system in enumerate(report.systems):
        metrics = system.metrics
        exact = metrics.rocs.get(f"{scenario}_sed_scores_eval")
        approximated = metrics.rocs.get(f"{scenario}_psds_eval")
        if exact is not None:
            rocs[number] = SystemRoc(system.name, exact, None)
        elif approximated is not None:
            n_points = len(metrics.scoring_input.thresholds)
            rocs[number] = SystemRoc(system.name, approximated, n_points)
    return rocs


def _areas(report: ReportInput, rocs: Mapping[int, SystemRoc]) -> str:
    """Each system's PSDS, and which curves are exact, dashed or missing."""
    areas = []
    for name, roc, n_points in rocs.values():
        origin = "exact" if n_points is None else f"{n_points} operating points, dashed"
        areas.append(f"{name}: {roc.psds:.4f} ({origin})")
    missing = [name for number, name in report.names.items() if number not in rocs]
    without = f" Without a curve: {join_names(missing)}." if missing else ""
    return f"Area: {'; '.join(areas)}.{without}"


def write_psd_rocs(folder: str | Path, metrics: SystemMetrics, *, title: str) -> None:
    """Write `psd_roc_1.png` and `psd_roc_2.png`: the exact curves of a system and of its classes.

    A scenario whose PSDS is undefined gets no file.

    Args:
        folder: an existing folder.
        metrics: result of `evaluate`.
        title: the curve's name; the PSDS follows.
    """
    classes = metrics.scoring_input.truth.classes
    for index, scenario in enumerate(SCENARIOS, start=1):
        roc = metrics.rocs.get(f"{scenario}_sed_scores_eval")
        if roc is not None:
            name = f"{title}: {roc.scenario.name} = {roc.psds:.4f}"
            picture = draw_curves({0: SystemRoc(name, roc, None)}, classes)
            write_file(Path(folder) / f"psd_roc_{index}.png", picture)


def draw_curves(rocs: Mapping[int, SystemRoc], classes: Sequence[str]) -> bytes:
    """PNG with the effective curves, and below them a panel for each class that occurs.

    Args:
        rocs: by the system's number.
        classes: names by index.
    """
    occurring = sorted({label for each in rocs.values() for label in each.roc.per_class})
    small = len(occurring) > MAX_LARGE_PANELS
    n_columns = SMALL_PER_ROW if small else PANELS_PER_ROW
    panel = 8.4 / n_columns
    heights = [EFFECTIVE_INCHES, *[panel] * -(-len(occurring) // n_columns)]
    figure = new_figure(0.7 + sum(heights))
    grid = figure.add_gridspec(len(heights), n_columns, height_ratios=heights)
    effective = figure.add_subplot(grid[0, :])
    for number, each in rocs.items():
        _draw_curve(effective, number, each, each.roc.total, linewidth=2.2)
    alphas = sorted({each.roc.scenario.alpha_st for each in rocs.values()})
    alpha = " or ".join(f"{value:g}" for value in alphas)
    _finish(effective, rocs, f"mean over the classes − {alpha} · standard deviation", size=9)
    for position, label in enumerate(occurring):
        # Axes with fixed ticks that share nothing: shared ones take time by their number's square.
        axes = figure.add_subplot(grid[1 + position // n_columns, position % n_columns])
        for number, each in rocs.items():
            if label in each.roc.per_class:
                _draw_curve(axes, number, each, each.roc.per_class[label], linewidth=1.5)
        title = class_text(classes[label], 28 if small else 34)
        _finish(axes, rocs, title, size=7 if small else 8)
        axes.set(xticks=axes.get_xlim(), yticks=(0, 0.5, 1))
        axes.tick_params(
            labelbottom=position + n_columns >= len(occurring),
            labelleft=position % n_columns == 0,
        )
    figure.supxlabel(FALSE_POSITIVES, fontsize=9)
    figure.supylabel(TRUE_POSITIVES, fontsize=9)
    names = {number: each.name for number, each in rocs.items()}
    legend_above(figure, names, {number: _dash(number, each) for number, each in rocs.items()})
    return to_png(figure)


def _draw_curve(
    axes: "Axes", number: int, each: SystemRoc, curve: RocCurve, *, linewidth: float
) -> None:
    """Draw a curve as steps from 0 to the scenario's largest false positive rate."""
    max_efpr = each.roc.scenario.max_efpr
    inside = curve.efpr <= max_efpr
    x = [0.0, *curve.efpr[inside], max_efpr]
    y = [0.0, *curve.rate[inside]]
    dash, colour = _dash(number, each), nth_colour(number)
    axes.step(x, [*y, y[-1]], where="post", color=colour, linestyle=dash, linewidth=linewidth)


def _finish(axes: "Axes", rocs: Mapping[int, SystemRoc], title: str, *, size: float) -> None:
    limit = max(each.roc.scenario.max_efpr for each in rocs.values())
    axes.set(xlim=(0, limit), ylim=(-0.02, 1.02))
    axes.set_title(title, fontsize=size)
    axes.tick_params(labelsize=8)
    tidy(axes)


def _dash(number: int, each: SystemRoc) -> Dash:
    """A curve that is not exact is dashed."""
    return nth_dash(number) if each.n_points is None else "--"
