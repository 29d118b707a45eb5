"""Post-processing as the configuration names it, and its tuned parameters in a checkpoint.

Tuned parameters are stored in the checkpoint under `postprocessing`, by network.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from desed_task.errors import InputError
from desed_task.evaluation import GroundTruth, Scores
from desed_task.postprocess.methods import (
    MEDIAN,
    MedianParameters,
    Method,
    Postprocessing,
    TunedParameters,
    by_class_name,
)
from desed_task.postprocess.selection import tune_methods
from local.config.load import Config
from local.results.predictions import SetPredictions
from local.results.recordings import clip_recordings

CHECKPOINT_KEY = "postprocessing"


def tuned_methods(config: Config) -> list[Method]:
    """The configured methods that are tuned on the validation set."""
    return [method for method in config.postprocess.methods if method != MEDIAN]


def needs_validation(config: Config) -> bool:
    """Whether post-processing is tuned, chosen or calibrated on the validation set."""
    return bool(tuned_methods(config)) or config.postprocess.calibrate_confidence


def default_method(config: Config, tuned: TunedParameters | None) -> Method:
    """The chosen method, or else the first configured one, or `median` where that was not tuned."""
    tuned = tuned or TunedParameters()
    if config.postprocess.choose_method and tuned.selection is not None:
        return tuned.selection.method
    first = config.postprocess.methods[0]
    return first if first == MEDIAN or tuned[first] is not None else MEDIAN


def postprocessing(
    config: Config, tuned: TunedParameters | None = None, frame_seconds: float | None = None
) -> Postprocessing:
    """Parameters of the methods: configured ones of `median`, one network's tuned ones of others.

    Args:
        config: the experiment.
        tuned: parameters of the tuned methods.
        frame_seconds: length of the frames of the scores; None: of the configuration's network.
    """
    windows = config.median_windows_of(frame_seconds or config.grid.frame_seconds)
    median = MedianParameters(
        window=by_class_name(windows, config.data.classes),
        f1_threshold=config.postprocess.f1_threshold,
    )
    method = default_method(config, tuned)
    return Postprocessing(method=method, median=median, tuned=tuned or TunedParameters())


def tune_networks(
    predictions: Mapping[str, SetPredictions], truth: GroundTruth, config: Config
) -> dict[str, TunedParameters]:
    """Tune each network's post-processing on its predictions of the validation set."""
    return {
        network: tune(
            predicted.corrected_scores(), truth.restricted(predicted.names), config, title=network
        )
        for network, predicted in predictions.items()
    }


def tune(scores: Scores, truth: GroundTruth, config: Config, title: str) -> TunedParameters:
    """Tune every configured method that can be tuned; choose and calibrate where configured.

    Args:
        scores: corrected scores of the validation set.
        truth: its events.
        config: the experiment.
        title: the network, for the progress bar.

    Raises:
        InputError: a validation set without any event.
    """
    if not any(truth.events.values()):
        raise InputError(
            "postprocess.methods: tuning needs a validation set with events, got none; use "
            "[median], and false for choose_method and calibrate_confidence"
        )
    settings = config.postprocess
    given = postprocessing(config, frame_seconds=scores.frame_seconds).median
    recordings = clip_recordings(Path(config.data.root)) or {}
    found = tune_methods(
        scores,
        truth,
        settings,
        methods=tuned_methods(config),
        fixed={MEDIAN: given} if MEDIAN in settings.methods else {},
        default_threshold=settings.f1_threshold,
        title=title,
        groups=[recordings.get(name, name) for name in scores.names],
    )
    return found.stored(settings)


def is_tuned(tuned: Mapping[str, TunedParameters], networks: Iterable[str], config: Config) -> bool:
    """Whether every network has what is tuned, chosen and calibrated on the validation set."""
    return all(
        network in tuned and _is_complete(tuned[network], config) for network in networks
    ) or not needs_validation(config)


def _is_complete(tuned: TunedParameters, config: Config) -> bool:
    settings = config.postprocess
    return (
        all(tuned[method] is not None for method in tuned_methods(config))
        and (tuned.selection is not None or not settings.choose_method)
        and (set(settings.methods) <= set(tuned.calibration) or not settings.calibrate_confidence)
    )


def load_tuned(checkpoint: Mapping[str, Any], source: str) -> dict[str, TunedParameters]:
    """Tuned parameters in a checkpoint, by network; empty if nothing was tuned.

    Raises:
        InputError: a layout that this project does not write.
    """
    try:
        return {
            network: TunedParameters.model_validate(content)
            for network, content in checkpoint.get(CHECKPOINT_KEY, {}).items()
        }
    except (ValidationError, AttributeError):
        raise InputError(
            f"{source}: {CHECKPOINT_KEY}: expected parameters as this project writes them; "
            "remove the key, and they are tuned again on the validation set"
        ) from None


def dump_tuned(tuned: Mapping[str, TunedParameters]) -> dict[str, Any]:
    """Tuned parameters as plain values that `load_tuned` reads."""
    return {network: parameters.plain() for network, parameters in tuned.items()}
