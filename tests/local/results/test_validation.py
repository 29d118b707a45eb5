"""Metrics of a validation epoch, by hand-made cases."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from desed_task.dataio.batch import Batch
from desed_task.evaluation import GroundTruth
from desed_task.labels import Event
from desed_task.nnet.crnn import SEDOutput
from local.config.load import Config, override_config
from local.results.validation import ValidationPredictions, selection_metric, tag_f1_macro
from tests.support.classes import CLASSES


def test_tag_f1_excludes_classes_that_occur_nowhere() -> None:
    tags = np.array([[1, 0, 0], [1, 1, 0]], dtype=bool)
    predicted = np.array([[1, 1, 0], [0, 0, 0]], dtype=bool)
    assert tag_f1_macro(predicted, tags) == pytest.approx((2 / 3 + 0) / 2)
    nothing = np.zeros((2, 3), dtype=bool)
    assert tag_f1_macro(nothing, nothing) == 0


def test_selection_metric(recipe: Config) -> None:
    metrics = {"weak_f1_macro": 0.5, "intersection_f1_macro": 0.3, "event_f1_macro": 0.1}
    assert selection_metric(metrics, recipe) == pytest.approx(0.8)
    by_event = override_config(recipe, ["training.obj_metric_synth_type=event"])
    assert selection_metric(metrics, by_event) == pytest.approx(0.6)
    for name, value in (("psds1", 0.25), ("psds2", 0.75)):
        by_psds = override_config(recipe, [f"training.obj_metric_synth_type={name}"])
        assert selection_metric(metrics | {"psds1": 0.25, "psds2": 0.75}, by_psds) == 0.5 + value


def test_validation_metrics(recipe: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """One strongly labelled clip with correct scores, one weakly labelled clip with a wrong tag.

    Losses are computed outside autocast: inside it, a GPU refuses BCE of probabilities.
    """

    def bce(probability: torch.Tensor, target: torch.Tensor, reduction: str) -> torch.Tensor:
        assert not torch.is_autocast_enabled("cpu")
        assert reduction == "none"
        return -(target * probability.log() + (1 - target) * (1 - probability).log())

    monkeypatch.setattr(functional, "binary_cross_entropy", bce)
    truth = GroundTruth(CLASSES, {"a.wav": [Event(1.0, 5.0, "Dog")]}, {"a.wav": 10.0})
    targets = torch.zeros(2, 10, 156)
    targets[0, 4, 15:79] = 1  # 0.96 s to 5.056 s
    targets[1, 2] = 1
    batch = Batch(
        torch.zeros(2, 10), targets, torch.tensor([0, 1]), ("a.wav", "b.wav"), torch.ones(2)
    )
    weak = torch.full((2, 10), 0.25)
    weak[1, 2], weak[1, 3] = 0.75, 0.75
    strong = targets.clamp(0.1, 0.9)
    predictions = ValidationPredictions(recipe, truth)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predictions.add(batch, SEDOutput(strong, weak, None))
    metrics = predictions.metrics()
    assert metrics["weak_f1_macro"] == pytest.approx(0.5)
    assert metrics["intersection_f1_macro"] == 1
    assert metrics["event_f1_macro"] == 1
    assert metrics["psds1"] == metrics["psds2"] == 1
    assert metrics["loss_strong"] == pytest.approx(-np.log(0.9), rel=1e-5)
    expected = (-9 * np.log(0.75) - np.log(0.25)) / 10  # nine classes right, one wrong
    assert metrics["loss_weak"] == pytest.approx(expected, rel=1e-5)


def test_a_loss_is_the_mean_over_the_clips_of_all_batches(recipe: Config) -> None:
    """Three clips in batches of two and one: the same as in one batch."""
    probability = torch.tensor([0.9, 0.5, 0.2])
    targets = torch.ones(3, 10, 156)
    predictions = ValidationPredictions(recipe, GroundTruth(CLASSES, {}, {}))
    for rows, names in ((slice(0, 2), ("a.wav", "b.wav")), (slice(2, 3), ("c.wav",))):
        n_clips = len(names)
        batch = Batch(
            torch.zeros(n_clips, 10),
            targets[rows],
            torch.ones(n_clips, dtype=torch.int64),
            names,
            torch.ones(n_clips),
        )
        weak = probability[rows, None].expand(-1, 10)
        predictions.add(batch, SEDOutput(targets[rows], weak, None))
    metrics = predictions.metrics()
    assert set(metrics) == {"loss_weak", "weak_f1_macro"}
    assert metrics["loss_weak"] == pytest.approx(-np.log([0.9, 0.5, 0.2]).mean(), rel=1e-6)
