"""Steps of an encoder's output -> frames of the network, by their times.

Step k is centred at `first + k * step` seconds. Source: docs/encoders.md, "Time".
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from desed_task.encoder.settings import EncoderSettings
from desed_task.frames import FrameGrid

TOLERANCE = 2
"""Steps by which an encoder's output may begin or end before or after the clip."""


def align(steps: Tensor, settings: EncoderSettings, grid: FrameGrid) -> Tensor:
    """`(batch, steps, width)` of an encoder -> `(batch, frames, width)`, float32."""
    weights = alignment(
        steps.shape[1],
        settings.frame_seconds,
        settings.first_seconds,
        grid.n_frames,
        grid.frame_seconds,
    )
    with torch.autocast(steps.device.type, enabled=False):
        return torch.from_numpy(weights).to(steps.device) @ steps.float()


def alignment(
    n_steps: int, step: float, first: float, n_frames: int, frame: float
) -> NDArray[np.float32]:
    """Weights `(frames, steps)` of the steps in each frame; each row's sum is 1.

    Steps that are not shorter than a frame are interpolated linearly at the frame's centre; the
    first and the last step also stand for the time outside them. Shorter steps are averaged, each
    with the share of the frame that it covers.

    Args:
        n_steps: steps, at least 1.
        step: seconds from one to the next.
        first: seconds, centre of the first.
        n_frames: frames; the first begins at 0.
        frame: length of a frame in seconds.
    """
    if step >= frame:
        centres = (np.arange(n_frames) + 0.5) * frame
        position = np.clip((centres - first) / step, 0, n_steps - 1)
        return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(n_steps))).astype(np.float32)
    edges = first + (np.arange(n_steps + 1) - 0.5) * step
    edges[0], edges[-1] = -np.inf, np.inf  # the outer steps stand for the time outside
    start = np.arange(n_frames)[:, None] * frame
    covered = np.minimum(start + frame, edges[1:]) - np.maximum(start, edges[:-1])
    covered = np.maximum(0, covered)
    return (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)


def excess_steps(n_steps: int, step: float, first: float, seconds: float) -> float:
    """Steps of the output after the end of a clip; negative: steps that it ends before."""
    return (first + (n_steps - 0.5) * step - seconds) / step
