"""From the test's predictions to figures, files, a table and a report (docs/recipe.md, "Test")."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from desed_task import __version__
from desed_task.evaluation import Intervals, bootstrap, evaluate, write_system
from desed_task.evaluation.results import HEADLINE_METRICS, difference_lines, metric_table
from desed_task.files import atomic_write
from desed_task.report import ReportSystem, write_psd_rocs, write_report
from local.audio_sets import test_sets
from local.config.load import Config
from local.data import DesedDataModule, LabelledSet
from local.results.postprocessing import NOTES, Tuned, dump_tuning, process, tune
from local.results.test_predictions import TestPredictions
from local.sed_trainer import CrossTaskSED

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
PRINTED = HEADLINE_METRICS | {
    "sod_accuracy": "SOD accuracy",
    "sod_f1_macro": "SOD macro-F1",
    "sod_sed_agreement": "SOD and SED agree",
}


class Outcome(NamedTuple):
    """What a test leaves: `metrics.json`, and what differs from the libraries if asked."""

    metrics: Path
    differences: list[str]


class Judged(NamedTuple):
    """A network's predictions, and what one method of post-processing makes of them."""

    predicted: TestPredictions
    method: str
    system: ReportSystem


def tune_networks(module: CrossTaskSED, data: DesedDataModule, config: Config) -> dict[str, Tuned]:
    """Tune each network's post-processing on what it predicted of the validation set."""
    predictions = module.test_predictions[len(data.test_sets)]
    return {
        name: tune(
            predicted.corrected_scores(),
            predicted.names,
            data.validation_truth.restricted(predicted.names),
            config,
            title=name,
        )
        for name, predicted in predictions.items()
    }


def report(
    module: CrossTaskSED,
    data: DesedDataModule,
    config: Config,
    run: Path,
    tuned: Mapping[str, Tuned],
    *,
    check: bool = False,
) -> Outcome:
    """Score every test set, write everything, print the tables.

    `check` asks the libraries as well; their figures are written beside ours.
    """
    figures: dict[str, Any] = {}
    differences = []
    tables = []
    for number, part in enumerate(data.test_sets):
        folder = run / f"metrics_{part.name}"
        predictions = module.test_predictions[number]
        judged = judge_networks(predictions, part, config, tuned, check=check)
        of_set = write_test_set(judged, part, config, folder)
        metrics = {each.system.name: each.system.metrics for each in judged}
        lines = difference_lines(metrics)
        differences += [f"{part.name}/{line}" for line in lines]
        figures |= {f"{part.name}/{key}": value for key, value in of_set.items()}
        tables.append(headline_table(of_set, list(metrics), part.name))
        if config.postprocess.report:
            tables[-1] += f"\n{folder / REPORT_FILE}"
    folder = run / "metrics_test"
    if tuned:
        text = yaml.safe_dump(dump_tuning(tuned), sort_keys=False)
        (folder / TUNING_FILE).write_text(text, encoding="utf-8")
    path = folder / "metrics.json"
    write_metrics(figures, config, path)
    print("\n\n".join(tables))
    return Outcome(path, differences)


def headline_table(figures: Mapping[str, Any], systems: Sequence[str], set_name: str) -> str:
    """A test set's headline figures, one system beside the other."""
    of_system = {name: {key: figures.get(f"{name}/{key}") for key in PRINTED} for name in systems}
    return metric_table(PRINTED, of_system, set_name)


def judge_networks(
    predictions: Mapping[str, TestPredictions],
    part: LabelledSet,
    config: Config,
    tuned: Mapping[str, Tuned],
    *,
    check: bool = False,
) -> list[Judged]:
    """Judge what every network predicted on one test set, post-processed by every method.

    Args:
        predictions: by network, `student` and `teacher`.
        part: the test set; clips that were not predicted (a shortened run) are left out.
        config: the experiment.
        tuned: what was tuned for each network; empty if nothing is.
        check: ask the libraries as well.
    """
    return [
        Judged(predicted, method, _judge(name, predicted, part, config, method, tuned, check=check))
        for name, predicted in predictions.items()
        for method in config.postprocess.methods
    ]


