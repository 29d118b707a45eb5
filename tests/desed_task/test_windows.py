from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from desed_task.frames import FrameGrid
from desed_task.windows import WindowAverage, average_windows, window_starts, window_weights

GRID = FrameGrid()
SMALL = FrameGrid(sample_rate=100, hop_length=5, time_pooling=2, clip_seconds=1.0)


@pytest.mark.parametrize("n_samples", [1, 159_999, 160_000])
def test_a_clip_that_fits_is_one_window(n_samples: int) -> None:
    assert window_starts(n_samples, GRID) == [0]


def test_windows_of_a_recording_of_25_seconds() -> None:
    # 400 000 samples; the last window must start at sample 240 000 or later: frame 235.
    assert window_starts(400_000, GRID) == [0, 78, 156, 234, 235]


@pytest.mark.parametrize("n_samples", [160_001, 239_872, 239_873, 1_000_000])
def test_windows_cover_a_recording_to_its_end(n_samples: int) -> None:
    starts = window_starts(n_samples, GRID)
    assert starts[0] == 0
    assert max(np.diff(starts)) <= GRID.n_frames // 2
    assert min(np.diff(starts)) > 0
    end = starts[-1] * GRID.samples_per_frame + GRID.n_samples
    assert n_samples <= end < n_samples + GRID.samples_per_frame


def test_weights_fall_towards_the_edges() -> None:
    assert window_weights(6).tolist() == [1, 2, 3, 3, 2, 1]
    assert window_weights(5).tolist() == [1, 2, 3, 2, 1]


def _weighted_mean(
    starts: Sequence[int], values: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The definition, frame by frame."""
    n_frames = values[0].shape[1]
    weights = window_weights(n_frames)
    result = np.zeros((len(values[0]), starts[-1] + n_frames))
    for frame in range(result.shape[1]):
        cover = [(s, v) for s, v in zip(starts, values, strict=True) if s <= frame < s + n_frames]
        total = sum(weights[frame - s] for s, _ in cover)
        result[:, frame] = sum(weights[frame - s] / total * v[:, frame - s] for s, v in cover)
    return result


@pytest.mark.parametrize("n_samples", [101, 135, 290])
def test_average_equals_its_definition(n_samples: int) -> None:
    starts = window_starts(n_samples, SMALL)
    rng = np.random.default_rng(0)
    values = [rng.random((3, SMALL.n_frames)) for _ in starts]
    np.testing.assert_allclose(
        average_windows(starts, values, starts[-1] + SMALL.n_frames),
        _weighted_mean(starts, values),
        rtol=0,
        atol=1e-12,
    )


def test_one_window_is_returned_to_the_bit() -> None:
    values = np.random.default_rng(1).random((10, 156)).astype(np.float32)
    result = average_windows([0], [values], 156)
    assert result.dtype == np.float32
    assert (result == values).all()


def test_frames_are_returned_as_soon_as_no_window_changes_them() -> None:
    average = WindowAverage(4)
    assert average.add(0, np.ones((1, 4))).shape == (1, 0)
    assert average.add(2, np.ones((1, 4))).tolist() == [[1.0, 1.0]]
    assert average.add(3, np.ones((1, 4))).tolist() == [[1.0]]
    assert average.finish(8).tolist() == [[1.0, 1.0, 1.0, 1.0, 0.0]]


def test_a_window_before_the_last_one_is_refused() -> None:
    average = WindowAverage(4)
    average.add(2, np.ones((1, 4)))
    with pytest.raises(ValueError, match="window start 1: expected at least 2"):
        average.add(1, np.ones((1, 4)))
