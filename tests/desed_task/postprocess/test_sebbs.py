from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from desed_task.evaluation.outputs import Scores
from desed_task.postprocess.sebbs import (
    BoxParameters,
    bounding_boxes,
    find_segments,
    merge_segments,
)
from tests.support.required import require_package

Floats = NDArray[np.float64]
Box = tuple[float, float, float]  # onset, offset, confidence
NONE_MERGED = (0.0, 0.0)
ALL_MERGED = (np.inf, np.inf)


def own_boxes(
    rows: Floats, edges: Floats, step_seconds: float, merge: tuple[float, float]
) -> list[list[Box]]:
    """Boxes of each clip, by the code under test."""
    found = merge_segments(find_segments(rows, edges, step_seconds), *merge)
    boxes: list[list[Box]] = [[] for _ in rows]
    for clip, *box in zip(*found, strict=True):
        boxes[clip].append((box[0], box[1], box[2]))
    return boxes


def package_boxes(
    rows: Floats, edges: Floats, step_seconds: float, merge: tuple[float, float]
) -> list[list[Box]]:
    """Boxes of each clip by the authors' package."""
    for package in ("sebbs", "sed_scores_eval"):
        require_package(package)
    from sebbs.csebbs import CSEBBsPredictor
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    predictor = CSEBBsPredictor(
        step_filter_length=step_seconds,
        merge_threshold_abs=merge[0],
        merge_threshold_rel=merge[1],
        sound_classes=["a"],
    )
    names = [f"{clip:04d}" for clip in range(len(rows))]
    frames = {
        name: create_score_dataframe(row[:, None], edges, ["a"])
        for name, row in zip(names, rows, strict=True)
    }
    boxes = predictor.predict(frames)
    return [[(on, off, score) for on, off, _, score in boxes[name]] for name in names]


class ExactClip:
    """Scores of one class in one clip, in exact arithmetic; boxes one by one, as in the paper."""

    def __init__(self, row: Sequence[float], edges: Sequence[float], step: float) -> None:
        self.frames = [
            (Fraction(left), Fraction(right), Fraction(score))
            for (left, right), score in zip(pairwise(edges), row, strict=True)
        ]
        self.extents = self._extents([Fraction(edge) for edge in edges], Fraction(step) / 2)

    def boxes(self, merge: tuple[float, float]) -> list[Box]:
        merged = [self.extents[0]]
        for left, right in pairwise(self.extents):
            lowest = float(min(self._scores(left[1], right[0])))
            peaks = [float(max(self._scores(*extent))) for extent in (left, right)]
            if all(
                (peak + 1e-3) / (lowest + 1e-3) < merge[1] and peak - lowest < merge[0]
                for peak in peaks
            ):
                merged[-1] = (merged[-1][0], right[1])
            else:
                merged.append(right)
        return [
            (float(on), float(off), float(self._integral(on, off) / (off - on)))
            for on, off in merged
        ]

    def _extents(self, edges: list[Fraction], half: Fraction) -> list[tuple[Fraction, Fraction]]:
        moved = {edge + shift for edge in edges for shift in (-half, 0, half)}
        times = sorted(time for time in moved if 0 <= time <= edges[-1])
        delta = [self._integral(t, t + half) - self._integral(t - half, t) for t in times]
        extents: list[tuple[Fraction, Fraction]] = []
        for k in range(len(times) - 1):
            if (k == 0 or delta[k] > delta[k - 1]) and delta[k] >= delta[k + 1]:
                extents.append((times[k], edges[-1]))
            elif extents and delta[k] <= delta[k - 1] and delta[k] < delta[k + 1]:
                extents[-1] = (extents[-1][0], times[k])
        return extents

    def _integral(self, begin: Fraction, end: Fraction) -> Fraction:
        shared = [(min(end, right) - max(begin, left), s) for left, right, s in self.frames]
        return sum((score * time for time, score in shared if time > 0), Fraction(0))

    def _scores(self, begin: Fraction, end: Fraction) -> list[Fraction]:
        return [score for left, right, score in self.frames if left < end and right > begin]


def exact_cases(n_cases: int, n_clips: int) -> Iterator[tuple[Floats, Floats, float]]:
    """Scores, edges and filters that floating point computes with exactly, most with ties."""
    rng = np.random.default_rng(7)
    for case in range(n_cases):
        n_frames = int(rng.integers(1, 14))
        widths = np.ones(n_frames) if case % 2 else rng.integers(1, 5, n_frames)
        edges = np.append(0, np.cumsum(widths)) / 16
        levels = int(rng.choice([2, 4, 64]))
        rows = rng.integers(0, levels + 1, (n_clips, n_frames)) / levels
        yield rows, edges, float(rng.choice([0.125, 0.25, 0.5, 1.0, 2.0]))


