"""Frames and labels against golden numbers, and their inverse."""

import json
from typing import Any

import numpy as np
import pytest

from desed_task.frames import FrameGrid
from desed_task.labels import Event, encode_strong
from tests.support.classes import CLASSES
from tests.support.paths import GOLDEN
from tests.support.slow_decoding import decode_strong

GRID = FrameGrid()


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads((GOLDEN / "labels.json").read_text())


def test_grid_of_the_recipe() -> None:
    assert (GRID.n_samples, GRID.n_hops, GRID.n_frames) == (160000, 626, 156)
    assert GRID.frame_seconds == 0.064


def test_golden(golden: Any) -> None:
    events = [Event(**event) for event in golden["events"]]
    targets = encode_strong(events, CLASSES, GRID)
    assert targets.shape == (10, golden["n_frames"])
    assert [np.flatnonzero(row).tolist() for row in targets] == golden["active_frames"]
    decoded = _decoded(targets)
    assert [event.event_label for event in decoded] == [row[0] for row in golden["decoded"]]
    np.testing.assert_allclose(
        [event[:2] for event in decoded], [row[1:] for row in golden["decoded"]], rtol=1e-5
    )


def _decoded(targets: np.ndarray) -> list[Event]:
    return decode_strong(targets > 0, CLASSES, GRID)


def test_golden_weak(golden: Any) -> None:
    active = [name for name, value in zip(CLASSES, golden["weak"], strict=True) if value]
    targets = encode_strong([Event(0.0, 10.0, name) for name in active], CLASSES, GRID)
    assert targets.min(axis=1).tolist() == targets.max(axis=1).tolist() == golden["weak"]


@pytest.mark.parametrize(("seconds", "frame"), [(2.752, 43), (3.264, 51), (5.504, 86)])
def test_order_of_operations(seconds: float, frame: int) -> None:
    """These times are whole frames; dividing by 0.064 would give the frame before."""
    assert GRID.onset_to_frame(seconds) == frame
    assert int(seconds / 0.064) == frame - 1


def test_events_are_clipped_to_the_clip() -> None:
    targets = encode_strong([Event(-1.0, 0.1, "Cat"), Event(9.9, 11.0, "Cat")], CLASSES, GRID)
    assert np.flatnonzero(targets[2]).tolist() == [0, 1, 154, 155]
    assert _decoded(targets)[-1].offset == pytest.approx(9.984)


def test_decoding_inverts_encoding() -> None:
    active = np.random.default_rng(0).random((10, 156)) > 0.5
    events = decode_strong(active, CLASSES, GRID)
    assert np.array_equal(encode_strong(events, CLASSES, GRID) > 0, active)


def test_unknown_class() -> None:
    with pytest.raises(ValueError, match=r"one of Alarm_bell_ringing, .* and 7 more, got 'Horse'"):
        encode_strong([Event(0, 1, "Horse")], CLASSES, GRID)
