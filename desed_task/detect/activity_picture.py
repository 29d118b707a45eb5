"""Picture of the events per recorded hour over the hours of the day, a row for each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from desed_task.detect.activity import Activity
from desed_task.drawing.style import (
    COLOURS,
    class_text,
    legend_above,
    new_figure,
    plain,
    tidy,
    to_png,
)
from desed_task.evaluation.events import Floats

MAX_CLASSES = 12  # those with the most events
MAX_SITES = len(COLOURS)  # more are drawn together
_ROW_INCHES, _HEAD_INCHES = 1.05, 1.2
_RECORDED, _NOT_RECORDED = "#666666", "#e6e6e6"


def draw_activity(activity: Activity, classes: Sequence[str]) -> bytes:
    """A PNG with the rate of each class by hour of the day, and the recorded time below.

    All days are added. Hours without any recording are grey, and have no rate.

    Args:
        activity: of the recordings.
        classes: that were detected.
    """
    sites = activity.sites
    names = sites if len(sites) <= MAX_SITES else [f"all {len(sites)} sites"]
    rows = dict(zip(sites, range(len(sites)), strict=True)) if names == sites else {}
    hours, counts = _by_hour_of_day(activity, classes, rows)
    found = sorted((name for name in classes if counts[name].any()), key=lambda n: -counts[n].sum())
    drawn = found[:MAX_CLASSES]
    figure = new_figure(_HEAD_INCHES + _ROW_INCHES * (len(drawn) + 1))
    panels = figure.subplots(len(drawn) + 1, 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, drawn, strict=False):
        rates = np.divide(counts[name], hours, out=np.full_like(hours, np.nan), where=hours > 0)
        title = f"{class_text(name)}: events per recorded hour ({counts[name].sum():.0f} events)"
        _draw_row(axes, title, rates, hours)
    total = hours.sum(axis=0, keepdims=True)
    _draw_row(panels[-1], "recorded hours", total, hours, colours=[_RECORDED])
    panels[-1].set_xticks(range(0, 25, 3), [f"{hour:02d}:00" for hour in range(0, 25, 3)])
    panels[-1].set_xlim(0, 24)
    days = len({hour.begin.date() for hour in activity.seconds})
    on_days = f"on {days} day{'s' * (days != 1)}"
    parts = [f"{activity.n_recordings} recordings {on_days}", "grey: nothing was recorded"]
    if len(found) > len(drawn):
        parts.append(f"{len(found) - len(drawn)} classes with fewer events are not drawn")
    panels[-1].set_xlabel("hour of the day, by the recorders' clocks; " + "; ".join(parts))
    if len(names) > 1:
        legend_above(figure, dict(enumerate(names)))
    elif names[0]:
        figure.suptitle(plain(names[0]), fontsize=10)
    return to_png(figure)


def _by_hour_of_day(
    activity: Activity, classes: Sequence[str], rows: Mapping[str, int]
) -> tuple[Floats, dict[str, Floats]]:
    """Recorded hours, and events of each class, `(sites, 24)`.

    Args:
        activity: of the recordings.
        classes: that were detected.
        rows: number of each site; empty: all are added.
    """
    hours = np.zeros((max(1, len(rows)), 24))
    counts = {name: np.zeros_like(hours) for name in classes}
    for hour, seconds in activity.seconds.items():
        hours[rows.get(hour.site, 0), hour.begin.hour] += seconds / 3600
    for (hour, label), number in activity.events.items():
        counts[label][rows.get(hour.site, 0), hour.begin.hour] += number
    return hours, counts


def _draw_row(
    axes: Any, title: str, values: Floats, hours: Floats, colours: Sequence[str] = COLOURS
) -> None:
    """Draw a value by site and hour of the day, `(sites, 24)`; a single site's is filled."""
    for hour in np.flatnonzero(hours.sum(axis=0) == 0):
        axes.axvspan(hour, hour + 1, color=_NOT_RECORDED, linewidth=0)
    is_single = len(values) == 1
    for number, row in enumerate(values):
        axes.stairs(
            row,
            np.arange(25),
            baseline=0 if is_single else None,
            fill=is_single,
            color=colours[number],
            linewidth=0 if is_single else 1.6,
        )
    axes.set_ylim(0, 1.1 * np.nanmax(values, initial=0) or 1)
    axes.set_title(title, loc="left", fontsize=9)
    axes.tick_params(labelsize=8)
    tidy(axes)
