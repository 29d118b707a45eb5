"""Metrics of one network in a validation epoch (docs/recipe.md, "One training step").

Events are decoded from scores with the class-wise median windows, without score correction. Of a
clip that is longer than a window, frame scores are averaged over its windows, and a class's clip
probability is the maximum over them.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from desed_task.dataio.batch import Batch, ClipKind
from desed_task.evaluation import Scores, exact_psds, selection_metrics
from desed_task.evaluation.truth import GroundTruth
from desed_task.nnet.crnn import SEDOutput
from local.config.load import Config
from local.results.postprocessing import postprocessing
from local.results.windows import WindowTable

# By training.obj_metric_synth_type.
SYNTHETIC_METRICS = {
    "intersection": "intersection_f1_macro",
    "event": "event_f1_macro",
    "psds1": "psds1",
    "psds2": "psds2",
}


class ValidationPredictions:
    """One network's predictions of a validation epoch.

    Args:
        config: the experiment.
        truth: events of the synthetic validation set.
    """

    def __init__(self, config: Config, truth: GroundTruth) -> None:
        self._config = config
        self._truth = truth
        self._strong = WindowTable(config.grid)
        self._weak = WindowTable(config.grid)

    def add(self, batch: Batch, output: SEDOutput) -> None:
        """Add a batch of strongly and weakly labelled clips."""
        strong, weak = batch.is_kind(ClipKind.SYNTHETIC), batch.is_kind(ClipKind.WEAK)
        self._strong.add(batch, strong, scores=output.strong.float(), targets=batch.targets)
        self._weak.add(batch, weak, probabilities=output.weak.float(), tags=batch.tags)

    def gather(self) -> None:
        """On rank 0: take the predictions of all ranks. All ranks call it."""
        self._strong.gather()
        self._weak.gather()

    def metrics(self) -> dict[str, float]:
        """Losses, weak F1, intersection F1, event F1, exact PSDS; none of a set without clips."""
        metrics: dict[str, float] = {}
        if len(self._strong):
            scores, targets = self._strong.joined("scores"), self._strong.joined("targets")
            metrics["loss_strong"] = mean_loss(scores, targets)
            metrics |= self._event_metrics(self._strong.scores(scores))
        if len(self._weak):
            probabilities, tags = self._weak.maxima("probabilities"), self._weak.maxima("tags")
            predicted = probabilities > self._config.training.weak_threshold
            metrics |= {
                "loss_weak": mean_loss(probabilities, tags),
                "weak_f1_macro": tag_f1_macro(predicted, tags > 0),
            }
        return metrics

    def _event_metrics(self, raw: Scores) -> dict[str, float]:
        scores = postprocessing(self._config).median.apply(raw, self._config.data.classes)
        truth = self._truth.restricted(raw.names)
        by_threshold = [
            selection_metrics(scores, truth, threshold)
            for threshold in self._config.training.val_thresholds
        ]
        psds1, psds2 = exact_psds(scores, truth)
        return {
            "intersection_f1_macro": _mean([each.intersection_f1_macro for each in by_threshold]),
            "event_f1_macro": _mean([each.event_f1_macro for each in by_threshold]),
            "psds1": psds1 or 0.0,
            "psds2": psds2 or 0.0,
        }


def mean_loss(probabilities: Iterable[NDArray], targets: Iterable[NDArray]) -> float:
    """Mean over the clips of each clip's binary cross-entropy; arrays of any shape per clip."""
    losses = [
        F.binary_cross_entropy(torch.from_numpy(clip), torch.from_numpy(labels), reduction="none")
        for clip, labels in zip(probabilities, targets, strict=True)
    ]
    return _mean([float(loss.mean()) for loss in losses])


def tag_f1_macro(predicted: NDArray[np.bool_], tags: NDArray[np.bool_]) -> float:
    """Macro-F1 of clip tags, both `(clips, classes)`.

    Classes that are neither tagged nor predicted are excluded; 0 if no class remains.
    """
    correct = (predicted & tags).sum(axis=0)
    total = predicted.sum(axis=0) + tags.sum(axis=0)
    occurring = total > 0
    return float((2 * correct[occurring] / total[occurring]).mean()) if occurring.any() else 0.0


def selection_metric(metrics: dict[str, float], config: Config) -> float:
    """Metric that selects the best checkpoint: weak F1 plus the synthetic validation metric.

    That of an absent set is 0.
    """
    synthetic = SYNTHETIC_METRICS[config.training.obj_metric_synth_type]
    return metrics.get("weak_f1_macro", 0.0) + metrics.get(synthetic, 0.0)


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
