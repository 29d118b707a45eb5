"""Event-based F-score with collars, by sed_eval's definition (Mesaros et al., 2016)."""

import numpy as np

from desed_task.evaluation.clip_counts import ClipArray, ClipCounts
from desed_task.evaluation.events import EventTable, Ints, pairs_per_clip
from desed_task.evaluation.scoring_input import ScoringInput

ONSET_COLLAR = 0.2
OFFSET_COLLAR = 0.2
OFFSET_SHARE = 0.2


def match(scoring: ScoringInput, detections: EventTable, *, n_levels: int = 1) -> ClipCounts:
    """Counts of the detections that hit a true event, at every operating point; see `correct`."""
    truth, n_classes = scoring.true, scoring.n_classes
    hits = correct(scoring, detections, n_levels=n_levels)
    false = np.setdiff1d(np.arange(len(detections)), hits, assume_unique=True)
    cell = detections.level * n_classes + detections.label
    shape = (n_levels, n_classes)
    return ClipCounts(
        true=ClipArray(truth.clip, truth.label, (n_classes,)),
        correct=ClipArray(detections.clip[hits], cell[hits], shape),
        false=ClipArray(detections.clip[false], cell[false], shape),
    )


def correct(scoring: ScoringInput, detections: EventTable, *, n_levels: int = 1) -> Ints:
    """Rows of the detections that hit a true event, at every operating point.

    A hit has the same clip and class, an onset within `ONSET_COLLAR` seconds and an offset
    within `max(OFFSET_COLLAR, OFFSET_SHARE * true length)` seconds. Each detection and each true
    event belong to at most one hit: at each operating point, one of the largest sets of hits that
    allow this is counted (sed_eval's "optimal" matching).

    Args:
        scoring: what is evaluated.
        detections: its events at one or more operating points.
        n_levels: number of operating points.
    """
    truth, n_classes = scoring.true, scoring.n_classes
    detected, true = pairs_per_clip(
        detections.clip * n_classes + detections.label, truth.clip * n_classes + truth.label
    )
    length = truth.offset - truth.onset
    tolerance = np.maximum(OFFSET_COLLAR, OFFSET_SHARE * length)[true]
    hit = np.abs(truth.onset[true] - detections.onset[detected]) <= ONSET_COLLAR
    hit &= np.abs(truth.offset[true] - detections.offset[detected]) <= tolerance
    # A true event can be hit once at each level: it is another partner at each of them.
    partner = detections.level[detected[hit]] * len(truth) + true[hit]
    return _largest_matching(detected[hit], partner, len(detections), n_levels * len(truth))


def _largest_matching(detected: Ints, true: Ints, n_detected: int, n_true: int) -> Ints:
    """Detections of a largest set of pairs without a common member; each pair is a possible hit."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    pairs = (np.ones(len(true), dtype=np.int8), (true, detected))
    graph = csr_array(pairs, shape=(n_true, n_detected))
    partner = maximum_bipartite_matching(graph, perm_type="column")
    return partner[partner >= 0].astype(np.int64)
