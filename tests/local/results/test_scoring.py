from local.results.scoring import operating_points


def test_operating_points() -> None:
    assert operating_points(50)[:2] == [0.01, 0.03]
    assert operating_points(50)[-1] == 0.99
    assert operating_points(1) == [0.5]
