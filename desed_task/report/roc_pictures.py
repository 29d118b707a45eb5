"""Pictures of PSD-ROC curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from desed_task.evaluation.psds import PsdRoc, RocCurve
from desed_task.evaluation.results import SystemMetrics
from desed_task.files import atomic_write
from desed_task.report.drawing import (
    WIDTH,
    Dash,
    colour_of,
    dash_of,
    legend_above,
    new_figure,
    plain,
    tidy,
    to_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOTAL_COLOUR = "#000000"
FALSE_POSITIVES = "effective false positives per hour"
TRUE_POSITIVES = "true positive ratio"
PANELS_PER_ROW = 4


def write_psd_rocs(folder: str | Path, metrics: SystemMetrics, *, title: str) -> None:
    """Write `psd_roc_1.png` and `psd_roc_2.png`: the exact curves of a system and of its classes.

    A scenario whose PSDS is undefined gets no file.

    Args:
        folder: an existing folder.
        metrics: result of `evaluate`.
        title: beginning of the pictures' titles; the PSDS follows.
    """
    classes = metrics.scoring_input.truth.classes
    for number, scenario in enumerate(("psds1", "psds2"), start=1):
        if scenario in metrics.rocs:
            with atomic_write(Path(folder) / f"psd_roc_{number}.png") as partial:
                partial.write_bytes(all_curves(metrics.rocs[scenario], classes, title))


def all_curves(roc: PsdRoc, classes: Sequence[str], title: str) -> bytes:
    """PNG with the effective curve and the curve of each class of one system."""
    figure = new_figure(5.5, width=9)
    axes = figure.add_subplot()
    areas = roc.class_psds()
    for number, (label, curve) in enumerate(roc.per_class.items()):
        _draw(
            axes,
            curve,
            roc.scenario.max_efpr,
            label=f"{plain(classes[label].replace('_', ' '))} ({areas[label]:.3f})",
            color=colour_of(number),
            linestyle=dash_of(number),
            linewidth=1.6,
        )
    _draw(
        axes,
        roc.total,
        roc.scenario.max_efpr,
        label=f"mean - {roc.scenario.alpha_st:g} st. dev. ({roc.psds:.3f})",
        color=TOTAL_COLOUR,
        linestyle="-",
        linewidth=3.0,
    )
    _label(axes, roc.scenario.max_efpr)
    axes.set(
        xlabel=FALSE_POSITIVES,
        ylabel=TRUE_POSITIVES,
        title=f"{plain(title, 60)}: {roc.scenario.name} = {roc.psds:.4f}",
    )
    figure.legend(loc="outside right upper", title="class (share of the area)", fontsize="small")
    return to_png(figure)


def effective_curves(
    rocs: Mapping[int, PsdRoc], names: Sequence[str], exact: Mapping[int, bool]
) -> bytes:
    """PNG with the effective curve of each system.

    Args:
        rocs: curves of one scenario by the system's number.
        names: the systems'.
        exact: whether a curve is exact, by the system's number; others are drawn dashed.
    """
    figure = new_figure(4.4)
    axes = figure.add_subplot()
    limit = 0.0
    for number, roc in rocs.items():
        limit = max(limit, roc.scenario.max_efpr)
        _draw(axes, roc.total, roc.scenario.max_efpr, **_style(number, exact), linewidth=2.2)
    _label(axes, limit)
    axes.set(xlabel=FALSE_POSITIVES, ylabel=TRUE_POSITIVES)
    legend_above(figure, {number: names[number] for number in rocs}, dashes=_dashes(exact))
    return to_png(figure)


def class_curves(
    rocs: Mapping[int, PsdRoc],
    names: Sequence[str],
    exact: Mapping[int, bool],
    classes: Sequence[str],
) -> bytes:
    """PNG with a panel per class, in each the curves of all systems.

    Args:
        rocs: curves of one scenario by the system's number.
        names: the systems'.
        exact: whether a curve is exact, by the system's number; others are drawn dashed.
        classes: class names by index; those without a curve get no panel.
    """
    occurring = sorted({label for roc in rocs.values() for label in roc.per_class})
    n_columns = min(PANELS_PER_ROW, len(occurring))
    n_rows = -(-len(occurring) // n_columns)
    figure = new_figure(0.7 + 2.1 * n_rows, width=max(WIDTH * n_columns / PANELS_PER_ROW, 5.0))
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(occurring) :]:
        axes.set_visible(False)
    for place, label in enumerate(occurring):
        axes = grid.flat[place]
        limit = 0.0
        for number, roc in rocs.items():
            limit = max(limit, roc.scenario.max_efpr)
            if label in roc.per_class:
                curve = roc.per_class[label]
                _draw(axes, curve, roc.scenario.max_efpr, **_style(number, exact), linewidth=1.5)
        _label(axes, limit)
        axes.set_title(plain(classes[label].replace("_", " "), 34), fontsize=8)
        axes.tick_params(labelsize=8, labelbottom=place + n_columns >= len(occurring))
    figure.supxlabel(FALSE_POSITIVES, fontsize=9)
    figure.supylabel(TRUE_POSITIVES, fontsize=9)
    legend_above(figure, {number: names[number] for number in rocs}, dashes=_dashes(exact))
    return to_png(figure)


def _dashes(exact: Mapping[int, bool]) -> dict[int, Dash]:
    """Line styles by the system's number: dashed where the curve is not exact."""
    return {number: dash_of(number) if known else "--" for number, known in exact.items()}


def _style(number: int, exact: Mapping[int, bool]) -> dict[str, str]:
    return {"color": colour_of(number), "linestyle": _dashes(exact)[number]}


def _label(axes: "Axes", max_efpr: float) -> None:
    axes.set(xlim=(0, max_efpr), ylim=(-0.02, 1.02))
    tidy(axes)


def _draw(axes: "Axes", curve: RocCurve, max_efpr: float, **style: object) -> None:
    """A staircase from 0 to `max_efpr`."""
    inside = curve.efpr <= max_efpr
    x = [0.0, *curve.efpr[inside], max_efpr]
    y = [0.0, *curve.rate[inside]]
    axes.step(x, [*y, y[-1]], where="post", **style)  # type: ignore[arg-type]
