"""Preparation of audio folders: resampled once, checked in every run (docs/recipe.md, "Data").

A file is made again when its source changed, by the folder's manifest (see `manifest`).
Files are written under hidden names and then renamed, so that no incomplete file has a WAV file's
name; the next run removes hidden files that a killed run left. One process at a time prepares a
folder.
"""

import logging
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import soxr
from tqdm import tqdm

from desed_task.dataio.annotations import read_durations
from desed_task.dataio.audio import (
    AudioInfo,
    audio_info,
    mono_float,
    open_audio,
    to_16_bit,
    wav_bytes,
)
from desed_task.dataio.manifest import Manifest, Record, content_digest
from desed_task.dataio.recordings import FileState, file_state, wav_files
from desed_task.errors import InputError, listing, shortened
from desed_task.files import only_writer, remove_partial_files, write_file

logger = logging.getLogger(__name__)

# Resamplers differ by about a sample in length; a file that is cut off is shorter by far more.
_LENGTH_TOLERANCE_SECONDS = 0.01
# Published durations are rounded, and those of files before they were resampled.
_DURATION_TOLERANCE_SECONDS = 0.1
_FILES_PER_TASK = 8


@dataclass(frozen=True)
class Prepared:
    """A prepared folder.

    Attributes:
        made, existed: number of files that were made, and of those that existed.
        seconds: length of each usable file by name.
    """

    made: int
    existed: int
    seconds: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)


class _Job(NamedTuple):
    """A file to check or make, the file it is made from, and what is recorded about both."""

    source: Path | None
    target: Path
    record: Record | None


class _Outcome(NamedTuple):
    """What a job did; `record` is None after a problem."""

    record: Record | None = None
    made: bool = False
    clipped: bool = False
    problem: str | None = None


def resample_folder(
    source: str | Path | None,
    target: str | Path,
    sample_rate: int,
    workers: int = 1,
    progress: bool = True,
) -> Prepared:
    """Make `target`'s WAV files, mono, 16 bit, at `sample_rate` Hz, from those in `source`.

    Channels are averaged. A file is made where `target` has none, or an unreadable one or one
    of another length, or where its source has changed. Files of `target` without a source are not
    used (see `usable_names`), with a warning. Without a `source` folder (None, missing or
    empty) the files of `target` are used as they are. The rate of every used file is checked.

    Args:
        source: folder of WAV files of any rate and number of channels; subfolders are ignored.
        target: folder to fill; made if missing. Its manifest is written beside it.
        sample_rate: rate of the files in `target`, in Hz.
        workers: number of processes.
        progress: show a progress bar.

    Raises InputError if neither folder has a file, where another process prepares `target`, and,
    after all other files were made, for source files that cannot be read and target files at
    another rate. Raises FaultError where the system fails, at the first file.
    """
    source = Path(source) if source is not None else None
    target = Path(target)
    sources = wav_files(source) if source is not None else {}
    copies = wav_files(target)
    if not sources and not copies:
        original = f" (or of any rate in {source})" if source is not None else ""
        raise InputError(
            f"{target}: no audio: expected at least 1 .wav file at {sample_rate} Hz{original}, "
            "got 0"
        )
    unused = sorted(copies.keys() - sources.keys()) if sources else []
    if unused:
        text = "%s: %d files are not used, because %s has no source of them: %s"
        logger.warning(text, target, len(unused), source, shortened(unused))
    manifest = Manifest.read(target, sample_rate)
    names = sorted(sources or copies)
    records = {name: manifest.records[name] for name in names if name in manifest.records}
    jobs = [
        _Job(source / name if source is not None and sources else None, target / name, record)
        for name, record in zip(names, map(records.get, names), strict=True)
        if record is None or not record.is_current(sources.get(name), copies.get(name))
    ]
    with _preparing(target) if sources and jobs else nullcontext():
        outcomes = _prepare_files(jobs, records, manifest, workers, progress)
    _report(outcomes, target, len(names))
    made = sum(outcome.made for outcome in outcomes)
    return Prepared(made, len(names) - made, manifest.seconds)


def prepare_durations(
    folder: str | Path, tsv: str | Path, seconds: Mapping[str, float], sample_rate: int
) -> bool:
    """Write the durations of a prepared folder's files, or check a durations file; whether written.

    The file has the columns `filename` and `duration` (seconds). It is written where it is missing,
    and where it was written here before its audio changed. Raises InputError for any other file
    whose durations are not those of the audio.

    Args:
        folder: the prepared folder.
        tsv: the durations file.
        seconds: length of each file by name, as prepared.
        sample_rate: rate of the files in Hz.
    """
    folder, tsv = Path(folder), Path(tsv)
    lines = [f"{name}\t{round(seconds[name], 6)}\n" for name in sorted(seconds)]
    content = ("filename\tduration\n" + "".join(lines)).encode()
    manifest = Manifest.read(folder, sample_rate)
    if tsv.is_file():
        if tsv.read_bytes() == content:
            return False
        if content_digest(tsv) != manifest.durations_digest:  # not written here
            _check_durations(read_durations(tsv), seconds, folder, tsv)
            return False
    tsv.parent.mkdir(parents=True, exist_ok=True)
    write_file(tsv, content)
    manifest.durations_digest = content_digest(tsv)
    manifest.write()
    return True


def clip_seconds(folder: str | Path, names: Iterable[str], sample_rate: int) -> dict[str, float]:
    """Length in seconds of files in a folder: as in its manifest, otherwise from their headers."""
    folder = Path(folder)
    records = Manifest.read(folder, sample_rate).records
    states = wav_files(folder)
    lengths = {}
    for name in names:
        record = records.get(name)
        if record is not None and record.copy == states.get(name):
            lengths[name] = record.frames / sample_rate
        else:
            lengths[name] = audio_info(folder / name).seconds
    return lengths


