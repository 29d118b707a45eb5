"""Tables of labels: which column has the times, the class and the recording, and in which unit.

A column is known by its name, whatever its spelling: `Begin Time (s)`, `start_seconds`, `onset.s`,
`startTime`. A table without known times that has numbers in another column is refused, so that
events never become tags of whole recordings.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from desed_task.errors import InputError, shortened
from desed_task.making.label_rows import SAMPLES, UNITS, Row, Time
from desed_task.tables import is_empty, normalised, quoted, split_rows

_TIMES = {
    "onset": "onset start begin beg from min starttime",
    "offset": "offset end stop to max finish endtime",
    "duration": "duration length dur delta",
}
_TIME_WORDS = {word: meaning for meaning, words in _TIMES.items() for word in words.split()}
_NEEDS_TIME = {"min", "max", "from", "to"}  # only as `min_t`, `t_max`, `from (s)`
_TEXTS: Mapping[str, Sequence[str]] = {
    "file": (
        *("filename", "file", "path", "filepath", "file name", "file path", "audio", "audio file"),
        *(
            "audiofile",
            "audiofilename",
            "audio path",
            "notated path",
            "fname",
            "recording",
            "wav",
            "wav file",
            "begin path",
            "begin file",
        ),
        *("sound file", "soundfile", "sound", "clip"),
    ),
    "label": (
        *("event label", "event labels", "label", "labels", "class", "tag", "tags", "category"),
        *("annotation", "species", "common name", "sound class", "class label", "event", "name"),
        "type",
    ),
    "split": ("split",),
}
_POSITION = "file offset"
REVIEWED = ("reviewed_from", "reviewed_to")
"""Columns of the table of a review page: a stretch of a recording whose events are all listed."""
MEANINGS = ("file", "onset", "offset", "duration", "label", "split")
"""What `--columns` can name."""
_TIME_MEANINGS = ("onset", "offset", "duration", "position")  # as the times of a Row
_INSTEAD = {"offset": "duration", "duration": "offset"}  # a given one replaces the other
_INFINITY = float("inf")
_NO_COLUMN = "none"
_UNIT_WORDS = {
    "s": "s sec secs second seconds",
    "ms": "ms msec msecs millis millisecond milliseconds",
    "us": "us µs usec usecs microsecond microseconds",
    SAMPLES: "sample samples smp",
}
_UNITS = {normalised(word): unit for unit, words in _UNIT_WORDS.items() for word in words.split()}
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_ROW_NUMBERS = {"", "index", "id", "no", "nr", "number", "row", "selection", "unnamed 0"}
_BINARY = {"0", "1", "0.0", "1.0", "true", "false", "pos", "neg", "unk"}
"""Values of columns for each class; `POS`, `NEG`, `UNK` are those of the DCASE few-shot data."""
_TIME_LIKE = re.compile(
    r"[\[(]?[-+.]?\d[-+.,:;\s\d\u2013]*(h|min|m|s|sec|ms)?[\])]?", re.IGNORECASE
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T\s].*)?")
_CONFIDENCES = {"confidence", "conf", "score", "probability", "prob"}


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        number: its index.
        name: as the table has it.
        unit: of times.
        is_given: whether `--columns` names its unit.
    """

    number: int
    name: str
    unit: str = "s"
    is_given: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit != "s" else self.name


class GivenColumn(NamedTuple):
    """A column of `--columns`; name None: the table has no such column; unit None: by its name."""

    name: str | None
    unit: str | None = None


def given_columns(text: str) -> dict[str, GivenColumn]:
    """The columns of the option `--columns`: `onset=start_ms,offset=end:samples,label=none`.

    Raises InputError.
    """
    found: dict[str, GivenColumn] = {}
    for part in text.split(","):
        meaning, equals, name = part.partition("=")
        meaning, name = meaning.strip(), name.strip()
        if meaning not in MEANINGS or not equals or not name or meaning in found:
            raise InputError(
                f"--columns: expected MEANING=COLUMN of {', '.join(MEANINGS)}, separated by "
                f"commas, got {quoted(part)}"
            )
        stem, _, unit = name.rpartition(":")
        if stem and unit.lower() in {*UNITS, SAMPLES}:
            found[meaning] = GivenColumn(stem.strip(), unit.lower())
        else:
            found[meaning] = GivenColumn(None if name.lower() == _NO_COLUMN else name)
    return found


