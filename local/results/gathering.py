"""Predictions of the processes' shares of a set -> predictions of the set.

Process r looks at clips r, r + n, r + 2n, … of n processes (`desed_task.process_group.share`),
without clips that only fill up: no clip is counted twice.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def set_order(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Where the clips of a set are in the processes' shares, one share after the other.

    Args:
        lengths: clips of each process's share (or of the part of it that was looked at).

    Returns: indices that put the shares' clips into the order of the set.

    Example:
        >>> set_order([3, 2])
        array([0, 3, 1, 4, 2])
    """
    places = [np.arange(length) * len(lengths) + rank for rank, length in enumerate(lengths)]
    return np.argsort(np.concatenate(places))


def in_set_order(parts: Sequence[Sequence[NDArray[np.float32]]]) -> list[NDArray[np.float32]]:
    """One array, `(clips, …)`, of the batches of all processes, clips in the order of their set."""
    batches = list(itertools.chain.from_iterable(parts))
    order = set_order([sum(map(len, part)) for part in parts])
    return [np.concatenate(batches)[order]] if batches else []


def names_in_set_order(parts: Sequence[Sequence[str]]) -> list[str]:
    """The clips' names of all processes, in the order of their set."""
    names = list(itertools.chain.from_iterable(parts))
    return [names[place] for place in set_order([len(part) for part in parts])]
