"""A trained network as a model with model.json's content: docs/model.md."""

import platform
from importlib.metadata import version
from typing import cast

from desed_task import __version__
from desed_task.desed import TRAINING_SETS
from desed_task.model import Model, ModelDescription
from desed_task.nnet.crnn import CRNN
from desed_task.postprocess.methods import TunedParameters
from local.config.data import KEYS
from local.results.postprocessing import postprocessing
from local.sed_trainer import CrossTaskSED

TRAINING_DATA = [KEYS[name].tsv or KEYS[name].folder for name in TRAINING_SETS]


def trained_model(
    module: CrossTaskSED, network: str, tuned: TunedParameters | None, checkpoint: str
) -> Model:
    """A network of a training, in evaluation mode.

    Args:
        module: the networks.
        network: `student` or `teacher`.
        tuned: tuned parameters of its post-processing, if there are any.
        checkpoint: name of the file that its weights are from.
    """
    config, encoder = module.config, module.network_encoder(network)
    paths = config.data.paths()
    libraries = {name: version(name) for name in ("torch", "torchaudio", "numpy", "safetensors")}
    description = ModelDescription(
        classes=config.data.classes,
        sample_rate=config.data.fs,
        clip_seconds=config.data.audio_max_len,
        features=config.feats,
        scaler=config.scaler,
        network=config.net,
        encoder=config.encoder,
        encoder_sha256=module.encoder_digest or "",
        correction=config.correction,
        postprocessing=postprocessing(config, tuned),
        source=f"{network} of {checkpoint}",
        trained_on={key: paths[key] for key in TRAINING_DATA if key in paths},
        versions={"python": platform.python_version(), "desed_task": __version__} | libraries,
    )
    return Model(description, cast(CRNN, module.networks[network]), module.scaler, encoder)
