"""Evaluation of sound event detection with numpy; needs no network and no GPU."""

from desed_task.evaluation.bootstrap import Interval, Intervals, bootstrap
from desed_task.evaluation.decode import detect_many
from desed_task.evaluation.evaluate import (
    THRESHOLDS,
    evaluate,
    exact_psds,
    selection_metrics,
)
from desed_task.evaluation.events import EventTable
from desed_task.evaluation.libraries import to_frame
from desed_task.evaluation.outputs import Boxes, OperatingPoints, Predictions, Scores
from desed_task.evaluation.prediction_files import read_operating_points, read_predictions
from desed_task.evaluation.psds import F1_CRITERIA, PSDS1, PSDS2, Criteria, Scenario
from desed_task.evaluation.results import ClassMetrics, SelectionMetrics, SystemMetrics
from desed_task.evaluation.score_files import read_scores, write_scores
from desed_task.evaluation.truth import GroundTruth
from desed_task.evaluation.write import write_system

__all__ = [
    "F1_CRITERIA",
    "PSDS1",
    "PSDS2",
    "THRESHOLDS",
    "Boxes",
    "ClassMetrics",
    "Criteria",
    "EventTable",
    "GroundTruth",
    "Interval",
    "Intervals",
    "OperatingPoints",
    "Predictions",
    "Scenario",
    "Scores",
    "SelectionMetrics",
    "SystemMetrics",
    "bootstrap",
    "detect_many",
    "evaluate",
    "exact_psds",
    "read_operating_points",
    "read_predictions",
    "read_scores",
    "selection_metrics",
    "to_frame",
    "write_scores",
    "write_system",
]
