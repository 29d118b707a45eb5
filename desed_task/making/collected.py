"""What a collected data set knows of itself: written by `collect`, read by `collect --add`.

| file | content |
|---|---|
| `metadata/clips.tsv` | set, recording, group and seconds of each clip |
| `metadata/recordings.tsv` | split, group and digest of each recording |
| `metadata/collect.json` | classes in order, options, digests of other files as written |

A recording of a set is found by its path, or by its content where it was moved.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from desed_task.dataio.annotations import merge_overlaps, read_durations, read_strong, read_weak
from desed_task.dataio.recordings import clip_path
from desed_task.desed import BY_NAME, CLIP_SETS, SYNTHETIC_VALIDATION
from desed_task.errors import InputError, shortened
from desed_task.files import content_digest
from desed_task.labels import Event
from desed_task.making.cutting import Annotated, Span, merge_spans
from desed_task.making.layout import ClipRecord
from desed_task.tables import Table, normalised, read_text, table_text

CLIPS = "metadata/clips.tsv"
RECORDINGS = "metadata/recordings.tsv"
RECORD = "metadata/collect.json"
STRONG, WEAK, UNLABELLED = "synthetic", "weak", "unlabelled"
_SET_COLUMN = {
    STRONG: "synthetic_train",
    WEAK: WEAK,
    UNLABELLED: UNLABELLED,
    SYNTHETIC_VALIDATION: "synthetic_validation",
    "test": "validation",
}
"""Names of the sets in the table of clips."""
_CLIP_COLUMNS = ("filename", "set_name", "recording", "group", "start", "end")
_RECORDING_COLUMNS = ("filename", "split", "group", "content")
_FIXED = ("clip_seconds", "overlap", "channel")
"""Options that the clips of a set have in common."""
_RECORDED = (*_FIXED, "split", "group", "groups", "seed")
_ROUNDING_S = 1e-3  # of the tables' times


class KnownClip(NamedTuple):
    """A clip: its set, its recording (a path without links) and group, its begin there, its events.

    Times in seconds.
    """

    set_name: str
    recording: str
    group: str
    start: float
    end: float
    record: ClipRecord

    @property
    def is_strong(self) -> bool:
        """Whether the times of its events are known."""
        return BY_NAME[self.set_name].labels == "strong"


class KnownRecording(NamedTuple):
    """A recording: its path without links, split, group, and digest of its content."""

    path: str
    split: str
    group: str
    content: str


class Record(NamedTuple):
    """Classes in the order of the network's outputs, recorded options, digests of files by name."""

    classes: tuple[str, ...]
    options: Mapping[str, Any]
    files: Mapping[str, str]


@dataclass(frozen=True)
class CollectedSet:
    """A set that `collect` made.

    Attributes:
        folder: the set.
        record: how it was made.
        recordings: by path.
        clips: that are in the tables of their sets.
        state: digests; another process changed the set where they differ.
    """

    folder: Path
    record: Record
    recordings: Mapping[str, KnownRecording]
    clips: Sequence[KnownClip]
    state: tuple[str, ...]

    @cached_property
    def _contents(self) -> dict[Path, str]:
        return {}

    @cached_property
    def _by_content(self) -> dict[str, KnownRecording]:
        return {each.content: each for each in self.recordings.values()}

    def find(self, path: Path, *, by_content: bool = True) -> KnownRecording | None:
        """The recording of the set that a file is, by its path or by its content as well."""
        known = self.recordings.get(real_path(path))
        if known is not None or not by_content:
            return known
        if path not in self._contents:
            self._contents[path] = content_digest(path)
        return self._by_content.get(self._contents[path])

    @cached_property
    def splits(self) -> dict[str, str]:
        """The split of each group; unlabelled recordings of a folder have none."""
        return {each.group: each.split for each in self.recordings.values() if each.group}

    @property
    def has_events(self) -> bool:
        """Whether recordings for training have events with times, rather than tags."""
        return any(clip.set_name == STRONG for clip in self.clips)

    def classes_with(self, names: Collection[str]) -> list[str]:
        """The classes of the set, in their order, and behind them other ones, sorted."""
        return [*self.record.classes, *sorted(set(names) - set(self.record.classes))]

    def with_labels(
        self, recordings: Iterable[Annotated]
    ) -> tuple[list[Annotated], list[KnownClip]]:
        """Recordings as they are in the set with new labels, and the clips that do not change.

        A recording of the set keeps its group and its split. Where only stretches of it were
        labelled again, it has the set's events elsewhere.
        """
        found: list[Annotated] = []
        relabelled: dict[str, Sequence[Span] | None] = {}
        for recording in recordings:
            known = self.find(recording.path)
            if known is not None:
                relabelled[known.path] = recording.sections
                if recording.sections is not None:
                    recording = self._with_known_events(recording, known)
                group, split = known.group or recording.group, recording.split or known.split
                recording = recording._replace(group=group, split=split)
            found.append(recording)
        return found, [clip for clip in self.clips if _is_kept(clip, relabelled)]

    def changes(
        self, recordings: Sequence[Annotated], kept: Sequence[KnownClip], classes: Sequence[str]
    ) -> list[str]:
        """Lines on what is new: recordings, labels, classes."""
        n_known = sum(self.find(recording.path) is not None for recording in recordings)
        lines = [
            f"{self.folder}: {len(recordings) - n_known} recordings are new, {n_known} have new "
            f"labels, {len(kept)} of {len(self.clips)} clips do not change"
        ]
        new = classes[len(self.record.classes) :]
        return [*lines, f"new classes, behind the others: {', '.join(new)}"] if new else lines

    def is_edited(self, name: str) -> bool:
        """Whether a file of the set is not as `collect` wrote it."""
        path = self.folder / name
        return path.is_file() and content_digest(path) != self.record.files.get(name)

    def _with_known_events(self, recording: Annotated, known: KnownRecording) -> Annotated:
        """A recording with new labels in its `sections`, elsewhere with the events of the set."""
        spans = recording.sections or ()
        clips = [clip for clip in self.clips if clip.recording == known.path and clip.is_strong]
        events = [
            Event(begin, end, event.event_label)
            for clip in clips
            for event in clip.record.events
            for begin, end in _outside(clip.start + event.onset, clip.start + event.offset, spans)
        ]
        sections = merge_spans([*spans, *((clip.start, clip.end) for clip in clips)])
        merged = merge_overlaps([*events, *recording.events], longest_gap=_ROUNDING_S)
        return recording._replace(events=tuple(merged), sections=tuple(sections))


