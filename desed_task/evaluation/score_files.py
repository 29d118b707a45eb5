"""Folders of score files in the format of sed_scores_eval: CLIP.tsv with onset, offset, classes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desed_task.errors import InputError, shortened
from desed_task.evaluation.events import Floats
from desed_task.evaluation.outputs import Scores
from desed_task.evaluation.truth import GroundTruth
from desed_task.files import DETECTIONS, atomic_folder, visible_entries
from desed_task.tables import (
    TIME_COLUMNS,
    joined_fields,
    normalised,
    quoted,
    read_text,
    split_fields,
)

SUFFIX = ".tsv"
DETECTED = ".scores.tsv"
"""Ending of the score files of sed-detect, behind the recording's name."""
TIME_TOLERANCE = 1e-6
# Systems pad short clips; times that are this many times the longest clip are not in seconds.
_MAX_PADDING = 100
_COLUMNS_LISTED = 12
_FRAMES_AT_ONCE = 10_000


def clip_stem(name: str) -> str:
    """A clip's name without its last ending: `a_1.5.wav` -> `a_1.5`."""
    return name.rsplit(".", maxsplit=1)[0]


def write_scores(folder: str | Path, scores: Scores, classes: Sequence[str]) -> None:
    """Write one score file per clip; an existing folder is replaced as a whole.

    Numbers have enough digits for float32 scores to be read back unchanged.

    Args:
        folder: is created; its score files are replaced.
        scores: of clips whose names have a file ending or none.
        classes: column names, `(classes,)`.

    Raises:
        InputError: a clip's name has a folder, two clips would share a file, or `folder` holds
            other files than score files or is written by another process (it is not changed then).
        ValueError: another number of classes.
    """
    names, n_frames = scores.names, scores.values.shape[2]
    if scores.n_classes != len(classes):
        raise ValueError(f"scores: expected {len(classes)} classes, got {scores.n_classes}")
    outside = [name for name in names if "/" in name or "\0" in name]
    if outside:
        raise InputError(
            f"{folder}: expected clip names without folders, got "
            f"{shortened(quoted(name) for name in outside)}"
        )
    stems = [clip_stem(name) if name.endswith(".wav") else name for name in names]
    if len(set(stems)) != len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(
            f"{folder}: expected a score file for each clip, got two clips for {twice}{SUFFIX}"
        )
    folder = Path(folder)
    _refuse_other_files(folder)
    with atomic_folder(folder) as partial:
        edges = scores.edges
        ends = [n_frames] * len(names) if scores.lengths is None else scores.lengths
        for clip, (stem, end) in enumerate(zip(stems, ends, strict=True)):
            lines = score_lines(scores.values[clip, :, :end], classes, edges[clip, : end + 1])
            (partial / f"{stem}{SUFFIX}").write_text("".join(lines), encoding="utf-8")


def score_classes(folder: str | Path) -> tuple[str, ...]:
    """The classes of a folder of score files, as in its first file; empty where there is none.

    Raises InputError for a file whose column names cannot be read.
    """
    folder = Path(folder)
    entries = _score_files(folder) if folder.is_dir() else []
    path = next((entry for entry in entries if entry.suffix == SUFFIX), None)
    if path is None:
        return ()
    columns = column_names(path)
    return tuple(name for name in dict.fromkeys(columns) if name not in TIME_COLUMNS)


def column_names(path: Path) -> list[str]:
    """Column names of a table separated by tabs. Raises InputError where they cannot be read."""
    return _split_header(path, read_text(path).split("\n", maxsplit=1)[0])


def _split_header(path: Path, header: str) -> list[str]:
    try:
        return split_fields(normalised(header))
    except ValueError as error:
        raise InputError(f"{path}:1: {error}") from None


def score_lines(
    values: NDArray[np.floating], classes: Sequence[str], edges: Floats
) -> Iterator[str]:
    """A score file in parts, for recordings of any length.

    Args:
        values: `(classes, frames)`.
        classes: column names.
        edges: starts of the frames and the end of the last one, seconds, `(frames + 1,)`.
    """
    yield joined_fields((*TIME_COLUMNS, *classes))
    line = "\t".join(["%s", "%s", *["%.9g"] * len(classes)]) + "\n"
    for first in range(0, values.shape[1], _FRAMES_AT_ONCE):
        frames = slice(first, first + _FRAMES_AT_ONCE)
        times = [f"{seconds:.10g}" for seconds in edges[first : first + _FRAMES_AT_ONCE + 1]]
        for (begin, end), row in zip(pairwise(times), values[:, frames].T, strict=True):
            yield line % (begin, end, *row.tolist())


