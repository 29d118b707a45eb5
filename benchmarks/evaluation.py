"""Evaluation: this project's against the plain route through data frames and libraries.

python -m benchmarks evaluation [--systems DIR] [--rounds N] [--json FILE]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import plain_evaluation as plain
from benchmarks.measure import Pair, interleaved, machine, peak_memory
from benchmarks.options import RECIPE, add_numbers, check_least, subject_parser, write_report
from benchmarks.systems import GRID, Systems, evaluate_systems, load_systems
from desed_task.evaluation import (
    THRESHOLDS,
    GroundTruth,
    Scores,
    detect_many,
    evaluate,
    selection_metrics,
    to_frame,
)
from desed_task.evaluation.results import MetricValue
from desed_task.postprocess.median import median_filter
from local.classes import CLASSES
from local.config.load import load_config
from local.results.validation import tag_f1_macro

SHARED = Path(__file__).parents[2] / "shared" / "real_predictions"
TOLERANCE = 1e-9


def main(argv: Sequence[str]) -> int:
    """Measure, print, compare; the exit status is 1 where figures differ from the libraries'."""
    parser = subject_parser("evaluation", __doc__)
    parser.add_argument(
        "--systems",
        type=Path,
        default=SHARED if SHARED.is_dir() else None,
        help="folder of a real system's operating points (default: generated scores)",
    )
    options = {
        "clips": (1168, "generated clips"),
        "validation_clips": (2500, "of the selection metrics: those clips, repeated"),
        "rounds": (3, "rounds"),
    }
    add_numbers(parser, options)
    args = parser.parse_args(argv)
    check_least(args, **dict.fromkeys(options, 1))
    systems = load_systems(args.systems, args.clips)
    windows = load_config(RECIPE).postprocess.windows
    results = [
        decoding(systems, windows, args.rounds),
        metrics(systems, args.rounds),
        selection(systems, windows, args.validation_clips, args.rounds),
    ]
    memory = peak_memory(evaluate_systems, args.systems, args.clips)
    difference = max(of_pair for _, of_pair in results)
    report = {
        "machine": machine(),
        "source": systems.source,
        "clips": len(systems.truth.events),
        "pairs": [pair.as_dict() for pair, _ in results],
        "largest_difference": difference,
        "peak_memory_gb": memory,
    }
    print(f"{report['machine']}\n{systems.source}, {report['clips']} clips, student and teacher")
    print(f"{'':<34}{'plain':>9} (range){'ours':>20} (range)   ratio of the medians")
    for pair, _ in results:
        print(pair)
    print(f"largest difference of a figure  {difference:.1e}")
    print(f"peak memory of our evaluation   {memory:.2f} GB, what it imports included")
    write_report(args.json, report)
    return int(difference > TOLERANCE)


def decoding(systems: Systems, windows: list[int], rounds: int) -> tuple[Pair, float]:
    """Median filter and events at 50 thresholds, both networks."""

    def theirs() -> list[list[Any]]:
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

    timings, found = interleaved({"plain": theirs, "ours": ours}, rounds, "decoding")
    difference = 0.0
    for points, table, system in zip(
        found["plain"], found["ours"], systems.scores.values(), strict=True
    ):
        for level, point in enumerate(points):
            mine = to_frame(table.at_level(level), system.names, CLASSES)
            difference = max(difference, _frame_difference(point, mine))
    return Pair("decoding, 50 thresholds", timings["plain"], timings["ours"]), difference


def metrics(systems: Systems, rounds: int) -> tuple[Pair, float]:
    """All figures of both networks, exact PSDS included; ours finds the events itself, again."""
    decoded = {
        name: (
            plain.decode(system.values, system.names, CLASSES, GRID, THRESHOLDS),
            plain.decode(system.values, system.names, CLASSES, GRID, [0.5])[0],
        )
        for name, system in systems.scores.items()
    }

    def theirs() -> list[dict[str, MetricValue]]:
        return [
            plain.figures(*decoded[name], system, systems.truth)
            for name, system in systems.scores.items()
        ]

    def ours() -> list[dict[str, MetricValue]]:
        return [vars(evaluate(system, systems.truth)) for system in systems.scores.values()]

    timings, found = interleaved({"plain": theirs, "ours": ours}, rounds, "all metrics")
    pair = Pair("all metrics, exact PSDS included", timings["plain"], timings["ours"])
    return pair, _largest_difference(found["plain"], found["ours"])


def selection(
    systems: Systems, windows: list[int], n_clips: int, rounds: int
) -> tuple[Pair, float]:
    """From raw scores of a validation set to the F-scores that select a model, both networks."""
    truth, scores = _validation_set(systems, n_clips)
    weak = {name: _clip_tags(system, truth) for name, system in scores.items()}

    def theirs() -> list[dict[str, MetricValue]]:
        found = []
        for name, system in scores.items():
            filtered = plain.filter_clips(system.values, windows)
            (events,) = plain.decode(filtered, system.names, CLASSES, GRID, [0.5])
            found.append(plain.selection(events, truth, *weak[name]))
        return found

    def ours() -> list[dict[str, MetricValue]]:
        found = []
        for name, system in scores.items():
            filtered = Scores(median_filter(system.values, windows), system.names, GRID)
            f1 = tag_f1_macro(*weak[name])
            found.append(vars(selection_metrics(filtered, truth)) | {"weak_f1_macro": f1})
        return found

    timings, found = interleaved({"plain": theirs, "ours": ours}, rounds, "selection metrics")
    pair = Pair(f"selection metrics, {n_clips} clips", timings["plain"], timings["ours"])
    return pair, _largest_difference(found["plain"], found["ours"])


def _validation_set(systems: Systems, n_clips: int) -> tuple[GroundTruth, dict[str, Scores]]:
    """So many clips: the systems' own, repeated under new names."""
    clips = list(systems.truth.events)
    source = [number % len(clips) for number in range(n_clips)]
    names = [f"{number}_{clips[k]}" for number, k in enumerate(source)]
    truth = GroundTruth(
        systems.truth.classes,
        {name: systems.truth.events[clips[k]] for name, k in zip(names, source, strict=True)},
        {name: systems.truth.durations[clips[k]] for name, k in zip(names, source, strict=True)},
    )
    scores = {
        name: Scores(system.values[source], names, GRID) for name, system in systems.scores.items()
    }
    return truth, scores


def _clip_tags(scores: Scores, truth: GroundTruth) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Predicted and true tags of each clip and class, `(clips, classes)`."""
    tags = np.zeros(scores.values.shape[:2], dtype=bool)
    events = truth.table(scores.names)
    tags[events.clip, events.label] = True
    return scores.values.max(axis=2) > 0.5, tags


def _largest_difference(
    theirs: list[dict[str, MetricValue]], ours: list[dict[str, MetricValue]]
) -> float:
    """Of all figures of the libraries."""
    return max(
        abs((value or 0.0) - (mine[name] or 0.0))
        for plain_figures, mine in zip(theirs, ours, strict=True)
        for name, value in plain_figures.items()
    )


def _frame_difference(theirs: Any, ours: Any) -> float:
    """Largest difference of a time in seconds; infinite where the events are others."""
    columns = ["filename", "event_label", "onset", "offset"]
    theirs, ours = (
        frame[columns].sort_values(columns[:3], ignore_index=True) for frame in (theirs, ours)
    )
    if len(theirs) != len(ours) or not theirs[columns[:2]].equals(ours[columns[:2]]):
        return float("inf")
    if not len(ours):
        return 0.0
    return float(np.abs(theirs[columns[2:]].to_numpy() - ours[columns[2:]].to_numpy()).max())