def _is_kept(clip: KnownClip, relabelled: Mapping[str, Sequence[Span] | None]) -> bool:
    if clip.recording not in relabelled:
        return True
    spans = relabelled[clip.recording]
    if spans is None or clip.is_strong:
        return False
    overlaps = any(begin < clip.end and end > clip.start for begin, end in spans)
    return clip.set_name == WEAK or not overlaps


def _outside(onset: float, offset: float, spans: Iterable[Span]) -> list[Span]:
    """The parts of an event (seconds) that are in none of the spans, which are in order."""
    parts = []
    for begin, end in spans:
        if onset < min(begin, offset):
            parts.append((onset, min(begin, offset)))
        onset = max(onset, min(end, offset))
    return [*parts, (onset, offset)] if onset < offset else parts


def real_path(path: Path) -> str:
    """A path without links, as tables have it."""
    return normalised(os.path.realpath(path))


# ---- writing ---------------------------------------------------------------------------------


def metadata(
    kept: Sequence[KnownClip],
    new: Sequence[KnownClip],
    contents: Mapping[str, str],
    known: CollectedSet | None,
    classes: Sequence[str],
    options: Any,
    files: Mapping[str, str],
) -> dict[str, str]:
    """The texts of `CLIPS`, `RECORDINGS` and `RECORD`, by name.

    Args:
        kept: clips of the set that was added to.
        new: the other clips.
        contents: digests of the recordings of these clips, by path.
        known: the set that was added to.
        classes: in order.
        options: an object with the recorded options as attributes.
        files: other files that are written into the set, text by name.
    """
    recordings = {} if known is None else dict(known.recordings)
    groups: dict[str, KnownClip] = {}
    for clip in new:
        if clip.group or clip.recording not in groups:  # clips of an unlabelled rest have no group
            groups[clip.recording] = clip
    for path, clip in groups.items():
        split = BY_NAME[clip.set_name].split
        recordings[path] = KnownRecording(path, split, clip.group, contents[path])
    digests = {} if known is None else dict(known.record.files)
    values = {name: getattr(options, name) for name in _RECORDED}
    if values["groups"] is not None:
        values["groups"] = os.path.abspath(values["groups"])
    record = {
        "classes": list(classes),
        "options": values,
        "files": digests | {name: _text_digest(text) for name, text in files.items()},
    }
    return {
        CLIPS: table_text(_CLIP_COLUMNS, map(_clip_row, [*kept, *new])),
        RECORDINGS: table_text(_RECORDING_COLUMNS, recordings.values()),
        RECORD: json.dumps(record, indent=1, ensure_ascii=False) + "\n",
    }


def _clip_row(clip: KnownClip) -> tuple[object, ...]:
    name, set_name = clip.record.filename, _SET_COLUMN[clip.set_name]
    return name, set_name, clip.recording, clip.group, round(clip.start, 6), round(clip.end, 6)


