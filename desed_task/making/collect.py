"""A data set in DESED's layout from recordings and labels that people have (docs/own_data.md).

Recordings are cut into clips; the sets are split by recording. `plan_clips` reads the labels and
decides what is cut, `write_clips` writes the data set. The command is `python -m local.collect`.
"""

import os
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tqdm import tqdm

from desed_task.dataio.annotations import merge_overlaps
from desed_task.dataio.audio import MIX, Channel, audio_info
from desed_task.dataio.recordings import find_recordings
from desed_task.desed import CLIP_SETS, SYNTHETIC_VALIDATION
from desed_task.errors import MAX_LINES, InputError, listing, shortened
from desed_task.files import atomic_folder, check_new_folder, content_digest
from desed_task.labels import Event
from desed_task.making.collected import (
    STRONG,
    UNLABELLED,
    WEAK,
    CollectedSet,
    KnownClip,
    copy_set,
    metadata,
    read_set,
    real_path,
)
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
    TEST,
    TRAIN,
    VALIDATION,
    GroupOf,
    group_rule,
    grouped,
    split_labelled,
)
from desed_task.making.label_files import Label, LabelOptions, LabelReader, class_folders
from desed_task.making.label_tables import GivenColumn
from desed_task.making.layout import ClipRecord, clip_tables, write_texts
from desed_task.options import check_least
from desed_task.tables import aligned_text, normalised, quoted, read_text, table_text

SCORED = {"validation": SYNTHETIC_VALIDATION, "test": "test"}
"""The set of each split that is not for training."""
UNREADABLE = "metadata/unreadable.tsv"
_COLUMN = "column:"


@dataclass(frozen=True)
class CollectOptions:
    """What a data set is made of; the names are those of the command's options.

    Attributes:
        audio: folder of recordings.
        output: the new data set's folder; that of `add`: this set is replaced.
        add: a data set of `collect` that gets the recordings and labels; None: none.
        labels: a folder of label files, or a table; None: `audio` has a folder per class.
        test: folder of the recordings of the test, whose labels are found as those of `audio`.
        unlabelled: folder of recordings without labels, for training.
        rest: what is done with recordings in `audio` without a label: `skip`, `background` (they
            have no events) or `unlabelled`.
        clip_seconds, overlap: length of a clip, and seconds that neighbours share.
        split: shares of training, validation and test, of the recordings whose set is not given.
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
    add: Path | None = None
    labels: Path | None = None
    test: Path | None = None
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
        in_range = len(self.split) == 3 and min(self.split) >= 0 and self.split[0] > 0
        if not in_range or not sums_to_1:
            raise InputError(
                f"--split: expected three shares with the sum 1, the first above 0, got "
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
        classes: in the order of the network's outputs.
        remarks: numbers of what is not used, by remark.
        notes: how the labels were read.
        unreadable: why recordings cannot be read, and are not used.
        known: the set that is added to.
        kept: its clips that do not change.
    """

    recordings: Sequence[PlannedRecording]
    classes: Sequence[str]
    remarks: Mapping[str, int]
    notes: Sequence[str]
    unreadable: Mapping[Path, str] = MappingProxyType({})
    known: CollectedSet | None = None
    kept: Sequence[KnownClip] = ()

    def sizes(self) -> dict[str, int]:
        """Number of clips of each set."""
        sizes = {clip_set.name: 0 for clip_set in CLIP_SETS}
        for planned in self.recordings:
            sizes[planned.set_name] += len(planned.clips)
        for clip in self.kept:
            sizes[clip.set_name] += 1
        return sizes

    def event_lengths(self) -> dict[str, list[float]]:
        """Lengths in seconds of the events to train on, by class."""
        new = (each.recording.events for each in self.recordings if each.set_name == STRONG)
        kept = (clip.record.events for clip in self.kept if clip.set_name == STRONG)
        lengths: dict[str, list[float]] = {name: [] for name in self.classes}
        for event in chain.from_iterable([*new, *kept]):
            lengths[event.event_label].append(event.offset - event.onset)
        return lengths


Records = Mapping[str, Sequence[ClipRecord]]
"""The written clips of each set."""


