"""Content of model.json from a configuration and tuned post-processing: docs/model.md."""

import platform
from importlib.metadata import version
from typing import Any

from desed_task import __version__
from desed_task.model import Correction, ModelDescription, Postprocessing
from desed_task.model.description import Features, ScalerSettings
from desed_task.postprocess.methods import MEDIAN, TunedParameters
from local.build import build_crnn_shape
from local.config.load import Config
from local.results.postprocessing import method_parameters

TRAINING_DATA = ("synth_tsv", "weak_tsv", "unlabeled_folder")


def describe_model(config: Config, tuned: TunedParameters | None, source: str) -> ModelDescription:
    """Content of model.json.

    Args:
        config: the experiment.
        tuned: tuned parameters of the network's post-processing, if there are any.
        source: which network, of which checkpoint.
    """
    tuned = tuned or TunedParameters()
    first = config.postprocess.methods[0]
    has_first = first == MEDIAN or getattr(tuned, first) is not None
    corrects = config.postprocess.score_correction and config.net.sod_branch
    correction = Correction(
        excluded_classes=tuple(config.cross_task.excluded_classes),
        active_threshold=config.cross_task.active_threshold,
        correction_gain=config.postprocess.correction_gain,
        correction_floor=config.postprocess.correction_floor,
    )
    data = config.data.resolved()
    libraries = {name: version(name) for name in ("torch", "torchaudio", "numpy", "safetensors")}
    return ModelDescription(
        classes=tuple(config.data.classes),
        sample_rate=config.data.fs,
        clip_seconds=config.data.audio_max_len,
        features=Features(**_with_tuples(config.feats.model_dump())),
        scaler=ScalerSettings(**_with_tuples(config.scaler.model_dump())),
        network=build_crnn_shape(config),
        correction=correction if corrects else None,
        postprocessing=Postprocessing(
            method=first if has_first else MEDIAN,
            median=method_parameters(MEDIAN, config, None),  # type: ignore[arg-type]
            tuned=tuned,
        ),
        source=source,
        trained_on={key: data[key] for key in TRAINING_DATA if data[key] is not None},
        versions={"python": platform.python_version(), "desed_task": __version__} | libraries,
    )


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