@dataclass(frozen=True)
class LabelTable:
    """A table of labels.

    Args:
        path: the file.
        header_line: its line.
        header: the column names.
        columns: the columns that are used, by meaning.
        rows: line and fields of each row.
    """

    path: Path
    header_line: int
    header: Sequence[str]
    columns: Mapping[str, Column]
    rows: Sequence[tuple[int, Sequence[str]]]

    def label_rows(self, problem: Callable[[str, str], None]) -> Iterator[Row]:
        """The rows; numbers that cannot be read are reported to `problem` with file and line."""
        seen = set()
        view = self._index("view")
        numbers = {name: column.number for name, column in self.columns.items()}
        group, split = numbers.get("group"), numbers.get("split")
        timed = [self.columns.get(meaning) for meaning in (*_TIME_MEANINGS, *REVIEWED)]
        is_timed = "onset" in self.columns
        width = max((column.number for column in self.columns.values()), default=0) + 1
        for line, fields in self.rows:
            where = f"{self.path}:{line}"
            if any(fields[len(self.header) :]):
                expected = f"expected at most {len(self.header)}, got {len(fields)}"
                problem(where, f"number of fields: {expected}: {quoted(', '.join(fields))}")
                continue
            fields = [*fields, *[""] * (width - len(fields))] if len(fields) < width else fields
            times: list[Time | None] = [None] * len(timed)
            wrong = False
            for number, column in enumerate(timed):
                if column is None:
                    continue
                text = fields[column.number]
                value = _number(text)
                if value is not None:
                    times[number] = Time(value, column.unit, column.name)
                elif not is_empty(text) or column.name in REVIEWED:
                    problem(where, f"{column.name}: expected a number, got {quoted(text)}")
                    wrong = True
            if timed[3] is not None and times[3] is None and times[0] is not None and not wrong:
                expected = "expected a number as in other rows, got none; --columns onset=…"
                problem(where, f"{timed[3].name}: {expected} if times are those in each file")
                wrong = True
            if wrong:
                continue
            file, label = (fields[numbers[n]] if n in numbers else "" for n in ("file", "label"))
            onset, offset, duration, position, first, last = times
            row = Row(where, file, label, onset, offset, duration, position, is_timed=is_timed)
            if first is not None and last is not None:
                row = row._replace(reviewed=(first, last))
            if view is not None:  # Raven repeats a selection for each of its views
                if row[1:] in seen:
                    continue
                seen.add(row[1:])
            yield row._replace(
                group=None if group is None else fields[group],
                split=None if split is None else fields[split],
            )

    def summary(self) -> str:
        """The columns by meaning, and an example."""
        used = ", ".join(f"{meaning} = {column}" for meaning, column in self.columns.items())
        unused = [
            name for name in self.header if name not in {c.name for c in self.columns.values()}
        ]
        others = f"; not used: {shortened(filter(None, unused), 8)}" if any(unused) else ""
        kind = "" if "onset" in self.columns else "; no times: tags of whole recordings"
        return f"{used}{others}{kind}"

    def example(self) -> str:
        """The values of the first row by meaning."""
        if not self.rows:
            return "no rows"
        fields = self.rows[0][1]
        values = [
            f"{meaning} {fields[column.number]}"
            for meaning, column in self.columns.items()
            if column.number < len(fields)
        ]
        return f"first row: {', '.join(values)}"

    @property
    def is_raven(self) -> bool:
        """Whether Raven's times may run over several files, and the table has no others."""
        first = self.columns.get("onset")
        other = "position" in self.columns or (first is not None and first.is_given)
        return "file" in self.columns and self._index("view") is not None and not other

    def _index(self, name: str) -> int | None:
        names = [column.lower() for column in self.header]
        return names.index(name) if name in names else None