def random_scores(n_clips: int, seed: int) -> tuple[Floats, Floats]:
    """Smooth random walks through a sigmoid and their edges: 64 ms frames of 10 s."""
    walks: Floats = (
        np.cumsum(np.random.default_rng(seed).normal(size=(n_clips, 156)), axis=1) / 2 - 2
    )
    edges: Floats = np.arange(157) * np.float64(0.064)
    return 1 / (1 + np.exp(-walks)), edges


def assert_as_package(
    own: list[list[Box]], package: list[list[Box]], *, seconds: float = 0.0
) -> None:
    """Compare boxes; onsets and offsets may differ by `seconds`.

    The package divides the integral of a box's scores by its length + 1e-6 s, except in a clip
    that is one event; the code under test divides by the length.
    """
    assert [len(boxes) for boxes in own] == [len(boxes) for boxes in package]
    ours, reference = (
        np.array([box for boxes in both for box in boxes]).reshape(-1, 3) for both in (own, package)
    )
    np.testing.assert_allclose(ours[:, :2], reference[:, :2], rtol=0, atol=seconds)
    length = ours[:, 1] - ours[:, 0]
    alone = np.repeat([len(b) == 1 for b in own], [len(b) for b in own])
    as_theirs = ours[:, 2] * length / (length + 1e-6)
    same = np.abs(as_theirs - reference[:, 2]) < 1e-12
    assert np.all(same | (alone & (np.abs(ours[:, 2] - reference[:, 2]) < 1e-12)))


@pytest.mark.parametrize(
    "merge",
    [NONE_MERGED, ALL_MERGED, (0.3, np.inf), (np.inf, 2.5), (0.55, 3.1), (1.0, 1.7), (0.2, 900.0)],
)
def test_package_finds_the_same_boxes_in_exact_arithmetic(merge: tuple[float, float]) -> None:
    for rows, edges, step in exact_cases(n_cases=20, n_clips=10):
        assert_as_package(
            own_boxes(rows, edges, step, merge), package_boxes(rows, edges, step, merge)
        )


@pytest.mark.parametrize(
    "merge",
    [(height, np.inf) for height in (0.25, 0.5, 0.75, 1.0)]
    + [(np.inf, (peak + 1e-3) / (gap + 1e-3)) for peak, gap in ((1, 0.5), (0.75, 0.25), (0.5, 0))],
)
def test_package_merges_the_same_boxes_at_the_threshold_itself(merge: tuple[float, float]) -> None:
    edges: Floats = np.arange(8, dtype=np.float64)
    rows = np.array(
        [
            [0, left, left, gap, right, right, 0]
            for gap in (0, 0.25, 0.5)
            for left in (0.5, 0.75, 1)
            for right in (0.5, 0.75, 1)
        ]
    )
    assert_as_package(own_boxes(rows, edges, 2.0, merge), package_boxes(rows, edges, 2.0, merge))


@pytest.mark.parametrize("kind", ["walk", "median-filtered", "single precision"])
@pytest.mark.parametrize("step", [0.32, 0.48, 0.64])
def test_package_finds_the_same_boxes_in_realistic_scores(step: float, kind: str) -> None:
    rows, edges = random_scores(n_clips=15, seed=3)
    if kind == "median-filtered":
        rows = median_filter(rows, size=(1, 7))
    elif kind == "single precision":
        rows = rows.astype(np.float32).astype(np.float64)
    segments = find_segments(rows, edges, step)
    assert len(segments.clip) > 10 * len(rows)
    counts = set()
    for merge in [NONE_MERGED, ALL_MERGED, (0.2, np.inf), (np.inf, 2.0), (0.15, 1.5), (0.3, 3.0)]:
        boxes = own_boxes(rows, edges, step, merge)
        assert_as_package(boxes, package_boxes(rows, edges, step, merge), seconds=1e-9)
        counts.add(sum(len(clip_boxes) for clip_boxes in boxes))
    assert len(counts) == 6  # each pair of thresholds gives another number of boxes


def test_ties_give_the_events_of_exact_arithmetic() -> None:
    # Scores in steps of 0.01 on 64 ms frames tie often. Rounding then makes one floating-point
    # integral higher than the other by chance, in the package as well. The same scores in steps
    # of 1/128 on frames of 1/16 s have no rounding, and the same events.
    walk, edges = random_scores(n_clips=50, seed=5)
    hundredths = np.round(walk * 100)
    decimal = find_segments(hundredths / 100, edges, 0.32)
    binary = find_segments(hundredths / 128, np.arange(157) / 16, 5 / 16)
    assert np.array_equal(decimal.clip, binary.clip)
    np.testing.assert_allclose(decimal.onset / 0.064, binary.onset * 16, atol=1e-9)
    np.testing.assert_allclose(decimal.offset / 0.064, binary.offset * 16, atol=1e-9)
    boxes = own_boxes(hundredths / 128, np.arange(157) / 16, 5 / 16, NONE_MERGED)
    package = package_boxes(hundredths / 128, np.arange(157) / 16, 5 / 16, NONE_MERGED)
    assert_as_package(boxes, package)


