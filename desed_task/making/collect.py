"""A data set in DESED's layout from recordings and labels that people have (docs/own_data.md).

Recordings are cut into clips; the sets are split by recording. `plan_clips` reads the labels and
decides what is cut, `write_clips` writes the data set. The command is `python -m local.collect`.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tqdm import tqdm

from desed_task.dataio.annotations import merge_overlaps
from desed_task.dataio.audio import MIX, Channel, audio_info
from desed_task.dataio.recordings import find_recordings
from desed_task.desed import CLIP_SETS, SYNTHETIC_VALIDATION
from desed_task.errors import MAX_LINES, InputError, listing, shortened
from desed_task.files import atomic_folder, check_new_folder
from desed_task.labels import Event
from desed_task.making.cutting import (
    MIN_CLIP_S,
    MIN_REST_S,
    Annotated,
    Span,
    clip_events,
    cut_file,
    cut_sections,
    short_pieces,
    spans_between,
)
from desed_task.making.grouping import (
    SPLITS,
    TRAIN,
    GroupOf,
    group_rule,
    grouped,
    split_labelled,
)
from desed_task.making.label_files import Label, LabelOptions, LabelReader, class_folders
from desed_task.making.label_tables import GivenColumn
from desed_task.making.layout import ClipRecord, clip_tables, write_texts
from desed_task.options import check_least
from desed_task.tables import aligned_text, table_text

STRONG, WEAK, UNLABELLED = "synthetic", "weak", "unlabelled"
SCORED = {"validation": SYNTHETIC_VALIDATION, "test": "test"}
"""The set of each split that is not for training."""
CLIPS = "metadata/clips.tsv"
UNREADABLE = "metadata/unreadable.tsv"
_SET_COLUMN = {
    STRONG: "synthetic_train",
    WEAK: WEAK,
    UNLABELLED: UNLABELLED,
    SYNTHETIC_VALIDATION: "synthetic_validation",
    "test": "validation",
}
"""Names of the sets in the table of clips."""
_COLUMN = "column:"


@dataclass(frozen=True)
class CollectOptions:
    """What a data set is made of; the names are those of the command's options.

    Attributes:
        audio: folder of recordings.
        output: the new data set's folder.
        labels: a folder of label files, or a table; None: `audio` has a folder per class.
        unlabelled: folder of recordings without labels, for training.
        rest: what is done with recordings in `audio` without a label: `skip`, `background` (they
            have no events) or `unlabelled`.
        clip_seconds, overlap: length of a clip, and seconds that neighbours share.
        split: shares of training, validation and test.
        group: recordings of one group are in one set: `folder`, `column:NAME` of the table, or a
            regular expression; None: a recording is a group.
        groups: table of groups; excludes `group`.
        channel: how channels become one, see `desed_task.dataio.audio.Mono`.
        skip_unreadable: whether recordings that cannot be read are not used; otherwise they are
            refused.
        seed: of the split.
        columns: of tables, by meaning.
        label: the class of labels that have none.
        ignore: labels that are no classes.
        tier: the tier of TextGrids that is read; None: all.
    """

    audio: Path
    output: Path
    labels: Path | None = None
    unlabelled: Path | None = None
    rest: str = "skip"
    clip_seconds: float = 10.0
    overlap: float = 0.0
    split: tuple[float, ...] = (0.7, 0.15, 0.15)
    group: str | None = None
    groups: Path | None = None
    channel: Channel = MIX
    skip_unreadable: bool = False
    seed: int = 1
    columns: Mapping[str, GivenColumn] = field(default_factory=dict)
    label: str | None = None
    ignore: tuple[str, ...] = ()
    tier: str | None = None

    def __post_init__(self) -> None:
        """Raise InputError for impossible values."""
        sums_to_1 = abs(sum(self.split) - 1) <= 1e-6
        if len(self.split) != 3 or not all(0 < share < 1 for share in self.split) or not sums_to_1:
            raise InputError(
                f"--split: expected three shares with the sum 1, got "
                f"{','.join(f'{share:g}' for share in self.split)}"
            )
        reading = {"columns": self.columns, "label": self.label, "ignore": self.ignore}
        reading["tier"] = self.tier
        given = [f"--{name}" for name, value in reading.items() if value]
        if given and self.labels is None:
            raise InputError(f"{', '.join(given)}: expected --labels, got none")
        check_least(self, clip_seconds=MIN_CLIP_S, seed=0)
        if not 0 <= self.overlap < self.clip_seconds:
            raise InputError(
                f"--overlap: expected at least 0 and less than --clip_seconds, got {self.overlap:g}"
            )

    @property
    def group_column(self) -> str | None:
        """The column of the labels' table that has the groups."""
        group = self.group or ""
        return group.removeprefix(_COLUMN) if group.startswith(_COLUMN) else None


