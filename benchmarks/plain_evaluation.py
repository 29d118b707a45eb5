"""The plain route from scores to figures: a data frame per clip, then one library after the other.

What this project's evaluation is measured against, and compared with to 1e-9.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from sklearn.metrics import f1_score

from desed_task.evaluation import F1_CRITERIA, PSDS1, PSDS2, GroundTruth, Scores, libraries
from desed_task.evaluation.results import MetricValue
from desed_task.frames import FrameGrid
from desed_task.labels import decode_strong

Points = list[pd.DataFrame]


def filter_clips(scores: NDArray[np.floating], windows: Sequence[int]) -> NDArray[np.floating]:
    """Median filter of each class of each clip, `(clips, classes, frames)`."""
    filtered = [
        [median_filter(row, window, mode="reflect") for row, window in zip(clip, windows)]  # noqa: B905
        for clip in scores
    ]
    return np.array(filtered)


def decode(
    scores: NDArray[np.floating],
    names: Sequence[str],
    classes: Sequence[str],
    grid: FrameGrid,
    thresholds: Sequence[float],
) -> Points:
    """Events of filtered scores: for each threshold a data frame, made of one per clip."""
    points = []
    for threshold in thresholds:
        frames = []
        for name, clip in zip(names, scores, strict=True):
            events = decode_strong(clip > threshold, classes, grid)
            frame = pd.DataFrame(events, columns=["onset", "offset", "event_label"])
            frame["filename"] = name
            if len(frame):
                frames.append(frame)
        points.append(pd.concat(frames, ignore_index=True))
    return points


def figures(
    points: Points, at_f1: pd.DataFrame, scores: Scores, truth: GroundTruth
) -> dict[str, MetricValue]:
    """All figures of a system, by the names of `SystemMetrics`."""
    found: dict[str, MetricValue] = {}
    for name, scenario in (("psds1", PSDS1), ("psds2", PSDS2)):
        found[f"{name}_psds_eval"] = libraries.psds_from_operating_points(points, truth, scenario)
        found[f"{name}_sed_scores_eval"] = libraries.exact_psds(scores, truth, scenario)
    return found | f_scores(at_f1, truth)


def f_scores(events: pd.DataFrame, truth: GroundTruth) -> dict[str, MetricValue]:
    """The F-scores of a system's events."""
    found: dict[str, MetricValue] = {
        "intersection_f1_macro": libraries.intersection_macro_f1(events, truth, F1_CRITERIA)
    }
    for name, judge in (("event", libraries.event_based), ("segment", libraries.segment_based)):
        metrics = judge(events, truth)
        average = metrics.results_class_wise_average_metrics()
        found[f"{name}_f1_macro"] = float(average["f_measure"]["f_measure"])
        overall = metrics.results_overall_metrics()
        found[f"{name}_f1_micro"] = float(overall["f_measure"]["f_measure"])
    return found


def selection(
    events: pd.DataFrame,
    truth: GroundTruth,
    predicted: NDArray[np.bool_],
    tags: NDArray[np.bool_],
) -> dict[str, MetricValue]:
    """The F-scores that select a model; `predicted` and true tags are `(clips, classes)`."""
    average = libraries.event_based(events, truth).results_class_wise_average_metrics()
    return {
        "weak_f1_macro": float(f1_score(tags, predicted, average="macro", zero_division=0.0)),
        "intersection_f1_macro": libraries.intersection_macro_f1(events, truth, F1_CRITERIA),
        "event_f1_macro": float(average["f_measure"]["f_measure"]),
    }