def copy_set(source: CollectedSet, target: Path, kept: Iterable[KnownClip], *, link: bool) -> None:
    """Copy a set into an empty folder, without the clips that are not kept and without its tables.

    Args:
        source: the set.
        target: the folder.
        kept: the clips to copy.
        link: whether `source` is removed afterwards: files are linked where the system can.
            Otherwise the files that `collect` wrote beside the clips are not copied.

    Raises InputError where the set changed since it was read.
    """
    if _state(source.folder) != source.state:
        raise InputError(f"{source.folder}: another process changed it: start again")

    def copy(original: str, copied: str) -> None:
        if link:
            with suppress(OSError):
                os.link(original, copied)
                return
        shutil.copy2(original, copied)

    shutil.copytree(source.folder, target, symlinks=True, copy_function=copy, dirs_exist_ok=True)
    names = {(clip.set_name, clip.record.filename) for clip in kept}
    for clip in source.clips:
        if (clip.set_name, clip.record.filename) not in names:
            clip_set = BY_NAME[clip.set_name]
            for folder in (clip_set.audio, clip_set.prepared):
                clip_path(target / folder, clip.record.filename).unlink(missing_ok=True)
    unused = [name for each in CLIP_SETS for name in (each.table, each.durations) if name]
    for name in (*unused, *(() if link else source.record.files)):
        (target / name).unlink(missing_ok=True)


# ---- reading ---------------------------------------------------------------------------------


def read_record(folder: Path) -> Record:
    """How a set was made. Raises InputError for a folder that is none, or of an older version."""
    path = folder / RECORD
    try:
        content = json.loads(read_text(path))
        options = content["options"]
        options["split"] = tuple(options["split"])
        if options["groups"] is not None:
            options["groups"] = Path(options["groups"])
        return Record(tuple(content["classes"]), options, dict(content["files"]))
    except (InputError, ValueError, KeyError, TypeError):
        raise InputError(
            f"--add {folder}: expected a data set that this version of collect made, got none: "
            f"{RECORD} cannot be read"
        ) from None


def options_with(record: Record, given: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded options with those that are given; raises InputError where they must be equal.

    A rule of groups that is given takes the place of the recorded one.
    """
    for name in _FIXED:
        if name in given and given[name] != record.options[name]:
            raise InputError(
                f"--{name}: expected {record.options[name]} as in the data set of --add, got "
                f"{given[name]}"
            )
    recorded = dict(record.options)
    if {"group", "groups"} & given.keys():
        del recorded["group"], recorded["groups"]
    return recorded | dict(given)


def read_set(folder: Path) -> CollectedSet:
    """A set that `collect` made. Raises InputError for one that cannot be read."""
    state, record = _state(folder), read_record(folder)
    recordings = {}
    table = Table(folder / RECORDINGS, _RECORDING_COLUMNS)
    for _, values in table.rows(lambda name: False):
        recordings[values[0]] = KnownRecording(*values)
    table.finish()
    return CollectedSet(folder, record, recordings, _read_clips(folder, record.classes), state)


def _read_clips(folder: Path, classes: Sequence[str]) -> list[KnownClip]:
    """The clips of a set, without those that the tables of their sets do not list."""
    names = {name: set_name for set_name, name in _SET_COLUMN.items()}
    table = Table(folder / CLIPS, _CLIP_COLUMNS)
    rows: dict[str, list[KnownClip]] = {}
    for line, (name, set_name, recording, group, *times) in table.rows(lambda name: False):
        start, end = (table.number(line, "start, end", text) for text in times)
        if set_name not in names:
            table.problem(line, f"set_name: expected {shortened(names, 5)}, got {set_name}")
        elif start is not None and end is not None:
            record = ClipRecord(name, end - start, ())
            clip = KnownClip(names[set_name], recording, group, start, end, record)
            rows.setdefault(clip.set_name, []).append(clip)
    table.finish()
    found = []
    for set_name, clips in rows.items():
        durations = BY_NAME[set_name].durations
        seconds = {clip.record.filename: clip.record.duration for clip in clips}
        if durations is not None and (folder / durations).is_file():
            seconds |= read_durations(folder / durations)
        events = _read_events(folder, set_name, classes, seconds)
        found += [
            clip._replace(record=ClipRecord(name, seconds[name], tuple(events[name])))
            for clip in clips
            if (name := clip.record.filename) in events
        ]
    return found


def _read_events(
    folder: Path, set_name: str, classes: Sequence[str], seconds: Mapping[str, float]
) -> Mapping[str, Sequence[Event]]:
    """The events of the clips that the table of a set lists; tags last the whole clip."""
    clip_set = BY_NAME[set_name]
    path = folder / clip_set.table
    if clip_set.labels == "strong":
        return read_strong(path, classes)
    if clip_set.labels == "weak":
        return {
            name: [Event(0.0, seconds.get(name, 0.0), tag) for tag in tags]
            for name, tags in read_weak(path, classes).items()
        }
    table = Table(path, ("filename",))
    names = [name for _, (name,) in table.rows(lambda name: True)]
    table.finish()
    return dict.fromkeys(names, ())


def _state(folder: Path) -> tuple[str, ...]:
    """Digests of the files that every change of a set changes."""
    return tuple(content_digest(folder / n) for n in (CLIPS, RECORD) if (folder / n).is_file())


def _text_digest(text: str) -> str:
    """The `content_digest` of a file with this text."""
    return hashlib.blake2b(text.encode()).hexdigest()
