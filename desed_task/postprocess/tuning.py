"""Choose post-processing parameters class by class on a validation set, never on the test set.

The metrics are those of `desed_task.evaluation`. A class with few events follows the common choice
of all classes: a choice k is rated (n m(k) + n0 M(k)) / (n + n0) for a class with n true events,
where m(k) is the metric of the class, M(k) its mean over the classes that occur, and n0 is
`tuning_shrinkage`. F1 thresholds are chosen by the same rule, where M(k) itself is drawn to the
default threshold t0 in the same way: (N M(k) + n0 (1 - |k - t0|)) / (N + n0) with N events of all
classes.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import Field, model_validator
from tqdm import tqdm

from desed_task.evaluation import event_based, psds_exact
from desed_task.evaluation.evaluate import THRESHOLDS
from desed_task.evaluation.events import Floats
from desed_task.evaluation.outputs import ScoredOutput, Scores
from desed_task.evaluation.psds import PSDS1, PSDS2, Scenario
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.evaluation.truth import GroundTruth
from desed_task.postprocess.median import median_filter
from desed_task.postprocess.methods import (
    SEBBS,
    MedianParameters,
    Method,
    Parameters,
    SebbsParameters,
    by_class_name,
)
from desed_task.postprocess.sebbs import BoxParameters, bounding_boxes
from desed_task.settings import Length, NonEmpty, NonNegative, Positive, Settings, Values

Choice = TypeVar("Choice")
TuningMetric = Literal["psds1", "psds2", "event_f1", "event_f1_psds1"]
COMPONENTS: dict[str, tuple[TuningMetric, ...]] = {
    "psds1": ("psds1",),
    "psds2": ("psds2",),
    "event_f1": ("event_f1",),
    "event_f1_psds1": ("event_f1", "psds1"),
}
"""The metrics whose mean is a `tuning_metric`."""
SCENARIOS: dict[TuningMetric, Scenario] = {"psds1": PSDS1, "psds2": PSDS2}


class TuningSettings(Settings):
    """Choices to try for each class, and the metric that chooses among them."""

    tuning_metric: TuningMetric = Field(
        description="metric that `tuned_median` and `sebbs` maximise for each class: exact "
        "`psds1`, `psds2`, `event_f1` at its best threshold, or `event_f1_psds1`, the mean of the "
        "two; F1 thresholds always maximise event F1"
    )
    tuning_shrinkage: NonNegative = Field(
        description="number of events n0: a class with n events chooses by its own metric with "
        "the weight n / (n + n0), and by the mean over the classes with the rest; F1 thresholds "
        "of few events are near `f1_threshold` in the same way; 0: by its own"
    )
    choose_method: bool = Field(
        description="`true`: the method with the best `tuning_metric` on the validation set "
        "(cross-validation: each clip with parameters that were tuned on others) is the model's "
        "default, and the only one that the test scores, if its gain over the first of `methods` "
        "is more than chance; `false`: the first of `methods` is the default"
    )
    calibrate_confidence: bool = Field(
        description="`true`: the confidence of events that `sed-detect` finds is the probability "
        "that the event is correct, fitted on the validation set; `false`: the mean score"
    )
    window_unit: Literal["frames", "seconds"] = Field(
        description="unit of `median_window` and `tuning_windows`; seconds are rounded to whole "
        "frames of the network, at least 1"
    )
    tuning_windows: NonEmpty[Length] = Field(
        description="median windows that `tuned_median` tries, in `window_unit`"
    )
    sebbs_step: NonEmpty[Positive] = Field(
        description="lengths of the step filter in seconds that `sebbs` tries"
    )
    sebbs_merge_absolute: Values[NonNegative] = Field(
        description="differences of scores below which events merge; each is tried without a ratio"
    )
    sebbs_merge_relative: Values[NonNegative] = Field(
        description="ratios of scores below which events merge; each is tried without a difference"
    )

    @model_validator(mode="after")
    def _check(self) -> "TuningSettings":
        self._require_frames("tuning_windows", self.tuning_windows)
        self._require(
            bool(self.sebbs_merge_absolute or self.sebbs_merge_relative),
            "sebbs_merge_absolute",
            "at least 1 value here or in sebbs_merge_relative",
            "sebbs_merge_relative",
            got=0,
        )
        return self

    def _require_frames(self, key: str, windows: Iterable[float]) -> None:
        """Raise the error for windows in frames that are no whole numbers."""
        wrong = [window for window in windows if window != round(window)]
        self._require(
            self.window_unit == "seconds" or not wrong,
            key,
            "whole numbers, as window_unit is frames",
            "window_unit",
            got=wrong,
        )

    def in_frames(self, window: float, frame_seconds: float) -> int:
        """A median window in `window_unit` as a number of frames of this length, at least 1."""
        frames = window if self.window_unit == "frames" else window / frame_seconds
        return max(1, round(frames))

    def windows(self, frame_seconds: float) -> list[int]:
        """The median windows to try, in frames of this length."""
        return list(
            dict.fromkeys(self.in_frames(each, frame_seconds) for each in self.tuning_windows)
        )

    def boxes(self) -> Iterator[BoxParameters]:
        """Every step filter with each absolute merge threshold alone and each relative one."""
        merging = [(absolute, math.inf) for absolute in self.sebbs_merge_absolute]
        merging += [(math.inf, relative) for relative in self.sebbs_merge_relative]
        for step, thresholds in itertools.product(self.sebbs_step, merging):
            yield BoxParameters(step, *thresholds)


class Choices(NamedTuple, Generic[Choice]):
    """What a method may do with some scores.

    Attributes:
        title: of the choices.
        values: the choices.
        apply: the output of one choice per class.
        parameters: the method's parameters, from one choice and one F1 threshold per class.
    """

    title: str
    values: Sequence[Choice]
    apply: Callable[[Sequence[Choice]], ScoredOutput]
    parameters: Callable[[Sequence[Choice], dict[str, float]], Parameters]


def method_choices(
    method: Method, scores: Scores, settings: TuningSettings, classes: Sequence[str]
) -> Choices[Any]:
    """The choices of `tuned_median` or `sebbs` for scores before post-processing."""
    if method == SEBBS:
        return Choices(
            "bounding boxes",
            list(settings.boxes()),
            partial(bounding_boxes, scores),
            partial(_sebbs_parameters, classes),
        )

    def filtered(windows: Sequence[int]) -> Scores:
        return scores.processed(lambda values: median_filter(values, windows))

    windows = settings.windows(scores.frame_seconds)
    return Choices("median windows", windows, filtered, partial(_median_parameters, classes))


def _median_parameters(
    classes: Sequence[str], windows: Sequence[int], thresholds: dict[str, float]
) -> MedianParameters:
    return MedianParameters(window=by_class_name(windows, classes), f1_threshold=thresholds)


def _sebbs_parameters(
    classes: Sequence[str], chosen: Sequence[BoxParameters], thresholds: dict[str, float]
) -> SebbsParameters:
    columns = map(list, zip(*chosen, strict=True))
    by_field = {
        name: by_class_name(column, classes)
        for name, column in zip(BoxParameters._fields, columns, strict=True)
    }
    return SebbsParameters(**by_field, f1_threshold=thresholds)


def tune(
    method: Method,
    scores: Scores,
    truth: GroundTruth,
    settings: TuningSettings,
    *,
    default_threshold: float,
    title: str,
    weights: Floats | None = None,
) -> list[Parameters]:
    """The best parameters of `tuned_median` or `sebbs` for one or several sets of clips.

    Args:
        method: the method.
        scores: of the validation set, before post-processing.
        truth: the validation set; at least one event in each set.
        settings: choices to try, the metric, and the shrinkage.
        default_threshold: F1 threshold where no event is found.
        title: the network, for the progress bar.
        weights: how often each clip of the ground truth occurs in each set, whole numbers,
            `(sets, clips)`; None: one set with all clips.
    """
    weights = _all_clips(truth) if weights is None else weights
    choices = method_choices(method, scores, settings, truth.classes)
    n_classes, shrinkage = len(truth.classes), settings.tuning_shrinkage
    bar = tqdm(choices.values, desc=f"Tuning {choices.title}, {title}", leave=False)
    outputs = ((choice, choices.apply([choice] * n_classes)) for choice in bar)
    chosen = choose_by_class(outputs, truth, settings.tuning_metric, weights, shrinkage)
    found: list[Parameters] = []
    for by_class, set_weights in zip(chosen, weights, strict=True):
        thresholds = best_thresholds(
            choices.apply(by_class),
            truth,
            weights=set_weights,
            shrinkage=shrinkage,
            default=default_threshold,
        )
        found.append(choices.parameters(by_class, by_class_name(thresholds, truth.classes)))
    return found


def choose_by_class(
    choices: Iterable[tuple[Choice, ScoredOutput]],
    truth: GroundTruth,
    tuning_metric: TuningMetric,
    weights: Floats | None = None,
    shrinkage: float = 0.0,
) -> list[list[Choice]]:
    """The choice that is rated best for each class, the first of equal ones, for each set.

    Args:
        choices: parameters, and the output that they make of the validation set's scores.
        truth: the validation set.
        tuning_metric: see `class_metrics`.
        weights: as in `tune`.
        shrinkage: number of events n0.

    Raises:
        ValueError: no choices, or a set without any event.
    """
    weights = _all_clips(truth) if weights is None else weights
    metrics = [
        (choice, class_metrics(output, truth, tuning_metric, weights)) for choice, output in choices
    ]
    if not metrics or np.isnan(metrics[0][1]).all(axis=1).any():
        raise ValueError("nothing to tune: expected at least 1 choice and at least 1 true event")
    table = np.stack([by_class for _, by_class in metrics], axis=1)  # (sets, choices, classes)
    ratings = shrunk(table, event_counts(truth, weights), shrinkage)
    return [[metrics[k][0] for k in best] for best in np.argmax(ratings, axis=1)]


def shrunk(
    table: Floats, n_events: Floats, shrinkage: float, prior: Floats | None = None
) -> Floats:
    """Ratings of the choices: metrics of the classes, shrunk towards their mean over the classes.

    Args:
        table: metrics `(sets, choices, classes)`; NaN for a class without true events, which is
            rated by the mean.
        n_events: true events, `(sets, classes)`.
        shrinkage: number of events n0.
        prior: ratings without any event, `(choices,)`; None: none.
    """
    share = np.where(n_events > 0, n_events / np.maximum(n_events + shrinkage, 1e-9), 0.0)
    share = share[:, None, :]
    mean = np.nanmean(table, axis=2, keepdims=True)
    if prior is not None:
        total = n_events.sum(axis=1)[:, None, None]
        mean = (total * mean + shrinkage * prior[:, None]) / (total + shrinkage)
    return share * np.nan_to_num(table) + (1 - share) * mean


def _all_clips(truth: GroundTruth) -> Floats:
    """Weights of one set, which has every clip once, `(1, clips)`."""
    return np.ones((1, len(truth.events)))


def event_counts(truth: GroundTruth, weights: Floats) -> Floats:
    """Number of true events of each class in each set, `(sets, classes)`."""
    counts = np.zeros((len(truth.events), len(truth.classes)))
    table = truth.table(list(truth.events))
    np.add.at(counts, (table.clip, table.label), 1)
    return weights @ counts


def class_metrics(
    output: ScoredOutput,
    truth: GroundTruth,
    tuning_metric: TuningMetric,
    weights: Floats | None = None,
) -> Floats:
    """One metric per class and set, `(sets, classes)`; NaN for a class without true events.

    `psds1` and `psds2`: share of the area below the class's own exact PSD-ROC curve;
    `event_f1`: the class's best event-based F1 over `THRESHOLDS`; `event_f1_psds1`: mean of both.
    """
    weights = _all_clips(truth) if weights is None else weights
    components = COMPONENTS[tuning_metric]
    return np.mean([_component(each, output, truth, weights) for each in components], axis=0)


def _component(
    component: TuningMetric, output: ScoredOutput, truth: GroundTruth, weights: Floats
) -> Floats:
    if component == "event_f1":
        return event_f1_by_threshold(output, truth, THRESHOLDS, weights).max(axis=1)
    (counts,) = psds_exact.match(ScoringInput.prepare(output, truth), [SCENARIOS[component]])
    metrics = np.full((len(weights), len(truth.classes)), np.nan)
    for row, roc in zip(metrics, counts.rocs(weights), strict=True):
        for label, area in ({} if roc is None else roc.class_psds()).items():
            row[label] = area
    return metrics


def best_thresholds(
    output: ScoredOutput,
    truth: GroundTruth,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    weights: Floats | None = None,
    shrinkage: float = 0.0,
    default: float = 0.5,
) -> list[float]:
    """The threshold whose event-based F1 is rated best for each class, the middle of equal ones.

    A class takes `default` where no threshold is rated above 0. `weights` are those of one set,
    `(clips,)`.
    """
    weights = _all_clips(truth)[0] if weights is None else weights
    table = event_f1_by_threshold(output, truth, thresholds, weights[None])
    if np.isnan(table).all():
        return [default] * len(truth.classes)
    prior = 1 - np.abs(np.asarray(thresholds) - default)
    ratings = shrunk(table, event_counts(truth, weights[None]), shrinkage, prior)[0]
    chosen = []
    for class_ratings in ratings.T:
        best = np.flatnonzero(class_ratings == class_ratings.max())
        found = class_ratings[best[0]] > 0
        chosen.append(float(thresholds[best[len(best) // 2]]) if found else default)
    return chosen


def event_f1_by_threshold(
    output: ScoredOutput,
    truth: GroundTruth,
    thresholds: Sequence[float],
    weights: Floats | None = None,
) -> Floats:
    """Event-based F1 `(sets, thresholds, classes)`; NaN for classes without true events."""
    weights = _all_clips(truth) if weights is None else weights
    scoring = ScoringInput.prepare(output, truth, thresholds=thresholds)
    assert scoring.points is not None
    counts = event_based.match(scoring, scoring.points, n_levels=len(thresholds))
    return np.stack([counts.total(each).f1 for each in weights])
