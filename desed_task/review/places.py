"""What a review page asks for: events, and places where one may be missing."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

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
        unanswered: what such a place is without an answer: `open`, perhaps an event, and its
            seconds are no reviewed ones; `right`, an event; `none`, no event.
    """

    name: str
    value: str
    unanswered: Literal["open", "right", "none"]


DETECTED = Kind("detected", "confidence", unanswered="open")
POSSIBLY_MISSED = Kind("possibly missed", "highest score / threshold", unanswered="none")


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
        doubt: of the places of a kind, those with a higher one come first.
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


def choose_places(
    places: Iterable[Place], most: int, most_others: int | None = None
) -> tuple[list[Place], list[Place]]:
    """The places of a page, and all others.

    Of both sorts, the most doubtful places are on it and come first; the sorts are evenly mixed.

    Args:
        places: all.
        most: number of places on the page that are `open` (see `Kind`).
        most_others: number of those that are `none`; None: a quarter as many.
    """
    ranked = sorted(places, key=lambda place: -place.doubt)
    claims = [place for place in ranked if place.kind.unanswered == "open"]
    others = [place for place in ranked if place.kind.unanswered == "none"]
    n_others = most_others
    if n_others is None:
        n_others = max(_MIN_MISSED, round(_MISSED_SHARE * min(most, len(claims))))
    ranks = [
        ((rank + 0.5) / len(chosen), place)
        for chosen in (claims[:most], others[:n_others])
        for rank, place in enumerate(chosen)
    ]
    shown = [place for _, place in sorted(ranks, key=lambda each: each[0])]
    return shown, [*claims[most:], *others[n_others:]]