class PlannedClip(NamedTuple):
    """A clip: its file name, and its begin and end in the recording in seconds."""

    filename: str
    start: float
    end: float


class PlannedRecording(NamedTuple):
    """A recording, the set that its clips are in, and the clips."""

    recording: Annotated
    set_name: str
    clips: Sequence[PlannedClip]


class Plan(NamedTuple):
    """The clips of a data set, and its classes.

    Attributes:
        recordings: with their clips.
        classes: sorted.
        remarks: numbers of what is not used, by remark.
        notes: how the labels were read.
        unreadable: why recordings cannot be read, and are not used.
    """

    recordings: Sequence[PlannedRecording]
    classes: Sequence[str]
    remarks: Mapping[str, int]
    notes: Sequence[str]
    unreadable: Mapping[Path, str] = MappingProxyType({})

    def sizes(self) -> dict[str, int]:
        """Number of clips of each set."""
        sizes = {clip_set.name: 0 for clip_set in CLIP_SETS}
        for planned in self.recordings:
            sizes[planned.set_name] += len(planned.clips)
        return sizes


Records = Mapping[str, Sequence[ClipRecord]]
"""The written clips of each set."""


def plan_clips(options: CollectOptions) -> Plan:
    """Read the labels and the recordings' lengths; decide the set and the cuts of each recording.

    Raises InputError for labels that cannot be used, and where validation or test has no recording.
    """
    recordings = dict(_recordings("--audio", options.audio))
    reading = LabelOptions(
        options.columns, options.group_column, options.label, options.ignore, options.tier
    )
    reader = LabelReader(recordings, reading)
    labels = class_folders(recordings) if options.labels is None else reader.read(options.labels)
    labelled = {label.recording for label in labels} | reader.pointed
    rest = [path for path in recordings if path not in labelled]
    further = dict(_recordings("--unlabelled", options.unlabelled)) if options.unlabelled else {}
    used = [*sorted(labelled), *(rest if options.rest != "skip" else ()), *further]
    unreadable = _unreadable(used, reader.unreadable, options)
    labels = [label for label in labels if label.recording not in unreadable]
    rest = [path for path in rest if path not in unreadable]
    if options.rest == "background":
        labels += [Label(path, None) for path in rest]
    classes = sorted({label.name for label in labels if label.name is not None})
    if not classes:
        raise InputError(
            "--labels: no classes: expected at least 1 label, got 0"
            + "".join(f"\n  {number} {text}" for text, number in reader.counts.items() if number)
        )
    group_of = _group_of(options, recordings)
    found = annotated(recordings, labels, group_of, reader.reviewed)
    splits = _splits(found, options)
    unlabelled = []
    if options.rest == "unlabelled":  # not those of the groups of validation and test
        groups = grouped(rest, group_of)
        trained = [path for path in rest if splits.get(groups[path], TRAIN) == TRAIN]
        unlabelled += [(path, recordings[path]) for path in trained]
    unlabelled += [each for each in further.items() if each[0] not in unreadable]
    sets = [
        (each, SCORED.get(splits[each.group], STRONG if each.strong else WEAK)) for each in found
    ]
    sets += [(Annotated(*each, (), (), False, ""), UNLABELLED) for each in unlabelled]
    if options.rest == "unlabelled":
        sets += [
            (_unreviewed(each), UNLABELLED)
            for each in found
            if each.sections is not None and splits[each.group] == TRAIN
        ]
    planned = _planned(sets, options)
    long_tagged = sum(bool(each.recording.tags) and len(each.clips) > 1 for each in planned)
    remarks = {
        "recordings have no label and are not used; see --rest": len(rest)
        * (options.rest == "skip"),
        "recordings have only labels of no length (points) or without class and are not used": (
            len(reader.pointed)
        ),
        **reader.counts,
        "recordings have reviewed stretches; only these are used as labelled": len(reader.reviewed),
        **_lost(planned),
        "tagged recordings are longer than a clip; each clip has the tags": long_tagged,
    }
    return Plan(planned, classes, remarks, reader.notes, unreadable)


def _unreadable(
    recordings: Iterable[Path], known: Mapping[Path, str], options: CollectOptions
) -> dict[Path, str]:
    """Why recordings cannot be read, by header. Raises InputError unless they are skipped."""
    found = dict(known)
    for path in recordings:
        try:
            audio_info(path)
        except InputError as error:
            found[path] = str(error)
    _refuse_unreadable(found, options)
    return found


