"""The metrics as the field's libraries give them: psds_eval, sed_scores_eval and sed_eval.

They are the oracle of our own metrics, and slow. A library that refuses an input has no metric.
"""

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from desed_task.errors import InputError
from desed_task.evaluation.event_based import OFFSET_SHARE, ONSET_COLLAR
from desed_task.evaluation.events import EventTable
from desed_task.evaluation.outputs import Scores
from desed_task.evaluation.psds import F1_CRITERIA, Criteria, Scenario
from desed_task.evaluation.results import MetricValue
from desed_task.evaluation.scoring_input import ScoringInput
from desed_task.evaluation.segment_based import SEGMENT_SECONDS
from desed_task.evaluation.truth import GroundTruth

if TYPE_CHECKING:
    import pandas as pd


def to_frame(table: EventTable, names: Sequence[str], classes: Sequence[str]) -> "pd.DataFrame":
    """Events as a data frame for the libraries: filename, onset, offset, event_label."""
    import pandas as pd

    return pd.DataFrame(
        {
            "filename": np.asarray(names, dtype=object)[table.clip],
            "onset": table.onset,
            "offset": table.offset,
            "event_label": np.asarray(classes, dtype=object)[table.label],
        }
    )


def psds_from_operating_points(
    operating_points: Sequence["pd.DataFrame"], truth: GroundTruth, scenario: Scenario
) -> MetricValue:
    """psds_eval's PSDS from the events at some thresholds; None for a ground truth without events.

    With a single class in the ground truth psds_eval's cross-trigger rate is 0/0, and its PSDS 0.
    """
    if not any(truth.events.values()):
        return None
    evaluator = _psds_eval(truth, scenario.criteria)
    with warnings.catch_warnings(action="ignore"):
        for events in operating_points:
            if len(events):
                evaluator.add_operating_point(events)
        if not evaluator.num_operating_points():
            return 0.0
        result = evaluator.psds(
            alpha_ct=scenario.alpha_ct, alpha_st=scenario.alpha_st, max_efpr=scenario.max_efpr
        )
    return float(result.value)


def intersection_macro_f1(
    events: "pd.DataFrame", truth: GroundTruth, criteria: Criteria
) -> MetricValue:
    """psds_eval's macro F1, 0 where it is undefined; None for a ground truth without events."""
    if not any(truth.events.values()):
        return None
    if not len(events):
        return 0.0
    with warnings.catch_warnings(action="ignore"):
        macro, _ = _psds_eval(truth, criteria).compute_macro_f_score(events)
    return 0.0 if np.isnan(macro) else float(macro)


def exact_psds(
    scores: Scores, truth: GroundTruth, scenario: Scenario, *, trim_to_clip: bool = False
) -> MetricValue:
    """sed_scores_eval's PSDS over all thresholds; None for a ground truth without events.

    Clips of `truth` without scores are given one frame of -inf; other clips than those of `truth`
    are excluded. Raises AssertionError where two true events of a class touch, and TypeError for
    cross triggers with a single class: the library refuses both.
    """
    as_frame = _imported("sed_scores_eval.base_modules.scores").create_score_dataframe
    psds = _imported("sed_scores_eval.intersection_based").psds
    found = {event.event_label for events in truth.events.values() for event in events}
    occurring = [k for k, label in enumerate(truth.classes) if label in found]
    if not occurring:
        return None
    labels = [truth.classes[k] for k in occurring]
    silence = np.full((1, len(labels)), -np.inf)
    frames = {
        name: as_frame(silence, np.array([0.0, end]), labels)
        for name, end in truth.durations.items()
    }
    for name, edges, clip in zip(
        scores.names, scores.edges, scores.values[:, occurring], strict=True
    ):
        if name not in truth.events:
            continue
        end = min(truth.durations[name], edges[-1]) if trim_to_clip else edges[-1]
        inside = (edges[:-1] < end) & (np.diff(edges) > 0)
        starts = edges[:-1][inside]
        frames[name] = as_frame(clip[:, inside].T.astype(float), np.append(starts, end), labels)
    value, *_ = psds(
        frames,
        {name: [tuple(event) for event in events] for name, events in truth.events.items()},
        truth.durations,
        dtc_threshold=scenario.criteria.dtc,
        gtc_threshold=scenario.criteria.gtc,
        cttc_threshold=scenario.criteria.cttc if scenario.alpha_ct else None,
        alpha_ct=scenario.alpha_ct,
        alpha_st=scenario.alpha_st,
        max_efpr=scenario.max_efpr,
    )
    return float(value)


