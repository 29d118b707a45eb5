"""Detection by a model with an encoder: clips, long files, streams, tuning."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from desed_task.detect import Detector, Settings
from desed_task.detect.__main__ import main
from desed_task.detect.scoring import Probabilities, Recording
from desed_task.errors import InputError
from desed_task.model import Model
from desed_task.windows import window_starts
from tests.support.tiny_encoder import CONVOLUTION, tiny_encoder_settings
from tests.support.tiny_model import write_tiny_model

RATE = 8000  # Hz


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_tiny_model(folder, encoder=tiny_encoder_settings())
    return folder


@pytest.fixture(scope="module")
def audio(recordings: Path) -> NDArray[np.float32]:
    return np.asarray(soundfile.read(recordings / "long.wav", dtype="float32")[0])


def _scores(detector: Detector, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of the classes, before score correction."""
    ((_, found),) = detector.score([Recording(0, lambda: [audio])])
    assert isinstance(found, Probabilities)
    return found.values[: len(detector.description.classes)]


def _forward(model: Model, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of a clip that is filled up with zeros, by the model alone."""
    clip = torch.zeros(1, model.description.grid.n_samples)
    clip[0, : len(audio)] = torch.from_numpy(audio)
    with torch.no_grad():
        strong: NDArray[np.float32] = model(clip).strong[0].numpy()
    return strong


def _embeddings(model: Model, audio: NDArray[np.float32]) -> Tensor:
    assert model.encoder is not None
    with torch.no_grad():
        found: Tensor = model.encoder(torch.from_numpy(audio[None, : model.encoder.grid.n_samples]))
    return found


def test_clips_and_precisions(folder: Path, audio: NDArray[np.float32]) -> None:
    """A short clip is filled up to a whole window: an encoder reads no other."""
    detector = Detector.load(folder, encoder=CONVOLUTION)
    assert isinstance(detector.model, Model)
    for seconds in (2.0, 0.7):
        clip = audio[: round(seconds * RATE)]
        found = _scores(detector, clip)
        np.testing.assert_allclose(found, _forward(detector.model, clip), atol=1e-6)
    half = Detector.load(folder, encoder=CONVOLUTION, precision="bf16")
    assert 0 < np.abs(_scores(half, clip) - found).max() < 0.2
    assert isinstance(half.model, Model)
    whole, rounded = (_embeddings(each, audio) for each in (detector.model, half.model))
    assert 0 < (rounded - whole).abs().max() < 0.02 * whole.abs().max()


def test_a_long_recording_is_read_in_windows(folder: Path, audio: NDArray[np.float32]) -> None:
    detector = Detector.load(folder, encoder=CONVOLUTION, batch_size=3)
    assert isinstance(detector.model, Model)
    grid, found = detector.description.grid, _scores(detector, audio)
    lowest, highest = np.full_like(found, np.inf), np.full_like(found, -np.inf)
    for start in window_starts(len(audio), grid):
        first = start * grid.samples_per_frame
        scores = _forward(detector.model, audio[first : first + grid.n_samples])
        for limit, function in ((lowest, np.minimum), (highest, np.maximum)):
            part = limit[:, start : start + grid.n_frames]
            function(part, scores[:, : part.shape[1]], out=part)
    assert (lowest - 1e-5 <= found).all()
    assert (found <= highest + 1e-5).all()  # a weighted mean of the windows that have the frame
    assert (highest - lowest).max() > 0.01


def test_the_command(
    folder: Path,
    recordings: Path,
    audio: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file, the same as a stream, and a tuned copy of the model."""
    file = str(recordings / "long.wav")
    level = float(np.median(Detector.load(folder, encoder=CONVOLUTION)(file).values))
    detector = Detector.load(folder, settings=Settings(threshold=level), encoder=CONVOLUTION)
    expected = detector(file).detections
    assert len(expected) > 5
    given = [f"--model={folder}", f"--encoder={CONVOLUTION}"]
    threshold, found = f"--threshold={level!r}", tmp_path / "found"
    assert main([*given, threshold, "--review", f"--output={found}", file]) == 0
    table = pd.read_table(found / "events.tsv")
    times = np.array([(event.onset, event.offset) for event in expected])
    np.testing.assert_allclose(table[["onset", "offset"]], times, atol=1e-3)
    assert (found / "review.html").is_file()

    pcm = io.BytesIO((audio * 32768).astype("<i2").tobytes())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=pcm))
    capsys.readouterr()
    assert main([*given, threshold, f"--rate={RATE}", "--latency=2.5", "-"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    streamed = sorted([event["onset"], event["offset"]] for event in events)
    np.testing.assert_allclose(streamed, sorted(times.tolist()), atol=1e-3)

    tuned = tmp_path / "tuned"
    assert main([*given, f"--tune={found / 'events.tsv'}", f"--output={tuned}", file]) == 0
    assert Detector.load(tuned, encoder=CONVOLUTION).description.encoder is not None

    with pytest.raises(InputError, match="expected --encoder SOURCE, which was tests"):
        main([f"--model={folder}", file])
