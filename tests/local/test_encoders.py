"""Trainings with a frozen encoder: it reads the audio of every step, or its stored embeddings."""

from pathlib import Path
from typing import Any

import pytest
import torch

from local import encoders
from local.run.folders import LAST_CHECKPOINT
from local.run.weights import load_tested
from tests.support.tiny import make_data, tiny_config
from tests.support.tiny_encoder import CONVOLUTION, DIMENSION, RATE, STEP
from tests.support.training import Trained, train

ENCODER = (
    f"encoder.source={CONVOLUTION}",
    f"encoder.sample_rate={RATE}",
    f"encoder.frame_seconds={STEP / RATE}",
    f"encoder.dimension={DIMENSION}",
)
CACHED = (*ENCODER, "encoder.mode=cached")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set, beside whose audio embeddings are stored."""
    return make_data(tmp_path_factory.mktemp("generated") / "data")


def _refuse(*_: Any) -> Any:
    raise AssertionError("the encoder was loaded")


@pytest.fixture(scope="module")
def cached(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training that stores the embeddings first."""
    return train(tiny_config(data, *CACHED), tmp_path_factory.mktemp("cached"))


def test_a_training_with_stored_embeddings_needs_no_encoder(
    cached: Trained, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "load_encoder", _refuse)
    again = train(tiny_config(data, *CACHED), tmp_path)
    assert again.recorder.losses == cached.recorder.losses
    assert again.module.encoder_digest == cached.module.encoder_digest


def test_validation_is_that_of_the_encoder(cached: Trained, data: Path) -> None:
    """Within the rounding of float16."""
    online = tiny_config(data, *ENCODER)
    path = Path(cached.trainer.checkpoint_callback.dirpath) / LAST_CHECKPOINT  # type: ignore[union-attr]
    module = load_tested(online, path).module.eval()
    loaders = cached.trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
    batches = [batch.with_float_audio() for loader in loaders for batch in loader]
    assert len(batches) > 1
    cached.module.eval()
    for batch in batches:
        with torch.no_grad():
            (_, expected), (_, got) = module.predict(batch), cached.module.predict(batch)
        for name, output in expected.items():
            for one, other in zip(output, got[name], strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-3)
