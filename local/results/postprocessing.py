"""Post-processing as the configuration names it, and its tuned parameters in a checkpoint.

Tuned parameters are stored in the checkpoint under `postprocessing`, by network.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from desed_task.errors import InputError
from desed_task.evaluation import GroundTruth, Scores
from desed_task.postprocess.methods import (
    MEDIAN,
    SEBBS,
    TUNED_MEDIAN,
    MedianParameters,
    Postprocessing,
    TunedParameters,
    by_class_name,
)
from desed_task.postprocess.tuning import tune_median, tune_sebbs
from local.config.load import Config
from local.results.predictions import SetPredictions

CHECKPOINT_KEY = "postprocessing"


def tuned_methods(config: Config) -> list[str]:
    """The configured methods that are tuned on the validation set."""
    return [method for method in config.postprocess.methods if method != MEDIAN]


def postprocessing(
    config: Config, tuned: TunedParameters | None = None, frame_seconds: float | None = None
) -> Postprocessing:
    """Parameters of the methods: configured ones of `median`, one network's tuned ones of others.

    The default is the first configured method, or `median` where that was not tuned.

    Args:
        config: the experiment.
        tuned: parameters of the tuned methods.
        frame_seconds: length of the frames of the scores; None: of the configuration's network.
    """
    tuned = tuned or TunedParameters()
    first = config.postprocess.methods[0]
    has_first = first == MEDIAN or getattr(tuned, first) is not None
    windows = config.median_windows_of(frame_seconds or config.grid.frame_seconds)
    median = MedianParameters(
        window=by_class_name(windows, config.data.classes),
        f1_threshold=config.postprocess.f1_threshold,
    )
    return Postprocessing(method=first if has_first else MEDIAN, median=median, tuned=tuned)


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
    """Tune every configured method that can be tuned.

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
            "postprocess.methods: tuning needs a validation set with events, got none; use [median]"
        )
    settings, methods = config.postprocess, tuned_methods(config)
    default = settings.f1_threshold
    median = sebbs = None
    if TUNED_MEDIAN in methods:
        median = tune_median(scores, truth, settings, default_threshold=default, title=title)
    if SEBBS in methods:
        sebbs = tune_sebbs(scores, truth, settings, default_threshold=default, title=title)
    return TunedParameters(tuned_median=median, sebbs=sebbs)


def is_tuned(tuned: Mapping[str, TunedParameters], networks: Iterable[str], config: Config) -> bool:
    """Whether every network has parameters of every configured method that is tuned."""
    return all(
        network in tuned and getattr(tuned[network], method) is not None
        for network in networks
        for method in tuned_methods(config)
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
