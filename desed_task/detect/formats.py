"""Events of a recording in the formats of the tools that open them next.

Every format but Audacity's has onset, offset, class and confidence. Times have six decimals,
confidences four.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from desed_task.detect.events import Detection, Missed
from desed_task.evaluation.score_files import score_lines
from desed_task.tables import joined_fields

if TYPE_CHECKING:
    from desed_task.detect.detector import Result


_RAVEN_COLUMNS = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
    "Begin Path",
    "File Offset (s)",
    "Annotation",
    "Confidence",
)


class Found(NamedTuple):
    """Events of a recording.

    Attributes:
        path: the recording as it was given or found.
        name: its path in the output, relative, with `/`.
        seconds: its length.
        events: by onset.
        missed: places where an event may be missing; None: not known.
    """

    path: str
    name: str
    seconds: float
    events: Sequence[Detection]
    missed: Sequence[Missed] | None = None


class Format(NamedTuple):
    """A format with one file for each recording: ending of the file, and its text in parts."""

    ending: str
    parts: Callable[[Found, "Result"], Iterable[str]]


def audacity(found: Found, _: "Result") -> Iterator[str]:
    """A label track: onset, offset and class, so that a label that is corrected is a class."""
    for event in found.events:
        yield "{}\t{}\t{}\n".format(*_times(event), event.event_label)


def audacity_confidence(found: Found, _: "Result") -> Iterator[str]:
    """A label track whose labels are class and confidence."""
    for event in found.events:
        yield "{}\t{}\t{} {:.4f}\n".format(*_times(event), event.event_label, event.confidence)


def raven(found: Found, result: "Result") -> Iterator[str]:
    """A selection table of Raven, over the frequencies that the model reads.

    `File Offset (s)` is the onset in the file, also where Raven opens the file after others.
    """
    yield joined_fields(_RAVEN_COLUMNS)
    # With a decimal point: crowsetta refuses a column of whole numbers.
    band = ("0.0", f"{result.upper_hz:.1f}")
    for number, event in enumerate(found.events, start=1):
        onset, offset = _times(event)
        row = (str(number), "Spectrogram 1", "1", onset, offset, *band, found.path, onset)
        yield joined_fields([*row, event.event_label, f"{event.confidence:.4f}"])


def rttm(found: Found, _: "Result") -> Iterator[str]:
    """Rich Transcription Time Marked: one SPEAKER line per event; names by `rttm_name`."""
    recording = rttm_name(found.name)
    for event in found.events:
        times = f"{event.onset:.6f} {event.offset - event.onset:.6f}"
        label = rttm_name(event.event_label)
        yield f"SPEAKER {recording} 1 {times} <NA> <NA> {label} {event.confidence:.4f} <NA>\n"


def rttm_name(name: str) -> str:
    """A name without white space, which separates the fields: `%20` for a space, `%25` for `%`.

    `urllib.parse.unquote` gives the name back.
    """
    return re.sub(r"[\s%]", lambda match: quote(match[0]), name)


def as_json(found: Found, result: "Result") -> Iterator[str]:
    """The events and the recording's length."""
    content = {
        "path": found.path,
        "seconds": found.seconds,
        "classes": result.classes,
        "events": [event_values(event) for event in found.events],
    }
    yield json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def scores(_: Found, result: "Result") -> Iterator[str]:
    """Scores of every frame in the format of sed_scores_eval."""
    return score_lines(result.values, result.classes, result.edges)


FILE_FORMATS: Mapping[str, Format] = {
    "audacity": Format(".txt", audacity),
    "audacity_confidence": Format(".confidence.txt", audacity_confidence),
    "raven": Format(".selections.txt", raven),
    "rttm": Format(".rttm", rttm),
    "json": Format(".json", as_json),
    "scores": Format(".scores.tsv", scores),
}


def tsv(recordings: Iterable[Found], _: Mapping[str, Any]) -> Iterator[str]:
    """One table in DESED's format, with a column of confidences."""
    yield "filename\tonset\toffset\tevent_label\tconfidence\n"
    for found in recordings:
        for event in found.events:
            row = (found.name, *_times(event), event.event_label, f"{event.confidence:.4f}")
            yield joined_fields(row)


def combined_csv(recordings: Iterable[Found], settings: Mapping[str, Any]) -> Iterator[str]:
    """One table with the paths, and the settings in lines that begin with #."""
    for key, value in settings.items():
        yield f"# {key}: {json.dumps(value, ensure_ascii=False)}\n"
    yield joined_fields(["path", "onset", "offset", "class", "confidence"], ",")
    for found in recordings:
        for event in found.events:
            row = (found.path, *_times(event), event.event_label, f"{event.confidence:.4f}")
            yield joined_fields(row, ",")


COMBINED_FORMATS = {
    "tsv": ("events.tsv", tsv),
    "csv": ("events.csv", combined_csv),
}
FORMATS = (*COMBINED_FORMATS, *FILE_FORMATS)


def event_values(event: Detection) -> dict[str, Any]:
    """An event as plain values."""
    return {
        "onset": round(event.onset, 6),
        "offset": round(event.offset, 6),
        "event_label": event.event_label,
        "confidence": round(event.confidence, 4),
    }


def _times(event: Detection) -> tuple[str, str]:
    return f"{event.onset:.6f}", f"{event.offset:.6f}"
