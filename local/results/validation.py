"""What a validation epoch measures of one network (docs/recipe.md, "One training step").

Scores are decoded with the class-wise median windows, without score correction.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from desed_task import process_group
from desed_task.dataio.batch import Batch, ClipKind
from desed_task.evaluation import Scores, exact_psds, selection_metrics
from desed_task.evaluation.truth import GroundTruth
from desed_task.nnet.crnn import SEDOutput
from desed_task.postprocess.median import median_filter
from local.config.load import Config
from local.results.gathering import in_set_order, names_in_set_order


class ValidationPredictions:
    """Gathers one network's predictions of a validation epoch.

    Args:
        config: the experiment.
        truth: events of the synthetic validation set.
    """

    def __init__(self, config: Config, truth: GroundTruth) -> None:
        self._config = config
        self._truth = truth
        self._scores: list[NDArray[np.float32]] = []
        self._names: list[str] = []
        self._weak: list[NDArray[np.float32]] = []
        self._tags: list[NDArray[np.float32]] = []
        self._losses: dict[str, list[float]] = {"strong": [], "weak": []}
        self._clips: dict[str, list[int]] = {"strong": [], "weak": []}

    def add(self, batch: Batch, output: SEDOutput) -> None:
        """Add a batch of strongly and weakly labelled clips."""
        strong, weak = batch.of_kind(ClipKind.SYNTHETIC), batch.of_kind(ClipKind.WEAK)
        if strong.any():
            scores = output.strong[strong].float()
            self._add_loss("strong", scores, batch.targets[strong])
            self._scores.append(scores.cpu().numpy())
            chosen = zip(batch.names, strong.tolist(), strict=True)
            self._names += [name for name, is_strong in chosen if is_strong]
        if weak.any():
            probabilities, tags = output.weak[weak].float(), batch.tags[weak]
            self._add_loss("weak", probabilities, tags)
            self._weak.append(probabilities.cpu().numpy())
            self._tags.append(tags.cpu().numpy())

    def gather(self) -> None:
        """In process 0: take in what the others predicted, in the order of the sets.

        All processes call it; nothing happens where there is one.
        """
        own = (self._scores, self._names, self._weak, self._tags, self._losses, self._clips)
        parts = process_group.gather(own)
        if len(parts) < 2:
            return
        scores, names, weak, tags, losses, clips = zip(*parts, strict=True)
        self._scores, self._weak, self._tags = map(in_set_order, (scores, weak, tags))
        self._names = names_in_set_order(names)
        for kind in self._losses:
            self._losses[kind] = [loss for part in losses for loss in part[kind]]
            self._clips[kind] = [number for part in clips for number in part[kind]]

    def figures(self) -> dict[str, float]:
        """Weak F1, intersection F1, event F1, exact PSDS, losses; what has no clips is left out."""
        figures = {
            f"loss_{name}": float(np.average(losses, weights=self._clips[name]))
            for name, losses in self._losses.items()
            if losses
        }
        if self._weak:
            predicted = np.concatenate(self._weak) > self._config.training.weak_threshold
            figures["weak_f1_macro"] = tag_f1_macro(predicted, np.concatenate(self._tags) > 0)
        if self._scores:
            figures |= self._event_figures()
        return figures

    def _event_figures(self) -> dict[str, float]:
        filtered = median_filter(np.concatenate(self._scores), self._config.postprocess.windows)
        scores = Scores(filtered, self._names, self._config.grid)
        truth = self._truth.restricted(self._names)
        of_threshold: list[Any] = [
            selection_metrics(scores, truth, threshold)
            for threshold in self._config.training.val_thresholds
        ]
        figures = {
            name: float(np.mean([getattr(metrics, name) or 0.0 for metrics in of_threshold]))
            for name in ("intersection_f1_macro", "event_f1_macro")
        }
        psds1, psds2 = exact_psds(scores, truth)
        return figures | {"psds1": psds1 or 0.0, "psds2": psds2 or 0.0}

    def _add_loss(self, name: str, predictions: Tensor, targets: Tensor) -> None:
        # Under a GPU's autocast BCE on probabilities is refused, whatever their type.
        with torch.autocast(predictions.device.type, enabled=False):
            self._losses[name].append(float(F.binary_cross_entropy(predictions, targets)))
        self._clips[name].append(len(predictions))


def tag_f1_macro(predicted: NDArray[np.bool_], tags: NDArray[np.bool_]) -> float:
    """Macro-F1 of clip tags, both `(clips, classes)`.

    Classes with no true or false positive and no false negative are left out; 0 if all are.
    """
    right = (predicted & tags).sum(axis=0)
    total = predicted.sum(axis=0) + tags.sum(axis=0)
    occurring = total > 0
    return float((2 * right[occurring] / total[occurring]).mean()) if occurring.any() else 0.0


# By training.obj_metric_synth_type.
SYNTHETIC_METRICS = {
    "intersection": "intersection_f1_macro",
    "event": "event_f1_macro",
    "psds1": "psds1",
    "psds2": "psds2",
}


def selection_metric(figures: dict[str, float], config: Config) -> float:
    """What selects the best checkpoint: weak F1 plus the synthetic validation metric."""
    synthetic = SYNTHETIC_METRICS[config.training.obj_metric_synth_type]
    return figures.get("weak_f1_macro", 0.0) + figures.get(synthetic, 0.0)
