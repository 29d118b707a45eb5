"""Reading tables of text line by line, collecting every problem of a file before refusing it."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from desed_task.errors import InputError

MAX_PROBLEMS_SHOWN = 20


class Problems:
    """What is wrong with one file; `raise_if_any` tells it all at once."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.lines: list[str] = []

    def add(self, line: int | None, text: str) -> None:
        """Note a problem; `line` is the file's line number, counted from 1 with the header."""
        self.lines.append(text if line is None else f"line {line}: {text}")

    def raise_if_any(self) -> None:
        """Raise one InputError that names the file and every problem (at most 20 in full)."""
        if not self.lines:
            return
        shown = self.lines[:MAX_PROBLEMS_SHOWN]
        if len(self.lines) > len(shown):
            shown.append(f"... and {len(self.lines) - len(shown)} more")
        if len(shown) == 1:
            raise InputError(f"{self.path}: {shown[0]}")
        raise InputError(f"{self.path}: {len(self.lines)} problems\n  " + "\n  ".join(shown))


def read_rows(
    path: str | Path, columns: Sequence[str], problems: Problems, *, separator: str = "\t"
) -> Iterator[tuple[int, list[str]]]:
    """Line number and the named columns of each row of a table with a header.

    Other columns are ignored and fields that are missing at a row's end are empty. Blank
    lines are skipped.

    Raises:
        InputError: no such file, not text, no header, or a column is missing.
    """
    lines = _read_lines(path)
    if not lines:
        raise InputError(f"{path}: empty; a header with the columns {', '.join(columns)} is right")
    header = [name.strip() for name in lines[0].split(separator)]
    missing = [name for name in columns if name not in header]
    if missing:
        raise InputError(
            f"{path}: line 1: no column {', '.join(missing)}; found {header!r}, "
            f"{'tab' if separator == chr(9) else repr(separator)}-separated columns "
            f"{', '.join(columns)} are right"
        )
    places = [header.index(name) for name in columns]
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        fields = line.split(separator)
        if len(fields) > len(header):
            problems.add(number, f"{len(fields)} fields, {len(header)} columns are right")
            continue
        yield number, [fields[k].strip() if k < len(fields) else "" for k in places]


def read_seconds(text: str) -> float | None:
    """A time in seconds; None for text that is no finite, non-negative number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _read_lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from None
