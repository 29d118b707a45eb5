"""Tune post-processing methods, compare them by cross-validation, calibrate their confidence.

A tuned method is compared on clips that it was not tuned on: the validation set is divided into
folds, and the output for a fold's clips has the parameters that were tuned on the others. Methods
without tuned parameters have the same output in every fold. Calibration uses the same events.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from desed_task.evaluation import event_based
from desed_task.evaluation.clip_counts import Counts
from desed_task.evaluation.events import Floats, Ints
from desed_task.evaluation.outputs import Scores, joined
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.evaluation.truth import GroundTruth
from desed_task.postprocess.calibration import (
    LOWER,
    Calibration,
    FoundEvents,
    fit_calibration,
    found_events,
)
from desed_task.postprocess.methods import (
    Method,
    Parameters,
    Selection,
    TunedParameters,
    class_thresholds,
)
from desed_task.postprocess.tuning import COMPONENTS, SCENARIOS, TuningSettings, class_metrics, tune

N_FOLDS = 5
FOLD_SEED = 0
CHANCE = 0.5
"""Divided by the root of the number of events: a gain below it is not seen on other recordings."""


class Tuned(NamedTuple):
    """What was tuned and found for the scores of one network.

    Attributes:
        parameters: of the tuned methods.
        values: event F1 and PSDS of each method by name, means over the classes,
            cross-validated; empty: not compared.
        clips, folds: of the cross-validation.
        n_events: true events in the validation set.
        calibration: of each method by name; empty: not asked for.
    """

    parameters: dict[Method, Parameters]
    values: dict[str, dict[str, float]]
    clips: int
    folds: int
    n_events: int
    calibration: dict[str, Calibration]

    def best(self, settings: TuningSettings) -> str | None:
        """The method with the best `tuning_metric`; None: not compared.

        The first one is kept unless another gains more than chance does on so few events.
        """
        rated = {name: rating(values, settings) for name, values in self.values.items()}
        if not rated:
            return None
        first, best = next(iter(rated)), max(rated, key=rated.__getitem__)
        gain = rated[best] - rated[first]
        return best if gain > CHANCE / math.sqrt(max(1, self.n_events)) else first

    def stored(self, settings: TuningSettings) -> TunedParameters:
        """The same as parameters of a model, where all names are those of methods."""
        best: Any = self.best(settings)
        found: Any = {**self.parameters, "calibration": self.calibration}
        return TunedParameters(**found, selection=self.selection(best, settings))

    def selection(self, method: Method | None, settings: TuningSettings) -> Selection | None:
        """The comparison, which chose a method; None: no method."""
        if method is None:
            return None
        return Selection(
            method=method,
            metric=settings.tuning_metric,
            clips=self.clips,
            folds=self.folds,
            values=self.values,
        )


def rating(values: Mapping[str, float], settings: TuningSettings) -> float:
    """The `tuning_metric` of a method's values."""
    return float(np.mean([values[name] for name in COMPONENTS[settings.tuning_metric]]))


def tune_methods(
    scores: Scores,
    truth: GroundTruth,
    settings: TuningSettings,
    *,
    methods: Sequence[Method],
    fixed: Mapping[str, Parameters],
    default_threshold: float,
    title: str,
    groups: Sequence[str] | None = None,
) -> Tuned:
    """Tune methods, and compare and calibrate them as the settings ask for.

    Args:
        scores: of the validation set, before post-processing.
        truth: its events, in the order of the scores; at least one event.
        settings: choices, metric, shrinkage, and what is asked for.
        methods: those to tune.
        fixed: methods with given parameters by name, which are compared with the tuned ones.
        default_threshold: F1 threshold where no event is found.
        title: the network, for the progress bar.
        groups: clips of one group are in one fold, `(clips,)`; None: each clip is a group.
    """
    compare = settings.choose_method or settings.calibrate_confidence
    names = list(truth.events)
    folds = make_folds(truth, groups or names) if compare else np.zeros(len(names), dtype=np.int64)
    n_folds = int(folds.max(initial=0)) + 1
    n_events = sum(map(len, truth.events.values()))
    # The first set has all clips; the others have those of all folds but one.
    weights = np.ones((1 if n_folds == 1 else 1 + n_folds, len(names)))
    for fold, row in enumerate(weights[1:]):
        row[folds == fold] = 0
    tuned = {
        method: tune(
            method,
            scores,
            truth,
            settings,
            default_threshold=default_threshold,
            title=title,
            weights=weights,
        )
        for method in methods
    }
    whole = {method: found[0] for method, found in tuned.items()}
    if not compare:
        return Tuned(whole, {}, len(names), n_folds, n_events, {})
    by_fold: dict[str, Sequence[Parameters]] = {
        name: [parameters] * n_folds for name, parameters in fixed.items()
    }
    by_fold |= {method: found[-n_folds:] for method, found in tuned.items()}
    results = {name: held_out(each, scores, truth, folds) for name, each in by_fold.items()}
    values = {name: result.values for name, result in results.items()}
    calibration = {
        name: fit_calibration(result.events, truth.classes) for name, result in results.items()
    }
    return Tuned(
        whole,
        values if settings.choose_method and n_folds > 1 else {},
        len(names),
        n_folds,
        n_events,
        calibration if settings.calibrate_confidence else {},
    )


