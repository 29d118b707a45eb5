"""Folders of score files as sed_scores_eval keeps them: CLIP.tsv with onset, offset, classes."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desed_task.errors import InputError
from desed_task.evaluation.decode import frame_times
from desed_task.frames import FrameGrid

SUFFIX = ".tsv"
TIME_COLUMNS = ("onset", "offset")


class ScoreSet(NamedTuple):
    """Scores `(clips, classes, frames)` and the clips' names without file ending."""

    scores: NDArray[np.float64]
    stems: list[str]


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


def read_scores(folder: str | Path, classes: Sequence[str], grid: FrameGrid) -> ScoreSet:
    """Read a folder of score files, by name.

    Columns may stand in any order. A shorter clip's missing last frames become -inf: nothing
    is detected there.

    Raises:
        InputError: no folder, no files, something that is no score file, or a file whose
            columns, numbers or times are not right; the first such file is named.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    _refuse_other_files(folder)
    paths = sorted(folder.iterdir())
    if not paths:
        raise InputError(f"{folder}: no score file; one CLIP{SUFFIX} per clip is right")
    clips = [_read_clip(path, classes, grid) for path in paths]
    n_frames = max(clip.shape[1] for clip in clips)
    scores = np.full((len(clips), len(classes), n_frames), -np.inf)
    for row, clip in zip(scores, clips, strict=True):
        row[:, : clip.shape[1]] = clip
    return ScoreSet(scores, [path.name.removesuffix(SUFFIX) for path in paths])


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


def _read_clip(path: Path, classes: Sequence[str], grid: FrameGrid) -> NDArray[np.float64]:
    """One clip's scores `(classes, frames)`."""
    header, _, body = path.read_text(encoding="utf-8").partition("\n")
    columns = header.split("\t")
    if columns[:2] != list(TIME_COLUMNS) or sorted(columns[2:]) != sorted(classes):
        raise InputError(
            f"{path}: line 1: columns {', '.join(columns)}; tab-separated "
            f"{', '.join((*TIME_COLUMNS, *classes))} are right"
        )
    try:
        rows = np.array(body.split(), dtype=np.float64).reshape(-1, len(columns))
    except ValueError as error:
        raise InputError(f"{path}: rows of {len(columns)} numbers are right ({error})") from None
    if not len(rows):
        raise InputError(f"{path}: no frame; at least one row below the header is right")
    times = frame_times(grid, len(rows))
    shifted = np.abs(rows[:, :2] - np.stack([times[:-1], times[1:]], axis=1)).max(axis=1) > 1e-6
    # The last frame may end with its clip.
    shifted[-1] &= not (times[-2] < rows[-1, 1] <= times[-1])
    for frame in np.flatnonzero(shifted):
        raise InputError(
            f"{path}: line {frame + 2}: frame {rows[frame, 0]:g} to {rows[frame, 1]:g} s; "
            f"{times[frame]:g} to {times[frame + 1]:g} s is right"
        )
    if np.isnan(rows).any():
        line = int(np.flatnonzero(np.isnan(rows).any(axis=1))[0]) + 2
        raise InputError(f"{path}: line {line}: a score that is not a number")
    return rows[:, [columns.index(label) for label in classes]].T
