"""A tiny model with random weights, for tests of what runs models."""

from pathlib import Path
from typing import Any

import torch

from desed_task.features import FeatureSettings, Scaler, ScalerSettings
from desed_task.model import Model, ModelDescription, save_model
from desed_task.nnet.crnn import CRNN
from desed_task.nnet.settings import NetworkSettings
from desed_task.postprocess.methods import (
    MedianParameters,
    Postprocessing,
    SebbsParameters,
    TunedParameters,
)
from desed_task.sod_settings import CorrectionSettings

CLASSES = ("Bell", "Cat 猫", "Dog")


def tiny_description(**changes: Any) -> ModelDescription:
    """A description of 3 classes, clips of 2 s at 8 kHz, frames of 64 ms; `changes` of its keys."""
    network = NetworkSettings(
        nb_filters=(4, 4, 8),
        kernel_size=(3, 3, 3),
        pooling=((2, 2), (1, 2), (1, 2)),
        sed_filters=(8,),
        sed_kernel_size=(3,),
        sed_pooling=((1, 2),),
        subspectral_blocks=1,
        subspectral_bands=2,
        batchnorm_eps=0.001,
        batchnorm_momentum=0.9,
        dropout=0.2,
        rnn_layers=1,
        n_RNN_cell=8,
        dropout_recurrent=0.0,
        dropout_output=0.5,
        weak_floor=1e-7,
        sod_branch=True,
        convolution=(),
        basis_kernels=4,
        attention_temperature=31.0,
    )
    values: dict[str, Any] = {
        "classes": CLASSES,
        "sample_rate": 8000,
        "clip_seconds": 2.0,
        "features": FeatureSettings(
            n_window=512,
            hop_length=256,
            n_mels=16,
            f_min=0.0,
            f_max=4000.0,
            log_floor=1e-5,
            log_range=(-50.0, 80.0),
        ),
        "scaler": ScalerSettings(statistic="instance", normtype="minmax", dims=(1, 2)),
        "network": network,
        "correction": CorrectionSettings(
            excluded_classes=(),
            active_threshold=0.5,
            correction_gain=0.2,
            correction_floor=0.2,
        ),
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


def tiny_model(seed: int = 0, **changes: Any) -> Model:
    """A model with random weights and, in its heads, steep ones, so that scores vary."""
    description = tiny_description(**changes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CRNN(description.network, len(description.classes))
        for head in (network.strong_head, network.sod_head):
            torch.nn.init.normal_(head.weight, std=3.0)
    features = description.features
    scaler = Scaler(description.scaler, features.n_mels, description.grid.n_hops)
    return Model(description, network, scaler)


def write_tiny_model(folder: Path, **changes: Any) -> Model:
    """Write `tiny_model` to a folder."""
    model = tiny_model(**changes)
    save_model(folder, model)
    return model
