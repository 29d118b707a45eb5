"""A real system's predictions on the real validation set: figures known beforehand."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from desed_task.evaluation import (
    F1_CRITERIA,
    PSDS1,
    PSDS2,
    THRESHOLDS,
    EventTable,
    GroundTruth,
    Scores,
    detect_many,
    evaluate,
    exact_psds,
    libraries,
)
from desed_task.evaluation.event_based import event_counts
from desed_task.evaluation.events import find_overlaps
from desed_task.evaluation.intersection import intersection_counts
from desed_task.evaluation.segment_based import segment_counts
from desed_task.frames import FrameGrid
from local.classes import CLASSES
from tests.shared_data import shared_path

GRID = FrameGrid()
SYSTEMS = ("student", "teacher")


@pytest.fixture(scope="module")
def folder() -> Path:
    return shared_path("real_predictions")


@cache
def truth_in(folder: Path) -> GroundTruth:
    return GroundTruth.read(folder / "validation.tsv", folder / "validation_durations.tsv", CLASSES)


@cache
def expected_in(folder: Path) -> dict[str, float]:
    return json.loads((folder / "expected.json").read_text())


def read_table(path: Path, truth: GroundTruth, level: int = 0) -> EventTable:
    frame = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
    clip = frame["filename"].map({name: k for k, name in enumerate(truth.events)})
    label = frame["event_label"].map({name: k for k, name in enumerate(CLASSES)})
    return EventTable(
        np.full(len(frame), level),
        clip.to_numpy(dtype=np.int64),
        label.to_numpy(dtype=np.int64),
        frame["onset"].to_numpy(),
        frame["offset"].to_numpy(),
    ).ordered()


@cache
def rebuilt_scores(folder: Path, system: str) -> tuple[np.ndarray, int]:
    """Scores with 50 levels that give back the nested operating points; and how many events."""
    truth = truth_in(folder)
    levels = np.zeros((len(truth.events), len(CLASSES), GRID.n_frames), dtype=np.int64)
    n_events = 0
    for level, threshold in enumerate(THRESHOLDS):
        points = folder / system / "predictions_operating_points"
        table = read_table(points / f"predictions_th_{threshold:.2f}.tsv", truth)
        n_events += len(table)
        first = np.rint(table.onset / GRID.frame_seconds).astype(int)
        end = np.rint(table.offset / GRID.frame_seconds).astype(int)
        for clip, label, begin, stop in zip(table.clip, table.label, first, end, strict=True):
            assert (levels[clip, label, begin:stop] == level).all()
            levels[clip, label, begin:stop] += 1
    return (levels / len(THRESHOLDS)).astype(np.float32), n_events


@pytest.mark.parametrize("system", SYSTEMS)
def test_f_scores_at_one_half_are_the_expected_ones(folder: Path, system: str) -> None:
    truth = truth_in(folder)
    names = list(truth.events)
    detections = read_table(folder / system / "predictions0.5.csv", truth)
    true = truth.table(names)
    crossing = intersection_counts(
        detections,
        true,
        find_overlaps(detections, true),
        truth.duration_of(names),
        F1_CRITERIA,
        n_levels=1,
        n_classes=len(CLASSES),
    )
    ours = {
        "event_f1_macro": event_counts(detections, true, len(CLASSES)).macro,
        "segment_f1_macro": segment_counts(detections, true, len(names), len(CLASSES)).macro,
        "intersection_f1_macro": crossing.macro()[0],
    }
    for name, value in ours.items():
        assert value == pytest.approx(expected_in(folder)[f"{system}/{name}"], abs=1e-9, rel=0)


@pytest.mark.parametrize("system", SYSTEMS)
def test_psds_from_scores_are_the_expected_ones(folder: Path, system: str) -> None:
    scores, n_events = rebuilt_scores(folder, system)
    truth = truth_in(folder)
    assert len(detect_many(scores, THRESHOLDS, GRID)) == n_events
    metrics = evaluate(Scores(scores, list(truth.events), GRID), truth)
    for name in ("psds1", "psds2"):
        expected = expected_in(folder)[f"{system}/{name}"]
        assert getattr(metrics, f"{name}_psds_eval") == pytest.approx(expected, abs=1e-9, rel=0)


def test_exact_psds_equal_sed_scores_eval(folder: Path) -> None:
    scores, _ = rebuilt_scores(folder, "student")
    truth = truth_in(folder)
    names = list(truth.events)
    system = Scores(scores, names, GRID)
    for scenario, ours in zip((PSDS1, PSDS2), exact_psds(system, truth), strict=True):
        theirs = libraries.exact_psds(system, truth, scenario)
        assert ours == pytest.approx(theirs, abs=1e-9, rel=0)


def test_dropping_clips_without_events_moves_exact_psds1_by_0_0006(folder: Path) -> None:
    scores, _ = rebuilt_scores(folder, "student")
    truth = truth_in(folder)
    figures = [
        evaluate(
            Scores(scores, list(truth.events), GRID), truth, drop_clips_without_events=drop
        ).psds1_sed_scores_eval
        for drop in (True, False)
    ]
    assert figures[0] is not None
    assert figures[1] is not None
    assert figures[0] - figures[1] == pytest.approx(0.0006, abs=0.0001)
