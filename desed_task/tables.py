"""Rows of TSV and CSV files; all problems of a file are reported together, each with its line.

Read as spreadsheets and pandas write them: with or without byte order mark, any line ends, quoted
fields, columns in any order, further columns, which are ignored. The values of a row with a
single field, a file name, are otherwise empty: nothing is known about that file.
"""

import codecs
import csv
import io
import logging
import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from desed_task.errors import InputError, file_error, listing

logger = logging.getLogger(__name__)

FILENAME = "filename"
TIME_COLUMNS = ("onset", "offset")
_SEPARATOR_NAMES = {"\t": "tabs", ",": "commas"}
_EMPTY_VALUES = {"", "nan", "na", "none"}
_BREAKING = {"Cc", "Cs", "Zl", "Zp"}  # controls, surrogates, ends of lines and paragraphs
_MAX_QUOTE_LENGTH = 80
_MAX_FIELDS = 1_000_000  # of a line; more are no table, and take gigabytes
_MAX_PROBLEMS = 1000  # of a file; all are counted
_MAX_CELL_LINES = 100  # of a quoted cell; a quotation mark that opens a longer one has no end


def read_text(path: str | Path) -> str:
    """Text of a UTF-8 file, or of a UTF-16 one with a byte order mark; line ends are line feeds.

    Raises InputError for a file that is missing or in another encoding.
    """
    try:
        content = Path(path).read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise file_error(path, error) from error
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def normalised(name: str) -> str:
    """A class's name in Unicode's form NFC, in which names that look the same are equal."""
    return unicodedata.normalize("NFC", name)


def class_name(name: str) -> str:
    """A class's name, `normalised`, that tables of events, tags and scores can hold.

    Raises ValueError with what was expected.
    """
    breaking = any(unicodedata.category(character) in _BREAKING for character in name)
    if name != name.strip() or "," in name or breaking:
        raise ValueError(
            "expected a name without commas, control characters and outer spaces, got "
            f"{quoted(name)}"
        )
    if is_empty(name) or name in (FILENAME, *TIME_COLUMNS):
        raise ValueError(
            "expected a name other than na, nan, none, filename, onset and offset, got "
            f"{quoted(name)}"
        )
    return normalised(name)


def is_empty(value: str) -> bool:
    """Whether a field has no value: empty, NaN, NA or None."""
    return value.lower() in _EMPTY_VALUES


def quoted(text: str) -> str:
    """A text in quotation marks for a message, with control characters escaped; shortened."""
    return repr(text if len(text) <= _MAX_QUOTE_LENGTH else f"{text[:_MAX_QUOTE_LENGTH]}…")


def joined_fields(values: Sequence[str], separator: str = "\t") -> str:
    """A line of a table; fields with separators, quotation marks or line ends are quoted."""
    line = io.StringIO()
    # Some versions of csv quote only the line ends that end a row.
    csv.writer(line, delimiter=separator, lineterminator="\r\n").writerow(values)
    return line.getvalue().removesuffix("\r\n") + "\n"


