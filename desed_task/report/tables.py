"""The tables of the report."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from desed_task.evaluation.event_based import OFFSET_COLLAR, ONSET_COLLAR
from desed_task.evaluation.results import HEADLINE_METRICS, ClassMetrics, MetricValue, SystemMetrics
from desed_task.report.analysis import (
    BoundaryErrors,
    ClipFigures,
    Curves,
    ThresholdCurves,
    clip_figures,
    share_within,
)
from desed_task.report.parts import (
    NOT_DEFINED,
    Cell,
    ReportSystem,
    Source,
    Table,
    class_name,
    listed,
    row,
    shown,
    shown_interval,
    shown_share,
)

if TYPE_CHECKING:
    from desed_task.evaluation.bootstrap import Interval

PSDS_TITLES = {name: title for name, title in HEADLINE_METRICS.items() if "psds" in name}


def headline_titles(systems: Sequence[ReportSystem]) -> dict[str, str]:
    """The rows' titles by field of `SystemMetrics`, with the number of operating points."""
    numbers = {n for n in map(n_points, systems) if n}
    if len(numbers) != 1:
        return HEADLINE_METRICS
    points = f"{numbers.pop()} operating points"
    return {k: title.replace("operating points", points) for k, title in HEADLINE_METRICS.items()}


def n_points(system: ReportSystem) -> int:
    """Number of the system's operating points, 0 if it has none."""
    task = system.metrics.scoring_input
    return 0 if task.points is None else len(task.thresholds)


def headline_table(source: Source) -> Table:
    """All figures of all systems, with their intervals."""
    rows = []
    for name, title in headline_titles(source.systems).items():
        cells = [
            shown_interval(getattr(system.metrics, name), interval_of(source, system.name, name))
            for system in source.systems
        ]
        rows.append(row(title, *cells))
    caption = "Every figure is from 0 to 1, more is better."
    if source.intervals is not None:
        caption += f" In brackets: {interval_words(source)}."
    return Table(caption, ("figure", *source.names), tuple(rows))


def interval_words(source: Source) -> str:
    """What the intervals are."""
    intervals = source.intervals
    if intervals is None:
        return "no intervals"
    return (
        f"{100 * intervals.confidence:g} % intervals of {intervals.replicates:,} bootstrap "
        "replicates (the clips drawn anew with replacement)"
    )


def interval_of(source: Source, system: str, figure: str) -> "Interval | None":
    """The interval of a system's figure, if there is one."""
    return (
        None if source.intervals is None else source.intervals.figures.get(system, {}).get(figure)
    )


def missing_reasons(systems: Sequence[ReportSystem]) -> list[str]:
    """Why figures are not defined, a sentence for each reason."""
    if not len(systems[0].metrics.scoring_input.true):
        return [f"{NOT_DEFINED}: F1 and PSDS need true events, and the truth holds none."]
    reasons: dict[str, list[str]] = {}
    for system in systems:
        task = system.metrics.scoring_input
        lacks = {
            "exact PSDS needs scores": task.scores is None,
            "PSDS from operating points needs events at several thresholds": task.points is None,
            "F1 needs events at one threshold": task.detections is None,
        }
        for reason, applies in lacks.items():
            if applies:
                reasons.setdefault(reason, []).append(system.name)
    return [f"{NOT_DEFINED} for {listed(names)}: {why}." for why, names in reasons.items()]


def differences_tables(source: Source) -> list[Table]:
    """A table per system that is compared with others; what excludes 0 is marked."""
    if source.intervals is None:
        return []
    by_first: dict[str, dict[str, dict[str, Interval]]] = {}
    for (first, second), of_pair in source.intervals.differences.items():
        by_first.setdefault(first, {})[second] = of_pair
    return [_differences_from(source, first, others) for first, others in by_first.items()]


