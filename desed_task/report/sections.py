"""The sections of the report, in reading order."""

from collections.abc import Callable, Sequence

from desed_task.evaluation.psds import PsdRoc
from desed_task.evaluation.results import ClassMetrics
from desed_task.report import roc_pictures, score_pictures
from desed_task.report.analysis import threshold_curves
from desed_task.report.clips import clips
from desed_task.report.errors import boundaries, cross_triggers, polyphony
from desed_task.report.parts import (
    Block,
    Picture,
    ReportSystem,
    Section,
    Source,
    Text,
    listed,
)
from desed_task.report.score_pictures import Bar, Dot
from desed_task.report.tables import (
    class_table,
    differences_tables,
    headline_table,
    headline_titles,
    interval_of,
    interval_words,
    judged_table,
    missing_reasons,
    n_points,
    threshold_table,
)

SCENARIO_WORDS = {
    "psds1": "exact onsets and offsets matter (detections must be covered by 70 % and cover 70 %)",
    "psds2": "classes must not be confused, times may be rough (10 %; cross triggers cost)",
}


def all_sections(source: Source) -> list[Section]:
    """Every section of the report."""
    makers: Sequence[Callable[[Source], Section]] = (
        headlines,
        psd_rocs,
        class_scores,
        thresholds,
        cross_triggers,
        polyphony,
        boundaries,
        clips,
    )
    return [maker(source) for maker in makers]


def headlines(source: Source) -> Section:
    """All figures side by side, and what was judged."""
    blocks: list[Block] = []
    dots = {
        title: {
            number: _dot(source, system, name)
            for number, system in enumerate(source.systems)
            if getattr(system.metrics, name) is not None
        }
        for name, title in headline_titles(source.systems).items()
    }
    dots = {title: of_systems for title, of_systems in dots.items() if of_systems}
    if dots:
        around = "" if source.intervals is None else f" Lines: {interval_words(source)}."
        blocks.append(
            Picture(
                "headlines.png",
                score_pictures.headline_dots(dots, source.names),
                "Each headline figure of each system as a dot; the values are in the table below.",
                f"One line per figure, one dot per system; more to the right is better.{around}",
            )
        )
    blocks.append(headline_table(source))
    blocks += [Text(reason) for reason in missing_reasons(source.systems)]
    differences = differences_tables(source)
    if differences:
        blocks += [Text("Differences", heading=True), *differences]
    blocks += [Text("What was judged", heading=True), judged_table(source.systems)]
    return Section(
        "headlines",
        "Figures",
        "PSDS is the share of the area below the PSD-ROC, over all thresholds (exact) or through "
        "operating points. F1 is 2 · correct / (true + detected) at the F1 threshold: event-based "
        "by onset (±0.2 s) and offset (±0.2 s or 20 % of the event's length), segment-based in "
        "segments of 1 s, intersection-based by overlap (half of a detection, half of a true "
        "event). Macro is the mean over the classes that occur in the truth (over found classes, "
        "as psds_eval takes it: classes without any found event are left out); micro counts all "
        "classes together.",
        tuple(blocks),
    )


def _dot(source: Source, system: ReportSystem, name: str) -> Dot:
    value = getattr(system.metrics, name)
    interval = interval_of(source, system.name, name)
    return Dot(value) if interval is None else Dot(value, interval.low, interval.high)


def psd_rocs(source: Source) -> Section:
    """The curves of both scenarios, in total and by class."""
    blocks: list[Block] = []
    for place, (scenario, words) in enumerate(SCENARIO_WORDS.items(), start=1):
        name = f"PSDS{place}"
        blocks.append(Text(name, heading=True))
        rocs, exact = _curves_of(source.systems, scenario)
        if not rocs:
            blocks.append(
                Text(f"No curve: {name} needs true events, and scores or operating points.")
            )
            continue
        origin = _origin(source, rocs, exact)
        blocks.append(
            Picture(
                f"psd_roc_{place}.png",
                roc_pictures.effective_curves(rocs, source.names, exact),
                f"PSD-ROC of {name}: true positive ratio against effective false positives per "
                "hour, one curve per system.",
                f"{name}: {words}. The effective curve is the mean over the classes minus their "
                f"standard deviation; the higher, the better. {origin}",
            )
        )
        blocks.append(
            Picture(
                f"psd_roc_{place}_classes.png",
                roc_pictures.class_curves(rocs, source.names, exact, source.classes),
                f"PSD-ROC of {name} for each class, one curve per system.",
                f"{name} by class: the same axes, one panel for each class of the truth.",
            )
        )
    return Section(
        "psd-roc",
        "PSD-ROC curves",
        "How many of the true events are found (true positive ratio) if so many false positives "
        "per hour are accepted, cross triggers included with their weight.",
        tuple(blocks),
    )