def _refuse_unreadable(unreadable: Mapping[Path, str], options: CollectOptions) -> None:
    if unreadable and not options.skip_unreadable:
        problems = listing("--audio", sorted(unreadable.values()), most=MAX_LINES - 2)
        raise InputError(f"{problems}\n--skip_unreadable: makes the data set without them")


def annotated(
    recordings: Mapping[Path, Path],
    labels: Iterable[Label],
    group_of: GroupOf,
    reviewed: Mapping[Path, Sequence[Span]] = MappingProxyType({}),
) -> list[Annotated]:
    """The recordings that have labels, with their events or tags and their groups.

    Of recordings in `reviewed`, only these stretches are labelled.
    """
    by_recording: dict[Path, list[Label]] = defaultdict(list)
    for label in labels:
        by_recording[label.recording].append(label)
    named = {
        path: next((e.group for e in own if e.group), "") for path, own in by_recording.items()
    }
    groups = grouped([path for path, group in named.items() if not group], group_of)
    any_events = any(e.onset is not None for own in by_recording.values() for e in own)
    found = []
    for path, own in sorted(by_recording.items()):
        events = [
            Event(e.onset, e.offset, e.name)
            for e in own
            if e.name is not None and e.onset is not None and e.offset is not None
        ]
        tags = tuple(dict.fromkeys(e.name for e in own if e.name is not None and e.onset is None))
        if events and tags:
            raise InputError(f"{path}: expected events or tags, got both: {shortened(tags)}")
        merged, group = tuple(merge_overlaps(events)), named[path] or groups[path]
        strong = bool(events) or (not tags and any_events)
        sections = tuple(reviewed[path]) if path in reviewed else None
        strong = strong or sections is not None
        found.append(Annotated(path, recordings[path], merged, tags, strong, group, sections))
    return found


def _unreviewed(recording: Annotated) -> Annotated:
    """A recording outside of its reviewed stretches, whose labels are not known."""
    rest = spans_between(recording.sections or (), audio_info(recording.path).seconds)
    return Annotated(recording.path, recording.relative, (), (), False, "", tuple(rest))


def write_clips(options: CollectOptions, plan: Plan, files: Mapping[str, str]) -> Records:
    """Write the data set, which appears as a whole; returns the clips of each set.

    Args:
        options: those of the plan.
        plan: what is cut.
        files: further files of the data set, text by name.

    The recordings that cannot be read, also those whose audio breaks off, are in the table
    `UNREADABLE`.

    Raises InputError where the output exists, and for recordings that cannot be read unless they
    are skipped, FaultError where the output cannot be written.
    """
    check_new_folder("--output", options.output)
    records: dict[str, list[ClipRecord]] = {clip_set.name: [] for clip_set in CLIP_SETS}
    unreadable = dict(plan.unreadable)
    with atomic_folder(options.output) as folder:
        audio = {clip_set.name: folder / clip_set.audio for clip_set in CLIP_SETS}
        for recording, set_name, clips in tqdm(plan.recordings, unit="recording", desc="cutting"):
            audio[set_name].mkdir(parents=True, exist_ok=True)
            targets = [(audio[set_name] / name, start, end) for name, start, end in clips]
            try:
                lengths = cut_file(recording.path, targets, options.channel)
            except InputError as error:
                unreadable[recording.path] = str(error)
                for target, _, _ in targets:
                    target.unlink(missing_ok=True)
                continue
            for clip, seconds in zip(clips, lengths, strict=True):
                events = clip_events(recording, clip.start, clip.start + seconds)
                records[set_name].append(ClipRecord(clip.filename, seconds, events))
        _refuse_unreadable(unreadable, options)
        _check_sets(plan, records)
        tables = clip_tables({name: clips for name, clips in records.items() if clips})
        if unreadable:
            rows = [
                (path, reason.removeprefix(f"{path}: "))
                for path, reason in sorted(unreadable.items())
            ]
            tables[UNREADABLE] = table_text(("file", "reason"), rows)
        write_texts(folder, {**tables, CLIPS: _clips_table(plan, unreadable), **files})
    return records


def _check_sets(plan: Plan, records: Records) -> None:
    """Raise InputError for a planned set of which no recording can be read."""
    empty = {planned.set_name for planned in plan.recordings if not records[planned.set_name]}
    if empty:
        raise InputError(
            f"--audio: no recording of the set {min(empty)} can be read: expected at least 1, got 0"
        )


