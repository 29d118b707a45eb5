"""Confidence of a detected event -> probability that the event is correct.

Right: the event hits a true event, by the event-based criterion of the evaluation. The curve is
fitted on the events of a validation set, for all classes together and for each class with enough
events: by isotonic regression where events are many, otherwise by Platt's logistic function of the
score's logit. It is stored as the knots of a piecewise linear function.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from desed_task.evaluation import event_based
from desed_task.evaluation.events import EventTable, Floats, Ints, pairs_per_clip
from desed_task.evaluation.outputs import ScoredOutput
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.evaluation.truth import GroundTruth
from desed_task.settings import ClassName, Fraction, PositiveInt, Settings, has_length

MIN_EVENTS = 20  # of a common curve; below it, there is none
MIN_CLASS_EVENTS = 100  # of a class's own curve
MIN_CORRECT_AND_WRONG = 5  # correct and wrong events
ISOTONIC_EVENTS = 1000  # from here on isotonic regression, which overfits below
LOWER = 0.5  # share of the thresholds at which further events are searched
SCORE_RANGE = (1e-3, 1 - 1e-3)  # of scores before their logit
PLATT_KNOTS = (0.001, 0.005, 0.01, 0.02, *(k / 20 for k in range(1, 20)), 0.98, 0.99, 0.995, 0.999)
MAX_KNOTS = 10_000

Knots = Annotated[tuple[Fraction, ...], has_length(1, MAX_KNOTS)]


class Curve(Settings):
    """A non-decreasing, piecewise linear function, constant outside its knots.

    Attributes:
        method: how it was fitted.
        events: number of events that it was fitted on.
        score: of the knots, ascending.
        probability: of the knots.
    """

    method: Literal["platt", "isotonic"]
    events: PositiveInt
    score: Knots
    probability: Knots

    @model_validator(mode="after")
    def _check(self) -> "Curve":
        same = len(self.score) == len(self.probability)
        self._require(same, "probability", f"{len(self.score)} values, as score has", "score")
        ascends = bool(np.all(np.diff(self.score) > 0))
        self._require(ascends, "score", "ascending values")
        self._require(
            bool(np.all(np.diff(self.probability) >= 0)), "probability", "no falling value"
        )
        return self

    def at(self, score: Floats) -> Floats:
        """Probabilities of scores of any shape."""
        return np.interp(score, self.score, self.probability)


class Calibration(Settings):
    """Curves of all classes and of those that have their own; without a curve, scores are returned.

    Attributes:
        common: of the classes without their own curve; None: there were too few events.
        by_class: of the classes with enough events.
    """

    common: Curve | None = None
    by_class: dict[ClassName, Curve] = Field(default_factory=dict)

    def __str__(self) -> str:
        if self.common is None:
            return (
                "confidence is the score: a probability needs scores that separate correct from "
                f"wrong events, of at least {MIN_EVENTS} detected events with known labels"
            )
        own = len(self.by_class)
        return f"confidence is a probability, fitted on {self.common.events} events" + (
            f" ({own} class{'es' * (own > 1)} by {'their' if own > 1 else 'its'} own)"
            if own
            else ""
        )

    def probability(self, confidence: Floats | float, name: str) -> Any:
        """Probability that events of a class with this confidence are correct, in its shape."""
        curve = self.by_class.get(name, self.common)
        return confidence if curve is None else curve.at(np.asarray(confidence))

    def probabilities(self, events: "FoundEvents", classes: Sequence[str]) -> Floats:
        """The same of events of several classes, `(events,)`."""
        values = np.array(events.confidence)
        for label in np.unique(events.label):
            rows = events.label == label
            values[rows] = self.probability(values[rows], classes[label])
        return values


class FoundEvents(NamedTuple):
    """Detected events: class, confidence, and whether it hits a true event; all `(events,)`."""

    label: Ints
    confidence: Floats
    correct: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: Sequence["FoundEvents"]) -> "FoundEvents":
        """The events of several sets."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def found_events(
    output: ScoredOutput, truth: GroundTruth, thresholds: Sequence[float], lower: float = 1.0
) -> FoundEvents:
    """The events at thresholds, and the further ones that lower thresholds add.

    Args:
        output: of the clips of the ground truth, in its order.
        truth: their true events.
        thresholds: one per class.
        lower: share of the thresholds at which further events are searched, which share no time
            with an event of their class at the thresholds; 1: none are.
    """
    table, confidence = output.detect_with_confidence(thresholds)
    if lower < 1:
        more, more_confidence = output.detect_with_confidence(np.asarray(thresholds) * lower)
        new = ~_touched(more, table, len(truth.classes))
        columns = zip(vars(table).values(), vars(more.select(new)).values(), strict=True)
        level, *others = (np.concatenate(pair) for pair in columns)
        level[len(table) :] = 1
        table = EventTable(level, *others)
        confidence = np.concatenate([confidence, more_confidence[new]])
    correct = np.zeros(len(table), dtype=np.bool_)
    scoring = ScoringInput.prepare(output, truth.restricted(output.names))
    correct[event_based.correct(scoring, table, n_levels=2)] = True
    return FoundEvents(table.label, confidence, correct)


