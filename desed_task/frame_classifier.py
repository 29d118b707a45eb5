"""Sound events without a network: logistic regression per frame and class on log-mel with context.

A baseline that is fitted in seconds. A network on the same data should be better than it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor
from tqdm import tqdm

from desed_task.dataio.batch import float_audio
from desed_task.dataio.datasets import ClipDataset, WindowDataset
from desed_task.features import FeatureSettings, LogMel
from desed_task.frames import FrameGrid

Floats = NDArray[np.float32]

FRAME_SECONDS = 0.02
WINDOW_SECONDS = 0.04  # of the spectrum
N_MELS = 40
CONTEXT = (-8, -4, 0, 4, 8)  # frames that are the input of a frame: 160 ms before and after it
INVERSE_PENALTY = 0.001  # C of scikit-learn; 1, its default, learns few recordings by heart
MAX_FRAMES = 60_000  # 20 minutes; more are thinned, so that memory and time are bounded


class FrameFeatures:
    """Log-mel of a frame and of frames around it, in dB and relative to each band's median.

    Args:
        settings: lowest and highest frequency, and the range in dB; window, hop and bands are those
            of this module.
        sample_rate: Hz.
    """

    def __init__(self, settings: FeatureSettings, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._hop_length = round(FRAME_SECONDS * sample_rate)
        self._n_window = round(WINDOW_SECONDS * sample_rate)
        own = {"n_mels": N_MELS, "n_window": self._n_window, "hop_length": self._hop_length}
        self._log_mel = LogMel(settings.model_copy(update=own), sample_rate)

    @property
    def n_values(self) -> int:
        """Number of values of a frame."""
        return len(CONTEXT) * 2 * N_MELS

    def grid(self, clip_seconds: float) -> FrameGrid:
        """The time axis of clips of this length."""
        return FrameGrid(self._sample_rate, self._hop_length, 1, clip_seconds)

    def __call__(self, audio: Tensor, n_frames: int) -> Floats:
        """Values of the first frames of a clip, `(n_frames, n_values)`.

        Args:
            audio: `(samples,)`, padded where the clip is shorter.
            n_frames: frames of the clip without its padding, at least 1; their median is taken.
        """
        n_samples = max(n_frames * self._hop_length, self._n_window)
        with torch.no_grad():
            levels = self._log_mel(float_audio(audio[None, :n_samples]))[0].T.numpy()[:n_frames]
        both = np.concatenate([levels, levels - np.median(levels, axis=0)], axis=1)
        frames = np.arange(n_frames)[:, None] + np.array(CONTEXT)
        return both[frames.clip(0, n_frames - 1)].reshape(n_frames, -1)


class FrameClassifier(NamedTuple):
    """One logistic regression per class.

    Attributes:
        weights: `(n_values, classes)`.
        bias: `(classes,)`; -inf: never, inf: always.
    """

    weights: Floats
    bias: Floats

    def scores(self, values: Floats) -> Floats:
        """Probabilities `(classes, frames)` of frames with `(frames, n_values)`."""
        probabilities: Floats = expit(values @ self.weights + self.bias).T
        return probabilities


class LabelledFrames(NamedTuple):
    """Frames to fit with.

    Attributes:
        values: `(frames, n_values)`.
        active: `(frames, classes)`.
        weights: `(frames,)`, how many frames of the clips each represents.
    """

    values: Floats
    active: NDArray[np.bool_]
    weights: Floats


def fit(frames: LabelledFrames) -> FrameClassifier:
    """Fit each class. A class that is active in no frame, or in all, has a constant score."""
    from sklearn.linear_model import LogisticRegression  # 1 s
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(copy=False)  # of two copies the memory would be twice as much
    values = scaler.fit_transform(frames.values, sample_weight=frames.weights)
    n_classes = frames.active.shape[1]
    weights = np.zeros((values.shape[1], n_classes))
    bias = np.where(frames.active.any(axis=0), np.inf, -np.inf)
    for label in np.flatnonzero(frames.active.any(axis=0) & ~frames.active.all(axis=0)):
        model = LogisticRegression(C=INVERSE_PENALTY)
        model.fit(values, frames.active[:, label], frames.weights)
        weights[:, label] = model.coef_[0] / scaler.scale_
        bias[label] = model.intercept_[0] - scaler.mean_ @ weights[:, label]
    return FrameClassifier(weights.astype(np.float32), bias.astype(np.float32))


def read_frames(
    datasets: Sequence[ClipDataset],
    features: FrameFeatures,
    seed: int,
    max_frames: int = MAX_FRAMES,
) -> LabelledFrames:
    """Frames of labelled clips; of too many the ones without events are thinned first.

    Args:
        datasets: clips with labels.
        features: values of a frame.
        seed: of the draw of the frames.
        max_frames: about as many are read at most.
    """
    grid = features.grid(datasets[0].grid.clip_seconds)
    windows = [WindowDataset(clips.on_grid(grid)) for clips in datasets]
    share = _shares(windows, max_frames)
    draw = np.random.default_rng(seed)
    values, labels, weights = [], [], []
    total = sum(map(len, windows))
    for clips, index, active in tqdm(_labels(windows), "Baseline", total, leave=False):
        shares = np.where(active.any(axis=1), share[True], share[False])
        drawn = draw.random(len(active)) < shares
        if drawn.any():
            values.append(features(clips[index].audio, len(active))[drawn])
            labels.append(active[drawn])
            weights.append(1 / shares[drawn])
    return LabelledFrames(
        np.concatenate(values), np.concatenate(labels), np.concatenate(weights, dtype=np.float32)
    )


def _shares(windows: list[WindowDataset], max_frames: int) -> Mapping[bool, float]:
    """Share of the frames to draw, of those with an event (True) and of the others."""
    has_event = np.concatenate([active.any(axis=1) for _, _, active in _labels(windows)])
    n_active = int(has_event.sum())
    n_others = len(has_event) - n_active
    most_active = max(max_frames // 2, max_frames - n_others)
    drawn = min(n_active, most_active)
    return {
        True: min(1.0, most_active / max(1, n_active)),
        False: min(1.0, (max_frames - drawn) / max(1, n_others)),
    }


def _labels(
    windows: list[WindowDataset],
) -> Iterator[tuple[WindowDataset, int, NDArray[np.bool_]]]:
    """Each window's data set, its index, and the active classes of its frames, `(frames, C)`."""
    for clips in windows:
        for index in range(len(clips)):
            yield clips, index, clips.targets(index).T > 0
