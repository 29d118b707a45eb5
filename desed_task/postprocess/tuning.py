"""Choose post-processing parameters class by class on a validation set, never on the test set.

The metrics are those of `desed_task.evaluation`; each class takes its own best choice.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator
from tqdm import tqdm

from desed_task.evaluation import event_based, psds_exact
from desed_task.evaluation.evaluate import THRESHOLDS
from desed_task.evaluation.events import Floats
from desed_task.evaluation.outputs import ScoredOutput, Scores
from desed_task.evaluation.psds import PSDS1, PSDS2
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.evaluation.truth import GroundTruth
from desed_task.postprocess.median import median_filter
from desed_task.postprocess.methods import MedianParameters, SebbsParameters, by_class_name
from desed_task.postprocess.sebbs import BoxParameters, bounding_boxes
from desed_task.settings import Length, NonEmpty, NonNegative, Positive, Settings, Values

Choice = TypeVar("Choice")
TuningMetric = Literal["psds1", "psds2", "event_f1"]
_SCENARIOS = {"psds1": PSDS1, "psds2": PSDS2}


class TuningSettings(Settings):
    """Choices to try for each class, and the metric that chooses among them."""

    tuning_metric: TuningMetric = Field(
        description="metric that `tuned_median` and `sebbs` maximise for each class: exact "
        "`psds1`, `psds2`, or `event_f1` at its best threshold; F1 thresholds always maximise "
        "event F1"
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

    def boxes(self) -> Iterator[BoxParameters]:
        """Every step filter with each absolute merge threshold alone and each relative one."""
        merging = [(absolute, math.inf) for absolute in self.sebbs_merge_absolute]
        merging += [(math.inf, relative) for relative in self.sebbs_merge_relative]
        for step, thresholds in itertools.product(self.sebbs_step, merging):
            yield BoxParameters(step, *thresholds)


def tune_median(
    scores: Scores,
    truth: GroundTruth,
    settings: TuningSettings,
    *,
    default_threshold: float,
    title: str,
) -> MedianParameters:
    """Each class's best median window, and the F1 threshold that is best with it.

    Args:
        scores: of the validation set, before post-processing.
        truth: the validation set; at least one event.
        settings: windows to try, and the metric.
        default_threshold: F1 threshold of a class without any found event.
        title: the network, for the progress bar.
    """

    def filtered(windows: Sequence[int]) -> Scores:
        return scores.processed(lambda values: median_filter(values, windows))

    tried = {settings.in_frames(w, scores.frame_seconds): None for w in settings.tuning_windows}
    windows = tqdm(tried, desc=f"Tuning median windows, {title}", leave=False)
    chosen, thresholds = _tuned(windows, filtered, truth, settings, default_threshold)
    return MedianParameters(window=by_class_name(chosen, truth.classes), f1_threshold=thresholds)


def tune_sebbs(
    scores: Scores,
    truth: GroundTruth,
    settings: TuningSettings,
    *,
    default_threshold: float,
    title: str,
) -> SebbsParameters:
    """Each class's best bounding boxes; see `tune_median` for the arguments."""
    boxes = tqdm(list(settings.boxes()), desc=f"Tuning bounding boxes, {title}", leave=False)
    chosen, thresholds = _tuned(
        boxes, partial(bounding_boxes, scores), truth, settings, default_threshold
    )
    columns = map(list, zip(*chosen, strict=True))
    by_field = {
        name: by_class_name(column, truth.classes)
        for name, column in zip(BoxParameters._fields, columns, strict=True)
    }
    return SebbsParameters(**by_field, f1_threshold=thresholds)


def _tuned(
    choices: Iterable[Choice],
    apply: Callable[[list[Choice]], ScoredOutput],
    truth: GroundTruth,
    settings: TuningSettings,
    default_threshold: float,
) -> tuple[list[Choice], dict[str, float]]:
    """The best choice for each class, and the F1 threshold that is best with it by class name.

    `apply` makes the output of one choice per class.
    """
    n_classes = len(truth.classes)
    outputs = ((choice, apply([choice] * n_classes)) for choice in choices)
    chosen = choose_by_class(outputs, truth, settings.tuning_metric)
    thresholds = best_thresholds(apply(chosen), truth, default=default_threshold)
    return chosen, by_class_name(thresholds, truth.classes)


def choose_by_class(
    choices: Iterable[tuple[Choice, ScoredOutput]], truth: GroundTruth, tuning_metric: TuningMetric
) -> list[Choice]:
    """The choice with the best metric for each class, the first of equal ones.

    A class without true events takes the choice with the best mean over the other classes.

    Args:
        choices: parameters, and the output that they make of the validation set's scores.
        truth: the validation set.
        tuning_metric: see `class_metrics`.

    Raises:
        ValueError: no choices, or a truth without any event.
    """
    metrics = [(choice, class_metrics(output, truth, tuning_metric)) for choice, output in choices]
    if not metrics or np.isnan(metrics[0][1]).all():
        raise ValueError("nothing to tune: expected at least 1 choice and at least 1 true event")
    table = np.stack([by_class for _, by_class in metrics])  # (choices, classes)
    best = np.argmax(np.nan_to_num(table, nan=-1.0), axis=0)
    best[np.isnan(table[0])] = np.argmax(np.nanmean(table, axis=1))
    return [metrics[k][0] for k in best]


def class_metrics(output: ScoredOutput, truth: GroundTruth, tuning_metric: TuningMetric) -> Floats:
    """One metric per class, `(classes,)`; NaN for a class without true events.

    `psds1` and `psds2`: share of the area below the class's own exact PSD-ROC curve;
    `event_f1`: the class's best event-based F1 over `THRESHOLDS`.
    """
    if tuning_metric == "event_f1":
        return event_f1_by_threshold(output, truth, THRESHOLDS).max(axis=0)
    (counts,) = psds_exact.match(ScoringInput.prepare(output, truth), [_SCENARIOS[tuning_metric]])
    roc = counts.roc()
    metrics = np.full(len(truth.classes), np.nan)
    for label, area in ({} if roc is None else roc.class_psds()).items():
        metrics[label] = area
    return metrics


def best_thresholds(
    output: ScoredOutput,
    truth: GroundTruth,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    default: float = 0.5,
) -> list[float]:
    """The threshold with each class's best event-based F1, the middle one of equal ones.

    A class without true events, or without any found event, takes `default`.
    """
    table = event_f1_by_threshold(output, truth, thresholds)
    chosen = []
    for class_f1 in table.T:
        best = np.flatnonzero(class_f1 == class_f1.max())
        found = len(best) and class_f1[best[0]] > 0
        chosen.append(float(thresholds[best[len(best) // 2]]) if found else default)
    return chosen


def event_f1_by_threshold(
    output: ScoredOutput, truth: GroundTruth, thresholds: Sequence[float]
) -> Floats:
    """Event-based F1 `(thresholds, classes)`; NaN for classes without true events."""
    scoring = ScoringInput.prepare(output, truth, thresholds=thresholds)
    assert scoring.points is not None
    counts = event_based.match(scoring, scoring.points, n_levels=len(thresholds))
    return counts.total().f1
