"""Events in seconds -> frame targets (docs/recipe.md, "Labels")."""

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


def _index(label: str, classes: Sequence[str]) -> int:
    if label not in classes:
        raise ValueError(f"unknown class: expected one of {shortened(classes)}, got {label!r}")
    return list(classes).index(label)
