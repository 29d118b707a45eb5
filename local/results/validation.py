"""Metrics of one network in a validation epoch (docs/recipe.md, "One training step").

Events are decoded from scores with the class-wise median windows, without score correction.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from desed_task.dataio.batch import Batch, ClipKind
from desed_task.evaluation import Scores, exact_psds, selection_metrics
from desed_task.evaluation.truth import GroundTruth
from desed_task.nnet.crnn import SEDOutput
from desed_task.postprocess.median import median_filter
from local.config.load import Config
from local.results.predictions import ClipTable

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
        self._strong = ClipTable()
        self._weak = ClipTable()

    def add(self, batch: Batch, output: SEDOutput) -> None:
        """Add a batch of strongly and weakly labelled clips."""
        strong, weak = batch.is_kind(ClipKind.SYNTHETIC), batch.is_kind(ClipKind.WEAK)
        if strong.any():
            scores = output.strong[strong].float()
            losses = clip_losses(scores, batch.targets[strong])
            self._strong.add(_selected(batch.names, strong), scores=scores, losses=losses)
        if weak.any():
            probabilities, tags = output.weak[weak].float(), batch.tags[weak]
            losses = clip_losses(probabilities, tags)
            names = _selected(batch.names, weak)
            self._weak.add(names, probabilities=probabilities, tags=tags, losses=losses)

    def gather(self) -> None:
        """On rank 0: take the predictions of all ranks. All ranks call it."""
        self._strong.gather()
        self._weak.gather()

    def metrics(self) -> dict[str, float]:
        """Losses, weak F1, intersection F1, event F1, exact PSDS; none of a set without clips."""
        metrics = {
            f"loss_{name}": float(clips["losses"].mean(dtype=np.float64))
            for name, clips in (("strong", self._strong), ("weak", self._weak))
            if clips.names
        }
        if self._weak.names:
            predicted = self._weak["probabilities"] > self._config.training.weak_threshold
            metrics["weak_f1_macro"] = tag_f1_macro(predicted, self._weak["tags"] > 0)
        if self._strong.names:
            metrics |= self._event_metrics()
        return metrics

    def _event_metrics(self) -> dict[str, float]:
        filtered = median_filter(self._strong["scores"], self._config.postprocess.windows)
        scores = Scores(filtered, self._strong.names, self._config.grid)
        truth = self._truth.restricted(self._strong.names)
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


def clip_losses(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of each clip, `(clips, …)` -> `(clips,)`."""
    # On a GPU, autocast refuses BCE of probabilities, whatever their type.
    with torch.autocast(probabilities.device.type, enabled=False):
        losses = F.binary_cross_entropy(probabilities, targets, reduction="none")
    return losses.flatten(start_dim=1).mean(dim=1)


def tag_f1_macro(predicted: NDArray[np.bool_], tags: NDArray[np.bool_]) -> float:
    """Macro-F1 of clip tags, both `(clips, classes)`.

    Classes that are neither tagged nor predicted are excluded; 0 if no class remains.
    """
    correct = (predicted & tags).sum(axis=0)
    total = predicted.sum(axis=0) + tags.sum(axis=0)
    occurring = total > 0
    return float((2 * correct[occurring] / total[occurring]).mean()) if occurring.any() else 0.0


def selection_metric(metrics: dict[str, float], config: Config) -> float:
    """Metric that selects the best checkpoint: weak F1 plus the synthetic validation metric."""
    synthetic = SYNTHETIC_METRICS[config.training.obj_metric_synth_type]
    return metrics.get("weak_f1_macro", 0.0) + metrics.get(synthetic, 0.0)


def _selected(names: tuple[str, ...], rows: Tensor) -> list[str]:
    return [name for name, selected in zip(names, rows.tolist(), strict=True) if selected]


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
