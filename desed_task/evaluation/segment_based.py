"""Segment-based F-score, by sed_eval's definition (Mesaros et al., 2016)."""

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.clip_counts import ClipArray, ClipCounts
from desed_task.evaluation.events import EventTable
from desed_task.evaluation.scoring_input import ScoringInput

SEGMENT_SECONDS = 1.0


def match(scoring: ScoringInput, detections: EventTable) -> ClipCounts:
    """The segments in which a class is active in the ground truth, in the detections, or in both.

    An event is active in every segment that it touches. Segments begin at the clip's start and
    reach to the last event of any clip, whatever the clip's length.

    Args:
        scoring: what is evaluated.
        detections: its events at one operating point.
    """
    truth, n_classes = scoring.true, scoring.n_classes
    last = max((t.offset.max() for t in (detections, truth) if len(t)), default=0.0)
    shape = (len(scoring.durations), n_classes, int(np.ceil(last / SEGMENT_SECONDS)))
    detected = _activity(detections, shape)
    true = _activity(truth, shape)
    return ClipCounts(
        true=_active(true, (n_classes,)),
        correct=_active(true & detected, (1, n_classes)),
        false=_active(detected & ~true, (1, n_classes)),
    )


def _activity(events: EventTable, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Whether a class is active, `(clips, classes, segments)`."""
    steps = np.zeros((*shape[:2], shape[2] + 1), dtype=np.int32)
    first = np.floor(events.onset / SEGMENT_SECONDS).astype(np.int64)
    end = np.ceil(events.offset / SEGMENT_SECONDS).astype(np.int64)
    np.add.at(steps, (events.clip, events.label, first), 1)
    np.add.at(steps, (events.clip, events.label, end), -1)
    return np.cumsum(steps, axis=2)[..., :-1] > 0


def _active(activity: NDArray[np.bool_], shape: tuple[int, ...]) -> ClipArray:
    """The active segments of each class; `activity` is `(clips, classes, segments)`."""
    clip, label, _ = np.nonzero(activity)
    return ClipArray(clip, label, shape)