def read_scores(folder: str | Path, truth: GroundTruth) -> Scores:
    """Read a folder of score files with any time axis.

    `CLIP.tsv` is the truth's clip `CLIP` or `CLIP.wav`; the truth's other clips have no scores.
    In an output folder of sed-detect, these are the files `CLIP.scores.tsv`; others are ignored.
    Score columns may have any order. A frame ends where the next one begins (a gap or an overlap
    up to `TIME_TOLERANCE` is closed by ending the frame at the next onset). Scores are any numbers,
    also outside [0, 1]; -inf is never detected.

    Returns:
        Float64 scores `(clips, classes, frames)`, clips in the order of the ground truth, classes
        as in `truth.classes`; see `Scores.from_clips`.

    Raises:
        InputError: no folder, no score file, another file in the folder, or the first problem of
            a score file, with file and line: a clip that is not in the ground truth or has another
            file; missing and unknown columns; rows that are not numbers separated by tabs; times
            that do not begin at 0 or do not follow each other; a score that is NaN or +inf; an end
            more than one frame (the longest) before the clip's.
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"{folder}: no such folder")
    _refuse_other_files(folder)
    paths = _paths_by_clip(folder, truth)
    clips = [_read_clip(path, truth.classes, truth.durations[name]) for name, path in paths.items()]
    edges, values = zip(*clips, strict=True)
    longest = max(truth.durations.values())
    for path, clip_edges in zip(paths.values(), edges, strict=True):
        if clip_edges[-1] > _MAX_PADDING * longest:
            raise InputError(
                f"{path}:{len(clip_edges)}: offset: expected about the longest clip's "
                f"{longest:g} s at most, got {clip_edges[-1]:g} (milliseconds?)"
            )
    return Scores.from_clips(values, tuple(paths), edges)


def _refuse_other_files(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of score files, got a file")
    for path in _score_files(folder):
        if path.suffix != SUFFIX or not path.is_file():
            raise InputError(f"{path}: expected only score files ({SUFFIX}) in this folder")


def _score_files(folder: Path) -> list[Path]:
    """The entries of a folder, sorted; of an output folder of sed-detect, all its score files."""
    if (folder / DETECTIONS).is_dir():
        return sorted(folder.rglob(f"[!.]*{DETECTED}"))
    return visible_entries(folder)


def _paths_by_clip(folder: Path, truth: GroundTruth) -> dict[str, Path]:
    """Each clip's score file, in the order of the ground truth."""
    paths: dict[str, Path] = {}
    for path in _score_files(folder):
        stems = [normalised(path.name.removesuffix(ending)) for ending in (SUFFIX, DETECTED)]
        names = [name for stem in stems for name in (stem, f"{stem}.wav")]
        stem, name = stems[0], next((name for name in names if name in truth.events), "")
        if name not in truth.events:
            raise InputError(f"{path}: expected a clip of the ground truth, got {stem}")
        if name in paths:
            raise InputError(
                f"{folder}: clip {name!r}: expected one file, got {paths[name].name}, {path.name}"
            )
        paths[name] = path
    if not paths:
        raise InputError(f"{folder}: expected one CLIP{SUFFIX} per clip, got no file")
    return {name: paths[name] for name in truth.events if name in paths}


def _read_clip(
    path: Path, classes: Sequence[str], seconds: float
) -> tuple[Floats, NDArray[np.float64]]:
    """One clip's edges `(frames + 1,)` and scores `(classes, frames)`; it is `seconds` long."""
    header, *lines = read_text(path).rstrip("\n").split("\n")
    if not lines:
        raise InputError(
            f"{path}:1: no frame: expected at least one row below the column names, got 0"
        )
    columns = _split_header(path, header)
    _check_columns(path, columns, classes)
    rows = _read_numbers(path, lines, len(columns))
    edges = _read_edges(path, rows[:, 0], rows[:, 1])
    scores = rows[:, [columns.index(label) for label in classes]].T
    wrong = np.isnan(scores) | (scores == np.inf)
    for frame in np.flatnonzero(wrong.any(axis=0)):
        label = int(np.flatnonzero(wrong[:, frame])[0])
        raise InputError(
            f"{path}:{frame + 2}: score of {classes[label]}: expected a number or -inf, got "
            f"{scores[label, frame]:g}"
        )
    frame_seconds = np.diff(edges).max()
    if seconds - edges[-1] > frame_seconds * (1 + 1e-9):
        raise InputError(
            f"{path}:{len(lines) + 1}: end of the last frame: expected {seconds:g} s (the clip's) "
            f"or at most one frame ({frame_seconds:g} s) earlier, got {edges[-1]:g} s"
        )
    return edges, scores


def _check_columns(path: Path, columns: Sequence[str], classes: Sequence[str]) -> None:
    if tuple(columns[:2]) == TIME_COLUMNS and sorted(columns[2:]) == sorted(classes):
        return
    found = [label for label in columns if label not in TIME_COLUMNS]
    faults = {
        "missing": [label for label in classes if label not in found],
        "unknown": [label for label in found if label not in classes],
        "repeated": sorted(label for label, count in Counter(found).items() if count > 1),
    }
    listed = "".join(f"; {fault} {shortened(names)}" for fault, names in faults.items() if names)
    raise InputError(
        f"{path}:1: columns: expected {shortened((*TIME_COLUMNS, *classes), _COLUMNS_LISTED)}, "
        f"separated by tabs, got {shortened(columns, _COLUMNS_LISTED)}{listed}"
    )


def _read_numbers(path: Path, lines: Sequence[str], width: int) -> NDArray[np.float64]:
    """The rows below the header, `(frames, width)`."""
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            if '"' in line:
                row = list(map(float, split_fields(line)))
            else:
                row = list(map(float, line.split("\t", maxsplit=width)))
        except ValueError:
            row = []
        if len(row) != width:
            raise InputError(
                f"{path}:{number}: row: expected {width} numbers separated by tabs, "
                f"got {quoted(line)}"
            )
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def _read_edges(path: Path, onsets: Floats, offsets: Floats) -> Floats:
    """Starts of the frames and the end of the last one, `(frames + 1,)`."""
    edges = np.append(onsets, offsets[-1])
    edges[0] = 0.0
    end_before = np.append(0.0, offsets[:-1])
    with np.errstate(invalid="ignore"):
        follows = np.abs(onsets - end_before) <= TIME_TOLERANCE
        lasts = np.isfinite(offsets) & (offsets > edges[:-1])
        rises = np.append(True, edges[1:-1] > edges[:-2])
    for frame in np.flatnonzero(~(follows & lasts & rises)):
        raise InputError(
            f"{path}:{frame + 2}: frame: expected from {end_before[frame]:.10g} s to a later time, "
            f"got from {onsets[frame]:.10g} to {offsets[frame]:.10g} s"
        )
    return edges
