"""Pictures of PSD-ROC curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from desed_task.evaluation.psds import PsdRoc, RocCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers tell apart; dashes double the number.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
DASHES = ("-", "--", ":")
TOTAL_COLOUR = "#000000"


def draw_psd_roc(roc: PsdRoc, classes: Sequence[str], path: str | Path, title: str) -> None:
    """Draw the effective curve and the curve of each class into a PNG file.

    Args:
        roc: the curves.
        classes: class names by index.
        path: the file.
        title: what is drawn; the score is put behind it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    areas = roc.class_psds()
    for number, (label, curve) in enumerate(roc.per_class.items()):
        _draw(
            axes,
            curve,
            roc.scenario.max_efpr,
            label=f"{classes[label].replace('_', ' ')} ({areas[label]:.3f})",
            color=COLOURS[number % len(COLOURS)],
            linestyle=DASHES[number // len(COLOURS) % len(DASHES)],
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
    axes.set(
        xlim=(0, roc.scenario.max_efpr),
        ylim=(0, 1),
        xlabel="effective false positives per hour",
        ylabel="true positive ratio",
        title=f"{title}: {roc.scenario.name} = {roc.psds:.4f}",
    )
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", title="class (share of the area)", fontsize="small")
    figure.savefig(path, dpi=120)


def _draw(axes: "Axes", curve: RocCurve, max_efpr: float, **style: object) -> None:
    """A staircase from 0 to `max_efpr`."""
    inside = curve.efpr <= max_efpr
    x = [*curve.efpr[inside], max_efpr]
    y = [*curve.rate[inside], curve.rate[inside][-1]]
    axes.step(x, y, where="post", **style)  # type: ignore[arg-type]