def _touched(events: EventTable, others: EventTable, n_classes: int) -> NDArray[np.bool_]:
    """Whether each event shares time with another one of its clip and class."""
    one, other = pairs_per_clip(
        events.clip * n_classes + events.label, others.clip * n_classes + others.label
    )
    shared = np.minimum(events.offset[one], others.offset[other]) > np.maximum(
        events.onset[one], others.onset[other]
    )
    touched = np.zeros(len(events), dtype=np.bool_)
    touched[one[shared]] = True
    return touched


def fit_calibration(events: FoundEvents, classes: Sequence[str]) -> Calibration:
    """The curves of validation events; needs scikit-learn."""
    if len(events.correct) < MIN_EVENTS:
        return Calibration()
    by_class = {}
    for label, name in enumerate(classes):
        rows = events.label == label
        correct = events.correct[rows]
        rarer = min(int(correct.sum()), int((~correct).sum()))
        if len(correct) >= MIN_CLASS_EVENTS and rarer >= MIN_CORRECT_AND_WRONG:
            curve = _fit_curve(events.confidence[rows], correct)
            if curve is not None:
                by_class[name] = curve
    return Calibration(common=_fit_curve(events.confidence, events.correct), by_class=by_class)


def _fit_curve(confidence: Floats, correct: NDArray[np.bool_]) -> Curve | None:
    """The curve of some events; None where higher confidences are not more often correct."""
    n_events, n_correct = len(correct), int(correct.sum())
    # As for Platt's targets: no finite number of events makes a probability 0 or 1.
    low, high = 1 / (n_events - n_correct + 2), (n_correct + 1) / (n_correct + 2)
    if n_events >= ISOTONIC_EVENTS:
        from sklearn.isotonic import IsotonicRegression

        fitted = IsotonicRegression(y_min=low, y_max=high).fit(confidence.clip(0, 1), correct)
        score, first = np.unique(fitted.X_thresholds_, return_index=True)
        return _curve("isotonic", n_events, score, fitted.y_thresholds_[first])
    from sklearn.linear_model import LogisticRegression

    # Each event is a correct and a wrong one, with the weights of Platt's targets.
    target = np.where(correct, high, low)
    fitted = LogisticRegression().fit(
        np.tile(_logit(confidence), (2, 1)).reshape(-1, 1),
        np.repeat([1, 0], n_events),
        np.concatenate([target, 1 - target]),
    )
    if fitted.coef_[0, 0] <= 0:
        return None
    knots = np.array(PLATT_KNOTS)
    return _curve("platt", n_events, knots, fitted.predict_proba(_logit(knots)[:, None])[:, 1])


def _curve(method: Any, n_events: int, score: Floats, probability: Floats) -> Curve:
    # Rounding must not make a probability fall.
    rising = np.maximum.accumulate(np.round(probability.astype(np.float64), 6))
    values = np.asarray(score, dtype=np.float64).tolist(), rising.tolist()
    return Curve(method=method, events=n_events, score=values[0], probability=values[1])


def _logit(score: Floats) -> Floats:
    inside = np.clip(score, *SCORE_RANGE)
    return np.log(inside / (1 - inside))
