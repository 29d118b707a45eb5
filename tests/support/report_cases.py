"""A report's page taken apart, and systems to report on."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from desed_task.evaluation import (
    Boxes,
    EventTable,
    GroundTruth,
    OperatingPoints,
    Predictions,
    Scores,
    SystemMetrics,
    evaluate,
)
from desed_task.evaluation.bootstrap import Interval, Intervals
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.report import ReportSystem
from tests.support import cases

LONG = "Electric_shaver_toothbrush"
NASTY_CLASS = '<script>alert("class")</script>'
CLASSES = (LONG, NASTY_CLASS, "Cat")
NASTY = 'a <b>"bold"</b> & $x_1$ | `system`'
NASTY_CLIP = '../../outside <script>alert("clip")</script> & $y$ .wav'
SLUGS = [
    "headlines",
    "psd-roc",
    "classes",
    "thresholds",
    "confusion",
    "polyphony",
    "boundaries",
    "clips",
]
VOID = {"meta", "img", "br", "hr", "wbr"}


@dataclass
class Page(HTMLParser):
    """The content of a page."""

    text: str
    images: list[dict[str, str | None]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    ids: list[str] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self.words = ""
        self.feed(self.text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        if tag == "img":
            self.images.append(given)
        if tag == "a":
            self.links.append(given["href"] or "")
        if given.get("id"):
            self.ids.append(given["id"] or "")
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        data = data.replace("\N{NO-BREAK SPACE}", " ")
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data
        if "style" not in self._open:
            self.words += data

    def row(self, table: int, title: str) -> list[str]:
        """The cells behind a row's title."""
        return next(cells[1:] for cells in self.tables[table] if cells[0] == title)


Rows = list[tuple[str, float, float, str]]


def table_of(truth: GroundTruth, rows: Rows, level: int = 0) -> EventTable:
    """A table of events (clip, onset, offset, class)."""
    names = list(truth.events)
    columns = [(names.index(c), truth.classes.index(k), a, b) for c, a, b, k in rows]
    clip, label, onset, offset = np.array(columns, dtype=float).reshape(-1, 4).T
    levels = np.full(len(rows), level)
    return EventTable(levels, clip.astype(int), label.astype(int), onset, offset).ordered()


def scoring_input(truth: GroundTruth, rows: Rows, *, drop: bool = False) -> ScoringInput:
    """The scoring input of a system that detects these events (clip, onset, offset, class)."""
    predictions = Predictions(table_of(truth, rows), list(truth.events))
    return ScoringInput.prepare(
        None, truth, predictions=predictions, drop_clips_without_events=drop
    )


def points_only() -> ScoringInput:
    """The scoring input of a system with an operating point, but no events at the F1 threshold."""
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat")]})
    points = OperatingPoints(table_of(truth, [("a", 0.0, 1.0, "Cat")]), (0.3,), ["a"])
    scoring = ScoringInput.prepare(None, truth, operating_points=points)
    assert scoring.detections is None
    return scoring


def truth_with_names(rng: np.random.Generator) -> GroundTruth:
    """Twelve clips, one with a nasty name, some without events; the last class never occurs."""
    truth = cases.random_truth(rng, 12, classes=("Cat", "Dishes"))
    labels = dict(zip(("Cat", "Dishes"), CLASSES, strict=False))
    names = {name: NASTY_CLIP if k == 11 else name for k, name in enumerate(truth.events)}
    return cases.truth_of(
        {
            names[name]: [(e.onset, e.offset, labels[e.event_label]) for e in events]
            for name, events in truth.events.items()
        },
        {names[name]: seconds for name, seconds in truth.durations.items()},
        CLASSES,
    )


def make_systems(truth: GroundTruth, rng: np.random.Generator) -> dict[str, SystemMetrics]:
    """Systems with scores, boxes, operating points, and events."""
    names = list(truth.events)
    values = cases.random_scores(rng, truth)
    scored = evaluate(Scores(values, names, cases.GRID), truth)
    assert scored.scoring_input.points is not None
    assert scored.scoring_input.detections is not None
    events = scored.scoring_input.points.at_level(15)
    boxes = Boxes(events, rng.uniform(0.1, 1, len(events)), names, len(CLASSES))
    points = OperatingPoints(scored.scoring_input.points, scored.scoring_input.thresholds, names)
    predictions = Predictions(scored.scoring_input.detections, names)
    return {
        "scores": scored,
        NASTY: evaluate(boxes, truth, f1_threshold=[0.3, 0.4, 0.5]),
        "_points": evaluate(None, truth, operating_points=points, f1_threshold=0.49),
        "events": evaluate(None, truth, predictions=predictions),
    }


@dataclass
class Written:
    """A report on four systems of different kinds, with intervals, SOD and audio."""

    folder: Path
    truth: GroundTruth
    metrics: dict[str, SystemMetrics]
    page: Page


def fake_intervals(metrics: dict[str, SystemMetrics]) -> Intervals:
    """Two systems' intervals of two metrics, and their differences."""
    names = ("event_f1_macro", "psds1_sed_scores_eval")
    intervals = {
        system: {name: Interval(getattr(each, name), 0.1234, 0.9876) for name in names}
        for system, each in list(metrics.items())[:2]
    }
    undefined = Interval(None, None, None)
    differences = {
        ("scores", NASTY): {
            "event_f1_macro": Interval(0.1, 0.05, 0.15),
            "event_f1_micro": Interval(0.1, -0.05, 0.15),
            "psds1_sed_scores_eval": Interval(-0.25, -0.4, -0.1),
            "psds2_sed_scores_eval": undefined,
        }
    }
    return Intervals(500, 0, 0.9, intervals, differences)


def single_system(
    events: dict[str, list[tuple[float, float, str]]], values: float = 0.0
) -> ReportSystem:
    """A system with one score everywhere, on one class."""
    truth = cases.truth_of(events, classes=("Cat",))
    scores = Scores(np.full((len(events), 1, 156), values), list(events), cases.GRID)
    return ReportSystem("only", evaluate(scores, truth))
