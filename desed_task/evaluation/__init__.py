"""Evaluation of sound event detection: numpy in, numpy out, no network and no GPU needed."""

from desed_task.evaluation.decode import detect, detect_many, to_frame
from desed_task.evaluation.evaluate import (
    F1_CRITERIA,
    THRESHOLDS,
    evaluate,
    selection_metrics,
)
from desed_task.evaluation.events import EventTable
from desed_task.evaluation.intersection import Criteria
from desed_task.evaluation.psds import PSDS1, PSDS2, Scenario
from desed_task.evaluation.results import ClassMetrics, SelectionMetrics, SystemMetrics
from desed_task.evaluation.score_files import read_scores, write_scores
from desed_task.evaluation.truth import GroundTruth
from desed_task.evaluation.write import write_system

__all__ = [
    "F1_CRITERIA",
    "PSDS1",
    "PSDS2",
    "THRESHOLDS",
    "ClassMetrics",
    "Criteria",
    "EventTable",
    "GroundTruth",
    "Scenario",
    "SelectionMetrics",
    "SystemMetrics",
    "detect",
    "detect_many",
    "evaluate",
    "read_scores",
    "selection_metrics",
    "to_frame",
    "write_scores",
    "write_system",
]
