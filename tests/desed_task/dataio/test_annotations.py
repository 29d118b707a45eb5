import logging
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from desed_task.dataio.annotations import (
    merge_overlaps,
    read_classes,
    read_clip_recordings,
    read_durations,
    read_strong,
    read_weak,
)
from desed_task.errors import InputError
from desed_task.labels import Event
from tests.support.classes import CLASSES

Writer = Callable[[str], Path]

STRONG = "filename\tonset\toffset\tevent_label\n"
WEAK = "filename\tevent_labels\n"


@pytest.fixture
def table(tmp_path: Path) -> Writer:
    def write(text: str) -> Path:
        path = tmp_path / "table.tsv"
        path.write_bytes(text.encode())
        return path

    return write


def test_strong_rows_become_events_in_file_order(table: Writer) -> None:
    path = table(
        STRONG
        + "b.wav\t0.5\t2.25\tSpeech\n"
        + "a.wav\t1\t11.0\tDog\n"  # past the end of a 10 s clip: allowed
        + "b.wav\t0.0\t3\tCat\n"
    )
    events = read_strong(path, CLASSES)
    assert list(events) == ["b.wav", "a.wav"]
    assert events == {
        "b.wav": [Event(0.5, 2.25, "Speech"), Event(0.0, 3.0, "Cat")],
        "a.wav": [Event(1.0, 11.0, "Dog")],
    }


@pytest.mark.parametrize("row", ["c.wav\t\t\t", "c.wav\tnan\tNaN\tnan", "c.wav", "c.wav\t\t\tNA"])
def test_a_row_without_event_is_a_clip_without_events(table: Writer, row: str) -> None:
    events = read_strong(table(STRONG + "a.wav\t1\t2\tDog\n" + row + "\n"), CLASSES)
    assert events == {"a.wav": [Event(1, 2, "Dog")], "c.wav": []}


def test_order_of_columns_line_ends_and_byte_order_mark_do_not_matter(table: Writer) -> None:
    path = table("\ufeffevent_label\tfilename\textra\toffset\tonset\r\nDog\ta.wav\tx\t2\t1\r\n\r\n")
    assert read_strong(path, CLASSES) == {"a.wav": [Event(1, 2, "Dog")]}


def test_repeated_events_are_a_warning(table: Writer, caplog: pytest.LogCaptureFixture) -> None:
    row = "a.wav\t1\t2\tDog\n"
    path = table(STRONG + row + "a.wav\t1.0\t2.0\tDog\na.wav\t1\t2\tCat\na.wav\n")
    with caplog.at_level(logging.WARNING):
        events = read_strong(path, CLASSES)
    assert events == {"a.wav": [Event(1, 2, "Dog"), Event(1, 2, "Cat")]}
    assert f"{path}: 2 warnings:" in caplog.text
    assert f"{path}:3: a.wav repeats the event 1.0 2.0 Dog" in caplog.text
    assert f"{path}:5: a.wav has a row without event, and events" in caplog.text


def test_classes_of_a_file(table: Writer) -> None:
    header = "filename\tonset\toffset\tevent_label\n"
    path = table(f"{header}a.wav\t0\t1\tDog\nb.wav\na.wav\t0\t1\tCat\na.wav\t2\t3\tDog\n")
    assert read_classes(path) == ("Cat", "Dog")
    with pytest.raises(InputError, match="no classes: expected at least 1 event, got 0"):
        read_classes(table(f"{header}b.wav\n"))


def test_overlapping_events_of_a_class_are_merged_in_time_order() -> None:
    events = [
        Event(4.0, 5.0, "Dog"),
        Event(1.0, 9.0, "Cat"),
        Event(1.0, 2.0, "Dog"),
        Event(1.5, 3.0, "Dog"),
        Event(2.5, 2.7, "Dog"),
        Event(3.0, 4.0, "Dog"),  # touches the one before and the one after
    ]
    assert merge_overlaps(events) == [
        Event(1.0, 3.0, "Dog"),
        Event(1.0, 9.0, "Cat"),
        Event(3.0, 4.0, "Dog"),
        Event(4.0, 5.0, "Dog"),
    ]


def test_weak_tags(table: Writer, caplog: pytest.LogCaptureFixture) -> None:
    path = table(WEAK + "b.wav\tSpeech,Dog\na.wav\tCat, Dog,Cat\nc.wav\t\nb.wav\tDog,Speech\n")
    with caplog.at_level(logging.WARNING):
        tags = read_weak(path, CLASSES)
    assert tags == {"b.wav": ("Speech", "Dog"), "a.wav": ("Cat", "Dog"), "c.wav": ()}
    assert list(tags) == ["b.wav", "a.wav", "c.wav"]
    assert caplog.messages == [f"{path}:5: b.wav is listed again: used once"]


def test_quoted_tags_are_several(table: Writer) -> None:
    path = table('"filename"\t"event_labels"\n"b.wav"\t"Dog,Speech"\n')
    assert read_weak(path, CLASSES) == {"b.wav": ("Dog", "Speech")}


def test_durations(table: Writer, caplog: pytest.LogCaptureFixture) -> None:
    path = table("filename\tduration\nb.wav\t10.0\na.wav\t3.25\nb.wav\t10\n")
    assert read_durations(path) == {"b.wav": 10.0, "a.wav": 3.25}
    assert caplog.messages == [f"{path}:4: b.wav is listed again: used once"]


def test_recordings_of_clips(table: Writer) -> None:
    path = table("filename\tset_name\trecording\na.wav\ttest\t/x/1.flac\nb.wav\ttest\t/x/1.flac\n")
    assert read_clip_recordings(path) == {"a.wav": "/x/1.flac", "b.wav": "/x/1.flac"}
    path = table("filename\trecording\na.wav\tr\na.wav\ts\nb.wav\t\n")
    with pytest.raises(InputError) as error:
        read_clip_recordings(path)
    assert f"{path}:3: a.wav is listed again: expected recording" in str(error.value)
    assert f"{path}:4: recording: expected a name, got none" in str(error.value)


@pytest.mark.parametrize(
    ("name", "clips", "without_event", "events", "latest"),
    [("validation.tsv", 1168, 15, 4224, 10.115), ("public.tsv", 692, 0, 2765, 11.0)],
)
def test_real_strong_files(
    name: str,
    clips: int,
    without_event: int,
    events: int,
    latest: float,
    desed_tables: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = desed_tables / name
    annotations = read_strong(path, CLASSES)
    assert not caplog.records
    assert len(annotations) == clips
    assert sum(not events for events in annotations.values()) == without_event
    assert sum(map(len, annotations.values())) == events
    assert (
        max(event.offset for clip_events in annotations.values() for event in clip_events) == latest
    )
    table = pandas.read_csv(path, sep="\t").dropna()
    flat = [(clip, *event) for clip, clip_events in annotations.items() for event in clip_events]
    assert sorted(flat) == sorted(table.itertuples(index=False, name=None))


def test_real_weak_file(desed_tables: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = desed_tables / "weak.tsv"
    tags = read_weak(path, CLASSES)
    table = pandas.read_csv(path, sep="\t")
    assert list(tags) == table.filename.tolist()
    assert [set(clip_tags) for clip_tags in tags.values()] == [
        set(listed.split(",")) for listed in table.event_labels
    ]
    assert all(len(set(clip_tags)) == len(clip_tags) for clip_tags in tags.values())
    assert len(tags) == 1578
    assert not caplog.records
