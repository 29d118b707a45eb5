"""Tables of windows: gathered over ranks, and joined to clips."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from desed_task.dataio.batch import Batch
from desed_task.frames import FrameGrid
from desed_task.windows import average_windows, window_starts
from local.results.windows import WindowTable, set_order

# 20 frames a window; half of it are 0.5 s.
GRID = FrameGrid(sample_rate=1000, hop_length=25, time_pooling=2, clip_seconds=1.0)


def window_batch(windows: list[tuple[str, float, int]]) -> Batch:
    """Windows: clip, its length in seconds, first frame."""
    names, seconds, first_frames = zip(*windows, strict=True)
    return Batch(
        audio=torch.zeros(len(windows), 1000),
        targets=torch.zeros(len(windows), 3, 20),
        kind=torch.zeros(len(windows)),
        names=names,
        seconds=torch.tensor(seconds, dtype=torch.float64),
        first_frames=first_frames,
    )


def windows_of(seconds: dict[str, float]) -> list[tuple[str, float, int]]:
    """The windows of clips, as a set lists them."""
    return [
        (name, length, start)
        for name, length in seconds.items()
        for start in window_starts(round(length * GRID.sample_rate), GRID)
    ]


def test_set_order_interleaves_the_windows_of_the_ranks() -> None:
    assert set_order([3, 2, 2]).tolist() == [0, 3, 5, 1, 4, 6, 2]


@pytest.mark.parametrize("n_windows", [7, 2, 0])  # 2: one of three ranks has no window
def test_gathered_windows_are_in_the_order_of_the_set(
    n_windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [("a", 0.7, 0), ("b", 2.0, 0), ("b", 2.0, 10), ("b", 2.0, 20), ("c", 1.0, 0)]
    windows = [*clips, ("d", 1.2, 0), ("d", 1.2, 4)][:n_windows]
    values = torch.arange(2.0 * n_windows).reshape(n_windows, 2)
    tables = []
    for rank in range(3):
        tables.append(WindowTable(GRID))
        for begin in (rank, rank + 6):  # two batches
            share = list(range(n_windows))[begin : begin + 6 : 3]
            if share:
                batch = window_batch([windows[number] for number in share])
                tables[-1].add(batch, values=values[share])
    sent: list[Any] = []

    def send(own: Any) -> list[Any]:
        sent.append(own)
        return []

    monkeypatch.setattr("desed_task.process_group.gather", send)
    for table in tables:
        table.gather()
    monkeypatch.setattr("desed_task.process_group.gather", lambda own: sent)
    tables[0].gather()
    assert len(tables[0]) == n_windows
    assert ("values" in tables[0]) == (n_windows > 0)
    clips_found = tables[0].clips
    assert [clip.name for clip in clips_found] == list(dict.fromkeys(w[0] for w in windows))
    if n_windows:
        np.testing.assert_array_equal(tables[0]["values"], values.numpy())
    if n_windows == 7:
        assert [clip.starts for clip in clips_found] == [[0], [0, 10, 20], [0], [0, 4]]
        assert [clip.rows for clip in clips_found] == [
            slice(0, 1),
            slice(1, 4),
            slice(4, 5),
            slice(5, 7),
        ]
        assert [clip.grid.clip_seconds for clip in clips_found] == [1.0, 2.0, 1.0, 1.2]


def some_clips(values: NDArray[np.floating]) -> WindowTable:
    """Three clips, two of one window and one of four, and `values` of the windows."""
    table = WindowTable(GRID)
    windows = windows_of({"short": 0.3, "long": 2.27, "full": 1.0})
    table.add(window_batch(windows), values=torch.from_numpy(values))
    assert [clip.starts for clip in table.clips] == [[0], [0, 10, 20, 26], [0]]
    assert table.clips[1].grid.n_frames == 45
    return table


def test_frames_are_averages_and_those_of_single_windows_are_unchanged() -> None:
    values = np.random.default_rng(0).random((6, 3, 20)).astype(np.float32)
    short, long, full = some_clips(values).joined("values")
    np.testing.assert_array_equal(short, values[0])
    np.testing.assert_array_equal(full, values[5])
    np.testing.assert_array_equal(long, average_windows([0, 10, 20, 26], values[1:5], 45))


def test_tags_of_a_clip_are_the_maxima_of_its_windows() -> None:
    values = np.array([[1.0, 2], [3, 0], [0, 5], [4, 1], [0, 1], [6, 7]])
    assert some_clips(values).maxima("values").tolist() == [[1, 2], [4, 5], [6, 7]]


def test_frames_that_a_shortened_run_omitted_are_zero() -> None:
    table = WindowTable(GRID)
    windows = windows_of({"a": 1.0, "b": 2.0})
    table.add(window_batch(windows[:2]), values=torch.ones(2, 3, 20))
    whole, begun = table.joined("values")
    assert whole.shape == (3, 20)
    assert begun.shape == (3, 40)
    assert (begun[:, :20] == 1).all()
    assert (begun[:, 20:] == 0).all()
