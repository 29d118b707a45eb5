"""Label files that are no tables: Audacity, Praat, RTTM, JSON.

Source of the formats: the manuals of Audacity ("Importing and Exporting Labels") and Praat
("TextGrid file formats"), NIST's evaluation plan RT-09 (RTTM), the documentation of JAMS. Readers
of well-known packages were compared: praatio 6.2 stops at labels with words of the format
(findings/praatio_words_of_the_format.sh), pympi 1.71 must be given the encoding.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from desed_task.errors import InputError, shortened
from desed_task.making.label_rows import Row, Time
from desed_task.tables import quoted

Problem = Callable[[str, str], None]
_SPREADSHEET = "a spreadsheet: save it as CSV"
_OTHER = "labels of another program: make a table of them"
REFUSED = {
    ".eaf": "ELAN: export it as Praat TextGrid, or as tab-delimited text",
    ".svl": "Sonic Visualiser: export the layer as CSV with a header",
    **dict.fromkeys((".aup", ".aup3"), "an Audacity project: export its labels"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), _SPREADSHEET),
    **dict.fromkeys((".antx", ".lab", ".phn", ".srt", ".vtt", ".xml", ".mat"), _OTHER),
}
"""What to do with files that have labels and are not read, by ending."""
_OUR_CONFIDENCE = re.compile(r" [01]\.\d{4}$")
_TEXTGRID_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?!\S)')


def audacity_rows(
    path: Path, lines: Sequence[str], problem: Problem, counts: Counter[str]
) -> Iterator[Row]:
    """Lines `onset TAB offset TAB label`; those that begin with a backslash are frequencies.

    The confidence that `sed-detect` writes behind a label, with four decimals, is no part of it.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("\\"):
            continue
        fields, where = line.split("\t"), f"{path}:{number}"
        times = [_number(text) for text in fields[:2]]
        if len(times) < 2 or times[0] is None or times[1] is None:
            problem(where, f"expected onset, offset, label, separated by tabs, got {quoted(line)}")
            continue
        label = fields[2].strip() if len(fields) > 2 else ""
        counts["fields behind the labels of label tracks are not used"] += len(fields) > 3
        name = _OUR_CONFIDENCE.sub("", label)
        counts["confidences behind labels were removed from them"] += name != label
        yield Row(where, "", name, Time(times[0]), Time(times[1]))


def is_audacity(lines: Sequence[str]) -> bool:
    """Whether the first line that is not blank has two times, or is one of no table."""
    first = next((line for line in lines if line.strip()), "")
    fields = first.split("\t")
    if len(fields) > 1 and _number(fields[0]) is not None and _number(fields[1]) is not None:
        return True
    return not any(mark in first for mark in "\t,;")


def textgrid_rows(
    path: Path, lines: Sequence[str], problem: Problem, counts: Counter[str], tier: str | None
) -> Iterator[Row]:
    """Intervals with a text in all tiers of a Praat TextGrid, or in the one of a name.

    As Praat does, only strings and numbers that are separate words are read, so that the long and
    the short form are the same.
    """
    text = "\n".join(line.partition(" !")[0] if '"' not in line else line for line in lines)
    tokens = _TEXTGRID_TOKEN.finditer(text)
    line, read = 1, 0
    names: list[str] = []

    def value(kind: int, expected: str) -> str:
        nonlocal line, read
        match = next(tokens, None)
        if match is not None:
            line, read = line + text.count("\n", read, match.start()), match.start()
        if match is None or match[kind] is None:
            got = "its end" if match is None else quoted(match[0])
            raise ValueError(f"TextGrid: expected {expected}, got {got}")
        return match[kind]

    def string() -> str:
        return value(1, "a text").replace('""', '"')

    def number() -> float:
        text = value(2, "a number")
        found = _number(text)
        if found is None:
            raise ValueError(f"TextGrid: expected a finite number, got {text}")
        return found

    try:
        if not string().startswith("ooTextFile") or string() != "TextGrid":
            raise ValueError("expected a TextGrid of Praat, saved as text")
        number(), number()
        for _ in range(int(number())):
            kind, name = string(), string()
            names.append(name)
            number(), number()
            for _ in range(int(number())):
                onset, where = number(), f"{path}:{line}"
                offset = onset if kind == "TextTier" else number()  # a point
                label = string().strip()
                if label and tier in (None, name):
                    yield Row(where, "", label, Time(onset), Time(offset))
                elif label:
                    counts["labels in other tiers than --tier are not used"] += 1
        if tier is not None and tier not in names:
            raise ValueError(f"--tier: expected the tier {tier}, got {shortened(names)}")
    except ValueError as error:
        problem(f"{path}:{line}", str(error))