def event_based(events: "pd.DataFrame", truth: GroundTruth) -> Any:
    """sed_eval's event-based metrics of all clips of the ground truth; see `report`."""
    metrics = _imported("sed_eval.sound_event").EventBasedMetrics(
        event_label_list=list(truth.classes),
        t_collar=ONSET_COLLAR,
        percentage_of_length=OFFSET_SHARE,
        empty_system_output_handling="zero_score",
    )
    return _sed_eval(metrics, events, truth)


def segment_based(events: "pd.DataFrame", truth: GroundTruth) -> Any:
    """sed_eval's segment-based metrics of all clips of the ground truth; see `report`.

    As in the event-based ones, a class never detected has F1 0 (sed_eval would exclude it).
    """
    metrics = _imported("sed_eval.sound_event").SegmentBasedMetrics(
        event_label_list=list(truth.classes), time_resolution=SEGMENT_SECONDS
    )
    metrics.empty_system_output_handling = "zero_score"
    return _sed_eval(metrics, events, truth)


def report(metrics: Any) -> str:
    """sed_eval's text on its metrics."""
    with warnings.catch_warnings(action="ignore"):
        return str(metrics)


def library_metrics(scoring: ScoringInput) -> dict[str, MetricValue]:
    """Every metric of `evaluate` that a library defines for this input, by the same name.

    psds_eval refuses detections of one class that overlap in a clip.
    """
    values: dict[str, MetricValue] = {}
    truth, names = scoring.truth, list(scoring.truth.events)
    counted = truth.restricted(np.array(names, dtype=object)[scoring.counted])
    single = len(np.unique(scoring.true.label)) == 1
    touching = bool((scoring.true.gaps() == 0).any())
    for name, scenario in scoring.scenarios.items():
        if scoring.points is not None and not single and not _overlapping(scoring.points):
            points = [
                to_frame(scoring.points.at_level(k), names, truth.classes)
                for k in range(len(scoring.thresholds))
            ]
            values[f"{name}_psds_eval"] = psds_from_operating_points(points, truth, scenario)
        if scoring.scores is not None and not (touching or (single and scenario.alpha_ct)):
            values[f"{name}_sed_scores_eval"] = exact_psds(
                scoring.scores.as_scores(), counted, scenario, trim_to_clip=scoring.trim
            )
    if scoring.detections is None:
        return values
    events = to_frame(scoring.detections, names, truth.classes)
    if not _overlapping(scoring.detections):
        values["intersection_f1_macro"] = intersection_macro_f1(events, truth, F1_CRITERIA)
    for name, metrics_of in (("event", event_based), ("segment", segment_based)):
        metrics = metrics_of(events, truth)
        with warnings.catch_warnings(action="ignore"):
            macro = metrics.results_class_wise_average_metrics()["f_measure"]["f_measure"]
            micro = metrics.results_overall_metrics()["f_measure"]["f_measure"]
        values[f"{name}_f1_macro"] = None if np.isnan(macro) else float(macro)
        values[f"{name}_f1_micro"] = None if np.isnan(micro) else float(micro)
    return values


def _overlapping(events: EventTable) -> bool:
    return bool((events.gaps() < 0).any())


def _psds_eval(truth: GroundTruth, criteria: Criteria) -> Any:
    import pandas as pd

    rows = [(name, *event) for name, events in truth.events.items() for event in events]
    return _imported("psds_eval").PSDSEval(
        dtc_threshold=criteria.dtc,
        gtc_threshold=criteria.gtc,
        cttc_threshold=criteria.cttc,
        ground_truth=pd.DataFrame(rows, columns=["filename", "onset", "offset", "event_label"]),
        metadata=pd.DataFrame(truth.durations.items(), columns=["filename", "duration"]),
    )


def _imported(module: str) -> Any:
    """A library, without the warnings of its own imports.

    Raises InputError where it is not installed.
    """
    library = module.partition(".")[0]
    try:
        with warnings.catch_warnings(action="ignore"):
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise InputError(
            f"{library} is not installed: --check and check=True compare with it; "
            "install it with: pip install -e '.[check]' (in the checkout)"
        ) from None


def _sed_eval(metrics: Any, events: "pd.DataFrame", truth: GroundTruth) -> Any:
    detected: dict[str, list[dict[str, Any]]] = {name: [] for name in truth.events}
    for row in events.to_dict("records"):
        detected[row["filename"]].append(row)
    with warnings.catch_warnings(action="ignore"):
        for name, true in truth.events.items():
            reference = [{"filename": name, **event._asdict()} for event in true]
            metrics.evaluate(reference, detected[name])
    return metrics