def test_package_finds_the_same_boxes_if_half_a_filter_is_no_number_of_frames() -> None:
    # The package rounds times to 1e-8 s; so are these frames of 1024 samples at 22.05 kHz.
    rows, _ = random_scores(n_clips=30, seed=6)
    edges = np.round(np.arange(157) * 1024 / 22050, 8)
    for merge in [NONE_MERGED, (0.2, 2.0)]:
        boxes = own_boxes(rows, edges, 0.48, merge)
        assert_as_package(boxes, package_boxes(rows, edges, 0.48, merge), seconds=1e-9)


def test_faint_scores_have_the_events_of_loud_ones() -> None:
    rows, edges = random_scores(n_clips=10, seed=4)
    loud, faint = (find_segments(rows * scale, edges, 0.48) for scale in (1.0, 2.0**-45))
    assert np.array_equal(loud.onset, faint.onset)
    assert np.array_equal(loud.offset, faint.offset)


def test_times_are_frame_edges_if_half_a_filter_is_a_number_of_frames() -> None:
    rows, edges = random_scores(n_clips=10, seed=4)
    segments = find_segments(rows, edges, 0.64)
    assert np.isin(segments.onset, edges).all()
    assert np.isin(segments.offset, edges).all()


def test_boxes_are_those_of_the_slow_reference() -> None:
    for rows, edges, step in exact_cases(n_cases=24, n_clips=4):
        clips = [ExactClip(row, edges.tolist(), step) for row in rows.tolist()]
        for merge in [NONE_MERGED, ALL_MERGED, (0.3, np.inf), (0.55, 3.1)]:
            for clip, boxes in zip(clips, own_boxes(rows, edges, step, merge), strict=True):
                exact = clip.boxes(merge)
                assert [box[:2] for box in boxes] == [box[:2] for box in exact]
                assert [box[2] for box in boxes] == pytest.approx([box[2] for box in exact])


SECONDS: Floats = np.arange(9, dtype=np.float64)


@pytest.mark.parametrize(
    ("row", "boxes"),
    [
        # The filter rises back to zero one second (L/2) after an event and one before the next.
        ([0, 0, 0, 1, 1, 0, 0, 0], [(0, 2, 0), (3, 5, 1), (6, 8, 0)]),
        ([1, 1, 0, 0, 0, 0, 0, 0], [(0, 2, 1), (3, 8, 0)]),
        ([0, 0, 0, 0, 0, 0, 1, 1], [(0, 5, 0), (6, 8, 1)]),
        ([0, 1, 1, 0.5, 0.5, 1, 1, 0], [(1, 3, 1), (5, 7, 1)]),
        ([0.25] * 8, [(0, 8, 0.25)]),
        ([0] * 8, [(0, 8, 0)]),
        ([-np.inf] * 8, [(0, 8, 0)]),
        ([1, 1, 1, 1, 0.5, 0.5, -np.inf, -np.inf], [(0, 4, 1), (5, 6, 0.5), (7, 8, 0)]),
    ],
)
def test_extents_and_confidences(row: list[float], boxes: list[Box]) -> None:
    assert own_boxes(np.array([row]), SECONDS, 2.0, NONE_MERGED) == [boxes]


@pytest.mark.parametrize(
    ("merge", "n_boxes"),
    [
        ((0.51, 2.0), 1),
        ((0.49, 2.0), 2),
        ((0.51, 1.99), 2),
        ((np.inf, 2.0), 1),
        ((np.inf, 1.99), 2),
        ((0.51, np.inf), 1),
        ((0.49, np.inf), 2),
        (ALL_MERGED, 1),
        (NONE_MERGED, 2),
    ],
)
def test_events_merge_over_a_shallow_gap(merge: tuple[float, float], n_boxes: int) -> None:
    # One is 0.5 above the gap and 1.001 / 0.501 = 1.998 times as high.
    rows = np.array([[0, 1, 1, 0.5, 0.5, 0.75, 0.75, 0]])
    for boxes in (
        own_boxes(rows, SECONDS, 2.0, merge)[0],
        own_boxes(rows[:, ::-1], SECONDS, 2.0, merge)[0],
    ):
        assert len(boxes) == n_boxes
    [mean] = [c for on, off, c in own_boxes(rows, SECONDS, 2.0, ALL_MERGED)[0]]
    assert mean == 0.75  # over all of 1 ... 7 s


