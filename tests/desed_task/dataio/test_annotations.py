import logging
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from desed_task.dataio.annotations import (
    merge_overlaps,
    read_classes,
    read_durations,
    read_strong,
    read_weak,
)
from desed_task.errors import InputError
from desed_task.labels import Event
from local.classes import CLASSES
from tests.support.shared_data import shared_path

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
        + "a.wav\t1\t11.0\tDog\n"  # past the end of a 10 s clip: right as it is
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


def test_all_problems_of_a_strong_file_are_reported_together(table: Writer) -> None:
    path = table(
        STRONG
        + "a.wav\t1\t2\tDog\n"
        + "a.wav\t2\t1\tDog\n"
        + "a.wav\t2\t2\tDog\n"
        + "a.wav\t-1\t2\tDog\n"
        + "a.wav\t1\t2\tSpeach\n"
        + "a.wav\tnan\t2\tDog\n"
        + "a.wav\t1\tinf\tDog\n"
        + "a.wav\t1\t2\t\n"
        + "a.wav\t1,5\t2\tDog\n"
        + "a.wav,1,2,Dog\n"
        + "a.wav 1 2 Dog\n"
        + "a.wav\t1\t2 Dog\n"
        + "\t1\t2\tDog\n"
    )
    with pytest.raises(InputError) as caught:
        read_strong(path, CLASSES)
    message = str(caught.value)
    lines = message.splitlines()
    assert lines[0] == f"{path}: problems in the file (12):"
    for line, text in zip(
        lines[1:13],
        (
            "line 3: onset 2 must be before offset 1",
            "line 4: onset 2 must be before offset 2",
            "line 5: onset -1 must be 0 seconds or later",
            "line 6: class 'Speach' is unknown (did you mean Speech?)",
            "line 7: onset 'nan' is not a number",
            "line 8: offset 'inf' is not a number",
            "line 9: class '' is unknown",
            "line 10: onset '1,5' is not a number",
            "line 11: filename 'a.wav,1,2,Dog' must end in .wav",
            "line 12: filename 'a.wav 1 2 Dog' must end in .wav",
            "line 13: 'a.wav\\t1\\t2 Dog' has 3 fields, expected 4",
            "line 14: filename '' must end in .wav",
        ),
        strict=True,
    ):
        assert line.strip().startswith(text)
    assert lines[13] == f"  known classes: {', '.join(CLASSES)}"


def test_a_long_list_of_problems_is_cut_and_counted(table: Writer) -> None:
    path = table(STRONG + "a.wav\t2\t1\tDog\n" * 25)
    with pytest.raises(InputError) as caught:
        read_strong(path, CLASSES)
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + 20 + 1
    assert "(25)" in lines[0]
    assert lines[-1].strip() == "and 5 more"


def test_repeated_events_are_a_warning(table: Writer, caplog: pytest.LogCaptureFixture) -> None:
    row = "a.wav\t1\t2\tDog\n"
    path = table(STRONG + row + "a.wav\t1.0\t2.0\tDog\na.wav\t1\t2\tCat\na.wav\n")
    with caplog.at_level(logging.WARNING):
        events = read_strong(path, CLASSES)
    assert events == {"a.wav": [Event(1, 2, "Dog"), Event(1, 2, "Cat")]}
    assert "line 3: a.wav repeats the event 1.0 2.0 Dog" in caplog.text
    assert "line 5: a.wav has a row without event, and events" in caplog.text


def test_classes_of_a_file(table: Writer) -> None:
    header = "filename\tonset\toffset\tevent_label\n"
    path = table(f"{header}a.wav\t0\t1\tDog\nb.wav\na.wav\t0\t1\tCat\na.wav\t2\t3\tDog\n")
    assert read_classes(path) == ("Cat", "Dog")
    with pytest.raises(InputError, match="no event, so no class is known"):
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


@pytest.mark.parametrize("read", [read_strong, read_weak])
@pytest.mark.parametrize("text", ["", "\n", STRONG, WEAK])
def test_an_empty_file_is_refused(table: Writer, read: Callable[..., object], text: str) -> None:
    with pytest.raises(InputError, match=r"table\.tsv: is empty; expected"):
        read(table(text), CLASSES)


