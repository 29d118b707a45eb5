"""Post-processed scores -> events: thresholds, short pauses, short events, calibration."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from desed_task.evaluation.outputs import Boxes, Scores
from desed_task.postprocess.calibration import Calibration

MISSED_FROM = 0.5
"""Share of a threshold that a score must exceed for an event to be possibly missed."""
MAX_MISSED = 200  # of a recording


@dataclass(frozen=True)
class Detection:
    """An event: onset and offset in seconds, class, and confidence.

    The confidence is the probability that the event is correct where the model is calibrated,
    otherwise the mean score between onset and offset, of a box its score.
    """

    onset: float
    offset: float
    event_label: str
    confidence: float


class Missed(NamedTuple):
    """A place where an event may be missing: seconds, class, and the highest score in it.

    The score is a share of the class's threshold, between `MISSED_FROM` and 1.
    """

    onset: float
    offset: float
    event_label: str
    peak: float


def find_events(
    output: Scores | Boxes, classes: tuple[str, ...], thresholds: list[float]
) -> list[Detection]:
    """Events of one recording above the thresholds of their classes, class by class.

    As in a test, a score's event is a run of frames. Its confidence is the mean score; that of a
    box is the box's.
    """
    table, confidence = output.detect_with_confidence(thresholds)
    columns = (column.tolist() for column in (table.onset, table.offset, table.label, confidence))
    return [
        Detection(onset, offset, classes[label], score)
        for onset, offset, label, score in zip(*columns, strict=True)
    ]


def missed_events(
    output: Scores | Boxes,
    classes: tuple[str, ...],
    thresholds: list[float],
    found: Iterable[Detection],
    joiner: "EventJoiner",
) -> list[Missed]:
    """Events that thresholds lower by `MISSED_FROM` would add: at most `MAX_MISSED` by their peak.

    Args:
        output: of one recording.
        classes: names.
        thresholds: by class.
        found: the events above these thresholds.
        joiner: closes pauses.
    """
    lower = [MISSED_FROM * threshold for threshold in thresholds]
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for event in found:
        spans[event.event_label].append((event.onset, event.offset))
    shown = output.as_scores()
    values, edges = shown.values[0], shown.edges[0]
    missed = []
    for event in joiner.add(find_events(output, classes, lower), np.inf):
        own = spans[event.event_label]
        before = bisect_left(own, event.offset, key=lambda span: span[0])
        if before and own[before - 1][1] > event.onset:
            continue
        label = classes.index(event.event_label)
        first = np.searchsorted(edges, event.onset, "right") - 1
        end = np.searchsorted(edges, event.offset)
        peak = float(values[label, first:end].max()) / thresholds[label]
        missed.append(Missed(event.onset, event.offset, event.event_label, min(peak, 1.0)))
    return sorted(sorted(missed, key=lambda each: -each.peak)[:MAX_MISSED])


class EventJoiner:
    """Closes short pauses between events of a class, drops short events, calibrates the others.

    Args:
        merge_gap: seconds; events of a class with a shorter pause between them become one.
        min_duration: seconds; shorter events are dropped.
        calibration: from the mean score of a whole event to its confidence.
    """

    def __init__(
        self, merge_gap: float, min_duration: float, calibration: Calibration | None = None
    ) -> None:
        self._merge_gap, self._min_duration = merge_gap, min_duration
        self._calibration = calibration or Calibration()
        self._open: dict[str, Detection] = {}  # by class

    def add(self, events: Iterable[Detection], end: float) -> list[Detection]:
        """Events that no later one continues.

        Args:
            events: those that follow, in the order of their onsets within a class.
            end: seconds; all later events begin at this time or after it.
        """
        ended: list[Detection] = []
        for event in events:
            before = self._open.get(event.event_label)
            if before is not None and event.onset - before.offset < self._merge_gap:
                event = _joined(before, event)
            elif before is not None:
                ended.append(before)
            self._open[event.event_label] = event
        past = [e for e in self._open.values() if end - e.offset >= self._merge_gap]
        for event in past:
            del self._open[event.event_label]
        long = [e for e in (*ended, *past) if e.offset - e.onset >= self._min_duration]
        return [replace(e, confidence=self._calibrated(e)) for e in long]

    def _calibrated(self, event: Detection) -> float:
        return float(self._calibration.probability(event.confidence, event.event_label))


def _joined(before: Detection, event: Detection) -> Detection:
    lengths = before.offset - before.onset, event.offset - event.onset
    confidence = np.average([before.confidence, event.confidence], weights=lengths)
    return Detection(before.onset, event.offset, event.event_label, float(confidence))
