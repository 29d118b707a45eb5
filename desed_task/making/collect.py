"""Make a data set in DESED's layout from recordings and labels of your own.

    python -m desed_task.making.collect --audio RECORDINGS --labels LABELS --output OWN
    python train_sed.py --conf_file OWN/conf.yaml

Labels: docs/own_data.md. Recordings are cut into clips; the sets are split by recording.
"""

import argparse
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from desed_task.dataio.annotations import merge_overlaps
from desed_task.dataio.audio import audio_info
from desed_task.dataio.recordings import find_recordings
from desed_task.errors import InputError, file_error, run_cli, shortened
from desed_task.files import atomic_folder, check_new_folder, user_path
from desed_task.labels import Event
from desed_task.making.cutting import MIN_SECONDS, Annotated, clip_events, cut, write_clips
from desed_task.making.grouping import GroupOf, by_pattern, by_table, grouped
from desed_task.making.label_files import Label, LabelReader, class_folders
from desed_task.making.layout import CLIP_SETS, ClipRecord, write_metadata
from desed_task.making.own_config import configuration

SPLITS = ("train", "validation", "test")
STRONG, WEAK, UNLABELLED = "synthetic_train", "weak", "unlabelled"
_SETS = {"validation": "synthetic_validation", "test": "validation"}


class ClipOrigin(NamedTuple):
    """A clip: its file, set, recording, group, and position in seconds."""

    filename: str
    set_name: str
    recording: str
    group: str
    start: float
    end: float


def annotated(
    recordings: Mapping[Path, Path], labels: Iterable[Label], group_of: GroupOf
) -> list[Annotated]:
    """The recordings that have labels."""
    by_recording: dict[Path, list[Label]] = {}
    for label in labels:
        by_recording.setdefault(label.recording, []).append(label)
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
        found.append(Annotated(path, recordings[path], merged, tags, strong, group))
    return found


def split_recordings(
    recordings: Sequence[Annotated], shares: Sequence[float], seed: int
) -> dict[str, str]:
    """The set of each group, drawn so that every class is in every set, as far as groups suffice.

    Args:
        recordings: with their groups.
        shares: of train, validation and test.
        seed: of the draw.
    """
    random = np.random.default_rng(seed)
    groups: dict[str, set[str]] = {}
    for recording in recordings:
        names = {event.event_label for event in recording.events} | set(recording.tags)
        for name in names or {""}:
            groups.setdefault(name, set()).add(recording.group)
    splits: dict[str, str] = {}
    for name in sorted(groups, key=lambda each: (len(groups[each]), each)):  # rare ones first
        own = sorted(groups[name])
        free = [own[index] for index in random.permutation(len(own)) if own[index] not in splits]
        for split, share in list(zip(SPLITS, shares, strict=True))[::-1]:
            have = sum(splits.get(group) == split for group in own)
            wanted = max(1, round(share * len(own))) if split != "train" else len(own)
            # The last recording of a class with few is trained on.
            spare = len(free) - (split != "train" and "train" not in {splits.get(g) for g in own})
            for _ in range(min(spare, wanted - have)):
                splits[free.pop()] = split
    return splits


class Collection:
    """Writes the clips of recordings into the folders of their sets, and then the tables.

    Args:
        folder: of the data set.
        clip_seconds, overlap: of the clips.
    """

    def __init__(self, folder: Path, clip_seconds: float, overlap: float) -> None:
        self.folder, self.clip_seconds, self.overlap = folder, clip_seconds, overlap
        self.records: dict[str, list[ClipRecord]] = {each.name: [] for each in CLIP_SETS}
        self.origins: list[ClipOrigin] = []
        self._audio = {each.name: folder / each.audio for each in CLIP_SETS}
        self._used: Counter[str] = Counter()
        self.long_tagged = 0  # tagged recordings of several clips

    def add(self, recording: Annotated, set_name: str) -> None:
        """Cut a recording into the clips of a set."""
        clips = cut(audio_info(recording.path).seconds, self.clip_seconds, self.overlap)
        self.long_tagged += bool(recording.tags) and len(clips) > 1
        names = [self._name(recording.relative, begin) for begin, _ in clips]
        self._audio[set_name].mkdir(parents=True, exist_ok=True)
        lengths = write_clips(recording.path, clips, [self._audio[set_name] / n for n in names])
        for (begin, end), name, seconds in zip(clips, names, lengths, strict=True):
            events = clip_events(recording, begin, begin + seconds)
            self.records[set_name].append(ClipRecord(name, seconds, events))
            where = (str(recording.path), recording.group, round(begin, 6), round(end, 6))
            self.origins.append(ClipOrigin(name, set_name, *where))

    def write_tables(self) -> None:
        """Write the annotations, and clips.tsv: where each clip is from."""
        for clip_set in CLIP_SETS:
            if self.records[clip_set.name]:
                write_metadata(self.folder, clip_set, self.records[clip_set.name])
        origins = pd.DataFrame(self.origins, columns=list(ClipOrigin._fields))
        origins.to_csv(self.folder / "metadata" / "clips.tsv", sep="\t", index=False)

    def _name(self, relative: Path, begin: float) -> str:
        """A clip's file name: the recording's path, and the clip's begin in milliseconds."""
        stem = re.sub(r"[^\w.-]+", "_", relative.with_suffix("").as_posix()).strip("._") or "clip"
        name = f"{stem[-150:]}_{round(begin * 1000):08d}"
        self._used[name] += 1
        return f"{name}{f'_{self._used[name]}' if self._used[name] > 1 else ''}.wav"


