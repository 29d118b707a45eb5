"""Events from active frames, class by class: the slow reference of every faster decoding."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from desed_task.frames import FrameGrid
from desed_task.labels import Event


def decode_strong(
    active: NDArray[np.bool_], classes: Sequence[str], grid: FrameGrid
) -> list[Event]:
    """Events of a clip from its active frames `(classes, frames)`, class by class, in time order.

    The inverse of `encode_strong` on the frame grid; times are clipped to the clip's length.
    """
    edges = np.diff(np.asarray(active, dtype=np.int8), prepend=0, append=0, axis=1)
    class_of_onset, onsets = np.nonzero(edges == 1)
    _, offsets = np.nonzero(edges == -1)

    def seconds(frame: int) -> float:
        return min(frame * grid.samples_per_frame / grid.sample_rate, grid.clip_seconds)

    return [
        Event(seconds(int(onset)), seconds(int(offset)), classes[index])
        for index, onset, offset in zip(class_of_onset, onsets, offsets, strict=True)
    ]
