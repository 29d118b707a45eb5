"""Recordings -> clips: times of clips, events that a cut divides."""

from pathlib import Path

from desed_task.labels import Event
from desed_task.making.cutting import Annotated, clip_events, cut, short_pieces


def test_cuts() -> None:
    assert cut(4.0, 10.0, 0.0) == [(0.0, 4.0)]
    assert cut(20.0, 10.0, 0.0) == [(0.0, 10.0), (10.0, 20.0)]
    assert cut(20.3, 10.0, 0.0) == [(0.0, 10.0), (10.0, 20.0)]  # the rest is too short
    assert cut(21.0, 10.0, 0.0)[-1] == (20.0, 21.0)
    assert cut(20.0, 10.0, 5.0) == [(0.0, 10.0), (5.0, 15.0), (10.0, 20.0)]
    events = (Event(9.99, 10.5, "A"), Event(9.0, 11.0, "B"), Event(3.0, 3.01, "C"))
    recording = Annotated(Path(), Path(), events, tags=(), strong=True, group="")
    assert clip_events(recording, 0.0, 10.0) == (
        Event(9.0, 10.0, "B"),
        Event(3.0, 3.01, "C"),  # short, but whole
    )
    assert clip_events(recording, 10.0, 20.0) == (Event(0.0, 0.5, "A"), Event(0.0, 1.0, "B"))


def test_pieces_that_are_too_short_are_counted() -> None:
    events = (Event(9.99, 10.5, "A"), Event(9.0, 10.01, "B"), Event(9.9995, 10.0, "C"))
    recording = Annotated(Path(), Path(), events, tags=(), strong=True, group="")
    assert [event.event_label for event in clip_events(recording, 0.0, 10.0)] == ["B"]
    assert short_pieces(recording, 0.0, 10.0) == 2
    assert [event.event_label for event in clip_events(recording, 10.0, 20.0)] == ["A"]
    assert short_pieces(recording, 10.0, 20.0) == 1
