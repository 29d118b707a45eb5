"""The places of a review of detections: events, and where one may be missing."""

from collections.abc import Iterable
from pathlib import Path

from desed_task.detect.formats import event_values
from desed_task.detect.outputs import Record
from desed_task.review.places import DETECTED, POSSIBLY_MISSED, Audio, Place

_EVEN = 0.5
"""The confidence of most doubt; of missed events, a score at the threshold."""


def detected_places(records: Iterable[Record]) -> list[Place]:
    """All places of recordings that are done."""
    places = []
    for record in records:
        found = record.found
        audio = Audio(found.path, Path(record.source.path), found.seconds)
        places += [
            Place(
                audio,
                each["onset"],
                each["offset"],
                each["event_label"],
                DETECTED,
                value=each["confidence"],
                doubt=-abs(each["confidence"] - _EVEN),
            )
            for each in map(event_values, found.events)  # as the records have them
        ]
        places += [
            Place(
                audio,
                each.onset,
                each.offset,
                each.event_label,
                POSSIBLY_MISSED,
                value=each.peak,
                doubt=_EVEN * (each.peak - 1),
            )
            for each in found.missed or ()
        ]
    return places
