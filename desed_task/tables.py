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
    if line.count(separator) > _MAX_FIELDS:
        count = line.count(separator) + 1
        raise ValueError(f"number of fields: expected at most {_MAX_FIELDS}, got {count}")
    if '"' not in line:
        return [field.strip() for field in line.split(separator)]
    try:
        (fields,) = csv.reader([line], delimiter=separator, strict=True)
    except csv.Error:
        raise ValueError(
            f"quotation marks: expected pairs around fields, got {quoted(line)}"
        ) from None
    return [field.strip() for field in fields]


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
        lines = list(enumerate(read_text(path).split("\n"), start=1))
        self._lines = [(number, line) for number, line in lines if line.strip()]
        if rows_required and len(self._lines) < 2:
            raise InputError(
                f"{path}: no rows: expected a line of column names ({' '.join(columns)}) and rows, "
                f"got {len(self._lines)} line"
            )
        self.is_blank = not self._lines
        self._separator, self._header = separators[0], list(columns)
        if not self.is_blank:
            self._read_header(separators)

    def rows(self, is_name: Callable[[str], bool]) -> Iterator[tuple[int, list[str]]]:
        """Line number and values of `columns` of each row; rows that cannot be split are problems.

        Values are normalised, except file names, which are those of the file system. A row with a
        single field is only a file name if `is_name` is true of it.
        """
        indices = [self._header.index(column) for column in self.columns]
        name_index = self.columns.index(FILENAME)
        for line, text in self._lines[1:]:
            fields = self._split(line, text)
            if fields is None or not any(fields):
                continue
            if len(fields) == len(self._header):
                values = [normalised(fields[index]) for index in indices]
                values[name_index] = fields[indices[name_index]]
                yield line, values
            elif len(fields) == 1 and is_name(fields[0]):
                values = [""] * len(self.columns)
                values[name_index] = fields[0]
                yield line, values
            else:
                self._field_count_problem(line, text, len(fields))

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
        line, text = self._lines[0]
        used = [separator for separator in separators if separator in text]
        self._separator = used[0] if used else separators[0]
        self._header = self._split(line, text) or []
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

    def _split(self, line: int, text: str) -> list[str] | None:
        """A line's fields, or None after the problem was noted."""
        try:
            return split_fields(text, self._separator)
        except ValueError as error:
            self.problem(line, str(error))
            return None

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
