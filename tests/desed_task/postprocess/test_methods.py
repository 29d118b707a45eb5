"""Post-processing methods with their parameters by class name, by hand-made scores."""

import math

import numpy as np
import pytest
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from desed_task.evaluation import Scores
from desed_task.postprocess.calibration import Calibration, Curve
from desed_task.postprocess.methods import (
    MedianParameters,
    Postprocessing,
    SebbsParameters,
    TunedParameters,
    class_thresholds,
)

CLASSES = ("Dog", "Cat")
WINDOW = {"Cat": 1, "Dog": 3}
SEBBS = SebbsParameters(
    step_seconds={"Cat": 2.0, "Dog": 2.0},
    merge_absolute={"Cat": 0.0, "Dog": math.inf},
    merge_relative={"Cat": 0.0, "Dog": math.inf},
    f1_threshold={"Cat": 0.75, "Dog": 0.25},
)


def scores() -> Scores:
    """Two events with a gap of one frame, the same in both classes; frames of one second."""
    row = np.array([0, 1, 1, 0, 1, 1, 0, 0], dtype=np.float32)
    return Scores(np.stack([row, row])[None], ["a.wav"], np.arange(9, dtype=np.float64))


def test_median_windows_belong_to_their_class() -> None:
    filtered = MedianParameters(window=WINDOW, f1_threshold=0.5).apply(scores(), CLASSES)
    dog, cat = filtered.values[0].tolist()
    assert dog == [0, 1, 1, 1, 1, 1, 0, 0]
    assert cat == [0, 1, 1, 0, 1, 1, 0, 0]


def test_sebbs_parameters_belong_to_their_class() -> None:
    boxes = SEBBS.apply(scores(), CLASSES)
    labels = boxes.events.label.tolist()
    assert labels.count(0) == 1  # Dog: all events merge
    cats = [
        (onset, offset)
        for label, onset, offset in zip(
            labels, boxes.events.onset, boxes.events.offset, strict=True
        )
        if label == 1
    ]
    assert {(1, 3), (4, 6)} <= set(cats)


def test_thresholds_of_all_classes_or_of_each() -> None:
    assert class_thresholds(MedianParameters(window=WINDOW, f1_threshold=0.5), CLASSES) == 0.5
    assert class_thresholds(SEBBS, CLASSES) == [0.25, 0.75]


def test_stored_parameters_are_plain_values() -> None:
    median = MedianParameters(window=WINDOW, f1_threshold={"Cat": 0.3, "Dog": 0.4})
    tuned = TunedParameters(tuned_median=median, sebbs=SEBBS)
    stored = tuned.plain()
    assert stored["tuned_median"] == {"window": WINDOW, "f1_threshold": {"Cat": 0.3, "Dog": 0.4}}
    assert stored["sebbs"]["merge_absolute"] == {"Cat": 0.0, "Dog": math.inf}
    assert TunedParameters.model_validate(stored) == tuned


def test_calibration_of_unknown_classes_is_refused() -> None:
    curve = Curve(method="platt", events=20, score=(0.5,), probability=(0.5,))
    median = MedianParameters(window=WINDOW, f1_threshold=0.5)
    for name in ("Dog", "Cow"):
        tuned = TunedParameters(calibration={"median": Calibration(by_class={name: curve})})
        whole = Postprocessing(method="median", median=median, tuned=tuned)
        if name == "Dog":
            whole.check_classes(CLASSES)
            assert whole.digest != whole.model_copy(update={"tuned": TunedParameters()}).digest
        else:
            with pytest.raises(PydanticCustomError):
                whole.check_classes(CLASSES)


@pytest.mark.parametrize(
    "content",
    [
        {"median": None},
        {"tuned_median": {"window": {"Cat": "1"}, "f1_threshold": 0.5}},
        {"tuned_median": {"window": {"Cat": 0}, "f1_threshold": 0.5}},
        {"sebbs": SEBBS.plain() | {"step_seconds": {"Cat": 0.0, "Dog": 2.0}}},
        {"sebbs": SEBBS.plain() | {"step_seconds": {"Cat": math.inf, "Dog": 2.0}}},
        {"sebbs": SEBBS.plain() | {"merge_absolute": {"Cat": -0.1, "Dog": 2.0}}},
        {"sebbs": SEBBS.plain() | {"merge_relative": {"Cat": math.nan, "Dog": 2.0}}},
        {"sebbs": SEBBS.plain() | {"f1_threshold": {"Cat": math.inf, "Dog": 0.5}}},
    ],
)
def test_parameters_that_do_not_fit_are_refused(content: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TunedParameters.model_validate(content)