def plan_clips(options: CollectOptions) -> Plan:
    """Read the labels and the recordings' lengths; decide the set and the cuts of each recording.

    Raises InputError for labels that cannot be used, and where validation or test has no recording.
    """
    known = None if options.add is None else read_set(options.add)
    recordings, tested = _recordings(options)
    reading = LabelOptions(
        options.columns,
        options.group_column,
        needs_group=known is None,
        label=options.label,
        ignore=options.ignore,
        tier=options.tier,
    )
    reader = LabelReader(recordings, reading)
    if options.labels is None:
        labels = class_folders(
            {path: tested.get(path) or path.relative_to(options.audio) for path in recordings}
        )
    else:
        labels = reader.read(options.labels)
    labelled = {label.recording for label in labels} | reader.pointed
    further = dict(_found("--unlabelled", options.unlabelled)) if options.unlabelled else {}
    rest = [path for path in recordings if path not in labelled]
    if known is not None:
        by_content = options.rest != "skip"
        rest = [path for path in rest if known.find(path, by_content=by_content) is None]
        further = {path: name for path, name in further.items() if known.find(path) is None}
    used = [*sorted(labelled), *(rest if options.rest != "skip" else ()), *further]
    unreadable = _unreadable(used, reader.unreadable, options)
    labels = [label for label in labels if label.recording not in unreadable]
    rest = [path for path in rest if path not in unreadable]
    if options.rest == "background":
        labels += [Label(path, None) for path in rest]
    labels += [
        Label(path, None, split=TEST)
        for path in {label.recording for label in labels} & tested.keys()
    ]
    names = {label.name for label in labels if label.name is not None}
    classes = sorted(names) if known is None else known.classes_with(names)
    if not classes:
        raise InputError(
            "--labels: no classes: expected at least 1 label, got 0"
            + "".join(f"\n  {number} {text}" for text, number in reader.counts.items() if number)
        )
    group_of = _group_of(options, recordings, known)
    has_events = known is not None and known.has_events
    found = annotated(recordings, labels, group_of, reader.reviewed, has_events=has_events)
    kept: Sequence[KnownClip] = ()
    if known is not None:
        found, kept = known.with_labels(found)
    splits = _splits(found, options, known, kept, has_splits=reader.has_splits)
    if reader.has_splits and options.split[1] and VALIDATION not in {e.split for e in found}:
        reader.notes.append(
            "column split: it has no validation, which is drawn from the recordings for training "
            "(--split 1,0,0: none)"
        )
    unlabelled = []
    if options.rest == "unlabelled":  # not those of the groups of validation and test
        rest = [path for path in rest if path not in tested]
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
            if each.sections is not None
            and splits[each.group] == TRAIN
            and (known is None or known.find(each.path) is None)
        ]
    planned = _planned(sets, options, {clip.record.filename for clip in kept})
    if known is not None:
        reader.notes += known.changes(found, kept, classes)
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
    return Plan(planned, classes, remarks, reader.notes, unreadable, known, kept)


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
    *,
    has_events: bool = False,
) -> list[Annotated]:
    """The recordings that have labels, with their events or tags, groups and given splits.

    Of recordings in `reviewed`, only these stretches are labelled. Recordings without a label have
    no events, rather than no tags, where others have events, or `has_events` is true.
    """
    by_recording: dict[Path, list[Label]] = defaultdict(list)
    for label in labels:
        by_recording[label.recording].append(label)
    named = {
        path: next((e.group for e in own if e.group), "") for path, own in by_recording.items()
    }
    groups = grouped([path for path, group in named.items() if not group], group_of)
    any_events = has_events or any(
        e.onset is not None for own in by_recording.values() for e in own
    )
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
        splits = sorted({e.split for e in own if e.split is not None})
        if len(splits) > 1:
            raise InputError(f"{path}: expected one split, got {' and '.join(splits)}")
        split = splits[0] if splits else None
        sections = tuple(reviewed[path]) if path in reviewed else None
        strong = strong or sections is not None
        found.append(
            Annotated(path, recordings[path], merged, tags, strong, group, split, sections)
        )
    return found


def _unreviewed(recording: Annotated) -> Annotated:
    """A recording outside of its reviewed stretches, whose labels are not known."""
    rest = spans_between(recording.sections or (), audio_info(recording.path).seconds)
    return Annotated(recording.path, recording.relative, (), (), False, "", sections=tuple(rest))


