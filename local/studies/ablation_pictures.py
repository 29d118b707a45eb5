"""Pictures of an ablation: a point per seed, intervals of the differences, learning curves."""

import csv
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from desed_task.drawing.style import new_figure, nth_colour, plain, tidy, to_png
from desed_task.evaluation.comparison import Comparison
from desed_task.report.blocks import Picture
from local.run.folders import run_folders
from local.studies.finished import METRIC_TITLES, FinishedRuns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN = ("psds1_sed_scores_eval", "psds2_sed_scores_eval")
CURVES = {"val/student/psds1": "-", "val/teacher/psds1": ":"}
COLUMNS = 3
METRICS_CSV = "metrics.csv"


def seed_picture(finished: FinishedRuns, network: str) -> Picture:
    """PSDS of every run, and the differences from the first reference with their intervals."""
    variants = finished.ablation.variants
    figure = new_figure(height=1.2 + 0.36 * len(variants))
    axes = figure.subplots(1, 2 * len(DRAWN), sharey=True)
    for metric, points, intervals in zip(DRAWN, axes[::2], axes[1::2], strict=True):
        for line, name in enumerate(variants):
            _draw_seeds(points, line, finished.values(name, network, metric))
            first, *_ = finished.ablation.references(name)
            _draw_interval(intervals, line, finished.comparison(name, first, network, metric))
        intervals.axvline(0, color="#D55E00", linewidth=1)
        points.set_title(plain(METRIC_TITLES[metric]), fontsize=9)
        intervals.set_title(plain(f"{METRIC_TITLES[metric]}: difference"), fontsize=9)
    for each in axes:
        each.tick_params(labelsize=8)
        tidy(each)
    titles = [plain(variant.title) for variant in variants.values()]
    axes[0].set_yticks(range(len(variants)), titles, fontsize=8)
    axes[0].set_ylim(len(variants) - 0.5, -0.5)
    return Picture(
        f"seeds_{network}.png",
        to_png(figure),
        f"PSDS of the {network} by variant and seed, and differences from the first reference.",
        "Points: one training each, one colour per seed; bars: their mean. Lines: 95 % "
        "intervals of the paired difference from the first reference, over seeds and clips.",
    )


def _draw_seeds(axes: "Axes", line: int, values: Mapping[int, float]) -> None:
    for seed, value in values.items():
        axes.plot(value, line, "o", color=nth_colour(seed - 1), markersize=4)
    if values:
        mean = sum(values.values()) / len(values)
        axes.plot([mean, mean], [line - 0.3, line + 0.3], color="#000000", linewidth=1.5)


def _draw_interval(axes: "Axes", line: int, found: Comparison | None) -> None:
    if found is None:
        return
    axes.plot(found.difference, line, "o", color="#000000", markersize=4)
    if found.low is not None and found.high is not None:
        axes.plot([found.low, found.high], [line, line], color="#000000", linewidth=1.5)


def curve_picture(finished: FinishedRuns) -> Picture:
    """PSDS1 on the synthetic validation set over the epochs, of every training."""
    trained = [
        name
        for name, variant in finished.ablation.variants.items()
        if variant.test_of is None and finished.results[name]
    ]
    n_rows = max(1, math.ceil(len(trained) / COLUMNS))
    figure = new_figure(height=0.6 + 1.9 * n_rows)
    grid = figure.subplots(n_rows, COLUMNS, sharey=True, squeeze=False)
    for axes in grid.flat[len(trained) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, trained, strict=False):
        axes.set_title(plain(finished.ablation.variants[name].title), fontsize=9)
        for seed, result in finished.results[name].items():
            for column, curve in learning_curves(result.folder).items():
                axes.plot(
                    list(curve),
                    list(curve.values()),
                    color=nth_colour(seed - 1),
                    linestyle=CURVES[column],
                    linewidth=1.2,
                )
        axes.tick_params(labelsize=8)
        tidy(axes)
    return Picture(
        "learning_curves.png",
        to_png(figure),
        "PSDS1 on the synthetic validation set by epoch, a line per training.",
        "PSDS1 (exact) on the synthetic validation set after each epoch; one colour per seed; "
        "solid: student, dotted: teacher.",
    )


def learning_curves(run: Path) -> dict[str, Mapping[int, float]]:
    """Columns `CURVES` of a run's `metrics.csv`, by epoch; empty without the file.

    A resumed training has several; of a repeated epoch the last values count.
    """
    rows: list[dict[str, str]] = []
    for folder in run_folders(run / "csv").values():
        with suppress(OSError), (folder / METRICS_CSV).open(newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
    return {
        column: {int(row["epoch"]): float(row[column]) for row in rows if row.get(column)}
        for column in CURVES
    }
