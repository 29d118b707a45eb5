"""Segment-based F-score, by sed_eval's definition (Mesaros et al., 2016)."""

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.clip_counts import ClipCounts
from desed_task.evaluation.events import EventTable
from desed_task.evaluation.fscore import ClassTallies

SEGMENT_SECONDS = 1.0


def segment_tallies(
    detections: EventTable,
    truth: EventTable,
    n_clips: int,
    n_classes: int,
    *,
    segment_seconds: float = SEGMENT_SECONDS,
) -> ClassTallies:
    """The segments of a clip in which a class is active in truth, detected, and both.

    An event is active in every segment it touches; segments begin at the clip's start and
    reach as far as its last event, whatever the clip's length.

    Args:
        detections: events at one operating point; `level` is not looked at.
        truth: true events.
        n_clips, n_classes: how many clips and classes the tables number.
    """
    last = max((t.offset.max() for t in (detections, truth) if len(t)), default=0.0)
    n_segments = int(np.ceil(last / segment_seconds))
    shape = (n_clips, n_classes, n_segments)
    detected = _activity(detections, shape, segment_seconds)
    true = _activity(truth, shape, segment_seconds)
    return ClassTallies(_active(true), _active(detected), _active(true & detected))


def _active(activity: NDArray[np.bool_]) -> ClipCounts:
    """The active segments of `(clips, classes, segments)`, by class."""
    clip, label, _ = np.nonzero(activity)
    return ClipCounts(clip, label, activity.shape[1:2])


def _activity(events: EventTable, shape: tuple[int, int, int], seconds: float) -> NDArray[np.bool_]:
    """Whether a class is active, `(clips, classes, segments)`."""
    steps = np.zeros((*shape[:2], shape[2] + 1), dtype=np.int32)
    first = np.floor(events.onset / seconds).astype(np.int64)
    end = np.ceil(events.offset / seconds).astype(np.int64)
    np.add.at(steps, (events.clip, events.label, first), 1)
    np.add.at(steps, (events.clip, events.label, end), -1)
    return np.cumsum(steps, axis=2)[..., :-1] > 0
