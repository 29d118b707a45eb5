"""Evaluation: ours beside the plain route through data frames and libraries.

python -m benchmarks evaluation [--systems DIR] [--clips N] [--validation_clips N] [--rounds N]
                                [--sets N] [--json FILE]

The exit status is 1 where a metric differs from the libraries' by more than 1e-9. Without
`--systems` the scores are generated.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import plain_evaluation as plain
from benchmarks.measure import finish, interleaved, ratio, shown
from benchmarks.options import RECIPE, Number, parse, subject_parser
from desed_task.evaluation import (
    THRESHOLDS,
    GroundTruth,
    Scores,
    detect_many,
    evaluate,
    selection_metrics,
    to_frame,
)
from desed_task.evaluation.bootstrap import draw, resampled_values
from desed_task.files import user_path
from desed_task.postprocess.median import median_filter
from local.config.load import load_config
from local.results.validation import tag_f1_macro
from tests.support.classes import CLASSES
from tests.support.desed import NETWORKS, read_truth, rebuilt_scores
from tests.support.generated_system import GRID, generated_scores, generated_truth

TOLERANCE = 1e-9
NUMBERS = {
    "clips": Number(4, 300, 1168, "generated clips"),
    "validation_clips": Number(6, 300, 2500, "of the selection metrics: the clips, repeated"),
    "networks": Number(1, 2, 2, "1: student; 2: student and teacher"),
    "rounds": Number(1, 1, 3, "rounds"),
    "sets": Number(2, 64, 256, "resampled sets of clips"),
}


class Systems(NamedTuple):
    """Ground truth, the scores of student and teacher, and their source."""

    truth: GroundTruth
    scores: dict[str, Scores]
    source: str


class Comparison(NamedTuple):
    """The same computation by ours and by the plain route.

    Attributes:
        seconds: per route, of each round.
        values: per route, the metrics of each network; for events the sum of their times.
        difference: largest absolute difference of a value.
    """

    seconds: dict[str, list[float]]
    values: dict[str, Any]
    difference: float


def main(argv: Sequence[str]) -> int:
    """Measure, print, compare; returns the exit status."""
    parser = subject_parser(__doc__, NUMBERS)
    parser.add_argument(
        "--systems", type=user_path, help="folder of a real system's operating points"
    )
    args = parse(parser, NUMBERS, argv)
    systems = load_systems(args.systems, args.clips, NETWORKS[: args.networks])
    windows = load_config(RECIPE).median_windows
    selection = f"selection metrics, {args.validation_clips} clips"
    comparisons = {
        "decoding, 50 thresholds": decoding(systems, windows, args.rounds),
        "all metrics": metrics(systems, args.rounds),
        selection: checkpoint_selection(systems, windows, args.validation_clips, args.rounds),
    }
    largest = max(comparison.difference for comparison in comparisons.values())
    lines = [
        f"{systems.source}, {len(systems.truth.events)} clips, {' and '.join(systems.scores)}",
        f"{'':<33}{'ours, median (range)':<36}{'plain':<36}ratio",
    ]
    results = {}
    for name, comparison in comparisons.items():
        ours, slow = (comparison.seconds[route] for route in ("ours", "plain"))
        speedup = ratio(slow, ours)
        lines.append(f"{name:<33}{shown(ours):<36}{shown(slow):<36}{speedup:5.1f} x")
        results[name] = comparison._asdict() | {"ratio": speedup}
    lines.append(f"largest difference of a metric: {largest:.1e}")
    set_seconds = resampling(systems, args.sets)
    lines.append(
        f"all metrics of a resampled set of clips, one network: {1e3 * set_seconds:.1f} ms"
    )
    finish(
        args,
        lines,
        {
            "source": systems.source,
            "comparisons": results,
            "largest_difference": largest,
            "resampled_set_seconds": set_seconds,
        },
    )
    return int(largest > TOLERANCE)


def load_systems(folder: Path | None, n_generated: int, networks: Sequence[str]) -> Systems:
    """Systems rebuilt from the operating points in a folder, or generated ones."""
    if folder is not None:
        scores = {name: rebuilt_scores(folder, name) for name in networks}
        return Systems(read_truth(folder), scores, f"scores rebuilt from {folder}")
    truth = generated_truth(np.random.default_rng(0), n_generated)
    scores = {
        name: generated_scores(np.random.default_rng(seed), truth)
        for seed, name in enumerate(networks, start=1)
    }
    return Systems(truth, scores, "generated scores")


def _compare(
    ours: Callable[[], Any],
    plain_route: Callable[[], Any],
    rounds: int,
    title: str,
    difference: Callable[[Any, Any], float],
) -> Comparison:
    seconds, values = interleaved({"ours": ours, "plain": plain_route}, rounds, title)
    return Comparison(seconds, values, difference(values["plain"], values["ours"]))


def decoding(systems: Systems, windows: list[int], rounds: int) -> Comparison:
    """Median filter and events at 50 thresholds."""

    def plain_route() -> list[Any]:
        return [
            plain.decode(
                plain.filter_clips(system.values, windows), system.names, CLASSES, GRID, THRESHOLDS
            )
            for system in systems.scores.values()
        ]

    def ours() -> list[Any]:
        return [
            detect_many(median_filter(system.values, windows), THRESHOLDS, GRID)
            for system in systems.scores.values()
        ]

    def difference(plain_tables: list[Any], tables: list[Any]) -> float:
        return max(
            _frame_difference(frame, to_frame(table.at_level(level), system.names, CLASSES))
            for frames, table, system in zip(
                plain_tables, tables, systems.scores.values(), strict=True
            )
            for level, frame in enumerate(frames)
        )

    comparison = _compare(ours, plain_route, rounds, "Decoding", difference)
    values = {
        "ours": [len(table) for table in comparison.values["ours"]],
        "plain": [sum(map(len, frames)) for frames in comparison.values["plain"]],
    }
    return comparison._replace(values=values)


def metrics(systems: Systems, rounds: int) -> Comparison:
    """All metrics, exact PSDS included; the plain route gets the events, ours decodes again."""
    decoded = {
        name: [
            plain.decode(system.values, system.names, CLASSES, GRID, thresholds)
            for thresholds in (THRESHOLDS, [0.5])
        ]
        for name, system in systems.scores.items()
    }

    def plain_route() -> list[Any]:
        return [
            plain.system_metrics(points, events, systems.scores[name], systems.truth)
            for name, (points, (events,)) in decoded.items()
        ]

    def ours() -> list[Any]:
        return [vars(evaluate(system, systems.truth)) for system in systems.scores.values()]

    return _common(_compare(ours, plain_route, rounds, "All metrics", _largest_difference))


def checkpoint_selection(
    systems: Systems, windows: list[int], n_clips: int, rounds: int
) -> Comparison:
    """Raw scores of a validation set -> the F-scores that select a checkpoint."""
    truth, scores = _validation_set(systems, n_clips)
    tags = {name: _clip_tags(system, truth) for name, system in scores.items()}

    def plain_route() -> list[Any]:
        values = []
        for name, system in scores.items():
            filtered = plain.filter_clips(system.values, windows)
            (events,) = plain.decode(filtered, system.names, CLASSES, GRID, [0.5])
            values.append(plain.selection_metrics(events, truth, *tags[name]))
        return values

    def ours() -> list[Any]:
        values = []
        for name, system in scores.items():
            filtered = Scores(median_filter(system.values, windows), system.names, GRID)
            f1 = tag_f1_macro(*tags[name])
            values.append(vars(selection_metrics(filtered, truth)) | {"weak_f1_macro": f1})
        return values

    return _common(_compare(ours, plain_route, rounds, "Selection metrics", _largest_difference))


def resampling(systems: Systems, n_sets: int) -> float:
    """Seconds for the metrics of one resampled set of clips, with its share of the one matching."""
    weights = draw(len(systems.truth.events), n_sets, seed=0)
    seconds = 0.0
    for scores in systems.scores.values():
        metrics = evaluate(scores, systems.truth)
        begin = time.perf_counter()
        list(resampled_values(metrics, weights))
        seconds += time.perf_counter() - begin
    return seconds / (n_sets * len(systems.scores))


def _common(comparison: Comparison) -> Comparison:
    """Only the metrics that the libraries have."""
    values = comparison.values
    ours = [
        {name: metrics[name] for name in libraries}
        for metrics, libraries in zip(values["ours"], values["plain"], strict=True)
    ]
    return comparison._replace(values={"ours": ours, "plain": values["plain"]})


def _validation_set(systems: Systems, n_clips: int) -> tuple[GroundTruth, dict[str, Scores]]:
    """`n_clips` clips: the systems' own, repeated under new names."""
    clips = list(systems.truth.events)
    source = [number % len(clips) for number in range(n_clips)]
    names = {f"{number}_{clips[k]}": clips[k] for number, k in enumerate(source)}
    truth = GroundTruth(
        systems.truth.classes,
        {name: systems.truth.events[clip] for name, clip in names.items()},
        {name: systems.truth.durations[clip] for name, clip in names.items()},
    )
    scores = {
        name: Scores(system.values[source], list(names), GRID)
        for name, system in systems.scores.items()
    }
    return truth, scores


def _clip_tags(scores: Scores, truth: GroundTruth) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Predicted and true tags, `(clips, classes)`."""
    tags = np.zeros(scores.values.shape[:2], dtype=bool)
    events = truth.table(scores.names)
    tags[events.clip, events.label] = True
    return scores.values.max(axis=2) > 0.5, tags


def _largest_difference(libraries: list[dict[str, Any]], ours: list[dict[str, Any]]) -> float:
    """Largest difference of a metric of the libraries."""
    return max(
        abs((value or 0.0) - (metrics[name] or 0.0))
        for values, metrics in zip(libraries, ours, strict=True)
        for name, value in values.items()
    )


def _frame_difference(one: Any, other: Any) -> float:
    """Largest difference of a time in seconds; infinite where the events differ."""
    columns = ["filename", "event_label", "onset", "offset"]
    one, other = (
        frame[columns].sort_values(columns[:3], ignore_index=True) for frame in (one, other)
    )
    if len(one) != len(other) or not one[columns[:2]].equals(other[columns[:2]]):
        return float("inf")
    if not len(other):
        return 0.0
    return float(np.abs(one[columns[2:]].to_numpy() - other[columns[2:]].to_numpy()).max())