def _differences_from(
    source: Source, first: str, pairs: Mapping[str, Mapping[str, "Interval"]]
) -> Table:
    """One system minus others, by their names and the figures'."""
    titles = headline_titles(source.systems)
    found = {name: None for of_pair in pairs.values() for name in of_pair}  # in order
    ordered = [name for name in titles if name in found]
    ordered += [name for name in found if name not in titles]
    rows = [
        row(
            titles.get(name, name.replace("_", " ")),
            *(_difference(of_pair.get(name)) for of_pair in pairs.values()),
        )
        for name in ordered
    ]
    caption = (
        f"{first} minus another system, with {interval_words(source)}. "
        "Marked with *: the interval excludes 0."
    )
    return Table(caption, ("figure", *(f"{first} − {other}" for other in pairs)), tuple(rows))


def _difference(interval: "Interval | None") -> Cell:
    if interval is None or interval.value is None:
        return Cell(NOT_DEFINED)
    if interval.low is None or interval.high is None:
        return Cell(signed(interval.value, 4))
    excludes = interval.low > 0 or interval.high < 0
    bounds = f"[{signed(interval.low)}, {signed(interval.high)}]"
    text = f"{signed(interval.value, 4)} {bounds}{' *' if excludes else ''}"
    return Cell(text, marked=excludes)


def judged_table(systems: Sequence[ReportSystem]) -> Table:
    """What was judged: clips, events, thresholds."""
    metrics = [system.metrics for system in systems]
    rows = [
        ("clips scored", [shown(m.clips_scored) for m in metrics]),
        ("clips of the truth without events", [shown(m.clips_without_events) for m in metrics]),
        ("clips the system does not name", [shown(m.clips_missing) for m in metrics]),
        ("clips whose detections were dropped", [shown(m.clips_dropped) for m in metrics]),
        ("classes that occur in the truth", [shown(m.classes_averaged) for m in metrics]),
        ("true events", [shown(len(m.scoring_input.true)) for m in metrics]),
        ("detected events", [_number_of_detections(m) for m in metrics]),
        ("F1 threshold", [f1_threshold_text(m) for m in metrics]),
        ("operating points", [shown(n_points(system) or None) for system in systems]),
    ]
    if any(system.note for system in systems):
        rows.append(("remark", [system.note or NOT_DEFINED for system in systems]))
    caption = (
        "Clips that a system does not name count as nothing detected. Dropped are detections in "
        "clips without any true event, where that was asked for."
    )
    names = (system.name for system in systems)
    return Table(caption, ("what was judged", *names), tuple(row(a, *b) for a, b in rows))


def _number_of_detections(metrics: SystemMetrics) -> str:
    return (
        NOT_DEFINED
        if metrics.scoring_input.detections is None
        else shown(len(metrics.scoring_input.detections))
    )


def f1_threshold_text(metrics: SystemMetrics) -> str:
    """The threshold of the F-scores in words."""
    if metrics.scoring_input.scores is None and metrics.scoring_input.points is None:
        return "the system's own"
    if metrics.f1_threshold is not None:
        return f"{metrics.f1_threshold:g}"
    return "one per class"


def class_table(system: ReportSystem) -> Table:
    """One system's figures by class."""
    per_class = system.metrics.per_class
    columns: dict[str, Callable[[ClassMetrics], str]] = {
        "true events": lambda m: shown(m.true),
        "detected": lambda m: _whole(m.detected),
        "threshold": lambda m: NOT_DEFINED if m.f1_threshold is None else f"{m.f1_threshold:g}",
        "event F1": lambda m: shown(m.event_f1, 3),
        "correct (event)": lambda m: _whole(m.event_true_positives),
        "segment F1": lambda m: shown(m.segment_f1, 3),
        "intersection F1": lambda m: shown(m.intersection_f1, 3),
        "correct (intersection)": lambda m: _whole(m.intersection_true_positives),
    }
    for name, title in PSDS_TITLES.items():
        if any(getattr(m, name) is not None for m in per_class.values()):
            columns[title.replace("operating points", f"{n_points(system)} points")] = _psds_column(
                name
            )
    rows = [
        row(class_name(label), *(text(metrics) for text in columns.values()))
        for label, metrics in per_class.items()
    ]
    return Table(f"{system.name}, by class.", ("class", *columns), tuple(rows))


