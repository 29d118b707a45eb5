"""Finished runs -> means, standard deviations and paired differences of the variants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from desed_task.evaluation.comparison import Comparison, compare
from local.studies.run_metrics import METRIC_TITLES, NETWORKS, RunMetrics, read_truth, run_metrics
from local.studies.runs import Run
from local.studies.variants import Ablation


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

    def comparison(self, variant: str, network: str, metric: str) -> Comparison | None:
        """The variant minus the reference, over the seeds that both have.

        None for the reference itself, and for a teacher that the variant does not have.
        """
        pairs = [
            (result, reference)
            for seed, result in self.results[variant].items()
            if (reference := self.results[self.ablation.reference].get(seed)) is not None
            and network in result.values
            and network in reference.values
        ]
        if not pairs or variant == self.ablation.reference:
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
