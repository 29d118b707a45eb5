"""Choose post-processing class by class on a validation set, never on the set that is judged.

The figures are those of `desed_task.evaluation`; each class takes what is best for itself.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar

import numpy as np

from desed_task.evaluation.evaluate import THRESHOLDS
from desed_task.evaluation.event_based import event_counts
from desed_task.evaluation.events import Floats
from desed_task.evaluation.exact_psds import exact_rocs
from desed_task.evaluation.outputs import ScoredOutput
from desed_task.evaluation.psds import PSDS1, PSDS2
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.evaluation.truth import GroundTruth

Choice = TypeVar("Choice")
TuningMetric = Literal["psds1", "psds2", "event_f1"]
_SCENARIOS = {"psds1": PSDS1, "psds2": PSDS2}


def choose_by_class(
    choices: Iterable[tuple[Choice, ScoredOutput]],
    truth: GroundTruth,
    metric: TuningMetric,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[Choice]:
    """The choice with the best figure for each class, the first of equal ones.

    A class without event in the truth takes the choice with the best mean over the others.

    Args:
        choices: settings, and what they make of the validation set's scores.
        truth: the validation set.
        metric: see `class_figures`.
        thresholds: see `class_figures`.

    Raises:
        ValueError: no choices, or a truth without any event.
    """
    settings: list[Choice] = []
    figures: list[Floats] = []
    for setting, output in choices:
        settings.append(setting)
        figures.append(class_figures(output, truth, metric, thresholds=thresholds))
    if not settings or np.isnan(figures[0]).all():
        raise ValueError("choices, and a truth with at least one event, are needed to choose")
    table = np.stack(figures)  # (choices, classes)
    best = np.argmax(np.nan_to_num(table, nan=-1.0), axis=0)
    best[np.isnan(table[0])] = np.argmax(np.nanmean(table, axis=1))
    return [settings[k] for k in best]


def class_figures(
    output: ScoredOutput,
    truth: GroundTruth,
    metric: TuningMetric,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
) -> Floats:
    """One figure per class, `(classes,)`; NaN for a class that does not occur in the truth.

    `psds1` and `psds2`: share of the area below the class's own exact PSD-ROC curve;
    `event_f1`: the class's best event-based F1 over `thresholds` (ascending).
    """
    if metric == "event_f1":
        table = event_f1_by_threshold(output, truth, thresholds)
        return table.max(axis=0)
    task = ScoringInput.prepare(output, truth)
    scenario = _SCENARIOS[metric]
    (roc,) = exact_rocs(
        task.threshold_events, task.true, task.n_classes, task.total_seconds, [scenario]
    )
    figures = np.full(task.n_classes, np.nan)
    for label, area in ({} if roc is None else roc.class_psds()).items():
        figures[label] = area
    return figures


def best_thresholds(
    output: ScoredOutput,
    truth: GroundTruth,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    otherwise: float = 0.5,
) -> list[float]:
    """The threshold with each class's best event-based F1, the middle one of equal ones.

    A class that does not occur in the truth, or of which no event is ever found, takes
    `otherwise`.
    """
    table = event_f1_by_threshold(output, truth, thresholds)
    chosen = []
    for of_class in table.T:
        best = np.flatnonzero(of_class == of_class.max())
        usable = len(best) and of_class[best[0]] > 0
        chosen.append(float(thresholds[best[len(best) // 2]]) if usable else otherwise)
    return chosen


def event_f1_by_threshold(
    output: ScoredOutput, truth: GroundTruth, thresholds: Sequence[float]
) -> Floats:
    """Event-based F1 `(thresholds, classes)`; NaN for classes that do not occur in the truth."""
    task = ScoringInput.prepare(output, truth, thresholds=thresholds)
    assert task.points is not None
    return np.stack(
        [
            event_counts(task.points.at_level(k), task.true, task.n_classes).per_class
            for k in range(len(thresholds))
        ]
    )