def rttm_rows(
    path: Path, lines: Sequence[str], problem: Problem, counts: Counter[str]
) -> Iterator[Row]:
    """Lines `SPEAKER recording channel onset duration <NA> <NA> class …`; `%20` is a space."""
    for number, line in enumerate(lines, start=1):
        fields, where = line.split(), f"{path}:{number}"
        if not fields or fields[0].startswith(";"):
            continue
        if fields[0] != "SPEAKER":
            counts["lines of RTTM files that are no SPEAKER lines are not used"] += 1
            continue
        onset, duration = (_number(text) for text in (fields + [""] * 5)[3:5])
        if len(fields) < 8 or onset is None or duration is None:
            problem(where, f"expected SPEAKER and at least 7 fields of RTTM, got {quoted(line)}")
            continue
        label = "" if fields[7] == "<NA>" else unquote(fields[7])
        yield Row(where, unquote(fields[1]), label, Time(onset), duration=Time(duration))


def json_rows(path: Path, text: str, problem: Problem, counts: Counter[str]) -> Iterator[Row]:
    """Events of a JSON file that `sed-detect` wrote, or of a JAMS file of labels.

    Raises InputError for other JSON files.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None
    if isinstance(content, dict) and isinstance(content.get("events"), list):
        events = content["events"]
        found = _json_events(path, str(content.get("path", "")), events, "onset", "offset", problem)
    elif isinstance(content, dict) and isinstance(content.get("annotations"), list):
        found = _jams_events(path, content["annotations"], problem, counts)
    elif isinstance(content, list):
        raise InputError(
            f"{path}: expected JSON of sed-detect or JAMS, got a list (Label Studio: export it as "
            "CSV and make a table of it with onset, offset, label, file)"
        )
    else:
        raise InputError(f"{path}: expected JSON of sed-detect or JAMS, got another one")
    yield from found


def _jams_events(
    path: Path, annotations: Sequence[Any], problem: Problem, counts: Counter[str]
) -> Iterator[Row]:
    """Annotations of labels: a text, or a scaper event, whose background is no event."""
    for annotation in annotations:
        events = []
        data = annotation.get("data") if isinstance(annotation, dict) else None
        if not isinstance(data, list):
            problem(f"{path}", f"expected annotations with data, got {quoted(str(annotation))}")
            continue
        for event in data:
            value = event.get("value") if isinstance(event, dict) else None
            label = value.get("label") if isinstance(value, dict) else value
            if isinstance(value, dict) and value.get("role") == "background":
                counts["backgrounds of scaper are no events"] += 1
            elif isinstance(label, str):
                events.append({**event, "event_label": label})
            else:
                problem(f"{path}", f"expected a label for each event, got {quoted(str(value))}")
        yield from _json_events(path, "", events, "time", "duration", problem)


def _json_events(
    path: Path, recording: str, events: Sequence[Any], onset: str, end: str, problem: Problem
) -> Iterator[Row]:
    """Rows of events with numbers for `onset` and `end`, offset or duration."""
    for number, event in enumerate(events, start=1):
        where = f"{path}: event {number}"
        values = event if isinstance(event, Mapping) else {}
        times = [_number(str(values.get(key))) for key in (onset, end)]
        label = values.get("event_label")
        if times[0] is None or times[1] is None or not isinstance(label, str):
            problem(where, f"expected {onset}, {end} and a label, got {quoted(str(event))}")
            continue
        row = Row(where, recording, label, Time(times[0]))
        last = Time(times[1])
        yield row._replace(duration=last) if end == "duration" else row._replace(offset=last)


def _number(text: str) -> float | None:
    """A finite number, with a point or a comma; None for other texts."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