def collect(options: argparse.Namespace) -> str:
    """Write the data set; returns the table of clips per class and set."""
    recordings = dict(find_recordings([options.audio]))
    if not recordings:
        raise InputError(f"--audio {options.audio}: no audio files: expected at least 1, got 0")
    column = re.fullmatch(r"column:(.+)", options.group or "")
    reader = LabelReader(recordings, column[1] if column else None)
    labels = _labels(options, recordings, reader)
    if options.rest == "background":
        known = {label.recording for label in labels}
        labels += [Label(path, None) for path in recordings if path not in known]
    found = annotated(recordings, labels, _group_of(options, recordings))
    classes = sorted({label.name for label in labels if label.name is not None})
    if not classes:
        raise InputError("--labels: no classes: expected at least 1 label, got 0")
    splits = split_recordings(found, options.split, options.seed)
    known = {each.path for each in found} | reader.pointed
    rest = [path for path in recordings if path not in known]
    check_new_folder("--output", options.output)
    with atomic_folder(options.output) as folder:
        sets = Collection(folder, options.clip_seconds, options.overlap)
        for recording in tqdm(found, unit="recording", desc="cutting"):
            split = splits[recording.group]
            train = STRONG if recording.strong else WEAK
            sets.add(recording, train if split == "train" else _SETS[split])
        for path, relative in _unlabelled(options, recordings, rest, splits):
            sets.add(Annotated(path, relative, (), (), False, ""), UNLABELLED)
        sets.write_tables()
        sizes = {name: len(records) for name, records in sets.records.items()}
        for name in ("synthetic_validation", "validation"):
            if not sizes[name]:
                raise InputError(
                    f"--split: {name.replace('_', ' ')}: expected at least 1 recording, got 0 of "
                    f"{len(found)}: more recordings or groups are needed"
                )
        text = configuration(
            options.output.resolve(),
            classes,
            sizes,
            program="desed_task.making.collect",
            clip_seconds=options.clip_seconds,
        )
        (folder / "conf.yaml").write_text(text, encoding="utf-8")
    remarks = {
        "recordings have no label and are not used; see --rest": len(rest)
        * (options.rest == "skip"),
        "recordings have only labels of no length (points) and are not used": len(reader.pointed),
        "labels of no length (points) are not used": reader.points,
        "tagged recordings are longer than a clip; each clip has the tags": sets.long_tagged,
    }
    return summary(sets.records, classes, remarks, options)


def _labels(
    options: argparse.Namespace, recordings: Mapping[Path, Path], reader: LabelReader
) -> list[Label]:
    if options.labels is None:
        return class_folders(recordings)
    if options.labels.is_dir():
        return reader.folder(options.labels)
    return reader.file(options.labels)


def _group_of(options: argparse.Namespace, recordings: Mapping[Path, Path]) -> GroupOf:
    """The group of a recording: its own, its folder, by an expression or by a table."""
    if options.groups is not None:
        return by_table(options.groups)
    if options.group == "folder":
        return lambda path: recordings[path].parent.as_posix()
    if options.group and not options.group.startswith("column:"):
        return by_pattern(options.group)
    return lambda path: recordings[path].as_posix()


