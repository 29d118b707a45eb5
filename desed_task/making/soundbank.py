"""A folder of isolated recordings in the layout of DESED's soundbank, as sources of scenes.

    DIR/foreground/CLASS/*      events
    DIR/background/**           noises without events; may be missing: synthetic noises instead

Formats: docs/data.md; hidden files and files of other kinds are ignored.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
    RecordedSounds,
    Section,
    bandwidth,
    events_of,
    extent_of,
)
from desed_task.synthesis.signals import SAMPLE_RATE
from desed_task.tables import aligned_text, table_text

logger = logging.getLogger(__name__)

BACKGROUND = "background"
FOREGROUND = "foreground"
NARROW_HZ = 8000.0
"""A common bandwidth below it removes frequencies that the recipe's network would see."""
MIN_BANDWIDTH_HZ = 1000.0


@dataclass(frozen=True)
class BankOptions:
    """How a soundbank is read.

    Attributes:
        group: regular expression of the group in a file's name; None: the name without take letter.
        groups: table of groups; excludes `group`.
        test_groups: regular expression of the groups that are the test; None: they are drawn.
        bandwidth_hz: cutoff for all recordings; None: the lowest bandwidth among them.
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

    def group_of(self) -> GroupOf:
        """The function that returns the group of a file."""
        return group_rule(self.group, self.groups, by_take_letter)


@dataclass(frozen=True)
class BankFile:
    """A used recording: its file, its class (or `background`), group and split."""

    path: Path
    kind: str
    group: str
    split: str


@dataclass(frozen=True)
class Soundbank:
    """The sounds of each split, the files they are from, the bandwidth in Hz, the channel."""

    sounds: Mapping[str, RecordedSounds]
    files: tuple[BankFile, ...]
    cutoff_hz: float
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
        """Text of a TSV file with a row per file: filename, kind, group, split."""
        rows = [(each.path.name, each.kind, each.group, each.split) for each in self.files]
        return table_text(("filename", "kind", "group", "split"), rows)

    def summary(self) -> str:
        """A text table: recordings (groups of files) of each class in each split."""
        found = {(each.kind, each.split, each.group) for each in self.files}
        counts = Counter((kind, split) for kind, split, _ in found)
        kinds = dict.fromkeys(each.kind for each in self.files)
        rows = [(kind, *(counts[kind, split] for split in SPLITS)) for kind in kinds]
        return aligned_text(("", *SPLITS), rows)


def read_soundbank(folder: Path, seed: int, options: BankOptions) -> Soundbank:
    """Read and split a soundbank; every recording is read once.

    Raises InputError for a wrong layout, unreadable files, and classes with too few recordings.
    """
    kinds = class_files(folder / FOREGROUND)
    unknown = [label for label in options.pauses_s if label not in kinds]
    if unknown:
        raise InputError(f"--pause: expected classes of {folder / FOREGROUND}, got {unknown[0]!r}")
    background = folder / BACKGROUND
    ambiences = files_below(background) if background.is_dir() else []
    if not ambiences:
        logger.warning("%s: no recordings: synthetic noises instead", background)
    group_of = options.group_of()
    groups = grouped([path for paths in [*kinds.values(), ambiences] for path in paths], group_of)
    by_kind = {label: [groups[path] for path in paths] for label, paths in kinds.items()}
    if ambiences:
        by_kind[_background_kind(kinds)] = [groups[path] for path in ambiences]
    splits = split_soundbank(by_kind, seed, options.test_groups)
    cutoff_hz = _common_bandwidth(list(groups), options.bandwidth_hz, options.channel)
    events = _events(kinds, cutoff_hz, options)
    ends = (extent_of(path, cutoff_hz, options.channel) for path in ambiences)
    extents = [section for section in ends if section is not None]
    used = {each[0].path for recordings in events.values() for each in recordings}
    used |= {section.path for section in extents}
    sounds = {
        split: RecordedSounds(
            {
                label: [each for each in recordings if splits[groups[each[0].path]] == split]
                for label, recordings in events.items()
            },
            [section for section in extents if splits[groups[section.path]] == split],
            cutoff_hz,
            options.channel,
        )
        for split in SPLITS
    }
    _check_sounds(sounds, folder, bool(ambiences))
    files = tuple(
        BankFile(path, kind, groups[path], splits[groups[path]])
        for kind, paths in [*kinds.items(), (BACKGROUND, ambiences)]
        for path in paths
        if path in used
    )
    return Soundbank(sounds, files, cutoff_hz, options.channel)


def _background_kind(kinds: Mapping[str, object]) -> str:
    return BACKGROUND if BACKGROUND not in kinds else f"{BACKGROUND}/"


def _common_bandwidth(paths: list[Path], given_hz: float | None, channel: Channel) -> float:
    """The given cutoff, or the lowest bandwidth; warns of recordings that have less than usual."""
    if given_hz is not None and not MIN_BANDWIDTH_HZ <= given_hz <= SAMPLE_RATE / 2:
        raise InputError(
            f"--bandwidth: expected {MIN_BANDWIDTH_HZ:g} to {SAMPLE_RATE / 2:g} Hz, "
            f"got {given_hz:g}"
        )
    problems, widths = [], {}
    for path in tqdm(paths, unit="file", desc="reading"):
        try:
            widths[path] = bandwidth(path, channel)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(listing("--soundbank", problems, most=MAX_LINES - 1))
    cutoff_hz = given_hz or max(MIN_BANDWIDTH_HZ, min(SAMPLE_RATE / 2, *widths.values()))
    narrow = sorted((path for path in widths if widths[path] < NARROW_HZ), key=widths.__getitem__)
    if narrow and (given_hz is None or widths[narrow[0]] < given_hz):
        logger.warning(
            "bandwidth: %d recordings have less than %g Hz: %s; all are limited to %.0f Hz "
            "(--bandwidth sets another limit)",
            len(narrow),
            NARROW_HZ,
            shortened(f"{path.name} ({widths[path]:.0f} Hz)" for path in narrow),
            cutoff_hz,
        )
    return cutoff_hz


def _events(
    kinds: Mapping[str, list[Path]], cutoff_hz: float, options: BankOptions
) -> dict[str, list[list[Section]]]:
    """The events of each recording of each class; warns of the silent ones, which are excluded."""
    events = {
        label: [
            events_of(
                path, cutoff_hz, options.pauses_s.get(label, options.pause_s), options.channel
            )
            for path in paths
        ]
        for label, paths in kinds.items()
    }
    silent = [
        path.name
        for label, paths in kinds.items()
        for path, found in zip(paths, events[label], strict=True)
        if not found
    ]
    if silent:
        logger.warning("%d silent recordings are not used: %s", len(silent), shortened(silent))
    return {label: [each for each in found if each] for label, found in events.items()}


def _check_sounds(
    sounds: Mapping[str, RecordedSounds], folder: Path, with_backgrounds: bool
) -> None:
    """Raise InputError for a split without sounds because its recordings are silent."""
    for split, each in sounds.items():
        missing = [label for label, recordings in each.events.items() if not recordings]
        if with_backgrounds and not each.ambiences:
            missing.append(BACKGROUND)
        if missing:
            raise InputError(
                f"{folder}: expected recordings with sound for {split} of every class, "
                f"got none of {shortened(missing)}"
            )
