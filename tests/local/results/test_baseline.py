"""The baseline of a training, and its place in a checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from desed_task.dataio.batch import ClipKind
from desed_task.dataio.datasets import ClipDataset
from desed_task.errors import InputError
from desed_task.frame_classifier import FrameFeatures
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from local.config.load import Config
from local.results.baseline import CLASSIFIER_KEY, Baseline, fit_baseline, load_baseline
from tests.support.audio_files import write_tone


@pytest.fixture(scope="module")
def clips(recipe: Config, tmp_path_factory: pytest.TempPathFactory) -> ClipDataset:
    """A clip of 3 s and one of 12 s, with an event that the tone does not show."""
    folder = tmp_path_factory.mktemp("clips")
    seconds = {"short.wav": 3.0, "long.wav": 12.0}
    for name, length in seconds.items():
        write_tone(folder / name, length)
    events = {name: [Event(1.0, 2.0, "Dog")] for name in seconds}
    classes = recipe.data.classes
    return ClipDataset(folder, events, seconds, ClipKind.SYNTHETIC, classes, FrameGrid())


@pytest.fixture(scope="module")
def baseline(clips: ClipDataset, recipe: Config) -> Baseline:
    return fit_baseline({"synthetic": [clips]}, recipe)


def test_predictions_are_of_whole_clips(
    clips: ClipDataset, baseline: Baseline, recipe: Config
) -> None:
    predictions = baseline.predict(clips, ["short.wav", "long.wav"], recipe)
    scores = predictions.raw_scores()
    assert predictions.names == ["short.wav", "long.wav"]
    assert scores.frame_seconds == pytest.approx(0.02)
    assert scores.lengths == [501, 601]  # of 20 ms: a short clip has the frames of a window
    dog = scores.values[:, recipe.data.classes.index("Dog")]
    assert (dog[0, :150] > 0).all()
    assert (dog[0, 150:501] == 0).all()
    assert (dog[1, :600] > 0).all()
    assert predictions.sod_result() is None
    assert predictions.training_seconds == baseline.training_seconds > 0
    np.testing.assert_array_equal(predictions.corrected_scores().values, scores.values)
    assert baseline.predict(clips, ["long.wav"], recipe).names == ["long.wav"]


def test_weak_clips_are_used_where_there_are_no_strong_ones(
    clips: ClipDataset, baseline: Baseline, recipe: Config
) -> None:
    weak, unlabelled = (clips.on_grid(clips.grid) for _ in range(2))
    weak.kind, unlabelled.kind = ClipKind.WEAK, ClipKind.UNLABELLED
    sets = {"weak": [weak], "unlabelled": [unlabelled]}
    alone = fit_baseline(sets, recipe)
    beside = fit_baseline(sets | {"strong": [clips.on_grid(clips.grid)]}, recipe)
    np.testing.assert_array_equal(alone.classifier.weights, baseline.classifier.weights)
    np.testing.assert_array_equal(beside.classifier.weights, baseline.classifier.weights)


def test_in_a_checkpoint(baseline: Baseline, recipe: Config, tmp_path: Path) -> None:
    torch.save({CLASSIFIER_KEY: baseline.stored()}, tmp_path / "a.ckpt")
    content: dict[str, Any] = torch.load(tmp_path / "a.ckpt", weights_only=True)
    loaded = load_baseline(content, recipe, "a.ckpt")
    assert loaded is not None
    assert loaded.training_seconds == baseline.training_seconds
    for own, stored in zip(baseline.classifier, loaded.classifier, strict=True):
        np.testing.assert_array_equal(own, stored)
    assert load_baseline({}, recipe, "a.ckpt") is None
    n_values = FrameFeatures(recipe.feats, recipe.data.fs).n_values
    contents: list[Any] = [
        torch.zeros(3),
        {},
        content[CLASSIFIER_KEY] | {"weights": torch.zeros(n_values, 3)},
        content[CLASSIFIER_KEY] | {"bias": "none"},
        content[CLASSIFIER_KEY] | {"training_seconds": None},
    ]
    for wrong in contents:
        with pytest.raises(InputError, match=r"^a\.ckpt: frame_classifier: "):
            load_baseline({CLASSIFIER_KEY: wrong}, recipe, "a.ckpt")
