"""The baseline without a network, on two tones in noise."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from desed_task.dataio.batch import ClipKind
from desed_task.dataio.datasets import ClipDataset
from desed_task.features import FeatureSettings
from desed_task.frame_classifier import FrameFeatures, LabelledFrames, fit, read_frames
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from tests.support.audio_files import tone

RATE = 8000
TONES = {"low": 500.0, "high": 2000.0}
CLASSES = (*TONES, "never")
SETTINGS = FeatureSettings(
    n_mels=8,
    n_window=256,
    hop_length=128,
    f_min=0,
    f_max=4000,
    log_floor=1e-5,
    log_range=(-50, 80),
)
FEATURES = FrameFeatures(SETTINGS, RATE)
EVENTS = [
    {"low": (0.5, 0.9), "high": (0.7, 1.5)},
    {"low": (1.0, 1.6)},
    {"high": (0.3, 0.6)},
    {},
]
SECONDS = (2.0, 2.0, 2.0, 1.0)  # the last clip is shorter than the grid


def _clips(folder: Path, events: Sequence[Mapping[str, tuple[float, float]]]) -> ClipDataset:
    """Clips of two seconds with tones of 20 dB below full scale, 10 dB above the noise."""
    random = np.random.default_rng(5)
    listed = {}
    for number, (clip_events, seconds) in enumerate(zip(events, SECONDS, strict=True)):
        audio = 0.03 * random.standard_normal(round(seconds * RATE))
        for label, (onset, offset) in clip_events.items():
            begin, sound = round(onset * RATE), tone(offset - onset, RATE, TONES[label], 0.1)
            audio[begin : begin + len(sound)] += sound
        soundfile.write(folder / f"{number}.wav", audio, RATE, subtype="PCM_16")
        listed[f"{number}.wav"] = [Event(*times, label) for label, times in clip_events.items()]
    lengths = dict(zip(listed, SECONDS, strict=True))
    grid = FrameGrid(RATE, 256, 4, 2.0)
    return ClipDataset(folder, listed, lengths, ClipKind.SYNTHETIC, CLASSES, grid)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipDataset:
    return _clips(tmp_path_factory.mktemp("tones"), EVENTS)


@pytest.fixture(scope="module")
def frames(clips: ClipDataset) -> LabelledFrames:
    return read_frames([clips], FEATURES, seed=0)


def test_labels_and_values_of_frames(clips: ClipDataset, frames: LabelledFrames) -> None:
    assert frames.values.shape == (350, FEATURES.n_values)  # 7 s, without padding
    assert (frames.weights == 1).all()
    assert frames.active.sum(axis=0).tolist() == [20 + 30, 40 + 15, 0]
    assert np.flatnonzero(frames.active[:100, 0]).tolist() == list(range(25, 45))
    # The values of a frame are those of the frames 8 and 4 before it, its own, and 4 and 8 after.
    by_frame = frames.values[:100].reshape(100, 5, -1)
    np.testing.assert_array_equal(by_frame[8:, 0], by_frame[:-8, 2])
    np.testing.assert_array_equal(by_frame[:-4, 3], by_frame[4:, 2])
    np.testing.assert_array_equal(by_frame[:4, 1], by_frame[[0] * 4, 2])
    levels, relative = np.split(by_frame[:, 2], 2, axis=1)
    np.testing.assert_allclose(np.median(relative, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(levels - np.median(levels, axis=0), relative, atol=1e-4)


def test_scores_are_those_of_scikit_learn(frames: LabelledFrames) -> None:
    direct = OneVsRestClassifier(make_pipeline(StandardScaler(), LogisticRegression(C=0.001)))
    direct.fit(frames.values.astype(np.float64), frames.active[:, :2].astype(int))
    expected = direct.predict_proba(frames.values.astype(np.float64)).T
    scores = fit(frames._replace(values=frames.values.copy())).scores(frames.values)
    np.testing.assert_allclose(scores[:2], expected, atol=2e-3)
    assert (scores[2] == 0).all()  # a class without events


def test_the_tones_of_other_clips_are_found(frames: LabelledFrames, tmp_path: Path) -> None:
    others = _clips(tmp_path, [EVENTS[1], {}, EVENTS[0], EVENTS[2]])
    classifier = fit(frames._replace(values=frames.values.copy()))
    unseen = read_frames([others], FEATURES, seed=0)
    scores = classifier.scores(unseen.values)
    for label in range(2):
        assert roc_auc_score(unseen.active[:, label], scores[label]) > 0.99
        swapped = roc_auc_score(unseen.active[:, label], scores[1 - label])
        assert swapped < 0.9
    always = fit(unseen._replace(active=np.ones_like(unseen.active)))
    assert (always.scores(unseen.values) == 1).all()


def test_of_too_many_frames_those_without_events_are_thinned(clips: ClipDataset) -> None:
    few = read_frames([clips, clips], FEATURES, seed=3, max_frames=400)
    has_event = few.active.any(axis=1)
    assert has_event.sum() == 2 * 95  # all of them: 60 + 30 + 15 minus the 10 of both
    assert (few.weights[has_event] == 1).all()
    np.testing.assert_allclose(few.weights[~has_event], 510 / 210, rtol=1e-6)
    assert 300 < len(few.active) < 500
    assert few.weights.sum() == pytest.approx(700, rel=0.15)
    again = read_frames([clips, clips], FEATURES, seed=3, max_frames=400)
    np.testing.assert_array_equal(again.values, few.values)
    least = read_frames([clips], FEATURES, seed=3, max_frames=60)
    assert 10 < least.active.any(axis=1).sum() < 60


def test_tags_are_events_of_the_whole_clip(clips: ClipDataset) -> None:
    tags = {"3.wav": [Event(-np.inf, np.inf, "high")]}
    weak = ClipDataset(clips._folder, tags, {"3.wav": 1.0}, ClipKind.WEAK, CLASSES, clips.grid)
    frames = read_frames([weak], FEATURES, seed=0)
    assert frames.active.tolist() == [[False, True, False]] * 50


def test_padding_does_not_change_the_values(clips: ClipDataset) -> None:
    audio = clips[3].audio
    assert len(audio) == 2 * RATE
    louder = audio.clone()
    louder[RATE:] = 20000
    np.testing.assert_array_equal(FEATURES(audio, 50), FEATURES(louder, 50))
    assert FEATURES(torch.zeros(RATE), 1).shape == (1, FEATURES.n_values)
