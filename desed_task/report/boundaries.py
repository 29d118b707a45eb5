"""Section on boundaries: errors of onsets and offsets."""

from collections.abc import Mapping

import numpy as np

from desed_task.drawing.style import legend_above, new_figure, nth_colour, nth_dash, tidy, to_png
from desed_task.evaluation.event_based import OFFSET_COLLAR, ONSET_COLLAR
from desed_task.evaluation.events import EventTable, Floats, Ints, find_overlaps
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report.blocks import (
    Block,
    Picture,
    Section,
    Table,
    format_share,
    format_signed,
    format_value,
)
from desed_task.report.systems import ReportInput

HISTOGRAM_LIMIT = 1.0  # seconds; larger errors are counted there
HISTOGRAM_STEP = 0.05  # seconds
COLLARS = {"onset": ONSET_COLLAR, "offset": OFFSET_COLLAR}  # seconds
INTRO = (
    "Each detection is paired with the true event of its class that overlaps most with it; if "
    "several detections choose the same event, only the one with most overlap is used."
)


def boundary_section(report: ReportInput) -> Section:
    """Histograms and quartiles of the errors."""
    errors = report.scored(boundary_errors)
    if not any(len(each["onset"]) for each in errors.values()):
        remark = "No detection overlaps with a true event of its class."
        return Section("boundaries", "Onsets and offsets", INTRO, [remark])
    picture = Picture(
        "boundaries.png",
        draw_histograms(report, errors),
        "Histograms of the errors of onset and offset, one outline per system.",
        f"Steps of {HISTOGRAM_STEP:g} s; the outermost steps include all errors beyond "
        f"±{HISTOGRAM_LIMIT:g} s. Grey: the collar of ±{ONSET_COLLAR:g} s of the event-based F1 "
        "(its offset collar is wider, 20 % of the length, for events over 1 s).",
    )
    blocks: list[Block] = [picture, error_table(report, errors)]
    return Section("boundaries", "Onsets and offsets", INTRO, blocks)


def boundary_errors(scoring: ScoringInput) -> dict[str, Floats] | None:
    """Detected minus true `onset` and `offset` of paired events, seconds, `(pairs,)`.

    None without detections.
    """
    if scoring.detections is None:
        return None
    detected, true = best_pairs(scoring.detections, scoring.true)
    return {
        "onset": scoring.detections.onset[detected] - scoring.true.onset[true],
        "offset": scoring.detections.offset[detected] - scoring.true.offset[true],
    }


def best_pairs(detections: EventTable, true: EventTable) -> tuple[Ints, Ints]:
    """Pairs by most overlap: rows of the detections and rows of the true events, `(pairs,)`.

    A detection chooses the true event of its class that overlaps most with it, the first of
    equal ones. Where several detections choose the same event, the one with most overlap is used.
    """
    overlaps = find_overlaps(detections, true)
    detected_row, true_row, seconds = overlaps.select(overlaps.same_class)
    best = _first_of_each(np.lexsort((true_row, -seconds, detected_row)), detected_row)
    detected_row, true_row, seconds = detected_row[best], true_row[best], seconds[best]
    best = _first_of_each(np.lexsort((detected_row, -seconds, true_row)), true_row)
    return detected_row[best], true_row[best]


def _first_of_each(order: Ints, group: Ints) -> Ints:
    """The first index of each group in an order in which the members of a group are adjacent."""
    return order[np.diff(group[order], prepend=-1) != 0]


def share_within(errors: Floats, collar: float) -> float | None:
    """Share of errors of at most `collar` seconds in either direction; None without errors."""
    return float(np.mean(np.abs(errors) <= collar)) if len(errors) else None


def error_table(report: ReportInput, errors: Mapping[int, Mapping[str, Floats]]) -> Table:
    """Quartiles, and shares within the collars, by system."""
    rows = []
    for number, by_kind in errors.items():
        for kind, values in by_kind.items():
            quartiles = np.percentile(values, [25, 50, 75]) if len(values) else [np.nan] * 3
            low, median, high = (format_signed(float(value), 3) for value in quartiles)
            share = format_share(share_within(values, COLLARS[kind]))
            title = f"{report.names[number]}, {kind}"
            rows.append([title, format_value(len(values)), median, low, high, share])
    return Table(
        "Detected minus true, in seconds; positive: too late.",
        (
            "system and boundary",
            "pairs",
            "median",
            "lower quartile",
            "upper quartile",
            f"within ±{ONSET_COLLAR:g} s",
        ),
        rows,
    )


def draw_histograms(report: ReportInput, errors: Mapping[int, Mapping[str, Floats]]) -> bytes:
    """PNG with histograms of the errors of onsets and offsets; errors by the system's number."""
    figure = new_figure(3.9)
    grid = figure.subplots(1, len(COLLARS), sharex=True, sharey=True)
    n_bins = round(2 * HISTOGRAM_LIMIT / HISTOGRAM_STEP)
    edges = np.linspace(-HISTOGRAM_LIMIT, HISTOGRAM_LIMIT, n_bins + 1)
    for axes, (kind, collar) in zip(grid, COLLARS.items(), strict=True):
        axes.axvspan(-collar, collar, color="#000000", alpha=0.1, linewidth=0)
        axes.axvline(0, color="#000000", linewidth=0.8)
        for number, by_kind in errors.items():
            values = np.clip(by_kind[kind], -HISTOGRAM_LIMIT, HISTOGRAM_LIMIT)
            counts, _ = np.histogram(values, edges)
            axes.stairs(
                100 * counts / max(len(values), 1),
                edges,
                color=nth_colour(number),
                linestyle=nth_dash(number),
                linewidth=1.6,
            )
        axes.set_title(kind, fontsize=10)
        axes.set_xlabel("detected minus true, seconds")
        axes.set_xlim(-HISTOGRAM_LIMIT, HISTOGRAM_LIMIT)
        tidy(axes)
    grid[0].set_ylabel("share of pairs, per cent")
    legend_above(figure, {number: report.names[number] for number in errors})
    return to_png(figure)