def test_missing_columns_are_named(table: Writer) -> None:
    with pytest.raises(InputError, match="missing columns offset, event_label"):
        read_strong(table("filename\tonset\na.wav\t1\n"), CLASSES)
    with pytest.raises(InputError, match=r"missing columns filename, event_labels.*by tabs"):
        read_weak(table("filename,event_labels\na.wav,Dog\n"), CLASSES)


def test_files_that_are_no_text_or_not_there_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bytes.tsv"
    path.write_bytes(b"filename\n\xff\xfe.wav\n")
    with pytest.raises(InputError, match=r"bytes\.tsv: cannot be read as text"):
        read_durations(path)
    with pytest.raises(InputError, match=r"none\.tsv: cannot be read"):
        read_durations(tmp_path / "none.tsv")


def test_weak_tags(table: Writer, caplog: pytest.LogCaptureFixture) -> None:
    path = table(WEAK + "b.wav\tSpeech,Dog\na.wav\tCat, Dog,Cat\nc.wav\t\nb.wav\tDog,Speech\n")
    with caplog.at_level(logging.WARNING):
        tags = read_weak(path, CLASSES)
    assert tags == {"b.wav": ("Speech", "Dog"), "a.wav": ("Cat", "Dog"), "c.wav": ()}
    assert list(tags) == ["b.wav", "a.wav", "c.wav"]
    assert "(1):" in caplog.text
    assert "line 5: b.wav is listed again" in caplog.text


def test_problems_of_a_weak_file(table: Writer) -> None:
    path = table(WEAK + "a.wav\tDog,Wolf\na.wav\tCat\nb.wav,Dog\nc.wav\tDog,\n")
    with pytest.raises(InputError) as caught:
        read_weak(path, CLASSES)
    message = str(caught.value)
    assert "(4):" in message
    assert "line 2: class 'Wolf' is unknown" in message
    assert "line 3: a.wav is listed again with other tags" in message
    assert "line 4: filename 'b.wav,Dog' must end in .wav" in message
    assert "line 5: class '' is unknown" in message


def test_durations(table: Writer, caplog: pytest.LogCaptureFixture) -> None:
    path = table("filename\tduration\nb.wav\t10.0\na.wav\t3.25\nb.wav\t10\n")
    assert read_durations(path) == {"b.wav": 10.0, "a.wav": 3.25}
    assert "line 4: b.wav is listed again" in caplog.text


def test_problems_of_a_durations_file(table: Writer) -> None:
    path = table("filename\tduration\na.wav\t0\nb.wav\t\nc.wav\t3\nc.wav\t4\nd.wav\t-2\n")
    with pytest.raises(InputError) as caught:
        read_durations(path)
    message = str(caught.value)
    assert "(4):" in message
    assert "line 2: duration 0 must be above 0 seconds" in message
    assert "line 3: duration '' is not a number of seconds" in message
    assert "line 5: c.wav is listed again with another duration" in message
    assert "line 6: duration -2 must be above" in message


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
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = shared_path("desed_metadata") / name
    annotations = read_strong(path, CLASSES)
    assert not caplog.records
    assert len(annotations) == clips
    assert sum(not of_clip for of_clip in annotations.values()) == without_event
    assert sum(map(len, annotations.values())) == events
    assert max(event.offset for of_clip in annotations.values() for event in of_clip) == latest
    table = pandas.read_csv(path, sep="\t").dropna()
    flat = [(clip, *event) for clip, of_clip in annotations.items() for event in of_clip]
    assert sorted(flat) == sorted(table.itertuples(index=False, name=None))


def test_real_weak_and_unlabelled_files(caplog: pytest.LogCaptureFixture) -> None:
    folder = shared_path("desed_metadata")
    tags = read_weak(folder / "weak.tsv", CLASSES)
    table = pandas.read_csv(folder / "weak.tsv", sep="\t")
    assert list(tags) == table.filename.tolist()
    assert [set(of_clip) for of_clip in tags.values()] == [
        set(listed.split(",")) for listed in table.event_labels
    ]
    assert all(len(set(of_clip)) == len(of_clip) for of_clip in tags.values())
    assert len(tags) == 1578
    assert not caplog.records
