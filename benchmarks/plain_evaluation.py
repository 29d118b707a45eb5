"""The plain route from scores to events and F-scores: a data frame per clip, then the libraries.

The baseline of `python -m benchmarks evaluation`, which also compares every metric with ours.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from sklearn.metrics import f1_score

from desed_task.evaluation import F1_CRITERIA, GroundTruth, libraries
from desed_task.evaluation.results import MetricValue
from tests.support.classes import CLASSES
from tests.support.generated_system import GRID
from tests.support.slow_decoding import decode_strong


def filter_clips(scores: NDArray[np.floating], windows: Sequence[int]) -> NDArray[np.floating]:
    """Median filter of each class of each clip, `(clips, classes, frames)`."""
    filtered = [
        [
            median_filter(row, window, mode="reflect")
            for row, window in zip(clip, windows, strict=True)
        ]
        for clip in scores
    ]
    return np.array(filtered)


def decode(
    scores: NDArray[np.floating], names: Sequence[str], thresholds: Sequence[float]
) -> list[pd.DataFrame]:
    """Events of filtered scores, one data frame per threshold."""
    tables = []
    for threshold in thresholds:
        frames = []
        for name, clip in zip(names, scores, strict=True):
            events = decode_strong(clip > threshold, CLASSES, GRID)
            frame = pd.DataFrame(events, columns=["onset", "offset", "event_label"])
            frame["filename"] = name
            if len(frame):
                frames.append(frame)
        tables.append(pd.concat(frames, ignore_index=True))
    return tables


def selection_metrics(
    events: pd.DataFrame,
    truth: GroundTruth,
    predicted: NDArray[np.bool_],
    tags: NDArray[np.bool_],
) -> dict[str, MetricValue]:
    """F-scores that select a checkpoint; predicted and true tags are `(clips, classes)`."""
    average = libraries.event_based(events, truth).results_class_wise_average_metrics()
    # nan: a class without any tag, true or predicted, is excluded from the mean.
    weak = f1_score(tags, predicted, average="macro", zero_division=np.nan)
    return {
        "weak_f1_macro": float(weak),
        "intersection_f1_macro": libraries.intersection_macro_f1(events, truth, F1_CRITERIA),
        "event_f1_macro": float(average["f_measure"]["f_measure"]),
    }
