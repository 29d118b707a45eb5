"""The baseline of a training: a system without a network, scored beside student and teacher.

The checkpoint stores it under `frame_classifier`.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from desed_task.dataio.batch import FRAME_LABELLED, collate
from desed_task.dataio.datasets import ClipDataset, WindowDataset
from desed_task.errors import InputError
from desed_task.frame_classifier import FrameClassifier, FrameFeatures, fit, read_frames
from desed_task.nnet.crnn import SEDOutput
from local.config.load import Config
from local.results.predictions import SetPredictions

BASELINE = "baseline"
CLASSIFIER_KEY = "frame_classifier"


class Baseline(NamedTuple):
    """A fitted baseline.

    Attributes:
        classifier: scores of frames.
        training_seconds: CPU seconds of reading the clips and fitting.
    """

    classifier: FrameClassifier
    training_seconds: float

    def predict(self, clips: ClipDataset, names: Collection[str], config: Config) -> SetPredictions:
        """Predictions of the named clips of a set. Frames behind a clip's end have the score 0."""
        features = FrameFeatures(config.feats, config.data.fs)
        grid = features.grid(config.data.audio_max_len)
        predictions = SetPredictions(config, grid=grid)
        predictions.training_seconds = self.training_seconds
        windows = WindowDataset(clips.on_grid(grid))
        for index in range(len(windows)):
            clip = windows[index]
            if clip.name not in names:
                continue
            n_frames = windows.targets(index).shape[1]
            scores = torch.zeros(1, len(config.data.classes), grid.n_frames)
            values = features(clip.audio, n_frames)
            scores[0, :, :n_frames] = torch.from_numpy(self.classifier.scores(values))
            predictions.add(collate([clip]), SEDOutput(scores, scores.amax(dim=2), None))
        return predictions

    def stored(self) -> dict[str, Any]:
        """Plain values and tensors for a checkpoint."""
        tensors = {name: torch.from_numpy(a) for name, a in self.classifier._asdict().items()}
        return tensors | {"training_seconds": self.training_seconds}


def fit_baseline(training: Mapping[str, Sequence[ClipDataset]], config: Config) -> Baseline:
    """Fit with the clips with strong labels; without any, with tags as events of the whole clip."""
    begin = time.process_time()
    clips = [clips for datasets in training.values() for clips in datasets]
    labelled = [each for each in clips if each.kind in FRAME_LABELLED]
    features = FrameFeatures(config.feats, config.data.fs)
    frames = read_frames(labelled or training["weak"], features, config.training.seed)
    return Baseline(fit(frames), time.process_time() - begin)


def load_baseline(checkpoint: Mapping[str, Any], config: Config, source: str) -> Baseline | None:
    """The baseline in a checkpoint; None if it has none.

    Raises:
        InputError: a layout that this project does not write, or other classes.
    """
    if CLASSIFIER_KEY not in checkpoint:
        return None
    content = checkpoint[CLASSIFIER_KEY]
    stored = content if isinstance(content, Mapping) else {}
    n_classes = len(config.data.classes)
    n_values = FrameFeatures(config.feats, config.data.fs).n_values
    shapes = {"weights": (n_values, n_classes), "bias": (n_classes,)}
    found = {name: tuple(getattr(stored.get(name), "shape", ())) for name in shapes}
    seconds = stored.get("training_seconds")
    if found != shapes or not isinstance(seconds, float):
        raise InputError(
            f"{source}: {CLASSIFIER_KEY}: expected tensors of the shapes {shapes} and a number "
            f"training_seconds, got {found} and {seconds}; remove the key, and the test has no "
            "baseline"
        )
    arrays = {name: np.asarray(stored[name], dtype=np.float32) for name in shapes}
    return Baseline(FrameClassifier(**arrays), seconds)
