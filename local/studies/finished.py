"""Finished runs -> metrics on the test set and on resampled clips, and their paired differences."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from desed_task.errors import InputError
from desed_task.evaluation import GroundTruth, evaluate
from desed_task.evaluation.bootstrap import draw, resampled_values
from desed_task.evaluation.comparison import Comparison, compare
from desed_task.evaluation.events import Floats
from desed_task.evaluation.score_files import read_scores
from desed_task.files import atomic_write
from desed_task.postprocess.methods import class_thresholds
from local.results.postprocessing import postprocessing
from local.run.folders import TRAINING_SECONDS
from local.studies.runs import Run
from local.studies.variants import Ablation

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
COMPARED = CLIP_METRICS | SET_METRICS
METRIC_TITLES = COMPARED | {TRAINING_SECONDS: "CPU seconds of training"}
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


@dataclass(frozen=True, eq=False)
class FinishedRuns:
    """The finished runs of an ablation.

    Args:
        ablation: the variants.
        results: metrics of the runs, by variant and seed.
        unfinished: names of the other runs.
        clips: number of test clips.
        replicates: of the bootstrap.
    """

    ablation: Ablation
    results: Mapping[str, Mapping[int, RunMetrics]]
    unfinished: Sequence[str]
    clips: int
    replicates: int

    def values(self, variant: str, network: str, metric: str) -> dict[int, float]:
        """A metric by seed, where it is defined."""
        column = list(METRIC_TITLES).index(metric)
        found = {
            seed: float(result.values[network][column])
            for seed, result in self.results[variant].items()
            if network in result.values
        }
        return {seed: value for seed, value in found.items() if not np.isnan(value)}

    def comparison(
        self, variant: str, reference: str, network: str, metric: str
    ) -> Comparison | None:
        """The variant minus a reference, over the seeds that both have.

        None for the reference itself, and for a teacher that one of them does not have.
        """
        ours, theirs = (
            {seed: run for seed, run in self.results[name].items() if network in run.values}
            for name in (variant, reference)
        )
        pairs = [(run, theirs[seed]) for seed, run in ours.items() if seed in theirs]
        if not pairs or variant == reference:
            return None
        column = list(METRIC_TITLES).index(metric)
        values = [a.values[network][column] - b.values[network][column] for a, b in pairs]
        drawn = [a.drawn[network][:, column] - b.drawn[network][:, column] for a, b in pairs]
        return compare(np.array(values), np.stack(drawn))

    @property
    def networks(self) -> list[str]:
        """The networks that any run has."""
        found = {
            name for runs in self.results.values() for run in runs.values() for name in run.values
        }
        return [name for name in NETWORKS if name in found]


def read_finished(ablation: Ablation, runs: Sequence[Run], replicates: int) -> FinishedRuns | None:
    """Metrics of all finished runs; None where there is none.

    Raises InputError where runs were tested on different clips.
    """
    finished = [run for run in runs if run.result is not None]
    if not finished:
        return None
    truth = read_truth(finished[0])
    results: dict[str, dict[int, RunMetrics]] = {name: {} for name in ablation.variants}
    for run in tqdm(finished, desc="resampling clips", unit="run"):
        results[run.variant][run.seed] = run_metrics(run, truth, replicates)
    unfinished = [run.name for run in runs if run.result is None]
    return FinishedRuns(ablation, results, unfinished, len(truth.events), replicates)


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation between seeds; None of fewer than 2."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def run_metrics(run: Run, truth: GroundTruth, replicates: int) -> RunMetrics:
    """Metrics of a finished run; those of resampled clips are stored in its folder."""
    folder, content = run.finished_folder, run.metrics
    values, drawn = {}, {}
    for network in NETWORKS:
        if f"test/{network}/event_f1_macro" not in content:
            continue
        found = [content.get(f"test/{network}/{metric}") for metric in METRIC_TITLES]
        values[network] = np.array(found, dtype=float)
        resampled = _stored(run, folder / "metrics_test" / network, truth, replicates)
        unchanged = np.tile(values[network][len(CLIP_METRICS) :], (len(resampled), 1))
        drawn[network] = np.concatenate([resampled, unchanged], axis=1)
    return RunMetrics(folder, values, drawn)


def _stored(run: Run, system: Path, truth: GroundTruth, replicates: int) -> Floats:
    """`resample` with its result in a file, which is read again if it is of the same clips."""
    path = system / "resampled.npz"
    text = json.dumps(
        [list(truth.classes), truth.durations, truth.events, replicates, DRAW_SEED, *CLIP_METRICS]
    )
    source = hashlib.sha256(text.encode()).hexdigest()[:12]
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
