"""Labels as people have them: files of Audacity, Raven, Praat, tables, folders per class.

Every reader gives `Label`s of recordings below one audio folder. Unclear rows are
refused, unused ones are counted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from desed_task.dataio.audio import AudioInfo, audio_info
from desed_task.dataio.recordings import files_below
from desed_task.errors import InputError, file_error, listing, nearest, shortened
from desed_task.files import visible_entries
from desed_task.making.cutting import MIN_CLIP_S, merge_spans
from desed_task.making.detections import DetectedFiles
from desed_task.making.grouping import SPLIT_NAMES
from desed_task.making.label_formats import (
    REFUSED,
    audacity_rows,
    is_audacity,
    json_rows,
    rttm_rows,
    textgrid_rows,
)
from desed_task.making.label_rows import Row, Time
from desed_task.making.label_tables import REVIEWED, GivenColumn, LabelTable, read_table
from desed_task.making.recording_names import RecordingNames
from desed_task.tables import class_name, is_empty, normalised, quoted, read_text

NOISE = frozenset({"background", "backgrounds", "noise", "noises"})
"""Folders of recordings without events."""
_TABLES = frozenset({".csv", ".tsv"})
_READ = frozenset({".txt", ".textgrid", ".rttm", ".json", ".jams", *_TABLES})
_NO_LABELS = (".scores.tsv", "unreadable.tsv")  # ends of names of other files of sed-detect
_MIN_EVENT_S = 1e-6  # shorter ones are points
_FAR = 2.0  # times a recording's length; tools write ends a window behind it
_FAR_S = 5.0
_END_TOLERANCE_S = 0.05
_MAX_SHOWN = 3


class Label(NamedTuple):
    """A label of a recording.

    Attributes:
        recording: the audio file.
        name: class; None: the recording is labelled, and has no event here.
        onset, offset: seconds; None: a tag of the whole recording.
        group: recordings of one group are in one set; None: the table has no column of groups.
        split: of `SPLITS`, the set that the table names; None: it names none.
    """

    recording: Path
    name: str | None
    onset: float | None = None
    offset: float | None = None
    group: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class LabelOptions:
    """How label files are read.

    Attributes:
        columns: of tables, by meaning; see `given_columns`.
        group: name of a column with groups.
        needs_group: whether a table without this column is refused.
        label: the class of rows without one; None: they are not used.
        ignore: labels that are no classes.
        tier: the tier of TextGrids; None: all.
        option: of the command that names the labels, for messages.
        audio: of the command that names the folder of recordings, for messages.
    """

    columns: Mapping[str, GivenColumn] = field(default_factory=dict)
    group: str | None = None
    needs_group: bool = True
    label: str | None = None
    ignore: tuple[str, ...] = ()
    tier: str | None = None
    option: str = "--labels"
    audio: str = "--audio"


class LabelReader:
    """Reads label files for the recordings of one folder.

    Args:
        recordings: audio files, with their paths relative to the audio folder.
        options: how.

    Attributes:
        counts: numbers of what is not used, by remark.
        notes: what the columns of tables were taken for, and which recordings are elsewhere.
        pointed: recordings that have only labels without length; what happens in them is not known.
        unreadable: why recordings with labels cannot be read.
        has_splits: whether a table has a column of splits.
        reviewed: of recordings in the table of a review page, the stretches (begin and end in
            seconds) whose events are known, in order; other labels of them are not used.
    """

    def __init__(
        self, recordings: Mapping[Path, Path], options: LabelOptions | None = None
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self.pointed: set[Path] = set()
        self.unreadable: dict[Path, str] = {}
        self.has_splits = False
        self.reviewed: dict[Path, list[tuple[float, float]]] = {}
        self._options = options or LabelOptions()
        self._recordings = recordings
        self._names = RecordingNames(recordings)
        self._problems: list[str] = []
        self._info = cache(audio_info)
        self._class_name = cache(class_name)
        self._ignored: set[str] = set()
        self._small: dict[str, bool] = {}
        self._first: dict[str, dict[Path, float]] = defaultdict(dict)
        self._stretches: dict[Path, set[tuple[float, float, str]]] = defaultdict(set)

    def read(self, source: Path) -> list[Label]:
        """Labels of one file, or of all label files below a folder.

        Raises InputError with all problems of the files, or where no label is of a recording.
        """
        files = {source: Path(source.name)}
        if source.is_dir():
            found = files_below(source, _READ | REFUSED.keys())
            files = {path: path.relative_to(source) for path in found}
        n_files = len(files)
        files = {path: name for path, name in files.items() if not path.name.endswith(_NO_LABELS)}
        self.counts["files of sed-detect without labels are not read"] += n_files - len(files)
        if not files:
            raise InputError(
                f"{self._options.option} {source}: expected label files "
                f"({', '.join(sorted(_READ))}), got none"
            )
        detected = DetectedFiles(source, files)
        files = detected.files
        self.counts["files of sed-detect have events that are read from another format"] += (
            detected.unused
        )
        tables: dict[Path, LabelTable] = {}
        rows = {path: list(detected.rows(path, self._rows(path, tables))) for path in files}
        self._note_columns(tables.values())
        self.has_splits = any("split" in table.columns for table in tables.values())
        labels = list(self._of_recordings(files, rows, tables, detected.recordings))
        self._merge_stretches()
        self._check_units(tables.values())
        self._check_raven(tables.values())
        self._check_ignored()
        self.notes += [
            f"{moved.n_paths} recordings are named in {moved.folder}, which is taken for "
            f"{self._options.audio}"
            for moved in self._names.moved
        ]
        if self._problems:
            raise InputError(listing(self._options.option, self._problems))
        self.pointed -= {label.recording for label in labels if label.name is not None}
        unused = self.pointed | {path for path, spans in self.reviewed.items() if not spans}
        self.reviewed = {path: spans for path, spans in self.reviewed.items() if spans}
        return [label for label in labels if label.recording not in unused]

    def _rows(self, path: Path, tables: dict[Path, LabelTable]) -> Iterator[Row]:
        """The rows of a file, by its ending or, for `.txt`, its content."""
        ending = path.suffix.lower()
        if ending in REFUSED:
            self._problem(f"{path}", f"is not read; {REFUSED[ending]}")
            return
        text = read_text(path)
        lines = text.split("\n")
        problem, counts = self._problem, self.counts
        if ending in (".json", ".jams"):
            yield from json_rows(path, text, problem, counts)
        elif ending == ".textgrid" or lines[0].startswith("File type ="):
            yield from textgrid_rows(path, lines, problem, counts, self._options.tier)
        elif ending == ".rttm":
            yield from rttm_rows(path, lines, problem, counts)
        elif ending not in _TABLES and is_audacity(lines):
            yield from audacity_rows(path, lines, problem, counts)
        else:
            table = read_table(
                path,
                lines,
                lambda line, text: problem(f"{path}:{line}", text),
                given=self._options.columns,
                group=self._options.group,
                needs_group=self._options.needs_group,
                needs_label=self._options.label is None,
            )
            tables[path] = table
            yield from table.label_rows(problem)

    def _of_recordings(
        self,
        files: Mapping[Path, Path],
        rows: Mapping[Path, Sequence[Row]],
        tables: Mapping[Path, LabelTable],
        known: Mapping[Path, str],
    ) -> Iterator[Label]:
        """The labels of all rows, and for each recording one without a name.

        Args:
            files: label files, with their paths below `--labels`.
            rows: of each file.
            tables: the files that are tables.
            known: paths of the recordings of files that are not known by their names.
        """
        by_file = self._names.by_label_file(files.values())
        named = [row.recording for each in rows.values() for row in each]
        given = self._names.find([*named, *known.values()])
        reviewed = {
            fits[0]
            for each in rows.values()
            for row in each
            if row.reviewed and len(fits := given.get(row.recording, [])) == 1
        }
        seen: set[Path] = set()
        splits: dict[Path, str] = {}
        elsewhere: Counter[str] = Counter()
        first = ""
        for path, name in files.items():
            own = given[known[path]] if path in known else by_file[name]
            table = tables.get(path)
            is_named = table is not None and "file" in table.columns
            needs_own = not all(row.recording for row in rows[path]) or not rows[path]
            if needs_own and len(own) != 1 and not is_named:
                hint = "; --columns file=… names a column of paths" if table is not None else ""
                self._problem(f"{path}", f"{_unfit(own, self._options.audio)}{hint}")
                continue
            if not rows[path] and len(own) == 1 and own[0] not in seen:
                seen.add(own[0])
                yield Label(own[0], None)
            for row in rows[path]:
                fits = given[row.recording] if row.recording else own
                if len(fits) == 1 and fits[0] in reviewed and row.reviewed is None:
                    self.counts["labels of recordings that a review has are not used"] += 1
                elif len(fits) == 1:
                    if fits[0] not in seen:
                        seen.add(fits[0])
                        yield Label(fits[0], None, group=row.group)
                    yield from self._split(row, fits[0], splits)
                    yield from self._labels(row, fits[0])
                elif row.recording and not fits:
                    first = first or row.where
                    elsewhere[row.recording] += 1
                else:
                    got = f"{quoted(row.recording)}: " if row.recording else ""
                    self._problem(row.where, f"{got}{_unfit(fits, self._options.audio)}")
        self._note_elsewhere(elsewhere, first, any_here=bool(seen))

    def _split(self, row: Row, recording: Path, splits: dict[Path, str]) -> Iterator[Label]:
        """A label without a name for the split that a row gives a recording, once.

        Args:
            row: of a table.
            recording: of the row.
            splits: of the rows before; that of the row is added.
        """
        if row.split is None or is_empty(row.split):
            return
        split = SPLIT_NAMES.get(row.split.strip().lower())
        if split is None:
            expected = f"expected {shortened(SPLIT_NAMES, len(SPLIT_NAMES))}"
            self._problem(
                row.where, f"split: {expected}, got {quoted(row.split)}; --columns split=none?"
            )
        elif recording not in splits:
            splits[recording] = split
            yield Label(recording, None, split=split)
        elif splits[recording] != split:
            self._problem(
                row.where, f"split: expected {splits[recording]} as in an earlier row, got {split}"
            )

    def _labels(self, row: Row, recording: Path) -> Iterator[Label]:
        """The labels of a row; none after a problem, and for what is not used."""
        stretch = row.reviewed and self._stretch(row, row.reviewed, recording)
        if row.reviewed and not stretch:
            return
        text = row.label.strip()
        if is_empty(text) and (row.onset is not None or not row.is_timed):
            text = self._options.label or ""
        if is_empty(text):
            if row.onset is not None:
                self.counts["labels have no class and are not used; see --label"] += 1
                self.pointed.add(recording)
            return
        span = self._span(row, recording)
        if span is None:
            return
        if stretch and (span[0] is None or span[0] >= stretch[1] or span[1] <= stretch[0]):
            got = "none" if span[0] is None else f"{span[0]:g}, {span[1]:g}"
            self._problem(
                row.where,
                f"onset, offset: expected times that overlap the reviewed stretch from "
                f"{stretch[0]:g} to {stretch[1]:g} s, got {got}",
            )
            return
        if text[0] in "[{(" and text[-1] in "]})" and any(mark in text for mark in "'\","):
            self._problem(row.where, f"label: expected a name, got a list: {quoted(text)}")
            return
        parts = [part.strip() for part in text.split(",")] if span[0] is None else [text]
        for part in parts:
            if not part:
                continue
            if self._options.ignore and normalised(part) in self._options.ignore:
                self.counts["labels are ignored (--ignore)"] += 1
                self._ignored.add(normalised(part))
                continue
            try:
                name = self._class_name(part)
            except ValueError as error:
                self._problem(row.where, f"label: {error}")
            else:
                yield Label(recording, name, span[0], span[1], row.group)

    def _stretch(
        self, row: Row, times: tuple[Time, Time], recording: Path
    ) -> tuple[float, float] | None:
        """Note and return the reviewed stretch of a row in seconds.

        None after a problem, and for a stretch of no length.
        """
        found, info = self._stretches[recording], self._known_info(recording)
        if info is None:
            return None
        begin, end = (time.seconds(info.sample_rate) for time in times)
        if not 0 <= begin <= end <= info.seconds + _END_TOLERANCE_S:
            self._problem(
                row.where,
                f"{', '.join(REVIEWED)}: expected 0 <= from <= to <= {info.seconds:g}, the "
                f"recording's seconds, got {begin:g}, {end:g}",
            )
            return None
        if begin == end:
            self.counts["answers beside events without an answer are not used"] += 1
            return None
        stretch = begin, min(end, info.seconds)
        found.add((*stretch, row.where.rpartition(":")[0]))
        return stretch

    def _merge_stretches(self) -> None:
        """Join the stretches of each recording; those of two tables must not overlap."""
        for recording, found in self._stretches.items():
            tables: dict[str, list[tuple[float, float]]] = defaultdict(list)
            for begin, end, table in found:
                tables[table].append((begin, end))
            merged = sorted(
                (*span, table) for table, spans in tables.items() for span in merge_spans(spans)
            )
            for (_, end, first), (begin, _, second) in pairwise(merged):
                if begin < end:
                    self._problem(
                        second,
                        f"{recording}: expected stretches that no other table has, got "
                        f"{begin:g} s, which {first} has as well",
                    )
            joined = merge_spans((begin, end) for begin, end, _ in merged)
            used = [(begin, end) for begin, end in joined if end - begin >= MIN_CLIP_S]
            self.counts[f"reviewed stretches, shorter than {MIN_CLIP_S:g} s, are not used"] += len(
                joined
            ) - len(used)
            self.reviewed[recording] = used

    def _known_info(self, recording: Path) -> AudioInfo | None:
        """Rate and length of a recording; None: it cannot be read."""
        if recording not in self.unreadable:
            try:
                return self._info(recording)
            except InputError as error:
                self.unreadable[recording] = str(error)
        return None

    def _span(self, row: Row, recording: Path) -> tuple[float, float] | tuple[None, None] | None:
        """Begin and end in the recording, in seconds; of a tag two None; None: not used."""
        onset, last = row.onset, row.offset or row.duration
        if onset is None and row.offset is None:
            if not row.is_timed:
                return None, None
            self.counts["labels without times, in tables with times, are not used"] += 1
            self.pointed.add(recording)
            return None
        if onset is None or last is None:
            self._problem(row.where, "expected begin and end, got one of them")
            return None
        info = self._known_info(recording)
        if info is None:
            return None
        begin, end = onset.seconds(info.sample_rate), last.seconds(info.sample_rate)
        if row.offset is None:
            end = begin + end
        if row.position is not None:
            end = row.position.seconds(info.sample_rate) + (end - begin)
            begin = row.position.seconds(info.sample_rate)
        if onset.unit != "s":
            table = row.where.rpartition(":")[0]
            self._small[table] = self._small.get(table, True) and last.value <= info.seconds
        first = self._first[row.where.rpartition(":")[0]]
        first[recording] = min(begin, first.get(recording, begin))
        latest = _FAR * info.seconds + _FAR_S
        if not 0 <= begin <= end:
            self._problem(row.where, f"expected 0 <= onset < offset, got {begin:g}, {end:g}")
        elif end - begin < _MIN_EVENT_S:
            self.counts["labels of no length (points) are not used"] += 1
            self.pointed.add(recording)
        elif begin >= info.seconds or end > latest:
            name, value = ("onset", begin) if begin >= info.seconds else ("offset", end)
            self._problem(
                row.where,
                f"{name}: expected less than the recording's {info.seconds:g} s, got {value:g} s "
                f"({_unit_hint(row)})",
            )
        else:
            if end > info.seconds + _END_TOLERANCE_S:
                self.counts["labels end after their recording and are cut at its end"] += 1
            return begin, min(end, info.seconds)
        return None

    def _note_elsewhere(self, elsewhere: Counter[str], where: str, any_here: bool) -> None:
        """Note the recordings of rows, from `where` on, that are not below the audio folder."""
        if not elsewhere:
            return
        names = shortened(map(quoted, elsewhere), _MAX_SHOWN)
        if any_here:
            self.notes.append(
                f"{where}: {elsewhere.total()} rows are of {len(elsewhere)} recordings that are "
                f"not below {self._options.audio} and are not used: {names}"
            )
            return
        known = [relative.as_posix() for relative in self._recordings.values()]
        hint = nearest(next(iter(elsewhere)), known) or "; --columns file=…?"
        audio = self._options.audio
        self._problem(where, f"no such recording below {audio}: {names}{hint}")

    def _note_columns(self, tables: Iterable[LabelTable]) -> None:
        """Note what the columns were taken for, once for all tables with the same columns."""
        alike: dict[str, list[LabelTable]] = defaultdict(list)
        for table in tables:
            alike[table.summary()].append(table)
        for summary, each in alike.items():
            first = next((table for table in each if table.rows), each[0])
            names = shortened([first.path, *(t.path for t in each if t is not first)], 1)
            self.notes.append(f"{names}: {summary}; {first.example()}")

    def _check_units(self, tables: Iterable[LabelTable]) -> None:
        """Refuse units in columns' names where all values would be possible as seconds."""
        for table in tables:
            column = table.columns.get("onset")
            if column and not column.is_given and self._small.get(str(table.path)):
                self._problem(
                    f"{table.path}:{table.header_line}",
                    f"{column.name}: expected {column.unit}, got times that are all within the "
                    f"recordings if they are seconds; --columns onset={column.name}:s,… or "
                    f"onset={column.name}:{column.unit},…",
                )

    def _check_raven(self, tables: Iterable[LabelTable]) -> None:
        """Refuse a table of several files where each one's times begin after the files before."""
        for table in tables:
            first = self._first[str(table.path)]
            before, runs_on = 0.0, table.is_raven and len(first) > 1
            for recording in sorted(first, key=lambda path: first[path]):
                runs_on = runs_on and first[recording] >= before
                before += self._info(recording).seconds
            if runs_on:
                self._problem(
                    f"{table.path}:{table.header_line}",
                    "times that run over several files: expected a column File Offset (s), got "
                    "none; --columns onset=Begin Time (s):s if they are those in each file",
                )

    def _check_ignored(self) -> None:
        unknown = [name for name in self._options.ignore if name not in self._ignored]
        if unknown and not self._problems:
            self._problem("--ignore", f"expected labels of the files, got {shortened(unknown)}")

    def _problem(self, where: str, text: str) -> None:
        self._problems.append(f"{where}: {text}")


