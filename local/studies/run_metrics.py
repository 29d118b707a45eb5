"""Finished runs -> their metrics on the test set and on resampled clips, computed once per run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from desed_task.errors import InputError
from desed_task.evaluation import GroundTruth, evaluate
from desed_task.evaluation.bootstrap import draw, resampled_values
from desed_task.evaluation.events import Floats
from desed_task.evaluation.score_files import read_scores
from desed_task.files import atomic_write
from desed_task.postprocess.methods import class_thresholds
from local.results.postprocessing import postprocessing
from local.studies.runs import Run

NETWORKS = ("student", "teacher")
CLIP_METRICS = {
    "psds1_sed_scores_eval": "PSDS1 (exact)",
    "psds2_sed_scores_eval": "PSDS2 (exact)",
    "event_f1_macro": "event-based F1, macro",
    "segment_f1_macro": "segment-based F1, macro",
    "intersection_f1_macro_occurring": "intersection-based F1, macro",
}
"""Metrics that are computed on resampled clips."""
SET_METRICS = {"sod_accuracy": "SOD accuracy", "sod_sed_agreement": "SOD and SED agree"}
"""Metrics of the whole test set only: their intervals cover the seeds, not the clips."""
METRIC_TITLES = CLIP_METRICS | SET_METRICS
DRAW_SEED = 0


@dataclass(frozen=True, eq=False)
class RunMetrics:
    """Metrics of one run, by network: arrays with the metrics in the order of `METRIC_TITLES`.

    Args:
        folder: its `version_N`.
        values: on the test set, `(metrics,)`; NaN: undefined.
        drawn: on resampled clips, `(replicates, metrics)`; of `SET_METRICS` the value itself.
    """

    folder: Path
    values: Mapping[str, Floats]
    drawn: Mapping[str, Floats]


def run_metrics(run: Run, truth: GroundTruth, replicates: int) -> RunMetrics:
    """Metrics of a finished run; those of resampled clips are stored in its folder."""
    folder, content = run.finished_folder, run.metrics
    values, drawn = {}, {}
    for network in NETWORKS:
        if f"test/{network}/event_f1_macro" not in content:
            continue
        found = [content.get(f"test/{network}/{metric}") for metric in METRIC_TITLES]
        values[network] = np.array(found, dtype=float)
        of_clips = _resampled(run, folder / "metrics_test" / network, truth, replicates)
        of_set = np.broadcast_to(
            values[network][len(CLIP_METRICS) :], (len(of_clips), len(SET_METRICS))
        )
        drawn[network] = np.concatenate([of_clips, of_set], axis=1)
    return RunMetrics(folder, values, drawn)


def _resampled(run: Run, system: Path, truth: GroundTruth, replicates: int) -> Floats:
    """`CLIP_METRICS` on resampled clips, `(replicates, metrics)`, from the file if it is there."""
    path = system / "resampled.npz"
    source = _digest(truth, replicates)
    try:
        with np.load(path) as stored:
            if str(stored["source"]) == source:
                return np.asarray(stored["values"], dtype=np.float64)
    except (OSError, ValueError, KeyError):
        pass
    values = resample(run, system, truth, replicates)
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.savez(file, source=np.array(source), values=values)
    return values


def resample(run: Run, system: Path, truth: GroundTruth, replicates: int) -> Floats:
    """`CLIP_METRICS` of a system's score files on resampled clips, `(replicates, metrics)`."""
    config = run.config
    parameters = postprocessing(config).median
    metrics = evaluate(
        read_scores(system / "scores" / "postprocessed", truth),
        truth,
        thresholds=(),
        f1_threshold=class_thresholds(parameters, config.data.classes),
        drop_clips_without_events=config.postprocess.drop_clips_without_events,
        trim_to_clip=config.postprocess.trim_to_clip,
    )
    weights = draw(len(truth.events), replicates, DRAW_SEED)
    rows = [
        [each[metric] for metric in CLIP_METRICS] for each in resampled_values(metrics, weights)
    ]
    return np.array(rows, dtype=np.float64)


def read_truth(run: Run) -> GroundTruth:
    """The test set's ground truth, without the clips that have no audio."""
    data = run.config.data
    test = data.sets["test"]
    truth = GroundTruth.read(str(test.tsv), str(test.durations), data.classes)
    scores = run.finished_folder / "metrics_test" / "student" / "scores" / "postprocessed"
    stems = {path.stem for path in scores.glob("*.tsv")}
    tested = [name for name in truth.events if Path(name).stem in stems or name in stems]
    if not tested:
        raise InputError(f"{scores}: expected score files of clips of {test.tsv}, got none")
    return truth.restricted(tested)


def _digest(truth: GroundTruth, replicates: int) -> str:
    text = json.dumps(
        [list(truth.classes), truth.durations, truth.events, replicates, DRAW_SEED, *CLIP_METRICS]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]
