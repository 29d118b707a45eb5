"""Predictions of the networks on a set -> systems, post-processed and scored."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from desed_task.evaluation import GroundTruth, Intervals, bootstrap, evaluate
from desed_task.evaluation.results import SystemMetrics
from desed_task.postprocess.methods import TunedParameters, class_thresholds
from local.config.load import Config
from local.results.postprocessing import method_parameters, tune
from local.results.predictions import SetPredictions


class ScoredSystem(NamedTuple):
    """A network with one post-processing method, and its metrics on one set.

    Attributes:
        name: see `system_name`.
        method: the post-processing method.
        predictions: of the network, before post-processing.
        metrics: after post-processing.
    """

    name: str
    method: str
    predictions: SetPredictions
    metrics: SystemMetrics


def tune_networks(
    predictions: Mapping[str, SetPredictions], truth: GroundTruth, config: Config
) -> dict[str, TunedParameters]:
    """Tune each network's post-processing on its predictions of the validation set."""
    return {
        network: tune(
            predicted.corrected_scores(),
            truth.restricted(predicted.names),
            config,
            title=network,
        )
        for network, predicted in predictions.items()
    }


def score_networks(
    predictions: Mapping[str, SetPredictions],
    truth: GroundTruth,
    config: Config,
    tuned: Mapping[str, TunedParameters],
    *,
    check: bool = False,
) -> list[ScoredSystem]:
    """Score every network with every configured post-processing method.

    Args:
        predictions: by network, `student` and `teacher`.
        truth: of the set; clips without predictions (a shortened run) are excluded.
        config: the experiment.
        tuned: tuned parameters by network; empty if no method is tuned.
        check: compute the metrics with the libraries as well.
    """
    return [
        ScoredSystem(
            name=system_name(network, method, config),
            method=method,
            predictions=predicted,
            metrics=_score(predicted, truth, config, method, tuned.get(network), check=check),
        )
        for network, predicted in predictions.items()
        for method in config.postprocess.methods
    ]


def bootstrap_intervals(systems: Sequence[ScoredSystem], config: Config) -> Intervals | None:
    """95 % intervals of the systems' metrics; None with 0 configured replicates."""
    replicates = config.postprocess.bootstrap_replicates
    if not replicates:
        return None
    metrics = {system.name: system.metrics for system in systems}
    return bootstrap(metrics, replicates=replicates, seed=config.training.seed, progress=True)


def system_name(network: str, method: str, config: Config) -> str:
    """Name of a system in the results: `student` with the first method, else `student_METHOD`."""
    return network if method == config.postprocess.methods[0] else f"{network}_{method}"


def operating_points(number: int) -> list[float]:
    """`number` thresholds in the middle of equal steps of (0, 1): 0.01, 0.03 … 0.99 for 50."""
    return [(2 * k + 1) / (2 * number) for k in range(number)]


def _score(
    predicted: SetPredictions,
    truth: GroundTruth,
    config: Config,
    method: str,
    tuned: TunedParameters | None,
    *,
    check: bool,
) -> SystemMetrics:
    classes, parameters = config.data.classes, method_parameters(method, config, tuned)
    return evaluate(
        parameters.apply(predicted.corrected_scores(), classes),
        truth.restricted(predicted.names),
        thresholds=operating_points(config.training.n_test_thresholds),
        f1_threshold=class_thresholds(parameters, classes),
        drop_clips_without_events=config.postprocess.drop_clips_without_events,
        trim_to_clip=config.postprocess.trim_to_clip,
        check=check,
    )