def table_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Text of a TSV file: a line of column names and the rows."""
    return "".join(joined_fields([str(value) for value in row]) for row in (columns, *rows))


def aligned_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table to print: columns side by side, those of integers aligned at their right ends."""
    cells = [[str(value) for value in row] for row in (columns, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numbers = [all(isinstance(row[n], int) for row in rows) for n in range(len(columns))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in cells
    )


def split_fields(line: str, separator: str = "\t") -> list[str]:
    """Fields of a line, without quotation marks around them and spaces at their ends.

    Raises ValueError for quotation marks that do not match, and for a million fields.
    """
    return _first_row([line], separator)[1]


def split_rows(
    lines: Sequence[str], separator: str, problem: Callable[[int, str], None]
) -> Iterator[tuple[int, list[str]]]:
    """Fields of each row that is not blank, with the number of its first line, from 1.

    A quoted field may have line ends. A row that cannot be split is reported to `problem` with its
    line, and the next line begins a row.
    """
    index = 0
    while index < len(lines):
        line, number = lines[index], index + 1
        index = number
        if not line or line.isspace():
            continue
        try:
            if '"' not in line and len(line) < _MAX_FIELDS:
                fields = [field.strip() for field in line.split(separator)]
            else:
                n_lines, fields = _first_row(
                    lines[number - 1 : number - 1 + _MAX_CELL_LINES], separator
                )
                index += n_lines - 1
        except ValueError as error:
            problem(number, str(error))
            continue
        yield number, fields


def _first_row(lines: Sequence[str], separator: str) -> tuple[int, list[str]]:
    """Number of lines and fields of the row that the lines begin with. Raises ValueError."""
    first = lines[0]
    if first.count(separator) > _MAX_FIELDS:
        count = first.count(separator) + 1
        raise ValueError(f"number of fields: expected at most {_MAX_FIELDS}, got {count}")
    if '"' not in first:
        return 1, [field.strip() for field in first.split(separator)]
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=separator, strict=True)
    try:
        fields = next(reader)
    except csv.Error:
        raise ValueError(
            f"quotation marks: expected pairs around fields, got {quoted(first)}"
        ) from None
    return reader.line_num, [field.strip() for field in fields]


class Table:
    """The rows of one file, and its problems and warnings, which `finish` reports.

    Args:
        path: a text file whose first line that is not blank has the column names.
        columns: the columns that `rows` returns, `filename` among them.
        separators: characters that may separate columns; the first one that occurs in the line of
            column names does.
        rows_required: whether a file without rows is an error.

    Raises InputError for a file that cannot be read, and for missing or repeated columns.
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str],
        *,
        separators: Sequence[str] = "\t",
        rows_required: bool = True,
    ) -> None:
        self.path = path
        self.columns = tuple(columns)
        self.n_problems = self._n_warnings = 0
        self._problems: list[str] = []  # the first ones
        self._warnings: list[str] = []
        self._lines = read_text(path).split("\n")
        written = (line for line in self._lines if line and not line.isspace())
        n_lines = len(list(islice(written, 2)))
        if rows_required and n_lines < 2:
            raise InputError(
                f"{path}: no rows: expected a line of column names ({' '.join(columns)}) and rows, "
                f"got {n_lines} line"
            )
        self.is_blank = not n_lines
        self._separator, self._header = separators[0], list(columns)
        self._rows: Iterator[tuple[int, list[str]]] = iter(())
        if not self.is_blank:
            self._read_header(separators)

    def rows(self, is_name: Callable[[str], bool]) -> Iterator[tuple[int, list[str]]]:
        """Line number and values of `columns` of each row; rows that cannot be split are problems.

        Values are normalised, file names as well (see `recordings.clip_path`). A row with a single
        field is only a file name if `is_name` is true of it. The rows can be read once.
        """
        indices = [self._header.index(column) for column in self.columns]
        name_index = self.columns.index(FILENAME)
        for line, fields in self._rows:
            if not any(fields):
                continue
            if len(fields) == len(self._header):
                yield line, [normalised(fields[index]) for index in indices]
            elif len(fields) == 1 and is_name(fields[0]):
                values = [""] * len(self.columns)
                values[name_index] = normalised(fields[0])
                yield line, values
            else:
                self._field_count_problem(line, self._lines[line - 1], len(fields))

    def number(self, line: int, column: str, text: str) -> float | None:
        """A finite number, or None after the problem was noted."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
        self.problem(line, f"{column}: expected a number of seconds, got {quoted(text)}")
        return None

    def problem(self, line: int, text: str) -> None:
        """Note an error; `finish` raises it."""
        self.n_problems += 1
        if len(self._problems) < _MAX_PROBLEMS:
            self._problems.append(f"{self.path}:{line}: {text}")

    def warning(self, line: int, text: str) -> None:
        """Note a warning; `finish` logs it."""
        self._n_warnings += 1
        if len(self._warnings) < _MAX_PROBLEMS:
            self._warnings.append(f"{self.path}:{line}: {text}")

    def finish(self) -> None:
        """Log the warnings; raise one InputError with all problems."""
        if self._warnings:
            text = listing(str(self.path), self._warnings, what="warnings", count=self._n_warnings)
            logger.warning("%s", text)
        if self._problems:
            raise InputError(listing(str(self.path), self._problems, count=self.n_problems))

    def _read_header(self, separators: Sequence[str]) -> None:
        line, text = next(
            (line, text) for line, text in enumerate(self._lines, start=1) if text.strip()
        )
        used = [separator for separator in separators if separator in text]
        self._separator = used[0] if used else separators[0]
        self._rows = split_rows(self._lines, self._separator, self.problem)
        first, self._header = next(self._rows, (line, []))
        if first != line:
            self._header = []
        missing = [column for column in self.columns if column not in self._header]
        repeated = [column for column in self.columns if self._header.count(column) > 1]
        if missing or repeated:
            self.finish()  # quotation marks that do not match explain it better
            fault, names = ("missing", missing) if missing else ("repeated", repeated)
            separator_names = " or ".join(_SEPARATOR_NAMES[each] for each in separators)
            raise InputError(
                f"{self.path}:{line}: {fault} column{'s' * (len(names) > 1)} {', '.join(names)}: "
                f"expected {' '.join(self.columns)}, separated by {separator_names}, "
                f"got {quoted(text)}"
            )

    def _field_count_problem(self, line: int, text: str, count: int) -> None:
        others = (
            f" (this row is separated by {name})"
            for separator, name in _SEPARATOR_NAMES.items()
            if separator != self._separator and separator in text
        )
        self.problem(
            line,
            f"number of fields: expected {len(self._header)}, separated by "
            f"{_SEPARATOR_NAMES[self._separator]}, got {count}: {quoted(text)}{next(others, '')}",
        )