def _unfit(found: Sequence[Path], audio: str) -> str:
    """The message for a name that does not mean one recording."""
    if found:
        return f"fits several recordings: expected one, got {shortened(found)}"
    return f"its name fits no recording below {audio}: expected x.txt, x_labels.csv, … for x.wav"


def _unit_hint(row: Row) -> str:
    """The option for times that are in another unit than their column's name says."""
    if row.onset is None or not row.onset.column:
        return "milliseconds?"
    last = "duration" if row.offset is None else "offset"
    column = (row.offset or row.duration or row.onset).column
    unit = "ms" if row.onset.unit == "s" else "s"
    return f"--columns onset={row.onset.column}:{unit},{last}={column}:{unit}?"


def class_folders(recordings: Mapping[Path, Path]) -> list[Label]:
    """Tags from a folder per class: `CLASS/*`; recordings in `background` or `noise` have none.

    Args:
        recordings: audio files, with their paths relative to the audio folder.

    Raises InputError for recordings in no folder, and for names that classes cannot have.
    """
    loose = [path for path, relative in recordings.items() if len(relative.parts) < 2]
    if loose:
        raise InputError(
            f"--audio: without --labels expected a folder for each class, got files beside them: "
            f"{shortened(loose)}"
        )
    return [
        Label(path, None if relative.parts[0].lower() in NOISE else _class(path, relative.parts[0]))
        for path, relative in recordings.items()
    ]


def class_files(folder: Path) -> dict[str, list[Path]]:
    """The audio files of each class: a subfolder per class, sorted by name.

    Raises InputError for a folder without classes, for names that classes cannot have, and for
    classes without audio files.
    """
    try:
        classes = [path for path in visible_entries(folder) if path.is_dir()]
    except OSError as error:
        raise file_error(folder, error) from error
    if not classes:
        raise InputError(f"{folder}: expected a folder for each class, got none")
    found: dict[str, list[Path]] = defaultdict(list)  # two folders may have a name in two forms
    for path in classes:
        found[_class(path, path.name)] += files_below(path)
    empty = [name for name, paths in found.items() if not paths]
    if empty:
        raise InputError(f"{folder}: no audio files in the folder of {shortened(empty)}")
    return dict(found)


def _class(path: Path, folder: str) -> str:
    """The class that a folder's name is; a message names `path`."""
    try:
        return class_name(folder)
    except ValueError as error:
        raise InputError(f"{path}: name of the folder: {error}") from None
