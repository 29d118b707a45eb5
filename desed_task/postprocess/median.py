"""Smoothing of class scores over time (docs/recipe.md, "Test")."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def median_filter(scores: NDArray[np.floating], windows: Sequence[int]) -> NDArray[np.floating]:
    """Median over time, one window per class, of many clips at once.

    Equals `scipy.ndimage.median_filter` with mode `reflect` on each clip and class: the edge
    sample is repeated, and an even window n takes the upper median of i - n/2 ... i + n/2 - 1.
    A window may be longer than the clip.

    Args:
        scores: `(clips, classes, frames)`.
        windows: frames, one per class; 1: the scores are not changed.

    Returns:
        A new array of the same shape and type.

    Raises:
        ValueError: the number of windows is not the number of classes, or a window is not
            a positive whole number.
    """
    if scores.ndim != 3:
        raise ValueError(f"scores: expected (clips, classes, frames), got shape {scores.shape}")
    if len(windows) != scores.shape[1]:
        raise ValueError(
            f"median windows: expected {scores.shape[1]}, one per class, got {len(windows)}"
        )
    for window in windows:
        if int(window) != window or window < 1:
            raise ValueError(f"median window: expected a whole number of frames >= 1, got {window}")
    filtered = np.array(scores)
    if scores.size:
        for index, window in enumerate(windows):
            if window > 1:
                filtered[:, index] = _filter_rows(scores[:, index], int(window))
    return filtered


def _filter_rows(rows: NDArray[np.floating], window: int) -> NDArray[np.floating]:
    """Median of each row `(clips, frames)`: rows are padded, then filtered as one long signal."""
    from scipy.ndimage import median_filter as filter_signal

    pad = window // 2
    padded = np.pad(rows, ((0, 0), (pad, pad)), mode="symmetric")
    smooth = filter_signal(padded.reshape(-1), size=window, mode="reflect")
    return smooth.reshape(padded.shape)[:, pad : pad + rows.shape[1]]