def _psds_column(name: str) -> Callable[[ClassMetrics], str]:
    return lambda metrics: shown(getattr(metrics, name), 3)


def _whole(count: MetricValue) -> str:
    return NOT_DEFINED if count is None else f"{count:,.0f}"


def threshold_table(curves: Mapping[str, ThresholdCurves]) -> Table:
    """Where each system's F1 is best."""
    rows = []
    for name, of_system in curves.items():
        for kind in ("event", "intersection"):
            found: Curves = getattr(of_system, kind)
            best = int(np.argmax(found.f1))
            figures = (found.f1[best], found.precision[best], found.recall[best])
            cells = [f"{of_system.thresholds[best]:g}", *(shown(float(x)) for x in figures)]
            if not found.f1[best]:
                cells = [NOT_DEFINED] * len(cells)
            rows.append(row(f"{name}, {kind}-based", *cells))
    caption = (
        "The operating point with the highest macro-F1 (–: nothing is right at any). It was "
        "chosen on these very clips, so its F1 is too good: choose thresholds on other clips."
    )
    columns = ("system and criterion", "best threshold", "F1", "precision", "recall")
    return Table(caption, columns, tuple(rows))


def state_table(accuracies: Mapping[str, Sequence[MetricValue]], columns: Sequence[str]) -> Table:
    """Shares by system, in the columns given."""
    rows = [row(name, *map(shown_share, shares)) for name, shares in accuracies.items()]
    return Table("Shares of all frames or of all time.", ("system", *columns), tuple(rows))


def error_table(errors: Mapping[str, BoundaryErrors]) -> Table:
    """Medians, quartiles and shares within the collars."""
    rows = []
    for name, of_system in errors.items():
        collars = {"onset": ONSET_COLLAR, "offset": OFFSET_COLLAR, "duration": None}
        for kind, collar in collars.items():
            values = getattr(of_system, kind)
            quartiles = np.percentile(values, [25, 50, 75]) if len(values) else [np.nan] * 3
            low, middle, high = (signed(float(value)) for value in quartiles)
            within = None if collar is None else share_within(values, collar)
            rows.append(
                row(f"{name}, {kind}", shown(len(values)), middle, low, high, shown_share(within))
            )
    return Table(
        "Detected minus true, in seconds; a positive onset is late, a positive duration too long.",
        ("system and boundary", "pairs", "median", "lower quartile", "upper quartile", "in ±0.2 s"),
        tuple(rows),
    )


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign."""
    return NOT_DEFINED if np.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def clip_table(clips: Mapping[str, str], systems: Sequence[ReportSystem]) -> Table:
    """The chosen clips' event-based F1 by system.

    Args:
        clips: names by what they are called here.
        systems: those without a decision are left out.
    """
    columns = {}
    for system in systems:
        figures = clip_figures(system.metrics.scoring_input)
        if figures is not None:
            places = {name: k for k, name in enumerate(system.metrics.scoring_input.truth.events)}
            columns[system.name] = [_clip_cell(figures, places[clip]) for clip in clips.values()]
    rows = [
        row(f"{rank}: {clip}", *cells)
        for (rank, clip), *cells in zip(clips.items(), *columns.values(), strict=True)
    ]
    caption = "Event-based F1 of all classes together, and events: correct / detected / true."
    return Table(caption, ("clip", *columns), tuple(rows))


def _clip_cell(figures: ClipFigures, clip: int) -> str:
    counts = (figures.correct[clip], figures.detected[clip], figures.true[clip])
    return f"{shown(float(figures.f1[clip]), 3)} ({' / '.join(map(str, counts))})"
