"""What the test gathers and counts, by hand-made cases."""

import numpy as np
import pytest
import torch

from desed_task.dataio.batch import Batch
from desed_task.nnet.crnn import SEDOutput
from local.classes import CLASSES
from local.config.load import Config, load_config, override_config
from local.cross_task import counted_classes
from local.results.scoring import operating_points
from local.results.test_predictions import TestPredictions
from local.results.validation import ValidationPredictions, selection_metric, tag_f1_macro
from tests.support.paths import CONFS

COUNTED = counted_classes(CLASSES, ["Dishes"])


@pytest.fixture
def config() -> Config:
    return load_config(CONFS / "sed.yaml")


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
    """Dog at 0.4 everywhere; SOD hears nothing, one sound, two sounds, in thirds of the clip."""
    strong = torch.full((1, 10, 156), 0.1)
    strong[0, 4] = 0.4
    logits = torch.zeros(1, 156, 3)
    for state in range(3):
        logits[0, 52 * state : 52 * (state + 1), state] = 5.0
    return SEDOutput(strong, strong.amax(dim=-1), logits)


def test_raw_and_corrected_scores(config: Config) -> None:
    predictions = TestPredictions(config, COUNTED)
    predictions.add(_batch(), _output())
    assert predictions.names == ["a.wav"]
    raw, processed = predictions.raw_scores(), predictions.corrected_scores()
    np.testing.assert_allclose(raw[0, 4], 0.4, rtol=1e-6)
    # Only where SOD says 1 and SED counts 0; where it says 2, it exceeds the count by 2.
    expected = np.repeat([0.4, 0.6, 0.4], 52)
    np.testing.assert_allclose(processed[0, 4], expected, rtol=1e-6)
    np.testing.assert_allclose(processed[0, :4], 0.1, rtol=1e-6)


def test_correction_can_be_switched_off(config: Config) -> None:
    off = override_config(config, ["postprocess.score_correction=false"])
    predictions = TestPredictions(off, COUNTED)
    predictions.add(_batch(), _output())
    np.testing.assert_array_equal(predictions.corrected_scores(), predictions.raw_scores())


def test_sod_figures(config: Config) -> None:
    """True: 25 frames of one, 25 of two, 25 of one, 81 of none; said: 52 of each."""
    predictions = TestPredictions(config, COUNTED)
    predictions.add(_batch(), _output())
    assert predictions.confusion.tolist() == [[0, 29, 52], [27, 23, 0], [25, 0, 0]]
    figures = predictions.sod_figures()
    assert figures["sod_accuracy"] == pytest.approx(23 / 156)
    assert figures["sod_f1_0"] == 0
    assert figures["sod_f1_1"] == pytest.approx(2 * 23 / (50 + 52))
    assert figures["sod_f1_macro"] == pytest.approx(2 * 23 / 102 / 3)
    # SED says 0 everywhere: the dog stays below 0.5.
    result = predictions.sod_result()
    assert result is not None
    assert figures["sod_sed_agreement"] == result.agreement == pytest.approx(52 / 156)


def test_frames_past_a_short_clip_are_not_counted(config: Config) -> None:
    predictions = TestPredictions(config, COUNTED)
    predictions.add(_batch(seconds=3.2), _output())
    assert predictions.confusion.sum() == 50
    assert predictions.confusion.tolist() == [[0, 0, 0], [25, 0, 0], [25, 0, 0]]
    figures = predictions.sod_figures()
    assert figures["sod_f1_2+"] == 0
    assert figures["sod_f1_macro"] == 0  # over the states that occur


def test_figures_without_a_sod_branch_are_undefined(config: Config) -> None:
    predictions = TestPredictions(config, COUNTED)
    predictions.add(_batch(), _output()._replace(sod_logits=None))
    figures = predictions.sod_figures()
    assert figures["sod_accuracy"] is None
    assert figures["sod_f1_macro"] is None
    assert figures["sod_sed_agreement"] is None
    assert predictions.sod_result() is None


def test_operating_points() -> None:
    assert operating_points(50)[:2] == [0.01, 0.03]
    assert operating_points(50)[-1] == 0.99
    assert operating_points(1) == [0.5]


def test_tag_f1_leaves_out_classes_that_occur_nowhere() -> None:
    tags = np.array([[1, 0, 0], [1, 1, 0]], dtype=bool)
    predicted = np.array([[1, 1, 0], [0, 0, 0]], dtype=bool)
    assert tag_f1_macro(predicted, tags) == pytest.approx((2 / 3 + 0) / 2)
    nothing = np.zeros((2, 3), dtype=bool)
    assert tag_f1_macro(nothing, nothing) == 0


def test_selection_metric(config: Config) -> None:
    figures = {"weak_f1_macro": 0.5, "intersection_f1_macro": 0.3, "event_f1_macro": 0.1}
    assert selection_metric(figures, config) == pytest.approx(0.8)
    by_event = override_config(config, ["training.obj_metric_synth_type=event"])
    assert selection_metric(figures, by_event) == pytest.approx(0.6)
    for name, value in (("psds1", 0.25), ("psds2", 0.75)):
        by_psds = override_config(config, [f"training.obj_metric_synth_type={name}"])
        assert selection_metric(figures | {"psds1": 0.25, "psds2": 0.75}, by_psds) == 0.5 + value


def test_validation_figures(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """One strongly labelled clip predicted as it is, one weak clip with a wrong tag.

    Losses are computed outside autocast: on a GPU, BCE of probabilities is refused in it.
    """
    from torch.nn import functional

    def bce(probability: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        assert not torch.is_autocast_enabled("cpu")
        return -(target * probability.log() + (1 - target) * (1 - probability).log()).mean()

    monkeypatch.setattr(functional, "binary_cross_entropy", bce)
    from desed_task.evaluation import GroundTruth
    from desed_task.labels import Event

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
    predictions = ValidationPredictions(config, truth)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predictions.add(batch, SEDOutput(strong, weak, None))
    figures = predictions.figures()
    assert figures["weak_f1_macro"] == pytest.approx(0.5)
    assert figures["intersection_f1_macro"] == 1
    assert figures["event_f1_macro"] == 1
    assert figures["psds1"] == figures["psds2"] == 1
    assert figures["loss_strong"] == pytest.approx(-np.log(0.9), rel=1e-5)
    expected = (-9 * np.log(0.75) - np.log(0.25)) / 10  # nine classes right, one wrong
    assert figures["loss_weak"] == pytest.approx(expected, rel=1e-5)
