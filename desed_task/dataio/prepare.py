"""Preparation of audio folders: resampled once, checked always (docs/recipe.md, "Data").

A file is written under a temporary name and then renamed, so that a file that carries its final
name is whole; what an interrupted run left behind is removed by the next one. One preparation per
folder at a time.
"""

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from tqdm import tqdm

from desed_task.dataio.audio import AudioInfo, audio_info, open_audio
from desed_task.errors import InputError
from desed_task.files import atomic_write, remove_partial_files

# Resamplers differ by a sample or so in the length they give; a cut-off file lacks far more.
_LENGTH_TOLERANCE_SECONDS = 0.01
_MOST_REPORTED = 20
_FILES_PER_TASK = 8


# A file to check or make, with the one it is made from, if any: (source, target).
_Files = tuple[Path | None, Path]


class Prepared(NamedTuple):
    """What a preparation did: files made, and files that were there already."""

    made: int
    kept: int


class _Outcome(NamedTuple):
    made: bool
    problem: str | None


def resample_folder(
    source: str | Path | None,
    target: str | Path,
    sample_rate: int,
    workers: int = 1,
    progress: bool = True,
) -> Prepared:
    """Make `target`'s WAV files, mono, 16 bit, at `sample_rate` Hz, from those in `source`.

    Channels are averaged. Files of `source` that `target` lacks, or has unreadable or of another
    length, are made; all others stay. Without a `source` folder (None, or not there) `target` is
    used as it is. Either way every file of `target` is checked for its rate.

    Args:
        source: folder of WAV files of any rate and number of channels; folders in it are not read.
        target: folder to fill; made where missing.
        sample_rate: rate of the files in `target`, in Hz.
        workers: processes that share the work.
        progress: show a progress bar.

    Raises InputError when neither folder holds a file; and, after all other files were made, one
    that names each source file that cannot be read and each target file at another rate.
    """
    source = Path(source) if source is not None else None
    target = Path(target)
    sources = wav_names(source) if source is not None else []
    there = set(sources)
    if not sources and not wav_names(target):
        wanted = f"{source} (original audio) or {target}" if source is not None else f"{target}"
        raise InputError(f"no .wav file in {wanted} ({sample_rate} Hz): at least one is needed")
    if sources:
        target.mkdir(parents=True, exist_ok=True)
        remove_partial_files(target)
    names = sorted({*sources, *wav_names(target)})
    files = [
        (source / name if source is not None and name in there else None, target / name)
        for name in names
    ]
    outcomes = _run(partial(_prepare_file, sample_rate), files, workers, progress)
    problems = [outcome.problem for outcome in outcomes if outcome.problem is not None]
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:_MOST_REPORTED])
        rest = len(problems) - _MOST_REPORTED
        more = f"\n  and {rest} more" if rest > 0 else ""
        raise InputError(f"{target}: {len(problems)} of {len(names)} files failed:{shown}{more}")
    made = sum(outcome.made for outcome in outcomes)
    return Prepared(made=made, kept=len(names) - made)


def write_durations(folder: str | Path, tsv: str | Path) -> int:
    """Write `filename duration` (seconds) of the WAV files in `folder`, by name; how many.

    Lengths come from the headers. Raises InputError naming a file that cannot be read, or the
    folder when it holds none.
    """
    folder, tsv = Path(folder), Path(tsv)
    names = wav_names(folder)
    if not names:
        raise InputError(f"{folder}: no .wav file whose duration could go into {tsv}")
    lines = [f"{name}\t{round(audio_info(folder / name).seconds, 6)}\n" for name in names]
    tsv.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(tsv) as partial_tsv:
        partial_tsv.write_text("filename\tduration\n" + "".join(lines), encoding="utf-8")
    return len(names)


def wav_names(folder: str | Path) -> list[str]:
    """Names of the WAV files of a folder, sorted; hidden files and folders in it are left out.

    An empty list where there is no such folder.
    """
    if not Path(folder).is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(".wav")
            and not entry.name.startswith(".")
            and entry.is_file()
        )


def _run(
    task: Callable[[_Files], _Outcome], files: Sequence[_Files], workers: int, progress: bool
) -> list[_Outcome]:
    """Outcomes of all files, in order; in this process where one worker is asked for."""
    label = files[0][1].parent.name
    bar = partial(tqdm, total=len(files), desc=label, unit="file", disable=not progress)
    if workers <= 1:
        return list(bar(map(task, files)))
    executor = ProcessPoolExecutor(workers, initializer=_ignore_interrupt)
    try:
        return list(bar(executor.map(task, files, chunksize=_FILES_PER_TASK)))
    finally:
        executor.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ctrl-C is for the main process, which then stops the workers; SIGTERM ends any at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _prepare_file(sample_rate: int, files: _Files) -> _Outcome:
    """Check one target file and make it where needed; a failure is a text, not an exception."""
    source, target = files
    try:
        if source is None:
            with open_audio(target, sample_rate):
                return _Outcome(made=False, problem=None)
        if _is_whole(target, audio_info(source), sample_rate):
            return _Outcome(made=False, problem=None)
        _resample_file(source, target, sample_rate)
    except InputError as error:
        return _Outcome(made=False, problem=str(error))
    except OSError as error:
        return _Outcome(made=False, problem=f"{target}: cannot be written: {error}")
    return _Outcome(made=True, problem=None)


def _is_whole(target: Path, source: AudioInfo, sample_rate: int) -> bool:
    """Whether a target file is there, readable, and as long as its source.

    Raises InputError for another rate: such a file is not this preparation's, and stays.
    """
    try:
        found = audio_info(target)
    except InputError:
        return False
    if found.sample_rate != sample_rate:
        raise InputError(
            f"{target}: is at {found.sample_rate} Hz, expected {sample_rate} Hz; "
            "delete it, and it is made again"
        )
    return abs(found.seconds - source.seconds) <= _LENGTH_TOLERANCE_SECONDS


def _resample_file(source: Path, target: Path, sample_rate: int) -> None:
    with open_audio(source) as file:
        audio = file.read(dtype="float32", always_2d=True).mean(axis=1, dtype=np.float32)
        rate = file.samplerate
    if not np.isfinite(audio).all():
        raise InputError(f"{source}: holds samples that are no numbers (NaN or infinite)")
    if rate != sample_rate:
        audio = soxr.resample(audio, rate, sample_rate, quality="HQ")
    with atomic_write(target) as partial_target:
        soundfile.write(
            partial_target, to_16_bit(audio), sample_rate, subtype="PCM_16", format="WAV"
        )


def to_16_bit(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples in [-1, 1) as 16-bit integers, rounded; what lies outside is clipped."""
    return np.clip(np.rint(audio * 32768.0), -32768, 32767).astype(np.int16)