def write_clips(options: CollectOptions, plan: Plan, files: Mapping[str, str]) -> Records:
    """Write the data set, which appears as a whole; returns the clips of each set.

    A set that is added to is replaced where it is the output, and does not change otherwise.

    Args:
        options: those of the plan.
        plan: what is cut.
        files: further files of the data set, text by name.

    The recordings that cannot be read, also those whose audio breaks off, are in the table
    `UNREADABLE`.

    Raises InputError where the output exists, and for recordings that cannot be read unless they
    are skipped, FaultError where the output cannot be written.
    """
    output = options.output
    replaced = plan.known is not None and output.resolve() == plan.known.folder.resolve()
    if replaced:
        output = output.resolve()  # not a link to the set
    else:
        check_new_folder("--output", output)
    written = list(plan.kept)
    contents: dict[str, str] = {}
    unreadable = dict(plan.unreadable)
    with atomic_folder(output) as folder:
        if plan.known is not None:
            copy_set(plan.known, folder, plan.kept, link=replaced)
        audio = {clip_set.name: folder / clip_set.audio for clip_set in CLIP_SETS}
        for recording, set_name, clips in tqdm(plan.recordings, unit="recording", desc="cutting"):
            audio[set_name].mkdir(parents=True, exist_ok=True)
            targets = [(audio[set_name] / name, start, end) for name, start, end in clips]
            try:
                lengths = cut_file(recording.path, targets, options.channel)
            except InputError as error:
                if plan.known is not None and plan.known.find(recording.path) is not None:
                    raise  # its clips in the set would be lost
                unreadable[recording.path] = str(error)
                for target, _, _ in targets:
                    target.unlink(missing_ok=True)
                continue
            origin = set_name, real_path(recording.path), recording.group
            contents[real_path(recording.path)] = content_digest(recording.path)
            for (name, start, end), seconds in zip(clips, lengths, strict=True):
                events = clip_events(recording, start, start + seconds)
                record = ClipRecord(name, seconds, events)
                written.append(KnownClip(*origin, start, end, record))
        _refuse_unreadable(unreadable, options)
        records: dict[str, list[ClipRecord]] = {clip_set.name: [] for clip_set in CLIP_SETS}
        for clip in written:
            records[clip.set_name].append(clip.record)
        _check_sets(plan, records)
        tables = clip_tables({name: clips for name, clips in records.items() if clips})
        if unreadable:
            tables[UNREADABLE] = _unreadable_table(unreadable, folder / UNREADABLE)
        new = written[len(plan.kept) :]
        tables |= metadata(plan.kept, new, contents, plan.known, plan.classes, options, files)
        write_texts(folder, tables | dict(files))
    return records


def _unreadable_table(unreadable: Mapping[Path, str], before: Path) -> str:
    """Text of a TSV file: the recordings that cannot be read, those of an earlier file as well."""
    rows = [(path, reason.removeprefix(f"{path}: ")) for path, reason in sorted(unreadable.items())]
    text = table_text(("file", "reason"), rows)
    lines = read_text(before).split("\n")[1:] if before.is_file() else []
    return text + "".join(f"{line}\n" for line in lines if line and line not in text.split("\n"))


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
        if split in SCORED and not records[SCORED[split]]:
            lines.append(f"no {split} set")
            continue
        present = counts["strong"] + counts["weak"] if split == TRAIN else counts[split]
        empty = [name for name in classes if not present[name]]
        if empty:
            lines.append(f"warning: classes without a clip in {split}: {shortened(empty, 10)}")
    return "\n".join(lines)


def _found(option: str, folder: Path, *others: Path) -> list[tuple[Path, Path]]:
    """The audio files below folders, with their paths relative to them; all are different."""
    if not folder.is_dir():
        raise InputError(f"{option} {folder}: expected an existing folder")
    found = find_recordings([folder, *others])
    if not found:
        raise InputError(f"{option} {folder}: expected audio files, got none")
    return found


def _recordings(options: CollectOptions) -> tuple[dict[Path, Path], dict[Path, Path]]:
    """The recordings of `--audio` and `--test`, with relative paths, and those of `--test` alone.

    The test's folder may be in that of the others. The relative paths of all are different, those
    of the test alone are below its folder.
    """
    if options.test is None:
        return dict(_found("--audio", options.audio)), {}
    below = {os.path.realpath(path): name for path, name in _found("--test", options.test)}
    every = dict(_found("--audio", options.audio, options.test))
    real = {path: os.path.realpath(path) for path in every}
    tested = {path: below[real[path]] for path in every if real[path] in below}
    if len(tested) == len(every):
        raise InputError(f"--audio {options.audio}: expected audio files beside those of --test")
    return every, tested


