from desed_task.evaluation import OperatingPoints, Predictions, evaluate
from desed_task.report.cross_triggers import cross_trigger_matrix
from tests.support import cases
from tests.support.report_cases import table_of


def test_cross_triggers_as_a_matrix() -> None:
    truth = cases.truth_of({"a": [(0.0, 1.0, "Cat"), (2.0, 3.0, "Dog"), (5.0, 6.0, "Dog")]})
    rows = [("a", 0.0, 1.0, "Dog"), ("a", 2.0, 3.0, "Cat"), ("a", 5.0, 6.0, "Cat")]
    predictions = Predictions(table_of(truth, rows), ["a"])
    matrix = cross_trigger_matrix(evaluate(None, truth, predictions=predictions))
    cat, dog = truth.classes.index("Cat"), truth.classes.index("Dog")
    assert matrix[cat, dog] == 2
    assert matrix[dog, cat] == 1
    assert matrix.sum() == 3
    nothing = evaluate(
        None, truth, operating_points=OperatingPoints(predictions.events, (0.3,), ["a"])
    )
    assert cross_trigger_matrix(nothing).sum() == 0
