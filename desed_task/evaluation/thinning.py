"""Fewer levels of a class's changes, for curves that are drawn again and again."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.clip_counts import ClipCounts
from desed_task.evaluation.events import Floats, Ints
from desed_task.evaluation.exact_psds import ClassChanges
from desed_task.evaluation.psds import SECONDS_PER_HOUR

BLOCKS = 256


def thin(
    changes: ClassChanges, weights: Floats, total_seconds: Floats, max_efpr: float
) -> ClassChanges:
    """The same changes at fewer levels, which give curves of the same area up to `max_efpr`.

    A level goes whose point, however clips are weighted, has no better rate and no lower efpr
    than that of the next higher score, or whose point lies beyond `max_efpr` with each of these
    weights. What changes there now changes at the next lower level that stays.

    Args:
        changes: of one class.
        weights: how often each clip is there, each time a curve is drawn, `(curves, clips)`.
        total_seconds: length of all clips that count, weighted, `(curves,)`, above 0.
        max_efpr: effective false positives per hour up to which the curves are needed.
    """
    false, cross, found = (t.merged() for t in (changes.false, changes.cross, changes.found))
    better = np.zeros(false.shape[0], dtype=np.bool_)
    for tally, sign in ((false, -1), (cross, -1), (found, 1)):
        assert tally.amount is not None
        better[_level(tally)[sign * tally.amount > 0]] = True
    within = _reached(false, weights, max_efpr * total_seconds / SECONDS_PER_HOUR)
    kept = np.flatnonzero(better & within)
    return replace(
        changes, false=_moved(false, kept), cross=_moved(cross, kept), found=_moved(found, kept)
    )


def _level(tally: ClipCounts) -> Ints:
    return tally.cell // max(math.prod(tally.shape[1:]), 1)


def _moved(tally: ClipCounts, kept: Ints) -> ClipCounts:
    """What changes at the kept levels, and between them and the next higher one."""
    width = math.prod(tally.shape[1:])
    level = np.searchsorted(kept, _level(tally), side="right") - 1
    stays = level >= 0
    assert tally.amount is not None
    return ClipCounts(
        clip=tally.clip[stays],
        cell=(level * width + tally.cell % max(width, 1))[stays],
        shape=(len(kept) + 1, *tally.shape[1:]),
        amount=tally.amount[stays],
    ).merged()


def _reached(false: ClipCounts, weights: Floats, most: Floats) -> NDArray[np.bool_]:
    """Levels that may have no more false positives than `most` with some of the weights.

    The changes are taken in `BLOCKS` blocks by falling score. Within a block there are at least
    as many as at its beginning, less all that cease in it.

    Args:
        false: merged changes `(levels + 1,)`.
        weights: `(curves, clips)`.
        most: `(curves,)`.
    """
    assert false.amount is not None
    clip, amount = false.clip[::-1], false.amount[::-1]
    n_clips = weights.shape[1]
    size = max(1, math.ceil(len(clip) / BLOCKS))
    place = (np.arange(len(clip)) // size) * n_clips + clip
    shape = (BLOCKS, n_clips)
    change, loss = (
        np.bincount(place, of, minlength=math.prod(shape)).reshape(shape) @ weights.T
        for of in (amount, np.minimum(amount, 0))
    )
    least = np.cumsum(change, axis=0) - change + loss
    within = np.any(least <= most * (1 + 1e-9), axis=1)
    # The block of a level's last change; above all changes nothing is false.
    n_above = np.cumsum(np.bincount(false.cell, minlength=false.shape[0])[::-1])[::-1]
    return np.where(n_above > 0, within[(n_above - 1) // size], True)
