"""The figures as the field's libraries give them: psds_eval, sed_scores_eval and sed_eval.

They are the oracle of our own metrics, and slow. A library that refuses an input has no figure.
"""

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from desed_task.evaluation.decode import detect_many, frame_times, to_frame
from desed_task.evaluation.event_based import OFFSET_SHARE, ONSET_COLLAR
from desed_task.evaluation.events import EventTable, trim_events
from desed_task.evaluation.intersection import Criteria
from desed_task.evaluation.psds import Scenario
from desed_task.evaluation.results import Figure
from desed_task.evaluation.segment_based import SEGMENT_SECONDS
from desed_task.evaluation.truth import GroundTruth
from desed_task.frames import FrameGrid

if TYPE_CHECKING:
    import pandas as pd


def psds_from_operating_points(
    operating_points: Sequence["pd.DataFrame"], truth: GroundTruth, scenario: Scenario
) -> Figure:
    """psds_eval's score from the events at some thresholds; None for a truth without event.

    With a single class in the truth psds_eval's cross-trigger rate is 0/0, and its score 0.
    """
    if not any(truth.events.values()):
        return None
    judge = _psds_eval(truth, scenario.criteria)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for events in operating_points:
            if len(events):
                judge.add_operating_point(events)
        if not judge.num_operating_points():
            return 0.0
        result = judge.psds(
            alpha_ct=scenario.alpha_ct, alpha_st=scenario.alpha_st, max_efpr=scenario.max_efpr
        )
    return float(result.value)


def intersection_macro_f1(events: "pd.DataFrame", truth: GroundTruth, criteria: Criteria) -> Figure:
    """psds_eval's macro F1, 0 where it is undefined; None for a truth without event."""
    if not any(truth.events.values()):
        return None
    if not len(events):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        macro, _ = _psds_eval(truth, criteria).compute_macro_f_score(events)
    return 0.0 if np.isnan(macro) else float(macro)


def exact_psds(
    scores: NDArray[np.floating],
    names: Sequence[str],
    truth: GroundTruth,
    grid: FrameGrid,
    scenario: Scenario,
    *,
    trim_to_duration: bool = False,
) -> Figure:
    """sed_scores_eval's score over all thresholds; None for a truth without event.

    `names` are all clips of `truth`. Raises AssertionError where two true events of a class
    touch, and TypeError for cross triggers with a single class: the library refuses both.
    """
    as_frame = _quietly("sed_scores_eval.base_modules.scores").create_score_dataframe
    psds = _quietly("sed_scores_eval.intersection_based").psds
    occurring = [k for k, label in enumerate(truth.classes) if _occurs(label, truth)]
    if not occurring:
        return None
    labels = [truth.classes[k] for k in occurring]
    times = frame_times(grid, scores.shape[2])
    frames = {}
    for name, clip in zip(names, scores[:, occurring], strict=True):
        end = truth.durations[name] if trim_to_duration else times[-1]
        kept = times[:-1] < end
        edges = np.minimum(times[: kept.sum() + 1], end)
        frames[name] = as_frame(clip[:, kept].T.astype(float), edges, labels)
    value, *_ = psds(
        frames,
        {name: [tuple(event) for event in events] for name, events in truth.events.items()},
        truth.durations,
        dtc_threshold=scenario.dtc,
        gtc_threshold=scenario.gtc,
        cttc_threshold=scenario.cttc if scenario.alpha_ct else None,
        alpha_ct=scenario.alpha_ct,
        alpha_st=scenario.alpha_st,
        max_efpr=scenario.max_efpr,
    )
    return float(value)


def event_based(events: "pd.DataFrame", truth: GroundTruth) -> Any:
    """sed_eval's event-based metrics of all clips of the truth; see `report`."""
    metrics = _quietly("sed_eval.sound_event").EventBasedMetrics(
        event_label_list=list(truth.classes),
        t_collar=ONSET_COLLAR,
        percentage_of_length=OFFSET_SHARE,
        empty_system_output_handling="zero_score",
    )
    return _sed_eval(metrics, events, truth)


def segment_based(events: "pd.DataFrame", truth: GroundTruth) -> Any:
    """sed_eval's segment-based metrics of all clips of the truth; see `report`.

    As in the event-based ones, a class never detected scores 0 (sed_eval would leave it out).
    """
    metrics = _quietly("sed_eval.sound_event").SegmentBasedMetrics(
        event_label_list=list(truth.classes), time_resolution=SEGMENT_SECONDS
    )
    metrics.empty_system_output_handling = "zero_score"
    return _sed_eval(metrics, events, truth)


