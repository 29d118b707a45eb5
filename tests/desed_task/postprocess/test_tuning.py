"""Choosing post-processing by class, by hand-made validation sets."""

import numpy as np
import pytest

from desed_task.evaluation import GroundTruth, Scores
from desed_task.postprocess.tuning import (
    best_thresholds,
    choose_by_class,
    class_metrics,
    shrunk,
)
from tests.support import cases


def outputs(
    *rows: dict[str, list[tuple[int, int, str, float]]],
) -> list[tuple[str, Scores]]:
    """Systems A, B, …, each with scores of the clips a and b."""
    return [
        (name, Scores(cases.scores_of(clips), ["a", "b"], cases.GRID))
        for name, clips in zip("ABC", rows, strict=False)
    ]


@pytest.fixture
def truth() -> GroundTruth:
    b_events = [(3.2, 6.4, "Dog"), (0.0, 5.0, "Speech")]
    return cases.truth_of({"a": [(0.0, 1.28, "Cat")], "b": b_events})


RIGHT_CAT, RIGHT_DOG = (0, 20, "Cat", 0.4), (50, 100, "Dog", 0.9)
WRONG_CAT, WRONG_DOG = (60, 70, "Cat", 0.8), (0, 10, "Dog", 0.95)


@pytest.mark.parametrize("metric", ["psds1", "psds2", "event_f1"])
def test_each_class_takes_its_best_choice(truth: GroundTruth, metric: str) -> None:
    choices = outputs(
        {"a": [RIGHT_CAT], "b": [WRONG_DOG]},
        {"a": [WRONG_CAT], "b": [RIGHT_DOG]},
    )
    # Dishes has no true event: the better mean. Speech is never found: the first of equal ones.
    (chosen,) = choose_by_class(choices, truth, metric)  # type: ignore[arg-type]
    assert dict(zip(cases.CLASSES, chosen, strict=True)) == {
        "Cat": "A",
        "Dog": "B",
        "Dishes": "A",
        "Speech": "A",
    }
    (turned,) = choose_by_class(choices[::-1], truth, metric)  # type: ignore[arg-type]
    assert turned[cases.CLASSES.index("Speech")] == "B"


def test_a_class_without_event_takes_the_best_mean_of_the_others(truth: GroundTruth) -> None:
    nothing, both = outputs({"a": [], "b": []}, {"a": [RIGHT_CAT], "b": [RIGHT_DOG]})
    (chosen,) = choose_by_class([nothing, both], truth, "psds1")
    assert chosen[cases.CLASSES.index("Dishes")] == "B"


def test_each_set_of_clips_chooses_by_its_own_events(truth: GroundTruth) -> None:
    """Equal to the choice on the set alone, which is another path to the same counts."""
    choices = outputs(
        {"a": [RIGHT_CAT], "b": [WRONG_DOG]},
        {"a": [WRONG_CAT], "b": [RIGHT_DOG]},
    )
    for metric in ("psds1", "event_f1", "event_f1_psds1"):
        by_set = choose_by_class(choices, truth, metric, np.array([[1, 0], [0, 1]]))
        for clip, found in enumerate(by_set):
            alone = [
                (name, system.clips(np.array([clip])))
                for name, system in choices
                if isinstance(system, Scores)
            ]
            own = truth.restricted("ab"[clip])
            assert choose_by_class(alone, own, metric) == [found]


def test_few_events_follow_the_mean_over_the_classes() -> None:
    """By the formula (n m + n0 M) / (n + n0), by hand."""
    table = np.array([[[0.9, 0.2, np.nan], [0.6, 0.4, np.nan]]])  # 2 choices of 3 classes
    n_events = np.array([[30.0, 10.0, 0.0]])
    means = [0.55, 0.5]
    expected = [
        [(30 * 0.9 + 10 * means[0]) / 40, (10 * 0.2 + 10 * means[0]) / 20, means[0]],
        [(30 * 0.6 + 10 * means[1]) / 40, (10 * 0.4 + 10 * means[1]) / 20, means[1]],
    ]
    np.testing.assert_allclose(shrunk(table, n_events, 10.0)[0], expected)
    np.testing.assert_array_equal(shrunk(table, n_events, 0.0)[0, :, :2], table[0, :, :2])


def test_thresholds_of_few_events_follow_the_mean_over_the_classes(truth: GroundTruth) -> None:
    """One cat's own best threshold would be the lowest, two other classes need a higher one."""
    wrong = [(110, 120, "Dog", 0.4), (110, 120, "Speech", 0.4)]
    right = [RIGHT_DOG, (0, 78, "Speech", 0.9), *wrong]
    system = Scores(cases.scores_of({"a": [RIGHT_CAT], "b": right}), ["a", "b"], cases.GRID)
    cat, dishes = cases.CLASSES.index("Cat"), cases.CLASSES.index("Dishes")
    thresholds = [0.3, 0.6]
    assert best_thresholds(system, truth, thresholds=thresholds)[cat] == 0.3
    shrunken = best_thresholds(system, truth, thresholds=thresholds, shrinkage=1000)
    assert shrunken[dishes] == shrunken[cat] == shrunken[cases.CLASSES.index("Dog")]


def test_class_metrics(truth: GroundTruth) -> None:
    ((_, system),) = outputs({"a": [RIGHT_CAT], "b": [RIGHT_DOG, (60, 70, "Cat", 0.6)]})
    metrics = dict(zip(cases.CLASSES, class_metrics(system, truth, "event_f1")[0], strict=True))
    # At thresholds below 0.4 the cat is found, together with a false alarm.
    assert metrics["Cat"] == pytest.approx(2 / 3)
    assert metrics["Dog"] == 1.0
    assert metrics["Speech"] == 0.0
    assert np.isnan(metrics["Dishes"])
    assert np.isnan(class_metrics(system, truth, "psds1")[0, cases.CLASSES.index("Dishes")])
    both = [class_metrics(system, truth, name) for name in ("event_f1", "psds1")]
    np.testing.assert_allclose(
        class_metrics(system, truth, "event_f1_psds1"), np.mean(both, axis=0)
    )


def test_best_thresholds(truth: GroundTruth) -> None:
    ((_, system),) = outputs({"a": [RIGHT_CAT], "b": [RIGHT_DOG, (110, 120, "Dog", 0.6)]})
    thresholds = best_thresholds(system, truth, thresholds=[0.1, 0.2, 0.3, 0.5, 0.7], default=0.5)
    chosen = dict(zip(cases.CLASSES, thresholds, strict=True))
    # Dishes has no event: the best mean of the others. Speech is never found: the default.
    assert chosen == {"Cat": 0.2, "Dishes": 0.2, "Dog": 0.7, "Speech": 0.5}


def test_no_choice_or_no_true_event_is_refused(truth: GroundTruth) -> None:
    with pytest.raises(ValueError, match="at least 1 true event"):
        choose_by_class([], truth, "psds1")
    empty = cases.truth_of({"a": [], "b": []})
    with pytest.raises(ValueError, match="at least 1 true event"):
        choose_by_class(outputs({"a": [], "b": []}), empty, "psds1")