def read_table(
    path: Path,
    lines: Sequence[str],
    problem: Callable[[int, str], None],
    *,
    given: Mapping[str, GivenColumn],
    group: str | None,
    needs_group: bool = True,
    needs_label: bool,
) -> LabelTable:
    """Read a table whose first line that is not a comment (`#`) has the column names.

    Args:
        path: the file.
        lines: its text.
        problem: takes line and text of a row that cannot be split.
        given: columns of the option `--columns`.
        group: name of a column of groups.
        needs_group: whether a table without this column is refused.
        needs_label: whether a table without a column of classes is refused.

    Raises InputError for columns that are missing or not understood.
    """
    start = next((n for n, line in enumerate(lines) if line.strip() and line[0] != "#"), len(lines))
    first = lines[start] if start < len(lines) else ""
    separator = next((mark for mark in "\t;," if mark in first), "\t")

    def shifted(line: int, text: str) -> None:
        problem(line + start, text)

    found = split_rows(lines[start:], separator, shifted)
    rows = [(line + start, row) for line, row in found if any(row)]
    header_line, header = rows[0] if rows else (1, [])
    rows = rows[1:]
    where = f"{path}:{header_line}"
    columns = _columns(where, header, given)
    if group is not None and (needs_group or normalised(group).lower() in _lower(header)):
        columns["group"] = _named(where, header, group, "--group")
    if "label" not in columns and not given:
        _check_one_hot(where, header, columns, rows)
    _check_times(where, header, columns, rows, given)
    if "label" not in columns and needs_label:
        raise InputError(
            f"{where}: missing column of classes: expected one of {shortened(_TEXTS['label'], 4)}, "
            f"got {quoted(', '.join(header))}; --columns label=… names the column, --label the "
            "class of all rows"
        )
    return LabelTable(path, header_line, header, columns, rows)


def _columns(
    where: str, header: Sequence[str], given: Mapping[str, GivenColumn]
) -> dict[str, Column]:
    """The columns of a header by meaning."""
    words = [_words(name) for name in header]
    names = [" ".join(each) for each in words]
    found: dict[str, Column] = {}
    rivals: dict[str, list[str]] = {}
    for meaning, known in _TEXTS.items():
        name = next((name for name in known if name in names), None)
        if name is not None:
            found[meaning] = Column(names.index(name), header[names.index(name)])
            rivals[meaning] = [header[n] for n, other in enumerate(names) if other == name][1:]
    for index, each in enumerate(words):
        time = _time(each)
        if time is not None:
            meaning, own = time
            is_better = meaning in found and found[meaning].unit != "s" and own == "s"
            if meaning not in found or is_better:
                found[meaning] = Column(index, header[index], own)
                rivals[meaning] = []
            elif found[meaning].unit == own:
                rivals[meaning].append(header[index])
    last = "duration" if "offset" in found else "offset"  # is not used
    for meaning, others in rivals.items():
        if others and meaning not in given and meaning not in (last, "position"):
            names = [found[meaning].name, *others]
            raise InputError(
                f"{where}: several columns for {meaning}: expected one, got {shortened(names)}; "
                f"--columns {meaning}=… names it"
            )
    for meaning, (name, unit) in given.items():
        for other in (meaning, _INSTEAD.get(meaning, meaning)):
            found.pop(other, None)
        if name is None:
            continue
        column = _named(where, header, name, f"--columns {meaning}")
        time = _time(_words(column.name))
        own = time[1] if time is not None else _unit(_words(column.name))[1] or "s"
        found[meaning] = column._replace(unit=unit or own, is_given=unit is not None)
    if any(name in header for name in REVIEWED):
        for name in REVIEWED:
            found[name] = _named(where, header, name, name)
    used = {found[meaning].number for meaning in given if meaning in found}
    found = {
        meaning: column
        for meaning, column in found.items()
        if meaning in given or column.number not in used
    }
    if {"onset", "offset"} & given.keys():
        found.pop("position", None)
    order = [*MEANINGS, "position", *REVIEWED]
    return {meaning: found[meaning] for meaning in order if meaning in found}


def _check_times(
    where: str,
    header: Sequence[str],
    columns: Mapping[str, Column],
    rows: Sequence[tuple[int, Sequence[str]]],
    given: Mapping[str, GivenColumn],
) -> None:
    """Raise InputError for times without begin or end, and for numbers that are not understood."""
    has_end = {"offset", "duration"} & columns.keys()
    hint = f"got {quoted(', '.join(header))}; --columns onset=…,offset=…,label=…,file=…"
    if "onset" in columns and not has_end:
        raise InputError(f"{where}: begin without end or duration: expected both, {hint}")
    if "onset" in columns:
        return
    numbers = [] if "onset" in given else _unknown_numbers(header, rows, columns)
    halves = [columns[meaning].name for meaning in ("offset", "duration") if meaning in columns]
    if numbers or (halves and not {"offset", "duration"} & given.keys()):
        names = shortened(dict.fromkeys([*halves, *numbers]), 6)
        raise InputError(
            f"{where}: numbers that are not understood in {names}: expected onset and offset, "
            f"{hint}; or onset=none: tags of whole recordings"
        )


