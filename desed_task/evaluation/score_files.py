"""Folders of score files as sed_scores_eval keeps them: CLIP.tsv with onset, offset, classes."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desed_task.errors import InputError
from desed_task.evaluation.decode import frame_times
from desed_task.evaluation.events import Floats
from desed_task.evaluation.outputs import Scores
from desed_task.evaluation.truth import GroundTruth
from desed_task.frames import FrameGrid
from desed_task.tables import read_text

SUFFIX = ".tsv"
TIME_COLUMNS = ("onset", "offset")
TIME_TOLERANCE = 1e-6


def clip_stem(name: str) -> str:
    """A clip's name without its last ending: `a_1.5.wav` -> `a_1.5`."""
    return name.rsplit(".", maxsplit=1)[0]


def write_scores(
    folder: str | Path,
    scores: NDArray[np.floating],
    names: Sequence[str],
    classes: Sequence[str],
    grid: FrameGrid,
) -> None:
    """Write one score file per clip; the folder appears, or is replaced, as a whole.

    Numbers are written so that float32 scores are read back unchanged.

    Args:
        folder: where to; whatever score files it holds are replaced.
        scores: `(clips, classes, frames)`.
        names: clip names with or without file ending, `(clips,)`.
        classes: column names, `(classes,)`.
        grid: time axis of the frames.

    Raises:
        InputError: two clips would share a file, or `folder` holds other things than score
            files (it is not touched then).
        ValueError: shapes that do not fit each other.
    """
    if scores.ndim != 3 or scores.shape[:2] != (len(names), len(classes)):
        raise ValueError(
            f"scores have shape {scores.shape}; ({len(names)} clips, {len(classes)} classes, "
            "frames) is right"
        )
    stems = [clip_stem(name) if name.endswith(".wav") else name for name in names]
    if len(set(stems)) != len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(f"{folder}: two clips named {twice!r} would share a score file")
    folder = Path(folder)
    _refuse_other_files(folder)
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        layout = _layout(classes, grid, scores.shape[2])
        for stem, clip in zip(stems, scores, strict=True):
            text = layout % tuple(clip.T.ravel().tolist())
            (partial / f"{stem}{SUFFIX}").write_text(text, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_scores(folder: str | Path, truth: GroundTruth) -> Scores:
    """Read a folder of score files, on whatever time axis they are.

    `CLIP.tsv` is the truth's clip `CLIP` or `CLIP.wav`; the truth's other clips have no scores.
    Score columns may stand in any order. A frame ends where the next one begins (a gap or an
    overlap up to `TIME_TOLERANCE` is closed: the onsets count). Scores are any numbers, also
    outside [0, 1]; -inf is never detected.

    Returns:
        Float64 scores `(clips, classes, frames)`, clips in the order of the truth, classes as in
        `truth.classes`. `axis` is `(frames + 1,)` seconds if every clip's frames are those of
        the longest clip, or its first ones; else `(clips, frames + 1)`. Shorter clips are padded
        with frames of -inf, which in the second case are at the clip's end and of no length.

    Raises:
        InputError: no folder, no files, something that is no score file, or the first file that
            is not right, with the line where there is one: a clip that the truth does not know,
            or that another file is about; missing and unknown columns; rows that are not numbers
            separated by tabs; times that do not begin at 0 or do not follow each other; a score
            that is NaN or +inf; an end more than one frame (the longest) before the clip's.
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"{folder}: no such folder")
    _refuse_other_files(folder)
    paths = _paths_by_clip(folder, truth)
    clips = [_read_clip(path, truth.classes, truth.durations[name]) for name, path in paths.items()]
    n_frames = max(clip.shape[1] for _, clip in clips)
    values = np.full((len(clips), len(truth.classes), n_frames), -np.inf)
    for padded, (_, clip) in zip(values, clips, strict=True):
        padded[:, : clip.shape[1]] = clip
    return Scores(values, tuple(paths), _axis([edges for edges, _ in clips]))


def _layout(classes: Sequence[str], grid: FrameGrid, n_frames: int) -> str:
    """A clip's whole file with a place for each score, by frame and class."""
    times = [f"{seconds:.10g}" for seconds in frame_times(grid, n_frames)]
    places = "\t".join(["%.9g"] * len(classes))
    rows = [f"{times[k]}\t{times[k + 1]}\t{places}\n" for k in range(n_frames)]
    header = "\t".join((*TIME_COLUMNS, *classes)).replace("%", "%%")
    return f"{header}\n{''.join(rows)}"


def _refuse_other_files(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: a file; a folder of score files is right")
    for path in sorted(folder.iterdir()):
        if path.suffix != SUFFIX or not path.is_file():
            raise InputError(f"{path}: not a score file, in a folder of score files")


def _paths_by_clip(folder: Path, truth: GroundTruth) -> dict[str, Path]:
    """Each clip's score file, in the order of the truth."""
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = path.name.removesuffix(SUFFIX)
        name = stem if stem in truth.events else f"{stem}.wav"
        if name not in truth.events:
            raise InputError(f"{path}: the ground truth has no clip {stem} or {stem}.wav")
        if name in paths:
            raise InputError(f"{folder}: {paths[name].name} and {path.name} are both of {name!r}")
        paths[name] = path
    if not paths:
        raise InputError(f"{folder}: no score file; one CLIP{SUFFIX} per clip is right")
    return {name: paths[name] for name in truth.events if name in paths}


def _axis(edges_of_clips: Sequence[Floats]) -> Floats:
    """Edges of all clips alike, `(frames + 1,)`, or of each clip, `(clips, frames + 1)`."""
    longest = max(edges_of_clips, key=len)
    if all(np.array_equal(edges, longest[: len(edges)]) for edges in edges_of_clips):
        return longest
    ends = [np.full(len(longest) - len(edges), edges[-1]) for edges in edges_of_clips]
    return np.stack([np.concatenate(parts) for parts in zip(edges_of_clips, ends, strict=True)])


def _read_clip(
    path: Path, classes: Sequence[str], seconds: float
) -> tuple[Floats, NDArray[np.float64]]:
    """One clip's edges `(frames + 1,)` and scores `(classes, frames)`; it is `seconds` long."""
    header, *lines = read_text(path).rstrip("\n").split("\n")
    if not lines:
        raise InputError(f"{path}: no frame; at least one row below the header is right")
    columns = header.split("\t")
    _check_columns(path, columns, classes)
    rows = _read_numbers(path, lines, len(columns))
    edges = _read_edges(path, rows[:, 0], rows[:, 1])
    scores = rows[:, [columns.index(label) for label in classes]].T
    wrong = np.isnan(scores) | (scores == np.inf)
    for frame in np.flatnonzero(wrong.any(axis=0)):
        label = int(np.flatnonzero(wrong[:, frame])[0])
        raise InputError(
            f"{path}: line {frame + 2}: {classes[label]} {scores[label, frame]:g} is not a score"
        )
    frame_seconds = np.diff(edges).max()
    if seconds - edges[-1] > frame_seconds * (1 + 1e-9):
        raise InputError(
            f"{path}: ends at {edges[-1]:g} s, more than one frame ({frame_seconds:g} s) before "
            f"the clip does ({seconds:g} s)"
        )
    return edges, scores


def _check_columns(path: Path, columns: Sequence[str], classes: Sequence[str]) -> None:
    if tuple(columns[:2]) == TIME_COLUMNS and sorted(columns[2:]) == sorted(classes):
        return
    found = [label for label in columns if label not in TIME_COLUMNS]
    faults = {
        "missing": [label for label in classes if label not in found],
        "unknown": [label for label in found if label not in classes],
        "repeated": sorted({label for label in found if found.count(label) > 1}),
    }
    listed = "".join(f"; {fault} {', '.join(names)}" for fault, names in faults.items() if names)
    raise InputError(
        f"{path}: line 1: columns {', '.join(columns)}{listed}; tab-separated "
        f"{', '.join((*TIME_COLUMNS, *classes))} are right"
    )


def _read_numbers(path: Path, lines: Sequence[str], width: int) -> NDArray[np.float64]:
    """The rows below the header, `(frames, width)`."""
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            row = list(map(float, line.split("\t")))
        except ValueError:
            row = []
        if len(row) != width:
            raise InputError(
                f"{path}: line {number}: {line!r} is not a row of {width} numbers separated by tabs"
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
            f"{path}: line {frame + 2}: frame {onsets[frame]:.10g} to {offsets[frame]:.10g} s; "
            f"from {end_before[frame]:.10g} s, without gap, to a later time is right"
        )
    return edges
