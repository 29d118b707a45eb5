"""Numbers of the evaluation report that `SystemMetrics` does not hold."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.evaluate import F1_CRITERIA
from desed_task.evaluation.event_based import event_counts
from desed_task.evaluation.events import EventTable, Floats, Ints, find_overlaps, sums
from desed_task.evaluation.intersection import intersection_counts
from desed_task.evaluation.results import SystemMetrics
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.labels import SOD_STATE_NAMES

POLYPHONY_STEP = 0.02  # seconds


@dataclass(frozen=True, eq=False)
class Curves:
    """Macro averages over the classes that occur in the truth, by threshold, `(thresholds,)`.

    A class that is not detected counts as 0 in F1 and recall; its precision is undefined and
    left out of the mean (NaN where no class is detected), as sed_eval takes it.
    """

    f1: Floats
    precision: Floats
    recall: Floats

    @classmethod
    def from_counts(cls, true: Ints, accepted: Ints, correct: Ints, f1: Floats) -> "Curves":
        """Averages of counts.

        Args:
            true: true events `(classes,)`.
            accepted: what precision is a share of, `(thresholds, classes)`.
            correct: true events that were found `(thresholds, classes)`.
            f1: of each class `(thresholds, classes)`.
        """
        occurring = true > 0
        true, accepted, correct = true[occurring], accepted[:, occurring], correct[:, occurring]
        said = accepted > 0
        precision = np.where(said, correct / np.maximum(accepted, 1), 0.0).sum(axis=1)
        n_said = said.sum(axis=1)
        return cls(
            f1=f1[:, occurring].mean(axis=1),
            precision=np.where(n_said > 0, precision / np.maximum(n_said, 1), np.nan),
            recall=(correct / true).mean(axis=1),
        )


@dataclass(frozen=True, eq=False)
class ThresholdCurves:
    """How good a system is at each of its operating points.

    Args:
        thresholds: ascending, `(thresholds,)`.
        event: by collars of onset and offset.
        intersection: by shares of overlap.
    """

    thresholds: Floats
    event: Curves
    intersection: Curves


def threshold_curves(task: ScoringInput) -> ThresholdCurves | None:
    """F1, precision and recall by threshold; None without operating points or true events.

    Of an intersection, precision is the share of found true events in those and the rejected
    detections together, which fits its F1.
    """
    if task.points is None or not len(task.true):
        return None
    levels = range(len(task.thresholds))
    at_levels = [
        event_counts(task.points.at_level(level), task.true, task.n_classes) for level in levels
    ]
    crossing = intersection_counts(
        task.points,
        task.true,
        find_overlaps(task.points, task.true),
        task.durations,
        F1_CRITERIA,
        n_levels=len(task.thresholds),
        n_classes=task.n_classes,
    )
    true = crossing.true
    return ThresholdCurves(
        thresholds=np.array(task.thresholds),
        event=Curves.from_counts(
            true,
            np.stack([counts.detected for counts in at_levels]),
            np.stack([counts.correct for counts in at_levels]),
            np.stack([counts.per_class for counts in at_levels]),
        ),
        intersection=Curves.from_counts(
            true, crossing.correct + crossing.false, crossing.correct, crossing.per_class
        ),
    )


def cross_trigger_matrix(metrics: SystemMetrics) -> Ints:
    """Rejected detections of a class (row) that fit another (column), `(classes, classes)`.

    The diagonal is 0.
    """
    classes = metrics.scoring_input.truth.classes
    matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for row, label in enumerate(classes):
        for column, other in enumerate(classes):
            matrix[row, column] = metrics.cross_triggers.get(label, {}).get(other, 0)
    return matrix


def polyphony_confusion(task: ScoringInput, step: float = POLYPHONY_STEP) -> Floats | None:
    """Seconds by number of active classes, `(3, 3)`: rows true, columns detected; 0, 1, 2+.

    Every clip is looked at in the middle of each step; its last step counts as far as the clip
    reaches. Clips whose detections do not count are left out. None without detections.

    Args:
        task: what is judged.
        step: seconds between two looks.
    """
    if task.detections is None:
        return None
    n_states = len(SOD_STATE_NAMES)
    confusion = np.zeros(n_states**2)
    rows_of_true = _rows_by_clip(task.true, len(task.durations))
    rows_of_detected = _rows_by_clip(task.detections, len(task.durations))
    for clip in np.flatnonzero(task.counted):
        seconds = task.durations[clip]
        n_steps = int(np.ceil(seconds / step - 1e-9))
        starts = step * np.arange(n_steps, dtype=np.float64)
        weights = np.minimum(step, seconds - starts)
        true = _active_classes(task.true, rows_of_true[clip], starts + step / 2)
        detected = _active_classes(task.detections, rows_of_detected[clip], starts + step / 2)
        states = n_states * np.minimum(true, n_states - 1) + np.minimum(detected, n_states - 1)
        confusion += sums(states, weights, n_states**2)
    return confusion.reshape(n_states, n_states)


def _rows_by_clip(table: EventTable, n_clips: int) -> list[slice]:
    """Each clip's rows of a table of one level."""
    ends = np.searchsorted(table.clip, np.arange(n_clips + 1))
    return [slice(first, end) for first, end in pairwise(ends.tolist())]


