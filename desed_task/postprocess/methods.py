"""Post-processing methods: what turns a network's scores into scored output and F1 thresholds.

| method | output | parameters per class |
|---|---|---|
| `median` | median-filtered scores | window; one F1 threshold for all classes |
| `tuned_median` | median-filtered scores | window and F1 threshold, tuned |
| `sebbs` | sound event bounding boxes | step filter, merge thresholds, F1 threshold, tuned |

Parameters are stored by class name, as plain values, so that a checkpoint can hold them.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, TypeVar

from pydantic import Field

from desed_task.evaluation.outputs import Boxes, Scores
from desed_task.evaluation.scoring_input import Threshold
from desed_task.postprocess.calibration import Calibration
from desed_task.postprocess.median import median_filter
from desed_task.postprocess.sebbs import BoxParameters, bounding_boxes
from desed_task.settings import (
    FractionBelow1,
    NonNegative,
    NonNegativeOrInf,
    Positive,
    PositiveInt,
    Settings,
    misfit,
)

Value = TypeVar("Value")
Method = Literal["median", "tuned_median", "sebbs"]
MEDIAN: Method = "median"
TUNED_MEDIAN: Method = "tuned_median"
SEBBS: Method = "sebbs"
DESCRIPTIONS: dict[str, str] = {
    MEDIAN: "median windows of the configuration",
    TUNED_MEDIAN: "median windows and F1 thresholds tuned on the validation set",
    SEBBS: "sound event bounding boxes, tuned like the F1 thresholds on the validation set",
}
TITLES = {"event_f1": "event F1", "psds1": "PSDS1", "psds2": "PSDS2"}


class MedianParameters(Settings):
    """Parameters of `median` and `tuned_median`.

    Attributes:
        window: frames, by class name.
        f1_threshold: of all classes, or by class name.
    """

    window: dict[str, PositiveInt]
    f1_threshold: FractionBelow1 | dict[str, FractionBelow1]

    def apply(self, scores: Scores, classes: Sequence[str]) -> Scores:
        """Scores, median-filtered over time. `classes`: names, in the order of the scores."""
        windows = [self.window[name] for name in classes]
        return scores.processed(lambda values: median_filter(values, windows))


class SebbsParameters(Settings):
    """Parameters of `sebbs` by class name: those of `BoxParameters`, and the F1 threshold."""

    step_seconds: dict[str, Positive]
    merge_absolute: dict[str, NonNegativeOrInf]
    merge_relative: dict[str, NonNegativeOrInf]
    f1_threshold: dict[str, FractionBelow1]

    def apply(self, scores: Scores, classes: Sequence[str]) -> Boxes:
        """Bounding boxes of the scores. `classes`: names, in the order of the scores."""
        columns = (self.step_seconds, self.merge_absolute, self.merge_relative)
        parameters = [BoxParameters(*(column[name] for column in columns)) for name in classes]
        return bounding_boxes(scores, parameters)


Parameters = MedianParameters | SebbsParameters


class Selection(Settings):
    """The method that was chosen on the validation set, and why.

    Attributes:
        method: the chosen one.
        metric: what it maximises, a `tuning_metric`.
        clips, folds: of the cross-validation.
        values: event F1 and PSDS of each method, by method and metric.
    """

    method: Method
    metric: str
    clips: PositiveInt
    folds: PositiveInt
    values: dict[str, dict[str, NonNegative]]

    def __str__(self) -> str:
        return (
            f"{self.method} is chosen by {self.metric} on validation ({self.folds}-fold "
            f"cross-validation of {self.clips} clips): {compared(self.values)}"
        )


def compared(values: Mapping[str, Mapping[str, float]]) -> str:
    """Metrics of some methods as text."""
    lines = []
    for name, metrics in values.items():
        shown = ", ".join(f"{TITLES[key]} {value:.3f}" for key, value in metrics.items())
        lines.append(f"{name}: {shown}")
    return "; ".join(lines)


class TunedParameters(Settings):
    """What was tuned for one network, by method; None: not tuned.

    Attributes:
        tuned_median, sebbs: parameters of the methods.
        selection: the method that was chosen; None: none was.
        calibration: confidence to probability, by method; empty: not fitted.
    """

    tuned_median: MedianParameters | None = None
    sebbs: SebbsParameters | None = None
    selection: Selection | None = None
    calibration: dict[Method, Calibration] = Field(default_factory=dict)

    def __getitem__(self, method: Method) -> Parameters | None:
        """Parameters of a tuned method; None: it was not tuned."""
        return {TUNED_MEDIAN: self.tuned_median, SEBBS: self.sebbs}.get(method)


class Postprocessing(Settings):
    """Methods that turn scores into events, and their parameters by class.

    Attributes:
        method: the method that is used unless the user chooses another.
        median: parameters of `median`.
        tuned: parameters of the methods that were tuned.
    """

    method: Method
    median: MedianParameters
    tuned: TunedParameters

    @property
    def methods(self) -> list[Method]:
        """The methods that have parameters."""
        return [MEDIAN, *(method for method in (TUNED_MEDIAN, SEBBS) if self.tuned[method])]

    def parameters(self, method: Method) -> Parameters | None:
        """Parameters of a method; None for one that was not tuned."""
        return self.median if method == MEDIAN else self.tuned[method]

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with any parameter."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def check_classes(self, classes: Collection[str]) -> None:
        """Raise a misfit unless all parameters by class are of these classes."""
        for method, calibration in self.tuned.calibration.items():
            if not set(calibration.by_class) <= set(classes):
                key = f"tuned.calibration.{method}.by_class"
                raise misfit("expected names of classes", key)
        for method in self.methods:
            section = MEDIAN if method == MEDIAN else f"tuned.{method}"
            for key, by_class in self.parameters(method) or ():
                if isinstance(by_class, dict) and set(by_class) != set(classes):
                    raise misfit("expected a value for each class", f"{section}.{key}")


def class_thresholds(parameters: Parameters, classes: Sequence[str]) -> Threshold:
    """F1 threshold of all classes, or one per class in the order of `classes`."""
    threshold = parameters.f1_threshold
    return [threshold[name] for name in classes] if isinstance(threshold, dict) else threshold


def by_class_name(values: Sequence[Value], classes: Sequence[str]) -> dict[str, Value]:
    """The values, one per class, by class name."""
    return dict(zip(classes, values, strict=True))
