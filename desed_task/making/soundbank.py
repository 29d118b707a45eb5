"""A folder of isolated recordings in the layout of DESED's soundbank, as sources of scenes.

    DIR/foreground/CLASS/*      events
    DIR/background/**           noises without events; may be missing: synthetic noises instead

Formats: docs/data.md; hidden files and files of other kinds are ignored.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from desed_task.dataio.audio import MIX, Channel
from desed_task.dataio.recordings import files_below
from desed_task.errors import MAX_LINES, InputError, listing, shortened
from desed_task.making.grouping import (
    SPLITS,
    TRAIN,
    GroupOf,
    by_take_letter,
    group_rule,
    grouped,
    split_soundbank,
)
from desed_task.making.label_files import class_files
from desed_task.synthesis.recorded import (
    MIN_BANDWIDTH_HZ,
    RecordedSounds,
    Section,
    sections_of,
)
from desed_task.synthesis.signals import SAMPLE_RATE
from desed_task.tables import aligned_text, table_text

logger = logging.getLogger(__name__)

BACKGROUND = "background"
FOREGROUND = "foreground"
MAX_SILENT = 10
"""Names of silent recordings in a message."""
SIMILAR = 0.9
"""Ratio of bandwidths from which on they do not identify a class."""


@dataclass(frozen=True)
class BankOptions:
    """How a soundbank is read.

    Attributes:
        group: regular expression of the group in a file's name; None: the name without take letter.
        groups: table of groups; excludes `group`.
        test_groups: regular expression of the groups that are the test; None: they are drawn.
        bandwidth_hz: limit of all recordings; None: each has its own bandwidth.
        pause_s: pause that separates two events of a recording.
        pauses_s: exceptions by class.
        channel: how channels become one, see `desed_task.dataio.audio.Mono`.
    """

    group: str | None = None
    groups: Path | None = None
    test_groups: str | None = None
    bandwidth_hz: float | None = None
    pause_s: float = 0.25
    pauses_s: Mapping[str, float] = field(default_factory=dict)
    channel: Channel = MIX

    @property
    def cutoff_hz(self) -> float:
        """The limit of all recordings. Raises InputError for an impossible one."""
        highest = SAMPLE_RATE / 2
        if self.bandwidth_hz is None:
            return highest
        if not MIN_BANDWIDTH_HZ <= self.bandwidth_hz <= highest:
            raise InputError(
                f"--bandwidth: expected {MIN_BANDWIDTH_HZ:g} to {highest:g} Hz, "
                f"got {self.bandwidth_hz:g}"
            )
        return self.bandwidth_hz

    def group_of(self) -> GroupOf:
        """The function that returns the group of a file."""
        return group_rule(self.group, self.groups, by_take_letter)


@dataclass(frozen=True)
class BankFile:
    """A used recording: its file, its class (or `background`), group and split, its sections."""

    path: Path
    kind: str
    group: str
    split: str
    sections: Sequence[Section]

    @property
    def bandwidth_hz(self) -> float:
        """Of the recording."""
        return self.sections[0].bandwidth_hz


@dataclass(frozen=True)
class Soundbank:
    """The sounds of each split, the files they are from, and how channels become one."""

    sounds: Mapping[str, RecordedSounds]
    files: tuple[BankFile, ...]
    channel: Channel = MIX

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return tuple(self.sounds[SPLITS[0]].events)

    def event_lengths(self) -> dict[str, list[float]]:
        """Lengths in seconds of the events to train on, by class."""
        return {
            label: [section.seconds for sections in recordings for section in sections]
            for label, recordings in self.sounds[TRAIN].events.items()
        }

    def split_of(self) -> dict[str, str]:
        """The split of each group."""
        return {each.group: each.split for each in self.files}

    def table(self) -> str:
        """Text of a TSV file with a row per file; bandwidth in Hz, sounds that are used of it."""
        columns = ("filename", "kind", "group", "split", "bandwidth", "sounds")
        rows = [
            (
                *(each.path.name, each.kind, each.group, each.split),
                *(f"{each.bandwidth_hz:.0f}", str(len(each.sections))),
            )
            for each in self.files
        ]
        return table_text(columns, rows)

    def summary(self) -> str:
        """A text table: recordings (groups of files) of each class in each split."""
        found = {(each.kind, each.split, each.group) for each in self.files}
        counts = Counter((kind, split) for kind, split, _ in found)
        kinds = dict.fromkeys(each.kind for each in self.files)
        rows = [(kind, *(counts[kind, split] for split in SPLITS)) for kind in kinds]
        return aligned_text(("", *SPLITS), rows)

    def bandwidths(self) -> str:
        """A line about the recordings of a narrow bandwidth, the narrowest first."""
        wide_hz = self.sounds[TRAIN].wide_hz
        narrow = sorted(
            (each for each in self.files if each.bandwidth_hz < wide_hz),
            key=lambda each: each.bandwidth_hz,
        )
        if not narrow:
            return f"all recordings have {wide_hz:.0f} Hz or more"
        names = shortened(f"{each.path.name} ({each.bandwidth_hz:.0f} Hz)" for each in narrow)
        return (
            f"{len(narrow)} of {len(self.files)} recordings have less than {wide_hz:.0f} Hz "
            f"({names}); {self.sounds[TRAIN].limited_share:.0%} of the training clips are limited "
            "to such a bandwidth"
        )


def read_soundbank(folder: Path, seed: int, options: BankOptions) -> Soundbank:
    """Read and split a soundbank; every recording is read once.

    Silent recordings are excluded. Raises InputError for a wrong layout, unreadable files, and
    classes with too few recordings.
    """
    cutoff_hz = options.cutoff_hz
    kinds = class_files(folder / FOREGROUND)
    unknown = [label for label in options.pauses_s if label not in kinds]
    if unknown:
        raise InputError(f"--pause: expected classes of {folder / FOREGROUND}, got {unknown[0]!r}")
    background = BACKGROUND if BACKGROUND not in kinds else f"{BACKGROUND}/"
    ambiences = files_below(folder / BACKGROUND) if (folder / BACKGROUND).is_dir() else []
    if ambiences:
        kinds = {**kinds, background: ambiences}
    else:
        logger.warning("%s: no recordings: synthetic noises instead", folder / BACKGROUND)
    groups = grouped((path for paths in kinds.values() for path in paths), options.group_of())

    def split() -> dict[str, str]:
        by_kind = {kind: [groups[path] for path in paths] for kind, paths in kinds.items()}
        return split_soundbank(by_kind, seed, options.test_groups)

    split()  # wrong names and too few files are reported before the long reading
    pauses = {
        kind: np.inf if kind == background else options.pauses_s.get(kind, options.pause_s)
        for kind in kinds
    }
    pause_of = {path: pauses[kind] for kind, paths in kinds.items() for path in paths}
    sections = _read(pause_of, cutoff_hz, options.channel)
    kinds = _with_sound(kinds, sections, options)
    splits = split()
    files = tuple(
        BankFile(path, kind, groups[path], splits[groups[path]], sections[path])
        for kind, paths in kinds.items()
        for path in paths
    )
    sounds = {}
    for name in SPLITS:
        recordings = {
            kind: [each.sections for each in files if (each.kind, each.split) == (kind, name)]
            for kind in kinds
        }
        extents = [section for sections in recordings.pop(background, ()) for section in sections]
        sounds[name] = RecordedSounds(recordings, extents, cutoff_hz, options.channel)
    _warn_of_narrow_classes(sounds[TRAIN])
    return Soundbank(sounds, files, options.channel)


def _read(
    pauses_s: Mapping[Path, float], cutoff_hz: float, channel: Channel
) -> dict[Path, list[Section]]:
    """The sections of each file that are heard below the cutoff; pauses are by file.

    Raises one InputError for all files that cannot be read.
    """
    problems, found = [], {}
    for path, pause_s in tqdm(pauses_s.items(), unit="file", desc="reading"):
        try:
            sections = sections_of(path, pause_s, channel)
            found[path] = [each for each in sections if each.lowest_hz <= cutoff_hz]
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(listing("--soundbank", problems, most=MAX_LINES - 1))
    return found


def _with_sound(
    kinds: Mapping[str, Sequence[Path]],
    sections: Mapping[Path, Sequence[Section]],
    options: BankOptions,
) -> dict[str, list[Path]]:
    """The files that are not silent. Warns of the others; raises InputError for silent classes."""
    below = "" if options.bandwidth_hz is None else f" below --bandwidth {options.bandwidth_hz:g}"
    heard = {kind: [path for path in paths if sections[path]] for kind, paths in kinds.items()}
    silent = [path for paths in kinds.values() for path in paths if not sections[path]]
    if silent:
        names = shortened((path.name for path in silent), MAX_SILENT)
        logger.warning("%d recordings are silent%s, not used: %s", len(silent), below, names)
    problems = [
        f"{kind}: expected recordings with sound{below}, got {len(kinds[kind])} silent ones"
        for kind, paths in heard.items()
        if not paths
    ]
    if problems:
        hint = "\n  (with a higher --bandwidth more is heard)" if below else ""
        raise InputError(listing("--soundbank", problems) + hint)
    return heard


def _warn_of_narrow_classes(sounds: RecordedSounds) -> None:
    """Warn of classes that have only narrow recordings while others have wide ones."""
    widest = {
        kind: max(each[0].bandwidth_hz for each in recordings)
        for kind, recordings in sounds.events.items()
    }
    enough = SIMILAR * min(sounds.wide_hz, max(widest.values()))
    narrow = {kind: hz for kind, hz in widest.items() if hz < enough}
    if narrow:
        logger.warning(
            "bandwidth: for the training no recording above %.0f Hz of %s: the bandwidth may "
            "identify such a class (--bandwidth %.0f limits all recordings)",
            max(narrow.values()),
            shortened(f"{kind} ({hz:.0f} Hz)" for kind, hz in narrow.items()),
            min(narrow.values()),
        )
