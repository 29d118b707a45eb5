"""Evaluation: ours beside the plain route through data frames and libraries.

python -m benchmarks evaluation [--systems DIR] [--clips N] [--validation_clips N] [--rounds N]
                                [--sets N] [--json FILE]

The exit status is 1 where a metric differs from the libraries' by more than 1e-9. Without
`--systems` the scores are generated.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import plain_evaluation as plain
from benchmarks.measure import aligned, finish, interleaved, ratio, shown
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
from desed_task.evaluation.libraries import library_metrics
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


class Comparison(NamedTuple):
    """The same computation by ours and by the plain route.

    Attributes:
        seconds: per route, of each round.
        values: per route, of each network: its metrics, or its number of events.
        difference: largest absolute difference of a metric, or of a time in seconds.
    """

    seconds: dict[str, list[float]]
    values: dict[str, list[Any]]
    difference: float


def main(argv: Sequence[str]) -> int:
    """Measure, print, compare; returns the exit status."""
    parser = subject_parser(__doc__, NUMBERS)
    parser.add_argument(
        "--systems", type=user_path, help="folder of a real system's operating points"
    )
    args = parse(parser, NUMBERS, argv)
    networks = NETWORKS[: args.networks]
    if args.systems is not None:
        source, truth = f"scores rebuilt from {args.systems}", read_truth(args.systems)
        systems = [rebuilt_scores(args.systems, name) for name in networks]
    else:
        source, truth = "generated scores", generated_truth(np.random.default_rng(0), args.clips)
        seeds = range(1, 1 + args.networks)
        systems = [generated_scores(np.random.default_rng(seed), truth) for seed in seeds]
    windows = load_config(RECIPE).median_windows
    selection = f"selection metrics, {args.validation_clips} clips"
    comparisons = {
        "decoding, 50 thresholds": decoding(systems, windows, args.rounds),
        "all metrics": metrics(systems, truth, args.rounds),
        selection: checkpoint_selection(
            *repeated(systems, truth, args.validation_clips), windows, args.rounds
        ),
    }
    largest = max(comparison.difference for comparison in comparisons.values())
    table, rows = [("", "ours, median (range)", "plain", "ratio")], {}
    for name, comparison in comparisons.items():
        ours, slow = (comparison.seconds[route] for route in ("ours", "plain"))
        speedup = ratio(slow, ours)
        table.append((name, shown(ours), shown(slow), f"{speedup:.1f} x"))
        rows[name] = comparison._asdict() | {"ratio": speedup}
    set_seconds = resampling(systems, truth, args.sets)
    lines = [
        f"{source}, {len(truth.events)} clips, {' and '.join(networks)}",
        *aligned(table),
        f"largest difference of a metric: {largest:.1e}",
        f"all metrics of a resampled set of clips, one network: {1e3 * set_seconds:.1f} ms",
    ]
    results = {
        "source": source,
        "comparisons": rows,
        "largest_difference": largest,
        "resampled_set_seconds": set_seconds,
    }
    finish(args, lines, results)
    return int(largest > TOLERANCE)


def decoding(systems: Sequence[Scores], windows: list[int], rounds: int) -> Comparison:
    """Median filter and events at 50 thresholds."""

    def plain_route() -> list[Any]:
        return [
            plain.decode(plain.filter_clips(system.values, windows), system.names, THRESHOLDS)
            for system in systems
        ]

    def ours() -> list[Any]:
        return [
            detect_many(median_filter(system.values, windows), THRESHOLDS, GRID)
            for system in systems
        ]

    seconds, found = interleaved(
        {"ours": ours, "plain": plain_route}, rounds, "Decoding", warm_up=False
    )
    differences = [
        frame_difference(frame, to_frame(table.at_level(level), system.names, CLASSES))
        for system, table, frames in zip(systems, found["ours"], found["plain"], strict=True)
        for level, frame in enumerate(frames)
    ]
    values = {
        "ours": [len(table) for table in found["ours"]],
        "plain": [sum(map(len, frames)) for frames in found["plain"]],
    }
    return Comparison(seconds, values, max(differences))


def metrics(systems: Sequence[Scores], truth: GroundTruth, rounds: int) -> Comparison:
    """All metrics, exact PSDS included; the plain route gets the events, ours decodes again."""
    prepared = [evaluate(system, truth).scoring_input for system in systems]
    return _compare_metrics(
        lambda: [vars(evaluate(system, truth)) for system in systems],
        lambda: [library_metrics(scoring) for scoring in prepared],
        rounds,
        "All metrics",
    )


def checkpoint_selection(
    systems: Sequence[Scores], truth: GroundTruth, windows: list[int], rounds: int
) -> Comparison:
    """Raw scores of a validation set -> the F-scores that select a checkpoint."""
    tags = [clip_tags(system, truth) for system in systems]

    def plain_route() -> list[Any]:
        values = []
        for system, both in zip(systems, tags, strict=True):
            filtered = plain.filter_clips(system.values, windows)
            (events,) = plain.decode(filtered, system.names, [0.5])
            values.append(plain.selection_metrics(events, truth, *both))
        return values

    def ours() -> list[Any]:
        values = []
        for system, both in zip(systems, tags, strict=True):
            filtered = Scores(median_filter(system.values, windows), system.names, GRID)
            found = vars(selection_metrics(filtered, truth))
            values.append(found | {"weak_f1_macro": tag_f1_macro(*both)})
        return values

    return _compare_metrics(ours, plain_route, rounds, "Selection metrics")


def resampling(systems: Sequence[Scores], truth: GroundTruth, n_sets: int) -> float:
    """Seconds for the metrics of one resampled set of clips, with its share of the one matching."""
    weights = draw(len(truth.events), n_sets, seed=0)
    seconds = 0.0
    for scores in systems:
        evaluated = evaluate(scores, truth)
        begin = time.perf_counter()
        list(resampled_values(evaluated, weights))
        seconds += time.perf_counter() - begin
    return seconds / (n_sets * len(systems))


def _compare_metrics(
    ours: Callable[[], list[Any]], plain_route: Callable[[], list[Any]], rounds: int, title: str
) -> Comparison:
    """Compare the metrics that the libraries have; both routes return them by network."""
    seconds, values = interleaved(
        {"ours": ours, "plain": plain_route}, rounds, title, warm_up=False
    )
    values["ours"] = [
        {name: found[name] for name in libraries}
        for found, libraries in zip(values["ours"], values["plain"], strict=True)
    ]
    differences = [
        abs((value or 0.0) - (found[name] or 0.0))
        for found, libraries in zip(values["ours"], values["plain"], strict=True)
        for name, value in libraries.items()
    ]
    return Comparison(seconds, values, max(differences))


def repeated(
    systems: Sequence[Scores], truth: GroundTruth, n_clips: int
) -> tuple[list[Scores], GroundTruth]:
    """Systems and ground truth of `n_clips` clips: their own, repeated under new names."""
    clips = list(truth.events)
    source = [number % len(clips) for number in range(n_clips)]
    names = {f"{number}_{clips[k]}": clips[k] for number, k in enumerate(source)}
    more = GroundTruth(
        truth.classes,
        {name: truth.events[clip] for name, clip in names.items()},
        {name: truth.durations[clip] for name, clip in names.items()},
    )
    return [Scores(system.values[source], list(names), GRID) for system in systems], more


def clip_tags(scores: Scores, truth: GroundTruth) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Predicted and true tags, `(clips, classes)`."""
    tags = np.zeros(scores.values.shape[:2], dtype=bool)
    events = truth.table(scores.names)
    tags[events.clip, events.label] = True
    return scores.values.max(axis=2) > 0.5, tags


def frame_difference(one: Any, other: Any) -> float:
    """Largest difference of a time in seconds; infinite where the events differ."""
    columns = ["filename", "event_label", "onset", "offset"]
    one, other = (
        frame[columns].sort_values(columns[:3], ignore_index=True) for frame in (one, other)
    )
    if not one[columns[:2]].equals(other[columns[:2]]):
        return float("inf")
    return float(np.abs(one[columns[2:]].to_numpy() - other[columns[2:]].to_numpy()).max(initial=0))