def _active_classes(table: EventTable, rows: slice, times: Floats) -> Ints:
    """Number of classes active at each of these seconds of a clip, `(times,)`."""
    labels, place = np.unique(table.label[rows], return_inverse=True)
    active = np.zeros((len(labels), len(times)), dtype=bool)
    first = np.searchsorted(times, table.onset[rows])
    end = np.searchsorted(times, table.offset[rows])
    for row, begin, stop in zip(place, first, end, strict=True):
        active[row, begin:stop] = True
    return active.sum(axis=0)


@dataclass(frozen=True, eq=False)
class BoundaryErrors:
    """Detected minus true, seconds, of paired events, `(pairs,)`."""

    onset: Floats
    offset: Floats

    def __len__(self) -> int:
        return len(self.onset)

    @property
    def duration(self) -> Floats:
        """By how much the detected events are longer, seconds, `(pairs,)`."""
        return self.offset - self.onset


def boundary_errors(task: ScoringInput) -> BoundaryErrors | None:
    """Errors of onsets and offsets of the detections that have a true event as partner.

    A detection's partner is the event of its class that it shares most time with (of equal ones
    the first); where several detections share a partner, only the one that covers most of it
    counts. None without detections.
    """
    if task.detections is None:
        return None
    detected, true = best_pairs(task.detections, task.true)
    return BoundaryErrors(
        onset=task.detections.onset[detected] - task.true.onset[true],
        offset=task.detections.offset[detected] - task.true.offset[true],
    )


def best_pairs(detections: EventTable, truth: EventTable) -> tuple[Ints, Ints]:
    """Rows (detection, true event) of the pairs by most overlap; see `boundary_errors`."""
    overlaps = find_overlaps(detections, truth)
    detection, true, seconds = overlaps.of(overlaps.same_class)
    best = _first_of_each(np.lexsort((true, -seconds, detection)), detection)
    detection, true, seconds = detection[best], true[best], seconds[best]
    best = _first_of_each(np.lexsort((detection, -seconds, true)), true)
    return detection[best], true[best]


def _first_of_each(order: Ints, group: Ints) -> Ints:
    """The first index of each group in an order that has the groups one after the other."""
    return order[np.diff(group[order], prepend=-1) != 0]


@dataclass(frozen=True, eq=False)
class ClipFigures:
    """How good a system is in each clip, `(clips,)`.

    Args:
        true: true events.
        detected: detected events.
        correct: true events hit, event-based.
        shared: seconds in which a class is both true and detected, as a share of the mean of
            true and detected seconds; NaN where there are neither.
    """

    true: Ints
    detected: Ints
    correct: Ints
    shared: Floats

    @property
    def f1(self) -> Floats:
        """Event-based F1 of all classes together; NaN without events and detections."""
        total = self.true + self.detected
        return np.where(total > 0, 2 * self.correct / np.maximum(total, 1), np.nan)

    @property
    def wrong(self) -> Ints:
        """Missed true events and false detections."""
        return self.true + self.detected - 2 * self.correct


def clip_figures(task: ScoringInput) -> ClipFigures | None:
    """Event-based F1 and shared time of every clip; None without detections."""
    if task.detections is None:
        return None
    n_clips = len(task.durations)
    detections, true = (_with_clips_as_labels(t, task) for t in (task.detections, task.true))
    counts = event_counts(detections, true, n_clips)
    overlaps = find_overlaps(detections, true)
    seconds = sums(detections.label[overlaps.detection], overlaps.seconds, n_clips)
    lengths = sum(sums(t.label, t.offset - t.onset, n_clips) for t in (detections, true))
    shared = np.full(n_clips, np.nan)
    np.divide(2 * seconds, lengths, out=shared, where=lengths > 0)
    return ClipFigures(counts.true, counts.detected, counts.correct, np.minimum(shared, 1.0))


def _with_clips_as_labels(table: EventTable, task: ScoringInput) -> EventTable:
    """The table with each class of a clip as a clip, and the clip as class: counts by clip."""
    return EventTable(
        table.level,
        table.clip * task.n_classes + table.label,
        table.clip,
        table.onset,
        table.offset,
    )


def best_and_worst(task: ScoringInput, figures: ClipFigures, number: int = 3) -> tuple[Ints, Ints]:
    """The clips with highest and with lowest F1, at most `number` of each, best or worst first.

    Of clips of equal F1 the best have most true events, then most shared time; the worst have
    least shared time, then most errors. No clip is in both; the best have an F1 above 0, the
    worst one below 1. Clips without events and detections are left out, and those that scores
    were not given for.
    """
    f1 = figures.f1
    known = ~np.isnan(f1)
    if task.scores is not None:
        known &= np.isin(np.array(list(task.truth.events), dtype=object), list(task.names))
    clips = np.flatnonzero(known)
    best = clips[np.lexsort((clips, -figures.shared[clips], -figures.true[clips], -f1[clips]))]
    best = best[f1[best] > 0][: min(number, (len(clips) + 1) // 2)]
    rest = np.setdiff1d(clips, best)
    worst = rest[np.lexsort((rest, -figures.wrong[rest], figures.shared[rest], f1[rest]))]
    return best, worst[f1[worst] < 1][:number]


def share_within(errors: Floats, collar: float) -> float | None:
    """Share of errors of at most `collar` seconds either way; None without errors."""
    return float(np.mean(np.abs(errors) <= collar)) if len(errors) else None


def row_shares(matrix: NDArray[np.floating] | Ints) -> Floats:
    """Each row divided by its sum; NaN in a row of zeros."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.full(matrix.shape, np.nan)
    return np.divide(matrix, totals, out=shares, where=totals > 0)
