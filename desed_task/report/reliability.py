"""Section on reliability: how often events with a confidence are correct."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.drawing.style import legend_above, new_figure, nth_colour, nth_dash, tidy, to_png
from desed_task.evaluation.events import Floats, Ints
from desed_task.postprocess.calibration import FoundEvents, found_events
from desed_task.report.blocks import NOT_DEFINED, Block, Picture, Section, Table, format_value
from desed_task.report.systems import ReportInput, ReportSystem

N_BINS = 10
INTRO = (
    "The confidence of an event is the probability that it is correct: that it hits a true "
    "event by the event-based criterion. It was fitted on the validation set, and is compared here "
    "with the share of this set's events that are correct, at the F1 thresholds."
)


class Reliability(NamedTuple):
    """Detected events of a system in bins of their confidence.

    Attributes:
        events, correct: numbers of events, and of those that are correct, by bin.
        confidence: mean confidence by bin; NaN without events.
        brier: mean squared difference of confidence and outcome.
        brier_score: the same of the scores before calibration.
        mean: mean confidence of all events.
    """

    events: Ints
    correct: Ints
    confidence: Floats
    brier: float
    brier_score: float
    mean: float


def reliability_section(report: ReportInput) -> Section | None:
    """The picture, and its numbers; None where no system is calibrated."""
    found = {
        number: reliability
        for number, system in enumerate(report.systems)
        if (reliability := system_reliability(system)) is not None
    }
    if not found:
        return None
    blocks: list[Block] = ["No event is detected at the F1 thresholds."]
    shown = {number: each for number, each in found.items() if each.events.sum()}
    if shown:
        picture = Picture(
            "reliability.png",
            draw_reliability(report, shown),
            "Share of correct events against their confidence, and the number of events, one curve "
            "per system.",
            f"{N_BINS} steps of confidence. On the diagonal, confidence and share are equal; "
            "bars: 95 % intervals of the shares (Wilson), wide where events are few. Below: "
            "numbers of events.",
        )
        blocks = [picture, reliability_table(report, shown)]
    return Section("reliability", "Confidence", INTRO, blocks)


def system_reliability(system: ReportSystem) -> Reliability | None:
    """The events of a system in bins; None for a system without calibration or scores."""
    scoring = system.metrics.scoring_input
    if system.calibration is None or scoring.scores is None:
        return None
    classes = scoring.truth.classes
    thresholds = [system.metrics.per_class[name].f1_threshold for name in classes]
    bounds = [np.inf if threshold is None else threshold for threshold in thresholds]
    events = found_events(scoring.scores, scoring.truth, bounds)
    return binned(events, system.calibration.probabilities(events, classes))


def binned(events: FoundEvents, confidence: Floats) -> Reliability:
    """Events in `N_BINS` equal steps of their confidence, `(events,)`."""
    step = np.minimum((confidence * N_BINS).astype(np.int64), N_BINS - 1)
    count = np.bincount(step, minlength=N_BINS)
    total = np.bincount(step, confidence, minlength=N_BINS)

    def brier(values: Floats) -> float:
        return float(np.mean((values - events.correct) ** 2)) if len(values) else np.nan

    return Reliability(
        count,
        np.bincount(step[events.correct], minlength=N_BINS),
        np.where(count > 0, total / np.maximum(count, 1), np.nan),
        brier(confidence),
        brier(events.confidence),
        float(confidence.mean()) if len(confidence) else np.nan,
    )


def wilson(correct: Ints, count: Ints) -> tuple[Floats, Floats]:
    """Lower and upper end of the 95 % interval of shares; `count` above 0."""
    z = 1.96
    share = correct / count
    middle = share + z * z / (2 * count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    scale = 1 + z * z / count
    return (middle - half) / scale, (middle + half) / scale


def reliability_table(report: ReportInput, found: Mapping[int, Reliability]) -> Table:
    """Mean confidence, share of correct events, and Brier scores of each system."""
    rows = []
    for number, each in found.items():
        calibration = report.systems[number].calibration
        fitted = calibration.common.events if calibration and calibration.common else None
        share = each.correct.sum() / each.events.sum()
        values = [each.mean, float(share), each.brier, each.brier_score]
        rows.append(
            [
                report.names[number],
                NOT_DEFINED if fitted is None else str(fitted),
                str(each.events.sum()),
                *map(format_value, values),
            ]
        )
    caption = (
        "Brier score: mean squared difference between the confidence and 1 for a correct, 0 for a "
        "wrong event; lower is better. –: too few validation events, the confidence is the score."
    )
    columns = (
        *("system", "events of the fit", "events here", "mean confidence", "share correct"),
        *("Brier score", "Brier score of the scores"),
    )
    return Table(caption, columns, rows)


def draw_reliability(report: ReportInput, found: Mapping[int, Reliability]) -> bytes:
    """PNG of the share of correct events and of the number of events by confidence."""
    figure = new_figure(6.0, 7.0)
    shares, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    shares.plot([0, 1], [0, 1], color="#808080", linewidth=1, linestyle=(0, (1, 2)))
    width = 0.8 / N_BINS / len(found)
    for place, (number, each) in enumerate(found.items()):
        used: NDArray[np.bool_] = each.events > 0
        share = each.correct[used] / each.events[used]
        low, high = wilson(each.correct[used], each.events[used])
        shares.errorbar(
            each.confidence[used],
            share,
            yerr=np.maximum([share - low, high - share], 0),
            color=nth_colour(number),
            linestyle=nth_dash(number),
            marker="o",
            markersize=5,
            linewidth=1.8,
            elinewidth=1,
            capsize=2,
        )
        middles = (np.arange(N_BINS) + 0.5) / N_BINS + (place - (len(found) - 1) / 2) * width
        bars = counts.bar(middles, each.events, width, color=nth_colour(number))
        if len(found) == 1:
            counts.bar_label(bars, [str(n) if n else "" for n in each.events], fontsize=8)
    shares.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="share of correct events")
    counts.set(xlabel="confidence", ylabel="events")
    counts.margins(y=0.2)
    for axes in (shares, counts):
        tidy(axes)
    legend_above(figure, {number: report.names[number] for number in found})
    return to_png(figure)
