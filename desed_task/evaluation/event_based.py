"""Event-based F-score with collars, by sed_eval's definition (Mesaros et al., 2016)."""

import numpy as np

from desed_task.evaluation.clip_counts import ClipCounts
from desed_task.evaluation.events import EventTable, pairs_per_clip
from desed_task.evaluation.fscore import ClassCounts, ClassTallies

ONSET_COLLAR = 0.2
OFFSET_COLLAR = 0.2
OFFSET_SHARE = 0.2


def event_counts(detections: EventTable, truth: EventTable, n_classes: int) -> ClassCounts:
    """The counts of `event_tallies`."""
    return event_tallies(detections, truth, n_classes).counts()


def event_tallies(
    detections: EventTable,
    truth: EventTable,
    n_classes: int,
    *,
    onset_collar: float = ONSET_COLLAR,
    offset_collar: float = OFFSET_COLLAR,
    offset_share: float = OFFSET_SHARE,
) -> ClassTallies:
    """The detections that hit a true event, each true event hit at most once.

    A hit has the same clip and class, an onset within `onset_collar` seconds and an offset
    within `max(offset_collar, offset_share * true length)` seconds. Of all ways to pair
    detections and true events one with most pairs is counted (sed_eval's "optimal" matching).

    Args:
        detections: events at one operating point; `level` is not looked at.
        truth: true events, ordered by clip.
        n_classes: length of the counts.
    """
    detected, true = pairs_per_clip(
        detections.clip * n_classes + detections.label, truth.clip * n_classes + truth.label
    )
    length = truth.offset - truth.onset
    tolerance = np.maximum(offset_collar, offset_share * length)[true]
    hit = np.abs(truth.onset[true] - detections.onset[detected]) <= onset_collar
    hit &= np.abs(truth.offset[true] - detections.offset[detected]) <= tolerance
    matched = _match(detected[hit], true[hit], len(detections), len(truth))
    return ClassTallies(
        true=ClipCounts(truth.clip, truth.label, (n_classes,)),
        detected=ClipCounts(detections.clip, detections.label, (n_classes,)),
        correct=ClipCounts(truth.clip[matched], truth.label[matched], (n_classes,)),
    )


def _match(detected: np.ndarray, true: np.ndarray, n_detected: int, n_true: int) -> np.ndarray:
    """True events of a largest pairing; each pair (detected, true) is a possible hit."""
    alone = (np.bincount(detected, minlength=n_detected)[detected] == 1) & (
        np.bincount(true, minlength=n_true)[true] == 1
    )
    if alone.all():
        return true
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    rest_detected, rest_true = detected[~alone], true[~alone]
    graph = csr_array(
        (np.ones(len(rest_true), dtype=np.int8), (rest_true, rest_detected)),
        shape=(n_true, n_detected),
    )
    partner = maximum_bipartite_matching(graph, perm_type="column")
    return np.concatenate([true[alone], np.flatnonzero(partner >= 0)])
