"""Preparation of audio folders: resampled once, checked in every run (docs/recipe.md, "Data").

A prepared folder's manifest is a JSON file beside it: for each file its length, and size and
modification time of the file and of its source, with a digest of the source's content. Files whose
sizes and times are as recorded need not be opened; a file is made again when its source changed.
Files are written under hidden names and then renamed, so that no incomplete file has a WAV file's
name; the next run removes hidden files that a killed run left. One process at a time prepares a
folder.
"""

import contextlib
import json
import logging
import os
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import soxr
from tqdm import tqdm

from desed_task.dataio.annotations import read_durations
from desed_task.dataio.audio import (
    MIX,
    AudioInfo,
    Channel,
    Mono,
    audio_info,
    open_audio,
    to_16_bit,
    wav_bytes,
)
from desed_task.dataio.recordings import FileState, clip_path, file_state, wav_files
from desed_task.errors import FaultError, InputError, listing, shortened
from desed_task.files import content_digest, only_writer, remove_partial_files, write_file
from desed_task.tables import normalised, table_text

logger = logging.getLogger(__name__)

_VERSION = 1  # of the manifest
# Resamplers differ by about a sample in length; a file that is cut off is shorter by far more.
_LENGTH_TOLERANCE_SECONDS = 0.01
# Published durations are rounded, and those of files before they were resampled.
_DURATION_TOLERANCE_SECONDS = 0.1
_FILES_PER_TASK = 8


class Record(NamedTuple):
    """A prepared file.

    Attributes:
        frames: its samples per channel.
        copy: its state.
        source: state of its source; None for a file without source.
        digest: of its source's content; None where the file was not made by this program.
        channel: how the source's channels became one.
    """

    frames: int
    copy: FileState
    source: FileState | None = None
    digest: str | None = None
    channel: Channel = MIX

    def is_current(
        self, source: FileState | None, copy: FileState | None, channel: Channel
    ) -> bool:
        """Whether all is as recorded; without a source, source and channel make no difference."""
        return self.copy == copy and (
            source is None or (source, channel) == (self.source, self.channel)
        )


@dataclass
class Manifest:
    """Records of a folder's files by name.

    Attributes:
        folder: the folder.
        sample_rate: rate of its files in Hz.
        records: the recorded files.
        durations_digest: of the last durations file that was written from these files.
    """

    folder: Path
    sample_rate: int
    records: dict[str, Record] = field(default_factory=dict)
    durations_digest: str | None = None

    @classmethod
    def read(cls, folder: Path, sample_rate: int) -> Self:
        """The manifest beside a folder; empty if there is none, or one of another rate."""
        manifest = cls(folder, sample_rate)
        try:
            content = json.loads(manifest.path.read_text(encoding="utf-8"))
            if (content["version"], content["sample_rate"]) == (_VERSION, sample_rate):
                manifest.records = {name: _record(row) for name, row in content["files"].items()}
                manifest.durations_digest = content["durations_digest"]
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s: cannot be read, all files are checked: %s", manifest.path, error)
        return manifest

    @property
    def path(self) -> Path:
        """The manifest's file."""
        folder = Path(os.path.abspath(self.folder))
        return folder.with_name(f"{folder.name}.manifest.json")

    @property
    def seconds(self) -> dict[str, float]:
        """Length of each file in seconds."""
        return {name: record.frames / self.sample_rate for name, record in self.records.items()}

    def write(self) -> None:
        """Replace the file; where that is not possible (a read-only folder), log it."""
        content = {
            "version": _VERSION,
            "sample_rate": self.sample_rate,
            "durations_digest": self.durations_digest,
            "files": self.records,
        }
        try:
            write_file(self.path, json.dumps(content))
        except FaultError as error:
            logger.info("%s; the next run checks all files", error)


def _record(row: Any) -> Record:
    frames, copy, source, digest, *channel = row  # without channel before there was a choice
    states = FileState(*copy), source and FileState(*source)
    return Record(int(frames), *states, digest, *channel)


class Prepared(NamedTuple):
    """Number of files of a folder that were made, and of those that existed."""

    made: int
    existed: int


class _Job(NamedTuple):
    """A file to check or make, the file it is made from, and what is recorded about both."""

    source: Path | None
    target: Path
    record: Record | None


class _Found(NamedTuple):
    """A folder before its preparation.

    Attributes:
        manifest: its manifest.
        names: of the files that are used, sorted.
        unused: names of its files without source, where others have one.
        jobs: the files to make and check.
    """

    manifest: Manifest
    names: list[str]
    unused: list[str]
    jobs: list[_Job]