def _check_one_hot(
    where: str,
    header: Sequence[str],
    columns: Mapping[str, Column],
    rows: Sequence[tuple[int, Sequence[str]]],
) -> None:
    """Raise InputError where columns look like one for each class, with 0 and 1."""
    used = {column.number for column in columns.values()}
    binary = [
        name
        for index, name in enumerate(header)
        if index not in used
        and _words(name)[-1:] not in (["channel"], ["hz"])  # of Raven, which may be 1 and 0
        and _has_all(_BINARY, [row[index] for _, row in rows if index < len(row)])
    ]
    if len(binary) > 1:
        raise InputError(
            f"{where}: a column of 0 and 1 for each class ({shortened(binary)}) is not read: "
            "expected a row for each label, with a column label; --columns label=… names another "
            "column"
        )


def _unknown_numbers(
    header: Sequence[str],
    rows: Sequence[tuple[int, Sequence[str]]],
    columns: Mapping[str, Column],
) -> list[str]:
    """Names of the columns of numbers that are no row numbers or confidences.

    At least half of their values are numbers, times of day or lists of them (`0:12`, `[1.5, 2]`).
    """
    used = {column.number for column in columns.values()}
    found = []
    for index, name in enumerate(header):
        values = [row[index] for _, row in rows if index < len(row) and not is_empty(row[index])]
        if index in used or 2 * sum(map(_is_time_like, values)) < max(len(values), 1):
            continue
        numbers = [_number(value) for value in values]
        words = " ".join(_words(name))
        counted = words in _ROW_NUMBERS and numbers == [
            numbers[0] + n for n in range(len(numbers)) if numbers[0] is not None
        ]
        if not counted and words not in _CONFIDENCES:
            found.append(name or f"column {index + 1}")
    return found


def _has_all(expected: set[str], values: Sequence[str]) -> bool:
    """Whether there is a value, and each one is expected or empty."""
    found = {value.lower() for value in set(values)} - {""}
    return bool(found) and found <= expected


def _is_time_like(value: str) -> bool:
    """Whether a value may be a time: a number, a time of day, a range or a list; not a date."""
    return bool(_TIME_LIKE.fullmatch(value)) and not _DATE.fullmatch(value)


def _named(where: str, header: Sequence[str], name: str, option: str) -> Column:
    """The column of a given name. Raises InputError."""
    names = _lower(header)
    wanted = normalised(name).lower()
    if names.count(wanted) != 1:
        raise InputError(
            f"{where}: {option}: expected a column {name}, got {names.count(wanted)} in "
            f"{quoted(', '.join(header))}"
        )
    index = names.index(wanted)
    return Column(index, header[index])


def _lower(header: Sequence[str]) -> list[str]:
    return [normalised(name).lower() for name in header]


def _words(name: str) -> list[str]:
    """The words of a column's name in lower case: `startTime (ms)` -> start, time, ms."""
    return [word.lower() for word in _WORDS.findall(normalised(name))]


def _unit(words: Sequence[str]) -> tuple[list[str], str | None]:
    """The words without the unit at their end, and the unit."""
    unit = _UNITS.get(words[-1]) if len(words) > 1 else None
    return (list(words), None) if unit is None else (list(words[:-1]), unit)


def _time(words: Sequence[str]) -> tuple[str, str] | None:
    """Meaning and unit of a column of times; None: it is none."""
    rest, unit = _unit(words)
    if " ".join(rest) == _POSITION:
        return "position", unit or "s"
    if len(rest) == 1 and rest[0] in ("tmin", "xmin", "tmax", "xmax"):
        rest = ["t", rest[0][1:]]
    marks = [word for word in rest if word in ("t", "time", "timestamp")]
    rest = [word for word in rest if word not in ("t", "time", "timestamp", "event")]
    if len(rest) != 1 or rest[0] not in _TIME_WORDS:
        return None
    if rest[0] in _NEEDS_TIME and not marks and unit is None:
        return None
    return _TIME_WORDS[rest[0]], unit or "s"


def _number(text: str) -> float | None:
    """A finite number, with a point or a comma; None for other texts."""
    try:
        value = float(text.replace(",", ".") if "," in text else text)
    except ValueError:
        return None
    return value if -_INFINITY < value < _INFINITY else None
