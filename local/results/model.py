"""Content of model.json from a configuration and tuned post-processing: docs/model.md."""

import platform
from importlib.metadata import version

from desed_task import __version__
from desed_task.desed import TRAINING_SETS
from desed_task.model import ModelDescription
from desed_task.postprocess.methods import TunedParameters
from local.config.data import KEYS
from local.config.load import Config
from local.results.postprocessing import postprocessing

TRAINING_DATA = [KEYS[name].tsv or KEYS[name].folder for name in TRAINING_SETS]


def describe_model(config: Config, tuned: TunedParameters | None, source: str) -> ModelDescription:
    """Content of model.json.

    Args:
        config: the experiment.
        tuned: tuned parameters of the network's post-processing, if there are any.
        source: which network, of which checkpoint.
    """
    paths = config.data.paths()
    libraries = {name: version(name) for name in ("torch", "torchaudio", "numpy", "safetensors")}
    return ModelDescription(
        classes=config.data.classes,
        sample_rate=config.data.fs,
        clip_seconds=config.data.audio_max_len,
        features=config.feats,
        scaler=config.scaler,
        network=config.net,
        correction=config.correction,
        postprocessing=postprocessing(config, tuned),
        source=source,
        trained_on={key: paths[key] for key in TRAINING_DATA if key in paths},
        versions={"python": platform.python_version(), "desed_task": __version__} | libraries,
    )
