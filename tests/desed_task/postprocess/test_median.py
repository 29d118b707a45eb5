import json

import numpy as np
import pytest
from scipy import ndimage

from desed_task.postprocess.median import median_filter
from tests.support.paths import GOLDEN


def test_median_filter_gives_the_golden_scores() -> None:
    arrays = np.load(GOLDEN / "decoding.npz")
    windows = json.loads((GOLDEN / "decoding.json").read_text())["median_window"]
    before = arrays["scores"].copy()
    filtered = median_filter(arrays["scores"], windows)
    np.testing.assert_array_equal(filtered, arrays["filtered"])
    assert filtered.dtype == np.float32
    np.testing.assert_array_equal(arrays["scores"], before)


# scipy 1.17 itself strays from its definition for windows over twice the signal's length.
@pytest.mark.parametrize(("frames", "window"), [(156, 50), (156, 156), (30, 60), (7, 4), (5, 10)])
def test_median_filter_equals_scipy(frames: int, window: int) -> None:
    scores = np.random.default_rng(frames).random((4, 2, frames)).round(1)
    expected = np.stack(
        [[ndimage.median_filter(row, size=window, mode="reflect") for row in c] for c in scores]
    )
    np.testing.assert_array_equal(median_filter(scores, [window, window]), expected)


@pytest.mark.parametrize("window", [2, 3, 6, 7, 28, 61])
@pytest.mark.parametrize("frames", [1, 2, 3, 9])
def test_median_filter_follows_its_definition(frames: int, window: int) -> None:
    row = np.random.default_rng(window).random(frames)

    def at(index: int) -> float:
        index %= 2 * frames
        return row[index] if index < frames else row[2 * frames - 1 - index]

    begins = np.arange(frames) - window // 2
    expected = [sorted(at(k) for k in range(b, b + window))[window // 2] for b in begins]
    np.testing.assert_array_equal(median_filter(row[None, None], [window])[0, 0], expected)


def test_median_filter_of_no_clips() -> None:
    assert median_filter(np.zeros((0, 2, 5)), [3, 4]).shape == (0, 2, 5)


@pytest.mark.parametrize("windows", [[3], [3, 0], [3, 2.5]])
def test_median_filter_refuses_windows(windows: list[float]) -> None:
    with pytest.raises(ValueError, match="window"):
        median_filter(np.zeros((1, 2, 5)), windows)  # type: ignore[arg-type]


def test_median_filter_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="clips, classes, frames"):
        median_filter(np.zeros((2, 5)), [3, 3])
