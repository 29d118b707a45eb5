"""Preparation of audio folders: resampled once, checked in every run (docs/recipe.md, "Data").

Files are written under hidden names and then renamed, so that no incomplete file has a WAV file's
name; the next run removes hidden files that a killed run left. Only one process may prepare a
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
from desed_task.errors import InputError, listing
from desed_task.files import atomic_write, remove_partial_files

# Resamplers differ by about a sample in length; a file that is cut off lacks far more.
_LENGTH_TOLERANCE_SECONDS = 0.01
_FILES_PER_TASK = 8


# A file to check or make, and the file it is made from, if any: (source, target).
_Files = tuple[Path | None, Path]


class Prepared(NamedTuple):
    """Number of files that a preparation made, and of those that existed already."""

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

    Channels are averaged. A file is made where `target` lacks it, or has it unreadable or of
    another length; other files stay. Without a `source` folder (None, or missing) `target` is only
    checked. The rate of every file of `target` is checked.

    Args:
        source: folder of WAV files of any rate and number of channels; subfolders are ignored.
        target: folder to fill; made if missing.
        sample_rate: rate of the files in `target`, in Hz.
        workers: number of processes.
        progress: show a progress bar.

    Raises InputError if neither folder has a file, and, after all other files were made, for source
    files that cannot be read and target files at another rate.
    """
    source = Path(source) if source is not None else None
    target = Path(target)
    sources = wav_names(source) if source is not None else []
    with_source = set(sources)
    if not sources and not wav_names(target):
        original = f" (or of any rate in {source})" if source is not None else ""
        raise InputError(
            f"{target}: no audio: expected at least 1 .wav file at {sample_rate} Hz{original}, "
            "got 0"
        )
    if sources:
        target.mkdir(parents=True, exist_ok=True)
        remove_partial_files(target)
    names = sorted({*sources, *wav_names(target)})
    files = [
        (source / name if source is not None and name in with_source else None, target / name)
        for name in names
    ]
    outcomes = _run(partial(_prepare_file, sample_rate), files, workers, progress)
    problems = [outcome.problem for outcome in outcomes if outcome.problem is not None]
    if problems:
        raise InputError(listing(f"{target}: {len(names)} files", problems))
    made = sum(outcome.made for outcome in outcomes)
    return Prepared(made=made, kept=len(names) - made)


def write_durations(folder: str | Path, tsv: str | Path) -> int:
    """Write `filename duration` (seconds) of the WAV files in `folder`, sorted; their number.

    Durations come from the headers. Raises InputError for a file that cannot be read, or a folder
    without WAV files.
    """
    folder, tsv = Path(folder), Path(tsv)
    names = wav_names(folder)
    if not names:
        raise InputError(f"{folder}: no audio: expected at least 1 .wav file to write {tsv}, got 0")
    lines = [f"{name}\t{round(audio_info(folder / name).seconds, 6)}\n" for name in names]
    tsv.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(tsv) as partial_tsv:
        partial_tsv.write_text("filename\tduration\n" + "".join(lines), encoding="utf-8")
    return len(names)


def clip_seconds(folder: str | Path) -> dict[str, float]:
    """Length in seconds of each WAV file in a folder, by name, from their headers."""
    return {name: audio_info(Path(folder) / name).seconds for name in wav_names(folder)}


def wav_names(folder: str | Path) -> list[str]:
    """Names of the WAV files in a folder, sorted, without hidden files and subfolders.

    Empty for a folder that does not exist.
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
    """Outcomes of all files, in order; one worker is this process."""
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
    """Leave Ctrl-C to the main process, which stops the workers; end at once on SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _prepare_file(sample_rate: int, files: _Files) -> _Outcome:
    """Check one target file, make it if needed; a failure is a text, not an exception."""
    source, target = files
    try:
        if source is None:
            with open_audio(target, sample_rate):
                return _Outcome(made=False, problem=None)
        if _is_complete(target, audio_info(source), sample_rate):
            return _Outcome(made=False, problem=None)
        _resample_file(source, target, sample_rate)
    except InputError as error:
        return _Outcome(made=False, problem=str(error))
    except OSError as error:
        return _Outcome(made=False, problem=f"{target}: cannot be written: {error}")
    return _Outcome(made=True, problem=None)


def _is_complete(target: Path, source: AudioInfo, sample_rate: int) -> bool:
    """Whether a target file exists, is readable, and is as long as its source.

    Raises InputError for another rate: another program made such a file, and it is not replaced.
    """
    try:
        found = audio_info(target)
    except InputError:
        return False
    if found.sample_rate != sample_rate:
        raise InputError(
            f"{target}: sample rate: expected {sample_rate} Hz, got {found.sample_rate} Hz; delete "
            "the file to have it made again"
        )
    return abs(found.seconds - source.seconds) <= _LENGTH_TOLERANCE_SECONDS


def _resample_file(source: Path, target: Path, sample_rate: int) -> None:
    with open_audio(source) as file:
        audio = file.read(dtype="float32", always_2d=True).mean(axis=1, dtype=np.float32)
        rate = file.samplerate
    if not np.isfinite(audio).all():
        raise InputError(f"{source}: samples: expected finite numbers, got NaN or infinity")
    if rate != sample_rate:
        audio = soxr.resample(audio, rate, sample_rate, quality="HQ")
    with atomic_write(target) as partial_target:
        soundfile.write(
            partial_target, to_16_bit(audio), sample_rate, subtype="PCM_16", format="WAV"
        )


def to_16_bit(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples in [-1, 1) as 16-bit integers, rounded; values outside are clipped."""
    return np.clip(np.rint(audio * 32768.0), -32768, 32767).astype(np.int16)