def _prepare_files(
    jobs: Sequence[_Job],
    records: dict[str, Record],
    manifest: Manifest,
    workers: int,
    progress: bool,
) -> list[_Outcome]:
    """Outcomes of all jobs; the manifest then has `records` and those of the finished files."""
    outcomes = []
    task = partial(_prepare_file, manifest.sample_rate)
    try:
        with closing(_run(task, jobs, workers, progress)) as run:
            for job, outcome in zip(jobs, run, strict=True):
                outcomes.append(outcome)
                if outcome.record is not None:
                    records[job.target.name] = outcome.record
    finally:  # also of an interrupted preparation
        if records != manifest.records:
            manifest.records = records
            manifest.write()
    return outcomes


@contextmanager
def _preparing(target: Path) -> Iterator[None]:
    """Keep other processes from preparing a folder; remove what a killed one left in it."""
    target.mkdir(parents=True, exist_ok=True)
    with only_writer(target):
        remove_partial_files(target)
        yield


def _report(outcomes: Sequence[_Outcome], target: Path, n_files: int) -> None:
    """Warn of clipped files; raise one InputError with all problems."""
    clipped = sum(outcome.clipped for outcome in outcomes)
    if clipped:
        text = "%s: %d of %d files had samples beyond full scale, which were clipped"
        logger.warning(text, target, clipped, n_files)
    problems = [outcome.problem for outcome in outcomes if outcome.problem is not None]
    if problems:
        raise InputError(listing(f"{target}: {n_files} files", problems))


def _check_durations(
    given: Mapping[str, float], seconds: Mapping[str, float], folder: Path, tsv: Path
) -> None:
    wrong = [
        f"{name} {given[name]:g} s (expected {length:.3f} s)"
        for name, length in seconds.items()
        if name in given and abs(given[name] - length) > _DURATION_TOLERANCE_SECONDS
    ]
    if wrong:
        raise InputError(
            f"{tsv}: wrong durations: expected those of the files in {folder}, got "
            f"{shortened(wrong)}; delete the file to have it written again"
        )


def _run(
    task: Callable[[_Job], _Outcome], jobs: Sequence[_Job], workers: int, progress: bool
) -> Generator[_Outcome, None, None]:
    """Outcomes of all jobs, in order; one worker is this process."""
    if not jobs:
        return
    label = jobs[0].target.parent.name
    bar = partial(tqdm, total=len(jobs), desc=label, unit="file", disable=not progress)
    if workers <= 1:
        yield from bar(map(task, jobs))
        return
    executor = ProcessPoolExecutor(workers, initializer=_ignore_interrupt)
    try:
        yield from bar(executor.map(task, jobs, chunksize=_FILES_PER_TASK))
    finally:
        executor.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ignore Ctrl-C in a worker, which the main process stops; end at once on SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _prepare_file(sample_rate: int, job: _Job) -> _Outcome:
    """Check one target file, make it if needed; an InputError becomes the outcome's problem."""
    source, target, record = job
    try:
        if source is None:
            return _Outcome(_checked(target, sample_rate))
        info, state = audio_info(source, whole=True), file_state(source)
        if _is_complete(target, info, sample_rate) and _is_from(source, state, target, record):
            digest = record.digest if record is not None else None
            return _Outcome(Record(audio_info(target).frames, file_state(target), state, digest))
        digest = content_digest(source)
        frames, peak = _resample_file(source, target, sample_rate)
        made = Record(frames, file_state(target), state, digest)
        return _Outcome(made, made=True, clipped=peak > 1)
    except InputError as error:
        return _Outcome(problem=str(error))


def _checked(path: Path, sample_rate: int) -> Record:
    """The record of a file without source. Raises InputError for a file that cannot be used."""
    with open_audio(path, sample_rate, whole=True) as file:
        if file.subtype in ("FLOAT", "DOUBLE"):
            mono_float(file.read())
        return Record(file.frames, file_state(path))


def _is_from(source: Path, state: FileState, target: Path, record: Record | None) -> bool:
    """Whether a target was made from its source in the given, current state."""
    if record is None or record.source is None:  # made elsewhere, or without a manifest
        return file_state(target).mtime_ns >= state.mtime_ns
    if record.source == state:
        return True
    return record.digest is not None and record.digest == content_digest(source)


def _is_complete(target: Path, source: AudioInfo, sample_rate: int) -> bool:
    """Whether a target file exists, is readable, and is as long as its source.

    Raises InputError for another rate: another program made such a file, and it is not replaced.
    """
    try:
        found = audio_info(target, whole=True)
    except InputError:
        return False
    if found.sample_rate != sample_rate:
        raise InputError(
            f"{target}: sample rate: expected {sample_rate} Hz, got {found.sample_rate} Hz; delete "
            "the file to have it made again"
        )
    return abs(found.seconds - source.seconds) <= _LENGTH_TOLERANCE_SECONDS


def _resample_file(source: Path, target: Path, sample_rate: int) -> tuple[int, float]:
    """Write the target; its length in samples, and the source's peak before clipping."""
    with open_audio(source, whole=True) as file:
        audio, peak = mono_float(file.read())
        rate = file.sample_rate
    if rate != sample_rate:
        audio = soxr.resample(audio, rate, sample_rate, quality="HQ")
    # A file that a power failure empties is unreadable, and made again.
    write_file(target, wav_bytes(to_16_bit(audio), sample_rate), durable=False)
    return len(audio), peak