def _group_of(
    options: CollectOptions, recordings: Mapping[Path, Path], known: CollectedSet | None
) -> GroupOf:
    """The group of a recording: its own, its folder, by an expression or by a table."""

    def own(path: Path) -> str:
        name = recordings[path].as_posix()
        return name if known is None or name not in known.splits else real_path(path)

    def by_column(path: Path) -> str:
        if known is not None and known.find(path) is None:
            raise InputError(f"{path}: --group {options.group}: expected a value, got none")
        return own(path)

    rules = {
        "folder": lambda path: recordings[path].parent.as_posix(),
        f"{_COLUMN}{options.group_column}": by_column,
    }
    return group_rule(options.group, options.groups, own, rules)


def _splits(
    recordings: Sequence[Annotated],
    options: CollectOptions,
    known: CollectedSet | None,
    kept: Iterable[KnownClip],
    *,
    has_splits: bool,
) -> dict[str, str]:
    """The split of each group: as it is in the set that is added to, as it is given, or drawn.

    Where a table names splits, or `--test` the test, no test is drawn, and validation only where
    the table has none: of the recordings for training and of those without a split.

    Raises InputError for a group in several splits, and for a split without a recording.
    """
    kinds: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        for name in recording.classes or {""}:
            kinds[name].add(recording.group)
    for clip in kept:
        for name in {event.event_label for event in clip.record.events} if clip.group else ():
            kinds[name].add(clip.group)
    fixed = {} if known is None else known.splits
    given, shares = _given_splits(recordings, options, fixed), options.split
    if has_splits or options.test is not None:
        train, validation, _ = shares
        if VALIDATION in given.values():
            validation = 0
        given = {group: split for group, split in given.items() if split != TRAIN}
        shares = (train / (train + validation), validation / (train + validation), 0.0)
    splits = split_labelled(kinds, shares, options.seed, given | fixed)
    needed = {TRAIN} | {split for split, share in zip(SPLITS, shares, strict=True) if share}
    for split in SPLITS:
        if split in needed and split not in splits.values():
            raise InputError(
                f"--split: {split}: expected at least 1 recording, got 0 of {len(recordings)}: "
                "more recordings or groups are needed"
                + (f", or a share of 0 for a data set without {split}" if split != TRAIN else "")
            )
    return splits


def _given_splits(
    recordings: Sequence[Annotated], options: CollectOptions, fixed: Mapping[str, str]
) -> dict[str, str]:
    """The split that is given for each group. Raises InputError for groups in several splits.

    Args:
        recordings: with the splits that tables give them.
        options: of the command.
        fixed: the splits of the groups of the set that is added to.
    """
    given: dict[str, dict[str, Path | str]] = defaultdict(dict)
    for group in {recording.group for recording in recordings} & fixed.keys():
        given[group][fixed[group]] = "in the data set"
    for recording in recordings:
        if recording.split is not None:
            given[recording.group].setdefault(recording.split, recording.relative)
    if options.test is not None:
        for recording in recordings:
            if recording.split is None and TEST in given.get(recording.group, ()):
                given[recording.group].setdefault(TRAIN, recording.relative)
    problems = [
        f"group {quoted(group)}: expected one split, got "
        + ", ".join(f"{split} ({path})" for split, path in sorted(splits.items()))
        for group, splits in given.items()
        if len(splits) > 1
    ]
    if problems:
        raise InputError(listing("groups of recordings", problems))
    return {group: next(iter(splits)) for group, splits in given.items()}


def _planned(
    sets: Iterable[tuple[Annotated, str]], options: CollectOptions, used: set[str]
) -> list[PlannedRecording]:
    """The clips of recordings; a name is the recording's path and the begin in milliseconds.

    Args:
        sets: recordings and the names of their sets.
        options: of the cuts.
        used: names of other clips.
    """
    used = {normalised(name) for name in used}

    def name(relative: Path, begin: float) -> str:
        stem = re.sub(r"[^\w.-]+", "_", relative.with_suffix("").as_posix()).strip("._") or "clip"
        name = f"{_last_bytes(stem, 150)}_{round(begin * 1000):08d}"
        names = chain([f"{name}.wav"], (f"{name}_{number}.wav" for number in count(2)))
        chosen = next(each for each in names if normalised(each) not in used)
        used.add(normalised(chosen))
        return chosen

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