class _Outcome(NamedTuple):
    """What a job did.

    Attributes:
        record: of the file; None after a problem.
        made: whether it was made.
        clipped: whether samples were clipped.
        cancelled: name of a file whose channels cancel.
        problem: why the file cannot be used.
    """

    record: Record | None = None
    made: bool = False
    clipped: bool = False
    cancelled: str | None = None
    problem: str | None = None


def prepare_folder(
    source: str | Path | None,
    target: str | Path,
    sample_rate: int,
    *,
    durations: str | Path | None = None,
    workers: int = 1,
    progress: bool = True,
    channel: Channel = MIX,
) -> Prepared:
    """Make `target`'s WAV files, mono, 16 bit, at `sample_rate` Hz, from those in `source`.

    A file is made where `target` has none, or an unreadable one or one of another length, or
    where its source or `channel` has changed. Files of `target` without a source are not
    used (see `clip_seconds`), with a warning. Without a `source` folder (None, missing or
    empty) the files of `target` are used as they are. The rate of every used file is checked.

    Args:
        source: folder of WAV files of any rate and number of channels; subfolders are ignored.
        target: folder to fill; made if missing. Its manifest is written beside it.
        sample_rate: rate of the files in `target`, in Hz.
        durations: file of the used files' lengths, columns `filename` and `duration` (seconds).
            Written where it is missing, and where it was written here before the audio changed.
        workers: number of processes.
        progress: show a progress bar.
        channel: how channels become one, see `Mono`.

    Waits while another process prepares `target`.

    Raises InputError if neither folder has a file, and, after all other files were made, for source
    files that cannot be read, target files at another rate, and durations of the user that are not
    those of the audio. Raises FaultError where the system fails, at the first file.
    """
    source = Path(source) if source is not None else None
    target = Path(target)
    found = _inspect(source, target, sample_rate, channel)
    if not found.names:
        original = f" (or of any rate in {source})" if source is not None else ""
        raise InputError(
            f"{target}: no audio: expected at least 1 .wav file at {sample_rate} Hz{original}, "
            "got 0"
        )
    if found.unused:
        text = "%s: %d files are not used, because %s has no source of them: %s"
        logger.warning(text, target, len(found.unused), source, shortened(found.unused))
    with contextlib.ExitStack() as stack:
        if any(job.source is not None for job in found.jobs):
            stack.enter_context(_preparing(target))
            # Again: another process may have made files while this one waited for it.
            found = _inspect(source, target, sample_rate, channel)
        manifest, names = found.manifest, found.names
        before = replace(manifest)
        manifest.records = {n: manifest.records[n] for n in names if n in manifest.records}
        outcomes = []
        run = _run(partial(_prepare_file, sample_rate, channel), found.jobs, workers, progress)
        try:
            with closing(run):
                for job, outcome in zip(found.jobs, run, strict=True):
                    outcomes.append(outcome)
                    if outcome.record is not None:
                        manifest.records[normalised(job.target.name)] = outcome.record
            _report(outcomes, target, len(names))
            if durations is not None:
                _prepare_durations(Path(durations), manifest)
        finally:  # also of an interrupted preparation
            if manifest != before:
                manifest.write()
    made = sum(outcome.made for outcome in outcomes)
    return Prepared(made, len(names) - made)


def _inspect(source: Path | None, target: Path, sample_rate: int, channel: Channel) -> _Found:
    """List a folder and its source, and find the files to make and check."""
    manifest = Manifest.read(target, sample_rate)
    sources = wav_files(source) if source is not None else {}
    copies = wav_files(target)
    names, jobs = sorted(sources or copies), []
    for name in names:
        record = manifest.records.get(name)
        if record is None or not record.is_current(sources.get(name), copies.get(name), channel):
            original = clip_path(source, name) if source is not None and sources else None
            jobs.append(_Job(original, clip_path(target, name), record))
    unused = sorted(copies.keys() - sources.keys()) if sources else []
    return _Found(manifest, names, unused, jobs)


def clip_seconds(
    folder: str | Path, source: str | Path | None, sample_rate: int
) -> dict[str, float]:
    """Length in seconds of the usable files of a prepared folder, by name, sorted.

    Files whose source was removed are not usable, but where `source` (None, missing or empty) has
    no file at all, every file is. A length is that in the manifest, otherwise of the file's header.
    """
    folder = Path(folder)
    records = Manifest.read(folder, sample_rate).records
    sources = wav_files(source) if source is not None else {}
    lengths = {}
    for name, state in wav_files(folder).items():
        if sources and name not in sources:
            continue
        record = records.get(name)
        if record is not None and record.copy == state:
            lengths[name] = record.frames / sample_rate
        else:
            lengths[name] = audio_info(clip_path(folder, name)).seconds
    return lengths


