"""Events in seconds <-> frame targets, and clip tags <-> vectors (docs/recipe.md, "Labels")."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.errors import shortened
from desed_task.frames import FrameGrid


class Event(NamedTuple):
    """One sound event: onset and offset in seconds from the clip's start, and its class."""

    onset: float
    offset: float
    event_label: str


def encode_strong(
    events: Iterable[Event], classes: Sequence[str], grid: FrameGrid
) -> NDArray[np.float32]:
    """Frame targets `(classes, frames)`, 1 where a class is active.

    An event fills the frames from `grid.onset_to_frame(onset)` up to, without,
    `grid.offset_to_frame(offset)`. Raises ValueError for a class that is not in `classes`.
    """
    targets = np.zeros((len(classes), grid.n_frames), dtype=np.float32)
    for onset, offset, label in events:
        first, end = grid.onset_to_frame(onset), grid.offset_to_frame(offset)
        targets[_index(label, classes), first:end] = 1
    return targets


def decode_strong(
    active: NDArray[np.bool_], classes: Sequence[str], grid: FrameGrid
) -> list[Event]:
    """Events of a clip from its active frames `(classes, frames)`, class by class, in time order.

    The inverse of `encode_strong` on the frame grid; times are clipped to the clip's length.
    """
    edges = np.diff(np.asarray(active, dtype=np.int8), prepend=0, append=0, axis=1)
    class_of_onset, onsets = np.nonzero(edges == 1)
    _, offsets = np.nonzero(edges == -1)
    return [
        Event(grid.frame_to_seconds(int(onset)), grid.frame_to_seconds(int(offset)), classes[index])
        for index, onset, offset in zip(class_of_onset, onsets, offsets, strict=True)
    ]


def _index(label: str, classes: Sequence[str]) -> int:
    if label not in classes:
        raise ValueError(f"unknown class: expected one of {shortened(classes)}, got {label!r}")
    return list(classes).index(label)
