"""Predictions on a set, collected batch by batch and gathered over ranks."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from desed_task.dataio.batch import Batch
from desed_task.nnet.crnn import SEDOutput
from desed_task.sod import counted_classes, sod_metrics
from local.config.load import Config, override_config
from local.results.files import operating_points
from local.results.predictions import SetPredictions
from tests.support.classes import CLASSES

COUNTED = counted_classes(CLASSES, ["Dishes"])


def _batch(seconds: float = 10.0) -> Batch:
    targets = torch.zeros(1, 10, 156)
    targets[0, 4, 0:50] = 1
    targets[0, 8, 25:75] = 1
    return Batch(
        torch.zeros(1, 10),
        targets,
        torch.zeros(1),
        ("a.wav",),
        torch.tensor([seconds], dtype=torch.float64),
    )


def _output() -> SEDOutput:
    """Dog at 0.4 everywhere; SOD predicts none, one and two sounds, in thirds of the clip."""
    strong = torch.full((1, 10, 156), 0.1)
    strong[0, 4] = 0.4
    logits = torch.zeros(1, 156, 3)
    for state in range(3):
        logits[0, 52 * state : 52 * (state + 1), state] = 5.0
    return SEDOutput(strong, strong.amax(dim=-1), logits)


def _confusion(predictions: SetPredictions) -> NDArray[np.int64]:
    result = predictions.sod_result()
    assert result is not None
    return result.confusion


def test_raw_and_corrected_scores(recipe: Config) -> None:
    predictions = SetPredictions(recipe, COUNTED)
    predictions.add(_batch(), _output())
    assert predictions.names == ["a.wav"]
    raw = predictions.raw_scores().values
    processed = predictions.corrected_scores().values
    np.testing.assert_allclose(raw[0, 4], 0.4, rtol=1e-6)
    # Only where SOD predicts 1 and SED counts 0; where it predicts 2, it exceeds the count by 2.
    expected = np.repeat([0.4, 0.6, 0.4], 52)
    np.testing.assert_allclose(processed[0, 4], expected, rtol=1e-6)
    np.testing.assert_allclose(processed[0, :4], 0.1, rtol=1e-6)


def test_correction_can_be_switched_off(recipe: Config) -> None:
    off = override_config(recipe, ["postprocess.score_correction=false"])
    predictions = SetPredictions(off, COUNTED)
    predictions.add(_batch(), _output())
    raw, corrected = predictions.raw_scores().values, predictions.corrected_scores().values
    np.testing.assert_array_equal(corrected, raw)


def test_sod_metrics(recipe: Config) -> None:
    """True: 25 frames of one, 25 of two, 25 of one, 81 of none; predicted: 52 of each."""
    predictions = SetPredictions(recipe, COUNTED)
    predictions.add(_batch(), _output())
    assert _confusion(predictions).tolist() == [[0, 29, 52], [27, 23, 0], [25, 0, 0]]
    metrics = sod_metrics(predictions.sod_result())
    assert metrics["sod_accuracy"] == pytest.approx(23 / 156)
    assert metrics["sod_f1_0"] == 0
    assert metrics["sod_f1_1"] == pytest.approx(2 * 23 / (50 + 52))
    assert metrics["sod_f1_macro"] == pytest.approx(2 * 23 / 102 / 3)
    # SED predicts 0 everywhere: the dog stays below 0.5.
    result = predictions.sod_result()
    assert result is not None
    assert metrics["sod_sed_agreement"] == result.agreement == pytest.approx(52 / 156)


def test_frames_past_a_short_clip_are_not_counted(recipe: Config) -> None:
    predictions = SetPredictions(recipe, COUNTED)
    predictions.add(_batch(seconds=3.2), _output())
    assert _confusion(predictions).sum() == 50
    assert _confusion(predictions).tolist() == [[0, 0, 0], [25, 0, 0], [25, 0, 0]]
    metrics = sod_metrics(predictions.sod_result())
    assert metrics["sod_f1_2+"] == 0
    assert metrics["sod_f1_macro"] == 0  # over the states that occur


def test_clips_of_a_batch_are_counted_one_by_one(recipe: Config) -> None:
    """Two clips of different length and states in one batch: the sum of both alone."""
    output, turned = _output(), _output()
    assert output.sod_logits is not None
    turned = turned._replace(sod_logits=output.sod_logits.flip(1))
    alone = []
    for seconds, out in ((10.0, output), (3.2, turned)):
        predictions = SetPredictions(recipe, COUNTED)
        predictions.add(_batch(seconds), out)
        alone.append(_confusion(predictions))
    first, second = _batch(10.0), _batch(3.2)
    both = Batch(
        torch.cat([first.audio, second.audio]),
        torch.cat([first.targets, second.targets]),
        torch.zeros(2),
        ("a.wav", "b.wav"),
        torch.cat([first.seconds, second.seconds]),
    )
    predictions = SetPredictions(recipe, COUNTED)
    logits = torch.cat([output.sod_logits, output.sod_logits.flip(1)])
    strong, weak = output.strong.expand(2, -1, -1), output.weak.expand(2, -1)
    predictions.add(both, SEDOutput(strong, weak, logits))
    np.testing.assert_array_equal(_confusion(predictions), alone[0] + alone[1])
    assert alone[1].tolist() == [[0, 0, 0], [0, 0, 25], [0, 0, 25]]


def test_states_of_a_long_clip_are_those_of_the_mean_probabilities(recipe: Config) -> None:
    """Three windows of a clip of 20 s, 78 frames apart; ground truth: no sound."""
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(3, 156, 3, generator=random)
    strong = torch.zeros(3, 10, 156)
    starts = (0, 78, 157)
    batch = Batch(
        torch.zeros(3, 10),
        strong,
        torch.zeros(3),
        ("a.wav",) * 3,
        torch.full((3,), 20.0, dtype=torch.float64),
        first_frames=starts,
    )
    predictions = SetPredictions(recipe, COUNTED)
    predictions.add(batch, SEDOutput(strong, strong[..., 0], logits))
    exponentials = np.exp(logits.double().numpy())
    probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
    total = np.zeros((313, 3))
    for start, window in zip(starts, probabilities, strict=True):
        for frame in range(156):
            total[start + frame] += min(frame + 1, 156 - frame) * window[frame]
    expected = np.bincount(total[:312].argmax(axis=1), minlength=3)
    assert _confusion(predictions).tolist() == [expected.tolist(), [0] * 3, [0] * 3]


def test_metrics_without_a_sod_branch_are_undefined(recipe: Config) -> None:
    predictions = SetPredictions(recipe, COUNTED)
    predictions.add(_batch(), _output()._replace(sod_logits=None))
    metrics = sod_metrics(predictions.sod_result())
    assert metrics["sod_accuracy"] is None
    assert metrics["sod_f1_macro"] is None
    assert metrics["sod_sed_agreement"] is None
    assert predictions.sod_result() is None


def test_operating_points() -> None:
    assert operating_points(50)[:2] == [0.01, 0.03]
    assert operating_points(50)[-1] == 0.99
    assert operating_points(1) == [0.5]
