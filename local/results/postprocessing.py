"""From corrected scores to what is judged: the published median windows, or tuned ones, or boxes.

What is tuned is tuned class by class on the synthetic validation set, and stored in the
checkpoint under `postprocessing`, by network.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from tqdm import tqdm

from desed_task.errors import InputError
from desed_task.evaluation import GroundTruth, Scores
from desed_task.evaluation.outputs import Boxes, ScoredOutput
from desed_task.evaluation.scoring_input import Threshold
from desed_task.postprocess.median import median_filter
from desed_task.postprocess.sebbs import BoxParameters, bounding_boxes
from desed_task.postprocess.tuning import best_thresholds, choose_by_class
from local.classes import CLASSES
from local.config.load import Config

Value = TypeVar("Value")
CHECKPOINT_KEY = "postprocessing"
MEDIAN, TUNED_MEDIAN, SEBBS = "median", "tuned_median", "sebbs"
NOTES = {
    MEDIAN: "median windows of the configuration",
    TUNED_MEDIAN: "median windows and F1 thresholds tuned on the validation set",
    SEBBS: "sound event bounding boxes, tuned like the F1 thresholds on the validation set",
}


class Processed(NamedTuple):
    """What is judged, and the threshold (of all classes, or of each) of its F-scores."""

    output: ScoredOutput
    f1_threshold: Threshold


class _Stored(BaseModel):
    """What a checkpoint holds: checked when it is read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TunedMedian(_Stored):
    """Median windows in frames and F1 thresholds, by class name."""

    window: dict[str, int]
    f1_threshold: dict[str, float]


class TunedBoxes(_Stored):
    """Parameters of bounding boxes (see `BoxParameters`) and F1 thresholds, by class name."""

    step_seconds: dict[str, float]
    merge_absolute: dict[str, float]
    merge_relative: dict[str, float]
    f1_threshold: dict[str, float]

    @property
    def parameters(self) -> list[BoxParameters]:
        """In class order."""
        columns = (self.step_seconds, self.merge_absolute, self.merge_relative)
        return [BoxParameters(*(column[name] for column in columns)) for name in CLASSES]


class Tuned(_Stored):
    """What was tuned for one network; None: not asked for."""

    tuned_median: TunedMedian | None = None
    sebbs: TunedBoxes | None = None


def needs_tuning(config: Config) -> bool:
    """Whether the configuration names a method that is tuned on the validation set."""
    return any(method != MEDIAN for method in config.postprocess.methods)


def process(
    scores: NDArray[np.floating],
    names: Sequence[str],
    config: Config,
    method: str,
    tuned: Tuned | None,
) -> Processed:
    """Apply one of the methods to corrected scores `(clips, classes, frames)` of named clips."""
    settings = config.postprocess
    if method == MEDIAN:
        filtered = median_filter(scores, settings.windows)
        return Processed(Scores(filtered, names, config.grid), settings.f1_threshold)
    chosen = getattr(tuned, method)
    thresholds = [chosen.f1_threshold[name] for name in CLASSES]
    if method == TUNED_MEDIAN:
        filtered = median_filter(scores, [chosen.window[name] for name in CLASSES])
        return Processed(Scores(filtered, names, config.grid), thresholds)
    boxes = bounding_boxes(Scores(scores, names, config.grid), chosen.parameters)
    return Processed(boxes, thresholds)


def tune(
    scores: NDArray[np.floating],
    names: Sequence[str],
    truth: GroundTruth,
    config: Config,
    title: str,
) -> Tuned:
    """Tune every method that the configuration names.

    Args:
        scores: corrected scores of the validation set, `(clips, classes, frames)`.
        names: its clips.
        truth: its events.
        config: the experiment.
        title: what is tuned, for the progress bar.

    Raises:
        InputError: a validation set without any event.
    """
    if not any(truth.events.values()):
        raise InputError(
            "postprocess.methods: nothing can be tuned on a validation set without events"
        )
    raw = Scores(scores, names, config.grid)
    methods = config.postprocess.methods
    return Tuned(
        tuned_median=_tune_median(raw, truth, config, title) if TUNED_MEDIAN in methods else None,
        sebbs=_tune_boxes(raw, truth, config, title) if SEBBS in methods else None,
    )


def stored_tuning(checkpoint: Mapping[str, Any], source: str) -> dict[str, Tuned]:
    """What a checkpoint holds, by network; empty if nothing was tuned.

    Raises InputError where it is not what this project writes.
    """
    try:
        return {
            network: Tuned.model_validate(content)
            for network, content in checkpoint.get(CHECKPOINT_KEY, {}).items()
        }
    except (ValidationError, AttributeError):
        raise InputError(
            f"{source}: {CHECKPOINT_KEY} is not what this project writes; remove it, and it is "
            "tuned again on the validation set"
        ) from None


def dump_tuning(tuned: Mapping[str, Tuned]) -> dict[str, Any]:
    """The same as plain values, as `stored_tuning` reads them."""
    return {network: of_network.model_dump() for network, of_network in tuned.items()}


def covers(tuned: Mapping[str, Tuned], networks: Sequence[str], config: Config) -> bool:
    """Whether every method that the configuration names was tuned for every network."""
    methods = [method for method in config.postprocess.methods if method != MEDIAN]
    return all(
        network in tuned and getattr(tuned[network], method) is not None
        for network in networks
        for method in methods
    )


def _tune_median(raw: Scores, truth: GroundTruth, config: Config, title: str) -> TunedMedian:
    settings = config.postprocess
    windows = tqdm(settings.tuning_windows, desc=f"Tuning median windows, {title}", leave=False)
    chosen = choose_by_class(
        ((window, _filtered(raw, [window] * len(CLASSES))) for window in windows),
        truth,
        settings.tuning_metric,
    )
    return TunedMedian(
        window=_by_class(chosen),
        f1_threshold=_thresholds(_filtered(raw, chosen), truth, config),
    )


def _tune_boxes(raw: Scores, truth: GroundTruth, config: Config, title: str) -> TunedBoxes:
    grid = list(box_grid(config))
    choices = tqdm(grid, desc=f"Tuning bounding boxes, {title}", leave=False)
    chosen = choose_by_class(
        ((each, bounding_boxes(raw, [each] * len(CLASSES))) for each in choices),
        truth,
        config.postprocess.tuning_metric,
    )
    return TunedBoxes(
        step_seconds=_by_class([each.step_seconds for each in chosen]),
        merge_absolute=_by_class([each.merge_absolute for each in chosen]),
        merge_relative=_by_class([each.merge_relative for each in chosen]),
        f1_threshold=_thresholds(bounding_boxes(raw, chosen), truth, config),
    )


def box_grid(config: Config) -> Iterator[BoxParameters]:
    """Every step filter with each absolute merge threshold alone and each relative one alone."""
    settings = config.postprocess
    merging = [(absolute, math.inf) for absolute in settings.sebbs_merge_absolute]
    merging += [(math.inf, relative) for relative in settings.sebbs_merge_relative]
    for step, thresholds in itertools.product(settings.sebbs_step, merging):
        yield BoxParameters(step, *thresholds)


def _filtered(raw: Scores, windows: Sequence[int]) -> Scores:
    return Scores(median_filter(raw.values, windows), raw.names, raw.axis)


def _thresholds(output: Scores | Boxes, truth: GroundTruth, config: Config) -> dict[str, float]:
    otherwise = config.postprocess.f1_threshold
    return _by_class(best_thresholds(output, truth, otherwise=otherwise))


def _by_class(values: Sequence[Value]) -> dict[str, Value]:
    return dict(zip(CLASSES, values, strict=True))