def make_folds(truth: GroundTruth, groups: Sequence[str]) -> Ints:
    """Fold of each clip, `(clips,)`: all the same number of events as far as groups allow.

    There are at most `N_FOLDS`, and no more than groups with events. With only one such group,
    clips are groups; with only one such clip, there is one fold.

    Args:
        truth: the clips.
        groups: the group of each clip.
    """
    n_events = np.array([len(events) for events in truth.events.values()])
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    if np.count_nonzero(np.bincount(group, n_events)) < 2:
        group = np.arange(len(n_events))
    clips, events = np.bincount(group), np.bincount(group, n_events)
    n_folds = max(1, min(N_FOLDS, int(np.count_nonzero(events))))
    order = np.random.default_rng(FOLD_SEED).permutation(len(clips))
    order = order[np.argsort(-events[order], kind="stable")]  # large ones first
    fold_of_group = np.zeros(len(clips), dtype=np.int64)
    sizes = np.zeros((n_folds, 2))  # events, clips
    for each in order:
        fold = np.lexsort((sizes[:, 1], sizes[:, 0]))[0]
        fold_of_group[each] = fold
        sizes[fold] += events[each], clips[each]
    return fold_of_group[group]


class HeldOut(NamedTuple):
    """A method on clips that its parameters were not tuned on: its metrics, and its events."""

    values: dict[str, float]
    events: FoundEvents


def held_out(
    parameters: Sequence[Parameters], scores: Scores, truth: GroundTruth, folds: Ints
) -> HeldOut:
    """The output of each fold with its parameters, scored together.

    Args:
        parameters: of each fold.
        scores: of all clips, before post-processing.
        truth: their events, in the order of the scores.
        folds: the fold of each clip.
    """
    outputs, counts, events = [], [], []
    for fold, chosen in enumerate(parameters):
        part = scores.clips(np.flatnonzero(folds == fold))
        part_truth = truth.restricted(part.names)
        output = chosen.apply(part, truth.classes)
        bounds = np.broadcast_to(class_thresholds(chosen, truth.classes), len(truth.classes))
        scoring = ScoringInput.prepare(output, part_truth, f1_threshold=bounds.tolist())
        assert scoring.detections is not None
        counts.append(event_based.match(scoring, scoring.detections).total())
        events.append(found_events(output, part_truth, bounds.tolist(), LOWER))
        outputs.append(output)
    values = {"event_f1": _macro_f1(counts)}
    whole = joined(outputs)
    values |= {name: float(np.nanmean(class_metrics(whole, truth, name))) for name in SCENARIOS}
    return HeldOut(values, FoundEvents.joined(events))


def _macro_f1(parts: Sequence[Counts]) -> float:
    """Event-based F1 of the sums of counts, mean over the classes that occur."""

    def total(name: str) -> Ints:
        return np.sum([getattr(part, name) for part in parts], axis=0)

    f1: Floats = Counts(total("true"), total("correct"), total("false")).f1
    return float(np.nanmean(f1[0]))