def _unlabelled(
    options: argparse.Namespace,
    recordings: Mapping[Path, Path],
    rest: Sequence[Path],
    splits: Mapping[str, str],
) -> Iterator[tuple[Path, Path]]:
    """Recordings to train on without labels; not those of the groups of validation and test."""
    if options.rest == "unlabelled":
        groups = grouped(rest, _group_of(options, recordings))
        kept = [path for path in rest if splits.get(groups[path], "train") == "train"]
        yield from ((path, recordings[path]) for path in kept)
    if options.unlabelled is not None:
        found = find_recordings([options.unlabelled])
        if not found:
            raise InputError(f"--unlabelled {options.unlabelled}: expected audio files, got none")
        yield from found


def summary(
    records: Mapping[str, Sequence[ClipRecord]],
    classes: Sequence[str],
    remarks: Mapping[str, int],
    options: argparse.Namespace,
) -> str:
    """Clips with each class in each set, and remarks."""
    titles = {STRONG: "strong", WEAK: "weak", "synthetic_validation": "validation"}
    titles |= {"validation": "test"}
    counts = {
        title: Counter(name for r in records[key] for name in {e.event_label for e in r.events})
        for key, title in titles.items()
    }
    rows = {name: [counts[title][name] for title in counts] for name in classes}
    rows["all clips"] = [len(records[key]) for key in titles]
    lines = ["clips with each class:", pd.DataFrame(rows, index=list(counts)).T.to_string()]
    if records[UNLABELLED]:
        lines.append(f"unlabelled clips: {len(records[UNLABELLED])}")
    trained = counts["strong"] + counts["weak"]
    for title, present in (
        ("training", trained),
        ("validation", counts["validation"]),
        ("test", counts["test"]),
    ):
        empty = [name for name in classes if not present[name]]
        if empty:
            lines.append(f"warning: classes without a clip in {title}: {shortened(empty, 10)}")
    lines += [f"{number} {text}" for text, number in remarks.items() if number]
    lines.append(f"next: python train_sed.py --conf_file {options.output / 'conf.yaml'}")
    return "\n".join(lines)


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if (
        len(shares) != 3
        or not all(0 < share < 1 for share in shares)
        or abs(sum(shares) - 1) > 1e-6
    ):
        raise InputError(f"--split: expected three shares with the sum 1, got {text!r}")
    return shares


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line. Raises InputError for impossible values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option: Callable[..., object] = parser.add_argument
    option("--audio", type=user_path, required=True, metavar="DIR", help="recordings")
    option(
        "--labels",
        type=user_path,
        metavar="DIR_OR_FILE",
        help="label files, or one table of all recordings (default: a folder per class in --audio)",
    )
    option("--output", type=user_path, required=True, metavar="DIR", help="new folder")
    option("--unlabelled", type=user_path, metavar="DIR", help="recordings without labels")
    option(
        "--rest",
        choices=["skip", "background", "unlabelled"],
        default="skip",
        help="recordings in --audio without any label: not used (default), without events, or "
        "unlabelled",
    )
    option("--clip_seconds", type=float, default=10.0, help="length of a clip (default: 10)")
    option("--overlap", type=float, default=0.0, help="seconds that clips share (default: 0)")
    option(
        "--split",
        default="0.7,0.15,0.15",
        help="shares of train, validation, test (default: %(default)s)",
    )
    option(
        "--group",
        metavar="RULE",
        help="which recordings stay in one set: folder, column:NAME of the table, or a regular "
        "expression of the file name (default: each recording alone)",
    )
    option("--groups", type=user_path, metavar="TABLE", help="a table: filename, group")
    option("--seed", type=int, default=1, help="of the split (default: 1)")
    options = parser.parse_args(arguments)
    options.split = _shares(options.split)
    if not MIN_SECONDS <= options.clip_seconds < float("inf"):
        raise InputError(
            f"--clip_seconds: expected at least {MIN_SECONDS}, got {options.clip_seconds:g}"
        )
    if not 0 <= options.overlap < options.clip_seconds:
        raise InputError(
            f"--overlap: expected at least 0 and less than --clip_seconds, got {options.overlap:g}"
        )
    if options.seed < 0:
        raise InputError(f"--seed: expected at least 0, got {options.seed}")
    if options.group and options.groups:
        raise InputError("--group: expected --group or --groups, got both")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, write the data set, print what it holds."""
    options = parse_args(arguments)
    try:
        print(collect(options))
    except OSError as error:
        raise file_error(f"--output {options.output}", error, "written") from error


if __name__ == "__main__":
    run_cli(main)