@contextmanager
def _preparing(target: Path) -> Iterator[None]:
    """Wait while another process prepares a folder; remove what a killed one left in it."""
    target.mkdir(parents=True, exist_ok=True)
    with only_writer(target, wait=True):
        remove_partial_files(target)
        yield


def _report(outcomes: Sequence[_Outcome], target: Path, n_files: int) -> None:
    """Warn of clipped files and of channels that cancel; raise one InputError with all problems."""
    clipped = sum(outcome.clipped for outcome in outcomes)
    if clipped:
        text = "%s: %d of %d files had samples beyond full scale, which were clipped"
        logger.warning(text, target, clipped, n_files)
    cancelled = [outcome.cancelled for outcome in outcomes if outcome.cancelled is not None]
    if cancelled:
        logger.warning(
            "%s: the mean of the channels is silent (opposite polarity?) in %d of %d files: the "
            "loudest channel is used instead; data.channel selects another one: %s",
            target,
            len(cancelled),
            n_files,
            shortened(cancelled),
        )
    problems = [outcome.problem for outcome in outcomes if outcome.problem is not None]
    if problems:
        raise InputError(listing(f"{target}: {n_files} files", problems))


def _prepare_durations(tsv: Path, manifest: Manifest) -> None:
    """Write the durations file of a folder, or check it."""
    seconds = manifest.seconds
    rows = [(name, round(seconds[name], 6)) for name in sorted(seconds)]
    content = table_text(("filename", "duration"), rows).encode()
    if tsv.is_file():
        if tsv.read_bytes() == content:
            return
        if content_digest(tsv) != manifest.durations_digest:  # not written here
            _check_durations(read_durations(tsv), seconds, manifest.folder, tsv)
            return
    tsv.parent.mkdir(parents=True, exist_ok=True)
    write_file(tsv, content)
    manifest.durations_digest = content_digest(tsv)
    logger.info("%s: %d durations written", tsv, len(seconds))


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


def _prepare_file(sample_rate: int, channel: Channel, job: _Job) -> _Outcome:
    """Check one target file, make it if needed; an InputError becomes the outcome's problem."""
    source, target, record = job
    try:
        if source is None:
            return _Outcome(_checked(target, sample_rate))
        info, state = audio_info(source, whole=True), file_state(source)
        if _is_complete(target, info, sample_rate) and _is_from(
            source, state, channel, target, record
        ):
            digest = record.digest if record is not None else None
            states = file_state(target), state
            return _Outcome(Record(audio_info(target).frames, *states, digest, channel))
        digest, mono = content_digest(source), Mono(channel)
        frames, peak = _resample_file(source, target, sample_rate, mono)
        made = Record(frames, file_state(target), state, digest, channel)
        cancelled = source.name if mono.cancelled else None
        return _Outcome(made, made=True, clipped=peak > 1, cancelled=cancelled)
    except InputError as error:
        return _Outcome(problem=str(error))


def _checked(path: Path, sample_rate: int) -> Record:
    """The record of a file without source. Raises InputError for a file that cannot be used."""
    with open_audio(path, sample_rate, whole=True) as file:
        if file.subtype in ("FLOAT", "DOUBLE"):
            Mono()(file.read())
        return Record(file.frames, file_state(path))


def _is_from(
    source: Path, state: FileState, channel: Channel, target: Path, record: Record | None
) -> bool:
    """Whether a target was made from its source in the given, current state, of its `channel`."""
    if record is None or record.source is None:  # made elsewhere, or without a manifest
        return channel == MIX and file_state(target).mtime_ns >= state.mtime_ns
    if record.channel != channel:
        return False
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


def _resample_file(source: Path, target: Path, sample_rate: int, mono: Mono) -> tuple[int, float]:
    """Write the target; its length in samples, and the source's peak before clipping."""
    with open_audio(source, whole=True) as file:
        audio, peak = mono(file.read())
        rate = file.sample_rate
    if rate != sample_rate:
        audio = soxr.resample(audio, rate, sample_rate, quality="HQ")
    # A file that a power failure empties is unreadable, and made again.
    write_file(target, wav_bytes(to_16_bit(audio), sample_rate), durable=False)
    return len(audio), peak