def test_merging_compares_every_gap_with_the_peaks_before_merging() -> None:
    # The first two merge, the last two merge, so all three are one, though the first peak is
    # far above the second gap.
    row = np.array([[0, 1, 1, 0.75, 0.75, 0.875, 0.875, 0.625, 0.625, 0.75, 0.75, 0]])
    edges: Floats = np.arange(13, dtype=np.float64)
    assert own_boxes(row, edges, 2.0, (0.3, np.inf)) == [[(1, 11, 0.8)]]
    assert len(own_boxes(row, edges, 2.0, (0.25, np.inf))[0]) > 1


def test_clips_never_merge_with_each_other() -> None:
    rows = np.ones((3, 8))
    assert own_boxes(rows, SECONDS, 2.0, ALL_MERGED) == [[(0, 8, 1)]] * 3


def test_clips_with_different_edges_have_the_boxes_of_each_alone() -> None:
    rows, edges = random_scores(n_clips=12, seed=9)
    own_edges = edges * np.array([1.0, 0.5, 1.25])[np.arange(12) % 3, None]
    assert np.all(np.diff(find_segments(rows, own_edges, 0.48).clip) >= 0)
    boxes = own_boxes(rows, own_edges, 0.48, (0.2, 2.0))
    for row, times, clip_boxes in zip(rows, own_edges, boxes, strict=True):
        assert own_boxes(row[None], times, 0.48, (0.2, 2.0)) == [clip_boxes]


def test_edges_given_per_clip_may_be_alike() -> None:
    rows, edges = random_scores(n_clips=4, seed=1)
    alike = np.tile(edges, (4, 1))
    expected = own_boxes(rows, edges, 0.48, (0.2, 2.0))
    assert own_boxes(rows, alike, 0.48, (0.2, 2.0)) == expected


def test_frames_without_length_have_no_boxes() -> None:
    short = np.array([[0, 1, 2, 3, 3, 3], [0, 0, 0, 0, 0, 0]], dtype=np.float64)
    rows = np.array([[0, 1, 0, 1, 1], [1, 1, 1, 1, 1]], dtype=np.float64)
    found = own_boxes(rows, short, 2.0, NONE_MERGED)
    assert found == [own_boxes(rows[:1, :3], short[0, :4], 2.0, NONE_MERGED)[0], []]


def test_no_clips_have_no_boxes() -> None:
    scores = Scores(np.zeros((0, 2, 8)), [], SECONDS)
    boxes = bounding_boxes(scores, [BoxParameters(2.0, 0.5, 2.0)] * 2)
    assert len(boxes.events) == len(boxes.confidence) == 0
    assert boxes.n_classes == 2


def test_classes_have_their_own_parameters_and_the_table_its_order() -> None:
    row = np.array([0, 1, 1, 0.5, 0.5, 1, 1, 0], dtype=np.float32)
    scores = Scores(np.stack([np.stack([row, row]), np.stack([row / 2, row])]), "xy", SECONDS)
    boxes = bounding_boxes(scores, [BoxParameters(2.0, *NONE_MERGED), BoxParameters(2.0, 0.6, 3.0)])
    table = boxes.events
    assert boxes.names == "xy"
    assert table.level.tolist() == [0] * 6
    assert table.clip.tolist() == [0, 0, 0, 1, 1, 1]
    assert table.label.tolist() == [0, 0, 1, 0, 0, 1]
    assert table.onset.tolist() == [1, 5, 1, 1, 5, 1]
    assert table.offset.tolist() == [3, 7, 7, 3, 7, 7]
    assert boxes.confidence.tolist() == pytest.approx([1, 1, 5 / 6, 0.5, 0.5, 5 / 6])
    assert boxes.confidence.dtype == np.float64


def test_scores_are_not_changed() -> None:
    rows = np.array([[0, -np.inf, 1, 1]])
    find_segments(rows, SECONDS[:5], 2.0)
    assert rows.tolist() == [[0, -np.inf, 1, 1]]


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
def test_step_must_be_a_length(value: float) -> None:
    with pytest.raises(ValueError, match=f"step_seconds: .* got {value}"):
        find_segments(np.zeros((1, 8)), SECONDS, value)


def test_shapes_must_fit() -> None:
    with pytest.raises(ValueError, match="scores: "):
        find_segments(np.zeros(8), SECONDS, 1.0)
    with pytest.raises(ValueError, match="edges: "):
        find_segments(np.zeros((1, 7)), SECONDS, 1.0)
    scores = Scores(np.zeros((1, 2, 8)), ["x"], SECONDS)
    with pytest.raises(ValueError, match="box parameters: "):
        bounding_boxes(scores, [BoxParameters(0.5, 0.5, 2.0)])