def write_test_set(
    judged: Sequence[Judged], part: LabelledSet, config: Config, folder: Path
) -> dict[str, float | int | None]:
    """Write a test set's report and a folder per system.

    Args:
        judged: what `judge_networks` found.
        part: the test set.
        config: the experiment.
        folder: where to.

    Returns: figures by `network/figure` (`network_method/figure` of further methods), their
        intervals, and clip counts of the set.
    """
    figures: dict[str, float | int | None] = {}
    for predicted, method, system in judged:
        flat = system.metrics.as_flat_dict() | predicted.sod_figures()
        figures |= {f"{system.name}/{key}": value for key, value in flat.items()}
        write_system(
            folder / system.name,
            system.metrics,
            config.grid,
            raw_scores=predicted.raw_scores() if _is_main(method, config) else None,
        )
        title = f"{system.name}, {part.name} set"
        write_psd_rocs(folder / system.name, system.metrics, title=title)
    systems = [each.system for each in judged]
    intervals = _intervals(systems, config)
    if intervals is not None:
        figures |= intervals.as_flat_dict()
    if config.postprocess.report:
        write_report(
            folder,
            systems,
            title=f"Test on the {part.name} set",
            intervals=intervals,
            audio=Path(test_sets(config)[part.name].folder),
        )
    coverage = part.coverage
    figures["clips_expected"] = coverage.expected
    figures["clips_missing"] = len(coverage.missing)
    return figures


def system_name(network: str, method: str, config: Config) -> str:
    """What a network, post-processed by one of the methods, is called in the results."""
    return network if _is_main(method, config) else f"{network}_{method}"


def _is_main(method: str, config: Config) -> bool:
    return method == config.postprocess.methods[0]


def _judge(
    network: str,
    predicted: TestPredictions,
    part: LabelledSet,
    config: Config,
    method: str,
    tuned: Mapping[str, Tuned],
    *,
    check: bool,
) -> ReportSystem:
    """One network's predictions, post-processed by one method and judged."""
    settings = config.postprocess
    scores = predicted.corrected_scores()
    processed = process(scores, predicted.names, config, method, tuned.get(network))
    metrics = evaluate(
        processed.output,
        part.truth.restricted(predicted.names),
        thresholds=operating_points(config.training.n_test_thresholds),
        f1_threshold=processed.f1_threshold,
        drop_clips_without_events=settings.drop_clips_without_events,
        trim_to_duration=settings.trim_to_clip,
        check=check,
    )
    name = system_name(network, method, config)
    return ReportSystem(name, metrics, sod=predicted.sod_result(), note=NOTES[method])


def _intervals(systems: Sequence[ReportSystem], config: Config) -> Intervals | None:
    replicates = config.postprocess.bootstrap_replicates
    if not replicates:
        return None
    metrics = {system.name: system.metrics for system in systems}
    return bootstrap(metrics, replicates=replicates, seed=config.training.seed, progress=True)


def operating_points(number: int) -> list[float]:
    """`number` thresholds in the middle of equal steps of (0, 1): 0.01, 0.03 … 0.99 for 50."""
    return [(2 * k + 1) / (2 * number) for k in range(number)]


def write_metrics(figures: Mapping[str, Any], config: Config, path: Path) -> None:
    """Write the figures, the configuration's digest and all versions, flat, as JSON."""
    versions = {"versions/desed_task": __version__}
    versions |= {f"versions/{name}": version(name) for name in VERSIONED}
    versions["versions/python"] = platform.python_version()
    content = {
        **figures,
        "note/macro": "macro averages are over the classes that occur in the truth; "
        "intersection_f1_macro, as psds_eval defines it, leaves out classes without any found "
        "event (intersection_f1_macro_occurring does not); null: undefined",
        "note/clips_without_events": "left out"
        if config.postprocess.drop_clips_without_events
        else "scored: false alarms there count",
        "config_digest": config.digest,
        **versions,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
