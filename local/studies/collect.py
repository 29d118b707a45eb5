"""Finished runs -> means, standard deviations and paired differences of the variants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from desed_task.evaluation.comparison import Comparison, compare
from desed_task.evaluation.events import Floats
from local.studies.differences import METRIC_TITLES, NETWORKS, RunResult, read_result, read_truth
from local.studies.runs import Run
from local.studies.variants import Ablation


@dataclass(frozen=True, eq=False)
class Collected:
    """The finished runs of an ablation.

    Args:
        ablation: the variants.
        runs: finished runs, by variant and seed.
        results: their metrics, by variant and seed.
        unfinished: names of the other runs.
        clips: number of test clips.
        replicates: of the bootstrap.
    """

    ablation: Ablation
    runs: Mapping[str, Mapping[int, Run]]
    results: Mapping[str, Mapping[int, RunResult]]
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

        A variant without teacher is not compared as a teacher.
        """
        pairs = [
            (result, reference)
            for seed, result in self.results[variant].items()
            if (reference := self.results[self.ablation.reference].get(seed)) is not None
            and network in result.values
            and network in reference.values
        ]
        if not pairs:
            return None
        column = list(METRIC_TITLES).index(metric)
        values = [a.values[network][column] - b.values[network][column] for a, b in pairs]
        drawn: list[Floats] = [
            a.drawn[network][:, column] - b.drawn[network][:, column] for a, b in pairs
        ]
        return compare(np.array(values), np.stack(drawn))

    @property
    def networks(self) -> list[str]:
        """The networks that any run has."""
        every = [
            result for seed_results in self.results.values() for result in seed_results.values()
        ]
        return [name for name in NETWORKS if any(name in result.values for result in every)]


def collect(ablation: Ablation, runs: Sequence[Run], replicates: int) -> Collected | None:
    """Read all finished runs; None where there is none.

    Raises InputError where runs were tested on different clips.
    """
    finished = [run for run in runs if run.result is not None]
    if not finished:
        return None
    truth = read_truth(finished[0])
    by_variant: dict[str, dict[int, Run]] = {name: {} for name in ablation.variants}
    results: dict[str, dict[int, RunResult]] = {name: {} for name in ablation.variants}
    for run in tqdm(finished, desc="resampling clips", unit="run"):
        by_variant[run.variant][run.seed] = run
        results[run.variant][run.seed] = read_result(run, truth, replicates)
    return Collected(
        ablation,
        by_variant,
        results,
        [run.name for run in runs if run.result is None],
        len(truth.events),
        replicates,
    )


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation between seeds; None of fewer than 2."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