def report(metrics: Any) -> str:
    """sed_eval's text on its metrics."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(metrics)


def library_figures(
    scores: NDArray[np.floating],
    names: Sequence[str],
    truth: GroundTruth,
    grid: FrameGrid,
    *,
    thresholds: Sequence[float],
    f1_threshold: float,
    f1_criteria: Criteria,
    psds1: Scenario,
    psds2: Scenario,
    drop_clips_without_events: bool = False,
    trim_to_duration: bool = False,
) -> dict[str, Figure]:
    """Every figure of `evaluate` that a library defines, by the same name.

    Arguments are those of `evaluate`; `names` are all clips of `truth`.
    """
    exact_truth, exact_scores, exact_names = truth, scores, list(names)
    if drop_clips_without_events:
        happens = np.array([bool(truth.events[name]) for name in names], dtype=bool)
        exact_truth = truth.without_empty_clips()
        exact_scores = scores[happens]
        exact_names = [name for name in names if truth.events[name]]
        scores = np.where(happens[:, None, None], scores, -np.inf)

    def events_at(at: Sequence[float]) -> EventTable:
        table = detect_many(scores, at, grid)
        return trim_events(table, truth.duration_of(names)) if trim_to_duration else table

    table = events_at(thresholds)
    points = [to_frame(table.at_level(k), names, truth.classes) for k in range(len(thresholds))]
    at_f1 = to_frame(events_at([f1_threshold]), names, truth.classes)
    figures: dict[str, Figure] = {
        "intersection_f1_macro": intersection_macro_f1(at_f1, truth, f1_criteria)
    }
    for name, scenario in (("psds1", psds1), ("psds2", psds2)):
        single = _n_occurring(truth) == 1
        if not single:
            figures[f"{name}_psds_eval"] = psds_from_operating_points(points, truth, scenario)
        if not (_touching(truth) or (single and scenario.alpha_ct)):
            figures[f"{name}_sed_scores_eval"] = exact_psds(
                exact_scores,
                exact_names,
                exact_truth,
                grid,
                scenario,
                trim_to_duration=trim_to_duration,
            )
    for name, judge in (("event", event_based), ("segment", segment_based)):
        metrics = judge(at_f1, truth)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            macro = metrics.results_class_wise_average_metrics()["f_measure"]["f_measure"]
            micro = metrics.results_overall_metrics()["f_measure"]["f_measure"]
        figures[f"{name}_f1_macro"] = None if np.isnan(macro) else float(macro)
        figures[f"{name}_f1_micro"] = None if np.isnan(micro) else float(micro)
    return figures


def _psds_eval(truth: GroundTruth, criteria: Criteria) -> Any:
    import pandas as pd

    rows = [(name, *event) for name, events in truth.events.items() for event in events]
    return _quietly("psds_eval").PSDSEval(
        dtc_threshold=criteria.dtc,
        gtc_threshold=criteria.gtc,
        cttc_threshold=criteria.cttc,
        ground_truth=pd.DataFrame(rows, columns=["filename", "onset", "offset", "event_label"]),
        metadata=pd.DataFrame(truth.durations.items(), columns=["filename", "duration"]),
    )


def _quietly(module: str) -> Any:
    """A library, without what its own imports warn about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(module)


def _sed_eval(metrics: Any, events: "pd.DataFrame", truth: GroundTruth) -> Any:
    detected: dict[str, list[dict[str, Any]]] = {name: [] for name in truth.events}
    for row in events.to_dict("records"):
        detected[row["filename"]].append(row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, true in truth.events.items():
            reference = [{"filename": name, **event._asdict()} for event in true]
            metrics.evaluate(reference, detected[name])
    return metrics


def _n_occurring(truth: GroundTruth) -> int:
    return sum(_occurs(label, truth) for label in truth.classes)


def _occurs(label: str, truth: GroundTruth) -> bool:
    return any(event.event_label == label for events in truth.events.values() for event in events)


def _touching(truth: GroundTruth) -> bool:
    """Whether an event of some class begins where another of that class ends."""
    for events in truth.events.values():
        ends = {(event.offset, event.event_label) for event in events}
        if any((event.onset, event.event_label) in ends for event in events):
            return True
    return False