def _curves_of(
    systems: Sequence[ReportSystem], scenario: str
) -> tuple[dict[int, PsdRoc], dict[int, bool]]:
    """Each system's curves by its number, and whether they are exact."""
    rocs, exact = {}, {}
    for number, system in enumerate(systems):
        metrics = system.metrics
        roc = metrics.rocs.get(scenario) or metrics.operating_rocs.get(scenario)
        if roc is not None:
            rocs[number], exact[number] = roc, scenario in metrics.rocs
    return rocs, exact


def _origin(source: Source, rocs: dict[int, PsdRoc], exact: dict[int, bool]) -> str:
    """Which curves are exact, and the scores below them."""
    parts = []
    for number, roc in rocs.items():
        kind = "exact" if exact[number] else f"{n_points(source.systems[number])} operating points"
        parts.append(f"{source.names[number]}: {roc.psds:.4f} ({kind})")
    missing = [name for number, name in enumerate(source.names) if number not in rocs]
    without = f" Without a curve: {listed(missing)}." if missing else ""
    dashed = "" if all(exact.values()) else " Dashed: through operating points."
    return f"Area: {'; '.join(parts)}.{dashed}{without}"


def class_scores(source: Source) -> Section:
    """F1 by class with counts, and all figures by class."""
    blocks: list[Block] = []
    if any(system.metrics.scoring_input.detections is not None for system in source.systems):
        makers = {
            "event-based": _event_bar,
            "segment-based": _segment_bar,
            "intersection-based": _intersection_bar,
        }
        panels = {
            title: [[make(m) for m in s.metrics.per_class.values()] for s in source.systems]
            for title, make in makers.items()
        }
        blocks.append(
            Picture(
                "class_f1.png",
                score_pictures.class_bars(panels, source.names, source.classes),
                "Bars of event-, segment- and intersection-based F1 by class and system; the "
                "values are in the tables below.",
                "F1 of each class, at the right the counts behind it: correct / detected / true "
                "(events, or segments of 1 s; by intersection one detection can find several true "
                "events). –: the class does not occur in the truth, or nothing is given at a "
                "threshold.",
            )
        )
    else:
        blocks.append(Text("No system gave events at one threshold, so there is no F1 by class."))
    blocks += [class_table(system) for system in source.systems]
    return Section(
        "classes",
        "Classes",
        "The same figures for each class alone; its PSDS is the share of the area below its own "
        "curve, without the penalty for the spread between classes.",
        tuple(blocks),
    )


def _event_bar(metrics: ClassMetrics) -> Bar:
    return Bar(metrics.event_f1, metrics.event_true_positives, metrics.detected, metrics.true)


def _segment_bar(metrics: ClassMetrics) -> Bar:
    correct, false = metrics.segment_true_positives, metrics.segment_false_positives
    detected = None if correct is None or false is None else correct + false
    return Bar(metrics.segment_f1, correct, detected, metrics.segments_true)


def _intersection_bar(metrics: ClassMetrics) -> Bar:
    correct = metrics.intersection_true_positives
    return Bar(metrics.intersection_f1, correct, metrics.detected, metrics.true)


def thresholds(source: Source) -> Section:
    """F1, precision and recall at all operating points."""
    found = {
        n: threshold_curves(system.metrics.scoring_input) for n, system in enumerate(source.systems)
    }
    curves = {number: of_system for number, of_system in found.items() if of_system is not None}
    blocks: list[Block] = []
    if curves:
        marks = {
            number: threshold
            for number in curves
            if (threshold := source.systems[number].metrics.f1_threshold) is not None
        }
        blocks.append(
            Picture(
                "thresholds.png",
                score_pictures.threshold_pictures(curves, marks, source.names),
                "Event- and intersection-based F1, precision and recall against the threshold, "
                "one curve per system.",
                "Means over the classes that occur in the truth. Dotted upright lines: the F1 "
                "thresholds (black: all systems have the same). A class that is not detected "
                "counts as 0 in F1 and recall and is left out of precision.",
            )
        )
        blocks.append(threshold_table({source.names[n]: c for n, c in curves.items()}))
    missing = [name for number, name in enumerate(source.names) if number not in curves]
    if missing:
        blocks.append(
            Text(f"Left out, for want of operating points or of true events: {listed(missing)}.")
        )
    return Section(
        "thresholds",
        "Thresholds",
        "Precision is the share of detections that are right, recall the share of true events "
        "that are found, F1 their harmonic mean, here by class and then averaged.",
        tuple(blocks),
    )
