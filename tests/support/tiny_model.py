"""A tiny model with random weights, for tests of what runs models."""

from functools import cache
from pathlib import Path
from typing import Any

import torch

from desed_task.encoder.settings import EncoderSettings
from desed_task.encoder.sources import load_encoder
from desed_task.features import Scaler
from desed_task.model import Model, ModelDescription, save_model
from desed_task.nnet.crnn import CRNN
from desed_task.postprocess.methods import (
    MedianParameters,
    Postprocessing,
    SebbsParameters,
    TunedParameters,
)
from local.config.load import Config, load_config
from tests.support.paths import CONFS
from tests.support.tiny import NETWORK

CLASSES = ("Bell", "Cat 猫", "Dog")


TINY = (
    *NETWORK,
    "data.fs=8000",
    "data.audio_max_len=2",
    f"data.classes=[{', '.join(CLASSES)}]",
    "feats.n_window=512",
    "feats.hop_length=256",
    "feats.f_max=4000",
    "net.pooling=[[2, 2], [1, 2], [1, 2]]",
    "net.subspectral_bands=2",
    "cross_task.excluded_classes=[]",
    "postprocess.median_window=!replace {default: 3}",
)


@cache
def _config() -> Config:
    return load_config(CONFS / "demo.yaml", TINY)


def tiny_description(**changes: Any) -> ModelDescription:
    """A description of 3 classes, clips of 2 s at 8 kHz, frames of 64 ms; `changes` of its keys."""
    config = _config()
    values: dict[str, Any] = {
        "classes": CLASSES,
        "sample_rate": config.data.fs,
        "clip_seconds": config.data.audio_max_len,
        "features": config.feats,
        "scaler": config.scaler,
        "network": config.net,
        "correction": config.correction,
        "postprocessing": Postprocessing(
            method="median",
            median=MedianParameters(window=dict.fromkeys(CLASSES, 3), f1_threshold=0.5),
            tuned=TunedParameters(
                sebbs=SebbsParameters(
                    step_seconds=dict.fromkeys(CLASSES, 0.4),
                    merge_absolute=dict.fromkeys(CLASSES, 0.2),
                    merge_relative=dict.fromkeys(CLASSES, float("inf")),
                    f1_threshold=dict.fromkeys(CLASSES, 0.4),
                )
            ),
        ),
        "source": "student of a test",
        "trained_on": {},
        "versions": {},
    }
    return ModelDescription(**values | changes)


def tiny_model(seed: int = 0, encoder: EncoderSettings | None = None, **changes: Any) -> Model:
    """A model with random weights and, in its heads, steep ones, so that scores vary."""
    description = tiny_description(**changes)
    frame_encoder = None
    if encoder is not None:
        frame_encoder = load_encoder(encoder, description.grid)
        found = {"encoder": encoder, "encoder_sha256": frame_encoder.digest}
        description = description.model_copy(update=found)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CRNN(description.network, len(description.classes), encoder)
        for head in (network.strong_head, network.sod_head):
            torch.nn.init.normal_(head.weight, std=3.0)
    features = description.features
    scaler = Scaler(description.scaler, features.n_mels, description.grid.n_hops)
    return Model(description, network, scaler, frame_encoder)


def write_tiny_model(folder: Path, **changes: Any) -> Model:
    """Write `tiny_model` to a folder."""
    model = tiny_model(**changes)
    save_model(folder, model)
    return model
