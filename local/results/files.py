"""Scored systems -> metrics.json, files of each test set, printed tables (docs/recipe.md, "Test").

| file | content |
|---|---|
| `metrics_test/metrics.json` | all metrics of all test sets, flat |
| `metrics_test/postprocessing.yaml` | tuned parameters, if a method is tuned |
| `metrics_SET/SYSTEM/` | events, scores or boxes (`desed_task.evaluation.write_system`), PSD-ROC |
| `metrics_SET/report.html` | the report, with `postprocess.report` |
"""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from desed_task import __version__
from desed_task.evaluation import Intervals, write_system
from desed_task.evaluation.results import (
    HEADLINE_METRICS,
    MetricValue,
    difference_lines,
    metric_table,
)
from desed_task.files import write_file
from desed_task.postprocess.methods import DESCRIPTIONS, TunedParameters
from desed_task.report import ReportSystem, write_psd_rocs, write_report
from desed_task.sod import sod_metrics
from local.config.load import Config
from local.data import LabelledSet
from local.results.postprocessing import dump_tuned
from local.results.predictions import SetPredictions
from local.results.scoring import ScoredSystem, bootstrap_intervals, score_networks

REPORT_FILE = "report.html"
TUNING_FILE = "postprocessing.yaml"
VERSIONED = (
    "torch",
    "torchaudio",
    "pytorch-lightning",
    "numpy",
    "scipy",
    "psds_eval",
    "sed_eval",
    "sed_scores_eval",
)
PRINTED_METRICS = HEADLINE_METRICS | {
    "sod_accuracy": "SOD accuracy",
    "sod_f1_macro": "SOD macro-F1",
    "sod_sed_agreement": "SOD and SED agree",
}


class WrittenResults(NamedTuple):
    """Results of a test.

    Attributes:
        metrics_file: `metrics.json`.
        differences: metrics that differ from the libraries', one line each; empty without `check`.
    """

    metrics_file: Path
    differences: list[str]


def write_results(
    predictions: Mapping[str, Mapping[str, SetPredictions]],
    sets: Sequence[LabelledSet],
    config: Config,
    run: Path,
    tuned: Mapping[str, TunedParameters],
    *,
    check: bool = False,
) -> WrittenResults:
    """Score every test set, write all files, print a table per set.

    Args:
        predictions: by name of the set, then by network.
        sets: the test sets.
        config: the experiment.
        run: the run's folder.
        tuned: tuned parameters by network; empty if no method is tuned.
        check: compute the metrics with the libraries as well, and write them beside ours.
    """
    metrics: dict[str, MetricValue] = {}
    differences: list[str] = []
    tables: list[str] = []
    for test_set in sets:
        name, folder = test_set.name, run / f"metrics_{test_set.name}"
        systems = score_networks(predictions[name], test_set.truth, config, tuned, check=check)
        intervals = bootstrap_intervals(systems, config)
        set_metrics = flat_metrics(systems, intervals, test_set)
        write_set(systems, intervals, test_set, config, folder)
        metrics |= {f"{name}/{key}": value for key, value in set_metrics.items()}
        lines = difference_lines({system.name: system.metrics for system in systems})
        differences += [f"{name}/{line}" for line in lines]
        tables.append(headline_table(set_metrics, [system.name for system in systems], name))
        if config.postprocess.report:
            tables[-1] += f"\n{folder / REPORT_FILE}"
    folder = run / "metrics_test"
    if tuned:
        text = yaml.safe_dump(dump_tuned(tuned), sort_keys=False)
        write_file(folder / TUNING_FILE, text)
    path = folder / "metrics.json"
    write_metrics(metrics, config, path)
    print("\n\n".join(tables))
    return WrittenResults(path, differences)


def flat_metrics(
    systems: Sequence[ScoredSystem], intervals: Intervals | None, test_set: LabelledSet
) -> dict[str, MetricValue]:
    """Metrics of one set by `SYSTEM/METRIC`, their intervals, and the set's clip counts."""
    metrics: dict[str, MetricValue] = {}
    for system in systems:
        values = system.metrics.as_flat_dict() | sod_metrics(system.predictions.sod_result())
        metrics |= {f"{system.name}/{key}": value for key, value in values.items()}
    if intervals is not None:
        metrics |= intervals.as_flat_dict()
    coverage = test_set.coverage
    return metrics | {
        "clips_expected": coverage.expected,
        "clips_missing": len(coverage.missing),
    }


def write_set(
    systems: Sequence[ScoredSystem],
    intervals: Intervals | None,
    test_set: LabelledSet,
    config: Config,
    folder: Path,
) -> None:
    """Write one folder per system, and the set's report."""
    for system in systems:
        raw = system.method == config.postprocess.methods[0]  # the same for the other methods
        write_system(
            folder / system.name,
            system.metrics,
            raw_scores=system.predictions.raw_scores() if raw else None,
        )
        title = f"{system.name}, {test_set.name} set"
        write_psd_rocs(folder / system.name, system.metrics, title=title)
    if not config.postprocess.report:
        return
    report_systems = [
        ReportSystem(
            system.name,
            system.metrics,
            sod=system.predictions.sod_result(),
            note=DESCRIPTIONS[system.method],
        )
        for system in systems
    ]
    write_report(
        folder,
        report_systems,
        title=f"Test on the {test_set.name} set",
        intervals=intervals,
        audio=test_set.coverage.folder,
    )


def headline_table(metrics: Mapping[str, Any], systems: Sequence[str], set_name: str) -> str:
    """Headline metrics of one test set as text, one column per system."""
    columns = {
        name: {key: metrics.get(f"{name}/{key}") for key in PRINTED_METRICS} for name in systems
    }
    return metric_table(PRINTED_METRICS, columns, set_name)


def write_metrics(metrics: Mapping[str, MetricValue], config: Config, path: Path) -> None:
    """Write the metrics, the configuration's digest and all versions as one flat JSON object."""
    versions: dict[str, str | None] = {"versions/desed_task": __version__}
    versions |= {f"versions/{name}": _installed_version(name) for name in VERSIONED}
    versions["versions/python"] = platform.python_version()
    content = {
        **metrics,
        "note/macro": "macro averages are over the classes that occur in the ground truth; "
        "intersection_f1_macro, as psds_eval defines it, excludes classes without any found "
        "event (intersection_f1_macro_occurring does not); null: undefined",
        "note/clips_without_events": "excluded"
        if config.postprocess.drop_clips_without_events
        else "scored: false alarms in them are counted",
        "config_digest": config.digest,
        **versions,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(content, indent=1) + "\n")


def _installed_version(package: str) -> str | None:
    """Version of a package; None if it is not installed (the extra `check`)."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
