"""What a review page asks for: events, and places where one may be missing."""

import heapq
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

MARGIN_S = 2.0
"""Seconds of sound before and behind an event."""
MAX_WINDOW_S = 60.0
"""Of a longer event, the page has the first seconds."""
_MIN_MISSED = 20
_MISSED_SHARE = 0.25  # of the events on the page


class Kind(NamedTuple):
    """A kind of places.

    Attributes:
        name: as the page shows it.
        value: what the number of such a place is.
        is_claim: whether it counts as an event until it is answered: the seconds of such a place
            are no reviewed ones.
    """

    name: str
    value: str
    is_claim: bool


DETECTED = Kind("detected", "confidence", is_claim=True)
POSSIBLY_MISSED = Kind("possibly missed", "highest score / threshold", is_claim=False)


class Audio(NamedTuple):
    """A recording.

    Attributes:
        filename: as the saved table names it.
        file: is read.
        seconds: its length.
        start: seconds of the recording that `filename` names at which the file begins.
    """

    filename: str
    file: Path
    seconds: float
    start: float = 0.0


class Place(NamedTuple):
    """An event to confirm, or a place where one may be missing.

    Attributes:
        audio: the recording.
        onset, offset: seconds in the file.
        event_label: class.
        kind: an event of which kind.
        value: see `Kind.value`.
        doubt: places with a higher one come first.
    """

    audio: Audio
    onset: float
    offset: float
    event_label: str
    kind: Kind
    value: float
    doubt: float

    @property
    def window(self) -> tuple[float, float]:
        """Begin and end of the sound on the page, seconds."""
        begin = max(0.0, self.onset - MARGIN_S)
        end = min(self.offset + MARGIN_S, begin + MAX_WINDOW_S, self.audio.seconds)
        return begin, end


def choose_places(places: Iterable[Place], most: int) -> tuple[list[Place], list[Place]]:
    """The places of a page, the most doubtful first, and all others.

    At most `most` claims are on the page (see `Kind`), and a quarter as many other places.
    """
    ranked = sorted(places, key=lambda place: -place.doubt)
    claims = [place for place in ranked if place.kind.is_claim]
    others = [place for place in ranked if not place.kind.is_claim]
    n_others = max(_MIN_MISSED, round(_MISSED_SHARE * min(most, len(claims))))
    shown = heapq.merge(claims[:most], others[:n_others], key=lambda place: -place.doubt)
    return list(shown), [*claims[most:], *others[n_others:]]
