"""Readers for the events that a system detected: at one threshold, or one file per threshold.

A file has a line of column names, among them `event_label onset offset filename` in any order
(times in seconds); other columns, such as the row numbers that pandas writes, are ignored. Columns
are separated by tabs or by commas, as in the first line, whatever the file's ending. A row with
only a file name means that nothing was detected in that clip. `a` means `a.wav` where the ground
truth has only that clip; folders before a name are refused.

A file with column names only, and a file without any text, mean that nothing was detected; the
second is a warning. A repeated row is used once, with a warning. Events of one class that overlap
in a clip are detections of their own, as in sed_eval; psds_eval refuses such a table.

All problems of a file are reported in one InputError (see `desed_task.tables`).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from desed_task.dataio.annotations import STRONG_COLUMNS, clip_events
from desed_task.errors import InputError
from desed_task.evaluation.events import event_table
from desed_task.evaluation.outputs import OperatingPoints, Predictions
from desed_task.evaluation.truth import GroundTruth
from desed_task.files import visible_entries
from desed_task.labels import Event
from desed_task.tables import Table, quoted

SUFFIXES = (".tsv", ".csv")
SEPARATORS = ("\t", ",")
_EXAMPLE = "predictions_th_0.01.tsv"
# A minus between letters or digits joins words: `run-0.5` is 0.5, `th_-0.5` is below 0.
_NUMBER = re.compile(r"(?:(?<![a-z\d])-)?\d+(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)
_TH = re.compile(r"(?<![a-z])th(r|resh|reshold)?[^a-z\d]*(?=\d)", re.IGNORECASE)


def read_predictions(path: str | Path, truth: GroundTruth) -> Predictions:
    """Read the events of one threshold, a TSV or CSV file (see the module).

    Returns:
        Events at level 0, classes as in `truth.classes`, clips as in `names`: those that the
        file mentions, in the order of the ground truth.

    Raises:
        InputError: no such file, not UTF-8, missing columns; or all wrong rows, each with its
            line and value: another number of fields or other separators than in the first line,
            a clip or a class that is not in the ground truth, times that are not numbers or below
            0, or an onset that is not before its offset.
    """
    path = Path(path)
    if path.is_dir() or not path.exists():
        problem = "a folder" if path.is_dir() else "no such file"
        raise InputError(
            f"{path}: {problem}: expected a file with columns {' '.join(STRONG_COLUMNS)}"
        )
    levels = [_read_file(path, truth)]
    names = _mentioned(levels, truth)
    return Predictions(event_table(levels, names, truth.classes), names)


def read_operating_points(folder: str | Path, truth: GroundTruth) -> OperatingPoints:
    """Read a folder with the events of several thresholds, one TSV or CSV file for each.

    The threshold is a number in a file's name: the one after `th` or `threshold`
    (`predictions_th_0.01.tsv`), otherwise the only one (`0.5.tsv`), otherwise the only one between
    0 and 1. Hidden files are ignored.

    Returns:
        Events whose `level` is the index of their threshold in the ascending `thresholds`,
        classes as in `truth.classes`, clips as in `names`: those that any file mentions, in the
        order of the ground truth.

    Raises:
        InputError: no folder, no file of events in it, another file in it, a name without a
            threshold between 0 and 1, two files of one threshold; or the problems of the first
            wrong file (see `read_predictions`).
    """
    folder = Path(folder)
    paths = _paths_by_threshold(folder)
    thresholds = sorted(paths)
    levels = [_read_file(paths[value], truth) for value in thresholds]
    names = _mentioned(levels, truth)
    events = event_table(levels, names, truth.classes)
    return OperatingPoints(events, tuple(thresholds), names)


def _paths_by_threshold(folder: Path) -> dict[float, Path]:
    expected = f"expected one file per threshold, named like {_EXAMPLE}"
    if not folder.is_dir():
        problem = "not a folder" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {problem}: {expected}")
    paths: dict[float, Path] = {}
    for path in visible_entries(folder):
        if path.suffix not in SUFFIXES or not path.is_file():
            raise InputError(
                f"{path}: expected only files of events ({' or '.join(SUFFIXES)}) in a folder of "
                "operating points"
            )
        threshold = _threshold(path)
        if threshold in paths:
            raise InputError(
                f"{folder}: {expected}, got {paths[threshold].name} and {path.name} of threshold "
                f"{threshold:g}"
            )
        paths[threshold] = path
    if not paths:
        raise InputError(f"{folder}: {expected}, got no file")
    return paths


def _threshold(path: Path) -> float:
    numbers = list(_NUMBER.finditer(path.stem))
    marks = [mark.end() for mark in _TH.finditer(path.stem)]
    marked = [number for number in numbers if number.end() > max(marks, default=-1)][:1]
    found = [number.group() for number in (marked if marks else numbers)]
    if len(found) > 1:
        found = [text for text in found if 0 <= float(text) <= 1] or found
    if len(found) == 1 and 0 <= float(found[0]) <= 1:
        return float(found[0])
    raise InputError(
        f"{path}: name: expected one threshold between 0 and 1, as in {_EXAMPLE}, got "
        f"{' and '.join(found) or 'none'}"
    )


def _read_file(path: Path, truth: GroundTruth) -> dict[str, list[Event]]:
    """The events of each clip that the file mentions."""
    table = Table(path, STRONG_COLUMNS, separators=SEPARATORS, rows_required=False)
    if table.is_blank:
        table.warning(1, "no text at all, not even column names: no event is detected")
    clips = {name.removesuffix(".wav"): name for name in truth.events}
    clips |= {name: name for name in truth.events}
    # Systems pad clips to a common length, so that events may begin past the end of short ones.
    longest_clip = max(truth.durations.values())

    def known_clip(line: int, name: str) -> str | None:
        if name not in clips:
            last = name.rsplit("/", maxsplit=1)[-1]
            hint = f" (did you mean {last}, without folders?)" if last in clips else ""
            text = f"filename: expected a clip of the ground truth, got {quoted(name)}{hint}"
            table.problem(line, text)
        return clips.get(name)

    return clip_events(
        table,
        truth.classes,
        is_name=clips.__contains__,
        clip_of=known_clip,
        end_of=lambda clip: longest_clip,
    )


def _mentioned(levels: Sequence[Mapping[str, Sequence[Event]]], truth: GroundTruth) -> list[str]:
    """The clips that any file mentions, in the order of the ground truth."""
    found = set().union(*levels)
    return [name for name in truth.events if name in found]
