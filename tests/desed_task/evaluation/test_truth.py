from pathlib import Path

import numpy as np
import pytest

from desed_task.errors import InputError
from desed_task.evaluation import GroundTruth
from desed_task.labels import Event
from tests.support.classes import CLASSES

HEADER = "filename\tonset\toffset\tevent_label"


def write(
    folder: Path, events: str, durations: str = "a.wav\t10.0\nb.wav\t4.5"
) -> tuple[Path, Path]:
    (folder / "truth.tsv").write_text(f"{HEADER}\n{events}\n")
    (folder / "durations.tsv").write_text(f"filename\tduration\n{durations}\n")
    return folder / "truth.tsv", folder / "durations.tsv"


def read(folder: Path, events: str, durations: str = "a.wav\t10.0\nb.wav\t4.5") -> GroundTruth:
    return GroundTruth.read(*write(folder, events, durations), CLASSES)


def test_reads_events_in_time_order_and_clips_without_any(tmp_path: Path) -> None:
    truth = read(
        tmp_path,
        "a.wav\t3.0\t11.0\tDog\na.wav\t0.5\t1\tCat\nb.wav\t\t\t",
        "a.wav\t10\nb.wav\t4.5\nonly_here.wav\t2",
    )
    assert truth.events == {
        "a.wav": [Event(0.5, 1.0, "Cat"), Event(3.0, 11.0, "Dog")],
        "b.wav": [],
        "only_here.wav": [],
    }
    assert truth.durations == {"a.wav": 10.0, "b.wav": 4.5, "only_here.wav": 2.0}
    assert truth.classes == CLASSES


def test_extra_columns_and_another_order_are_tolerated(tmp_path: Path) -> None:
    paths = write(tmp_path, "")
    paths[0].write_text("event_label\tx\toffset\tonset\tfilename\nDog\t7\t2\t1\ta.wav\n")
    assert GroundTruth.read(*paths, CLASSES).events["a.wav"] == [Event(1.0, 2.0, "Dog")]


def test_an_onset_past_the_end_of_its_clip_is_refused(tmp_path: Path) -> None:
    paths = write(tmp_path, "a.wav\t4500\t5000\tDog\n", "a.wav\t10\n")
    with pytest.raises(InputError, match=r"truth\.tsv:2: onset: .* 10 s, got 4500 \(millisec"):
        GroundTruth.read(*paths, CLASSES)


def test_problems_of_both_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"truth\.tsv:2: unknown class: .*, got 'Goat'"):
        read(tmp_path, "a.wav\t1\t2\tGoat")
    with pytest.raises(InputError, match=r"durations\.tsv:2: duration: expected more than 0 s"):
        read(tmp_path, "", "a.wav\t0")


def test_a_clip_without_duration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"expected clips with a duration in .*, got 1 other\(s\), first .*c\.wav"
    ):
        read(tmp_path, "c.wav\t1\t2\tDog")


def test_overlaps_of_a_class_are_merged_with_a_warning_and_touching_events_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "a.wav\t1\t3\tDog\na.wav\t2\t4\tDog\na.wav\t3.5\t3.7\tDog\na.wav\t4\t5\tDog\n"
    truth = read(tmp_path, rows + "a.wav\t2\t6\tCat")
    assert "2 event(s) overlapped" in caplog.text
    assert truth.events["a.wav"] == [
        Event(1.0, 4.0, "Dog"),
        Event(2.0, 6.0, "Cat"),
        Event(4.0, 5.0, "Dog"),
    ]


def test_restricting(tmp_path: Path) -> None:
    truth = read(tmp_path, "a.wav\t1\t2\tDog")
    assert list(truth.restricted(["b.wav"]).events) == ["b.wav"]
    assert truth.restricted(["b.wav"]).durations == {"b.wav": 4.5}
    with pytest.raises(InputError, match=r"got 1 other\(s\), first 'z\.wav'"):
        truth.restricted(["a.wav", "z.wav"])


def test_table_numbers_clips_by_the_names_given(tmp_path: Path) -> None:
    truth = read(tmp_path, "a.wav\t3\t4\tDog\na.wav\t1\t2\tDog\nb.wav\t1\t2\tCat")
    table = truth.table(["b.wav", "a.wav"])
    assert table.clip.tolist() == [0, 1, 1]
    assert table.label.tolist() == [CLASSES.index("Cat")] + 2 * [CLASSES.index("Dog")]
    assert table.onset.tolist() == [1, 1, 3]
    np.testing.assert_array_equal(truth.duration_of(["b.wav", "a.wav"]), [4.5, 10])


def test_desed_s_validation_set_has_15_clips_without_event(
    desed_tables: Path, tmp_path: Path
) -> None:
    lines = (desed_tables / "validation.tsv").read_text().splitlines()[1:]
    names = dict.fromkeys(line.split("\t")[0] for line in lines)
    durations = tmp_path / "durations.tsv"
    durations.write_text("filename\tduration\n" + "".join(f"{name}\t10.0\n" for name in names))
    truth = GroundTruth.read(desed_tables / "validation.tsv", durations, CLASSES)
    assert len(truth.events) == 1168
    assert sum(map(bool, truth.events.values())) == 1168 - 15
    assert max(e.offset for events in truth.events.values() for e in events) > 10