def class_table(records: Records, classes: Sequence[str]) -> str:
    """A text table of the clips with each class in each set, and warnings of empty classes."""
    titles = {"strong": STRONG, "weak": WEAK, **SCORED}
    counts = {
        title: Counter(name for r in records[key] for name in {e.event_label for e in r.events})
        for title, key in titles.items()
    }
    rows = [(name, *(count[name] for count in counts.values())) for name in classes]
    rows.append(("all clips", *(len(records[key]) for key in titles.values())))
    lines = ["clips with each class:", aligned_text(("", *titles), rows)]
    if records[UNLABELLED]:
        lines.append(f"unlabelled clips: {len(records[UNLABELLED])}")
    for split in SPLITS:
        present = counts["strong"] + counts["weak"] if split == TRAIN else counts[split]
        empty = [name for name in classes if not present[name]]
        if empty:
            lines.append(f"warning: classes without a clip in {split}: {shortened(empty, 10)}")
    return "\n".join(lines)


def _recordings(option: str, folder: Path) -> list[tuple[Path, Path]]:
    """The audio files below a folder, with their paths relative to it."""
    if not folder.is_dir():
        raise InputError(f"{option} {folder}: expected an existing folder")
    found = find_recordings([folder])
    if not found:
        raise InputError(f"{option} {folder}: expected audio files, got none")
    return found


def _group_of(options: CollectOptions, recordings: Mapping[Path, Path]) -> GroupOf:
    """The group of a recording: its own, its folder, by an expression or by a table."""

    def own(path: Path) -> str:
        return recordings[path].as_posix()

    rules = {
        "folder": lambda path: recordings[path].parent.as_posix(),
        f"{_COLUMN}{options.group_column}": own,
    }
    return group_rule(options.group, options.groups, own, rules)


def _splits(recordings: Sequence[Annotated], options: CollectOptions) -> dict[str, str]:
    """The split of each group. Raises InputError where one would be without a recording."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        for name in recording.classes or {""}:
            kinds[name].add(recording.group)
    splits = split_labelled(kinds, options.split, options.seed)
    for split in SCORED:
        if split not in splits.values():
            raise InputError(
                f"--split: {split}: expected at least 1 recording, got 0 of {len(recordings)}: "
                "more recordings or groups are needed"
            )
    return splits


def _planned(
    sets: Iterable[tuple[Annotated, str]], options: CollectOptions
) -> list[PlannedRecording]:
    """The clips of recordings; a name is the recording's path and the begin in milliseconds."""
    used: Counter[str] = Counter()

    def name(relative: Path, begin: float) -> str:
        stem = re.sub(r"[^\w.-]+", "_", relative.with_suffix("").as_posix()).strip("._") or "clip"
        name = f"{_last_bytes(stem, 150)}_{round(begin * 1000):08d}"
        used[name] += 1
        return f"{name}{f'_{used[name]}' if used[name] > 1 else ''}.wav"

    return [
        PlannedRecording(
            recording,
            set_name,
            [
                PlannedClip(name(recording.relative, start), start, end)
                for start, end in cut_sections(
                    recording,
                    audio_info(recording.path).seconds,
                    options.clip_seconds,
                    options.overlap,
                )
            ],
        )
        for recording, set_name in sets
    ]


def _last_bytes(text: str, most: int) -> str:
    """The end of a text, at most so many bytes of UTF-8."""
    return text.encode()[-most:].decode(errors="ignore")


def _lost(recordings: Iterable[PlannedRecording]) -> dict[str, int]:
    """Numbers of what is in no clip."""
    ends = events = pieces = 0
    for recording, _, clips in recordings:
        sections = recording.sections or ((0.0, audio_info(recording.path).seconds),)
        starts, stops = [clip.start for clip in clips], [clip.end for clip in clips]
        for _, stop in sections:
            last = bisect_left(stops, stop - 1e-6)
            ends += last == len(clips) or starts[last] >= stop
        for event in recording.events:
            first = bisect_right(stops, event.onset)
            events += first == len(clips) or starts[first] >= event.offset
        pieces += sum(short_pieces(recording, clip.start, clip.end) for clip in clips)
    return {
        f"ends of recordings or stretches, shorter than {MIN_CLIP_S:g} s, are in no clip": ends,
        "events are only in such ends and are not used": events,
        f"pieces of events, shorter than {MIN_REST_S * 1000:g} ms at a cut, are not used": pieces,
    }


def _clips_table(plan: Plan, unreadable: Mapping[Path, str]) -> str:
    """Text of a TSV file: the recording, group and seconds that each clip is from."""
    rows = []
    for recording, set_name, clips in plan.recordings:
        if recording.path in unreadable:
            continue
        origin = (_SET_COLUMN[set_name], recording.path, recording.group)
        rows += [(name, *origin, round(start, 6), round(end, 6)) for name, start, end in clips]
    return table_text(("filename", "set_name", "recording", "group", "start", "end"), rows)
