"""A test's predictions -> scored systems, files, printed tables (docs/recipe.md, "Test").

A system is a network with one post-processing method.

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
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import yaml

from desed_task import __version__
from desed_task.dataio.coverage import Coverage
from desed_task.evaluation import GroundTruth, Intervals, bootstrap, evaluate, write_system
from desed_task.evaluation.results import (
    HEADLINE_METRICS,
    MetricValue,
    difference_lines,
    metric_table,
)
from desed_task.files import write_file
from desed_task.postprocess.methods import DESCRIPTIONS, Method, TunedParameters, class_thresholds
from desed_task.report import ReportSystem, write_psd_rocs, write_report
from desed_task.report.blocks import format_value
from desed_task.sod import sod_metrics
from local.config.load import Config
from local.data import LabelledSet
from local.results.postprocessing import default_method, dump_tuned, postprocessing
from local.results.predictions import SetPredictions
from local.results.recordings import clip_recordings
from local.run.folders import TRAINING_SECONDS

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
    TRAINING_SECONDS: "CPU seconds of training",
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
        write_set(systems, predictions[name], intervals, test_set, config, folder)
        flat = flat_metrics(systems, intervals, test_set.coverage)
        metrics |= {f"{name}/{key}": value for key, value in flat.items()}
        lines = difference_lines({system.name: system.metrics for system in systems})
        differences += [f"{name}/{line}" for line in lines]
        columns = {
            system.name: {key: flat.get(f"{system.name}/{key}") for key in PRINTED_METRICS}
            | {TRAINING_SECONDS: format_value(system.training_seconds, 1)}
            for system in systems
        }
        tables.append(metric_table(PRINTED_METRICS, columns, name))
        if config.postprocess.report:
            tables[-1] += f"\n{folder / REPORT_FILE}"
    folder = run / "metrics_test"
    if tuned:
        text = yaml.safe_dump(dump_tuned(tuned), sort_keys=False)
        write_file(folder / TUNING_FILE, text)
    path = folder / "metrics.json"
    write_metrics(metrics, config, path)
    print("\n\n".join(tables))
    for network, parameters in tuned.items():
        calibration = parameters.calibration.get(default_method(config, parameters))
        for line in (parameters.selection, calibration):
            if line is not None:
                print(f"{network}: {line}")
    return WrittenResults(path, differences)


def score_networks(
    predictions: Mapping[str, SetPredictions],
    truth: GroundTruth,
    config: Config,
    tuned: Mapping[str, TunedParameters],
    *,
    check: bool = False,
) -> list[ReportSystem]:
    """Score every network with its chosen post-processing method, or with every configured one.

    A system is named like its network with the default method, which is the first one, and
    `NETWORK_METHOD` with others.

    Args:
        predictions: by network, `student` and `teacher`.
        truth: of the set; clips without predictions (a shortened run) are excluded.
        config: the experiment.
        tuned: tuned parameters by network; empty if no method is tuned.
        check: compute the metrics with the libraries as well.
    """
    systems = []
    for network, predicted in predictions.items():
        default = default_method(config, tuned.get(network))
        settings = config.postprocess
        methods = [default] if settings.choose_method else settings.methods
        systems += [
            _score(network, method, predicted, truth, config, tuned.get(network), check=check)
            for method in methods
        ]
    return systems


def _score(
    network: str,
    method: Method,
    predicted: SetPredictions,
    truth: GroundTruth,
    config: Config,
    tuned: TunedParameters | None,
    *,
    check: bool,
) -> ReportSystem:
    classes, settings = config.data.classes, config.postprocess
    scores = predicted.corrected_scores()
    described = postprocessing(config, tuned, scores.frame_seconds)
    parameters = described.parameters(method)
    assert parameters is not None  # every configured method was tuned
    metrics = evaluate(
        parameters.apply(scores, classes),
        truth.restricted(predicted.names),
        thresholds=operating_points(config.training.n_test_thresholds),
        f1_threshold=class_thresholds(parameters, classes),
        drop_clips_without_events=settings.drop_clips_without_events,
        trim_to_clip=settings.trim_to_clip,
        check=check,
    )
    note, selection = DESCRIPTIONS[method], described.tuned.selection
    system = partial(
        ReportSystem,
        metrics=metrics,
        sod=predicted.sod_result(),
        training_seconds=predicted.training_seconds,
    )
    if method != described.method:
        return system(f"{network}_{method}", note=note)
    if settings.choose_method and selection is not None:
        note += f"; {selection}"
    return system(network, note=note, calibration=described.tuned.calibration.get(method))


def operating_points(number: int) -> list[float]:
    """`number` thresholds in the middle of equal steps of (0, 1): 0.01, 0.03 … 0.99 for 50."""
    return [(2 * k + 1) / (2 * number) for k in range(number)]


def bootstrap_intervals(systems: Sequence[ReportSystem], config: Config) -> Intervals | None:
    """95 % intervals of the systems' metrics; None with 0 configured replicates."""
    replicates = config.postprocess.bootstrap_replicates
    if not replicates:
        return None
    metrics = {system.name: system.metrics for system in systems}
    return bootstrap(metrics, replicates=replicates, seed=config.training.seed, progress=True)


def flat_metrics(
    systems: Sequence[ReportSystem], intervals: Intervals | None, coverage: Coverage
) -> dict[str, MetricValue]:
    """Metrics of one set by `SYSTEM/METRIC`, their intervals, and the set's clip counts."""
    metrics: dict[str, MetricValue] = {}
    for system in systems:
        values = system.metrics.as_flat_dict() | sod_metrics(system.sod)
        if system.training_seconds is not None:
            values[TRAINING_SECONDS] = round(system.training_seconds, 1)
        metrics |= {f"{system.name}/{key}": value for key, value in values.items()}
    if intervals is not None:
        metrics |= intervals.as_flat_dict()
    return metrics | {
        "clips_expected": coverage.expected,
        "clips_missing": len(coverage.missing),
    }


def write_set(
    systems: Sequence[ReportSystem],
    predictions: Mapping[str, SetPredictions],
    intervals: Intervals | None,
    test_set: LabelledSet,
    config: Config,
    folder: Path,
) -> None:
    """Write one folder per system, and the set's report."""
    for system in systems:
        network = predictions.get(system.name)  # its other systems have the same raw scores
        raw = None if network is None else network.raw_scores()
        write_system(folder / system.name, system.metrics, raw_scores=raw)
        title = f"{system.name}, {test_set.name} set"
        write_psd_rocs(folder / system.name, system.metrics, title=title)
    if config.postprocess.report:
        title = f"Test on the {test_set.name} set"
        audio = test_set.coverage.folder
        write_report(
            folder,
            systems,
            title=title,
            intervals=intervals,
            audio=audio,
            recordings=clip_recordings(Path(config.data.root)),
        )


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
