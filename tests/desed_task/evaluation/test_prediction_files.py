import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from desed_task import tables
from desed_task.errors import InputError, listing
from desed_task.evaluation import EventTable, GroundTruth
from desed_task.evaluation.prediction_files import read_operating_points, read_predictions
from tests.support import cases
from tests.support.desed import read_truth

Writer = Callable[..., Path]

HEADER = "event_label\tonset\toffset\tfilename\n"
TRUTH = cases.truth_of({"c.wav": [], "a.wav": [], "b": [], "d.wav": []})


@pytest.fixture
def file(tmp_path: Path) -> Writer:
    def write(text: str, name: str = "events.tsv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
        return path

    return write


def rows_of(table: EventTable) -> list[tuple[float, ...]]:
    columns = (table.level, table.clip, table.label, table.onset, table.offset)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def problems_of(path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_predictions(path, TRUTH)
    lines = str(caught.value).splitlines()
    return [line.strip().removeprefix(f"{path}:").strip() for line in lines]


def test_events_are_ordered_with_clips_and_classes_as_in_the_truth(file: Writer) -> None:
    path = file(
        HEADER
        + "Dog\t2.5\t3\tb\n"
        + "Speech\t0\t12.5\ta.wav\n"  # past the end of a 10 s clip: the system's own business
        + "Dog\t1\t2\tb\n"
        + "Cat\t0.25\t1e0\ta.wav\n"
    )
    read = read_predictions(path, TRUTH)
    assert read.names == ["a.wav", "b"]
    assert rows_of(read.events) == [
        (0, 0, 0, 0.25, 1),
        (0, 0, 3, 0, 12.5),
        (0, 1, 2, 1, 2),
        (0, 1, 2, 2.5, 3),
    ]
    for name in ("level", "clip", "label"):
        assert getattr(read.events, name).dtype == np.int64
    assert read.events.onset.dtype == np.float64


@pytest.mark.parametrize(
    "text",
    [
        "filename\toffset\tonset\tevent_label\na.wav\t2\t1\tDog\n",
        ",event_label,onset,offset,filename\n0,Dog,1.0,2.0,a.wav\n",
        "\ufeffevent_label\tonset\toffset\tfilename\r\nDog\t1\t2\ta.wav\r\n\r\n",
        " event_label , onset , offset , filename \n Dog , 1 , 2 , a.wav \n \n",
        HEADER + "Dog\t1\t2\ta.wav",
        HEADER + "Dog\t1\t2\ta\n",  # the ground truth has a.wav
    ],
)
def test_order_of_columns_others_separators_and_line_ends(file: Writer, text: str) -> None:
    for name in ("events.tsv", "events.csv"):
        read = read_predictions(file(text, name), TRUTH)
        assert read.names == ["a.wav"]
        assert rows_of(read.events) == [(0, 0, 2, 1, 2)]


@pytest.mark.parametrize("names", [("a", "a.wav"), ("a.wav", "a")])
def test_an_exact_name_is_preferred_to_one_with_wav(file: Writer, names: tuple[str, str]) -> None:
    truth = cases.truth_of({name: [] for name in names})
    assert read_predictions(file(HEADER + "Dog\t1\t2\ta\n"), truth).names == ["a"]
    assert read_predictions(file(HEADER + "Dog\t1\t2\ta.wav\n"), truth).names == ["a.wav"]


@pytest.mark.parametrize("row", ["\t\t\tc.wav", "nan\tNaN\tNA\tc.wav", "c.wav", "\t\t\tc"])
def test_a_row_with_only_a_file_name_mentions_the_clip(file: Writer, row: str) -> None:
    read = read_predictions(file(HEADER + "Dog\t1\t2\ta.wav\n" + row + "\n"), TRUTH)
    assert read.names == ["c.wav", "a.wav"]
    assert rows_of(read.events) == [(0, 1, 2, 1, 2)]


def test_rows_without_event_beside_events_are_a_warning(
    file: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    path = file(HEADER + "\t\t\ta.wav\nDog\t1\t2\ta.wav\n")
    read = read_predictions(path, TRUTH)
    assert len(read.events) == 1
    message = "a.wav has a row without event, and events: the events are used"
    assert caplog.messages == [f"{path}:2: {message}"]


def test_repeated_rows_are_used_once_with_a_warning(
    file: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    path = file(
        HEADER
        + "Dog\t1\t2\ta.wav\n"
        + "Cat\t1\t2\ta.wav\n"
        + "Dog\t1.0\t2\ta\n"
        + "Dog\t1\t2\tb\n"
        + "Dog\t1\t2\ta.wav\n"
    )
    read = read_predictions(path, TRUTH)
    assert rows_of(read.events) == [(0, 0, 0, 1, 2), (0, 0, 2, 1, 2), (0, 1, 2, 1, 2)]
    assert caplog.messages[0].splitlines() == [
        f"{path}: 2 warnings:",
        f"  {path}:4: a repeats the event 1.0 2 Dog of line 2: used once",
        f"  {path}:6: a.wav repeats the event 1 2 Dog of line 2: used once",
    ]


def test_an_onset_past_the_longest_clip_is_a_problem(file: Writer) -> None:
    truth = GroundTruth(cases.CLASSES, {"a.wav": [], "b.wav": []}, {"a.wav": 4.0, "b.wav": 10.0})
    padded = read_predictions(file(HEADER + "Dog\t9.9\t12\ta.wav\n"), truth)
    assert rows_of(padded.events) == [(0, 0, 2, 9.9, 12)]
    path = file(HEADER + "Dog\t1500\t2500\tb.wav\n")
    with pytest.raises(InputError) as caught:
        read_predictions(path, truth)
    assert str(caught.value) == (
        f"{path}:2: onset: expected less than the clip's 10 s, got 1500 (milliseconds?)"
    )


def test_overlapping_events_of_a_class_stay(file: Writer, caplog: pytest.LogCaptureFixture) -> None:
    rows = "Dog\t1\t4\ta.wav\nDog\t2\t3\ta.wav\nDog\t1\t5\ta.wav\nDog\t5\t6\ta.wav\n"
    read = read_predictions(file(HEADER + rows), TRUTH)
    assert sorted(row[3:] for row in rows_of(read.events)) == [(1, 4), (1, 5), (2, 3), (5, 6)]
    assert not caplog.records


def test_all_problems_of_a_file_are_reported_together(
    file: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "listing", partial(listing, most=20))
    path = file(
        HEADER
        + "Dog\t1\t2\ta.wav\n"
        + "Dogg\t1\t2\ta.wav\n"
        + "Dog\t2\t1.5\ta.wav\n"
        + "Dog\t2\t2.0\ta.wav\n"
        + "Dog\t-0.5\t1\ta.wav\n"
        + "\n"
        + "Dog\tnan\t1\ta.wav\n"
        + "Dog\t1\tinf\ta.wav\n"
        + "Dog\t1,5\t2\ta.wav\n"
        + "Dog\t1\t\ta.wav\n"
        + "\t1\t2\ta.wav\n"
        + "Dog\t1\t2\tz.wav\n"
        + "\t\t\tz.wav\n"
        + "Dog\t1\t2\taudio/a.wav\n"
        + "Dog\t1\t2\tb.wav\n"
        + "Dog,1,2,a.wav\n"
        + "z.wav\n"
        + "Dog\t1\t2\ta.wav\t0.7\n"
        + "Goat\t3\t1\ty.wav\n"
    )
    known = f"expected one of {', '.join(cases.CLASSES[:3])} and 1 more"
    assert problems_of(path) == [
        "19 problems:",
        f"3: unknown class: {known}, got 'Dogg' (did you mean Dog?)",
        "4: offset: expected more than the onset 2, got 1.5",
        "5: offset: expected more than the onset 2, got 2.0",
        "6: onset: expected at least 0 s, got -0.5",
        "8: onset: expected a number of seconds, got 'nan'",
        "9: offset: expected a number of seconds, got 'inf'",
        "10: onset: expected a number of seconds, got '1,5'",
        "11: offset: expected a number of seconds, got ''",
        f"12: unknown class: {known}, got ''",
        "13: filename: expected a clip of the ground truth, got 'z.wav'",
        "14: filename: expected a clip of the ground truth, got 'z.wav'",
        "15: filename: expected a clip of the ground truth, got 'audio/a.wav' (did you mean a.wav, "
        "without folders?)",
        "16: filename: expected a clip of the ground truth, got 'b.wav'",
        "17: number of fields: expected 4, separated by tabs, got 1: 'Dog,1,2,a.wav' (this row is "
        "separated by commas)",
        "18: number of fields: expected 4, separated by tabs, got 1: 'z.wav'",
        r"19: number of fields: expected 4, separated by tabs, got 5: 'Dog\t1\t2\ta.wav\t0.7'",
        "20: filename: expected a clip of the ground truth, got 'y.wav'",
        f"20: unknown class: {known}, got 'Goat'",
        "20: offset: expected more than the onset 3, got 1",
    ]


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("event_label\tonset\tfilename", "missing column offset: "),
        ("event_label onset offset filename", "missing columns "),
        ("Dog\t1\t2\ta.wav", "missing columns filename, onset, offset, event_label: "),
        ("onset,offset,onset,event_label,filename", "repeated column onset: "),
    ],
)
def test_wrong_column_names_are_refused(file: Writer, header: str, missing: str) -> None:
    (problem,) = problems_of(file(header + "\nDog\t1\t2\ta.wav\n"))
    assert problem.startswith(f"1: {missing}")
    assert problem.endswith(f"separated by tabs or commas, got {header!r}")


def test_a_file_with_only_column_names_detects_nothing(
    file: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    for text in (HEADER, HEADER.strip(), ",event_label,onset,offset,filename\n"):
        read = read_predictions(file(text), TRUTH)
        assert (len(read.events), read.names) == (0, [])
        assert read.events.clip.dtype == np.int64
    assert not caplog.records


@pytest.mark.parametrize("text", ["", "\n", "\ufeff"])
def test_a_file_without_text_detects_nothing_with_a_warning(
    file: Writer, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path = file(text)
    read = read_predictions(path, TRUTH)
    assert (len(read.events), read.names) == (0, [])
    assert f"{path}:1: no text at all" in caplog.text


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.tsv").write_bytes(HEADER.encode() + b"D\xff\t1\t2\ta.wav\n")
    (tmp_path / "folder.tsv").mkdir()
    for name, problem in (
        ("bytes.tsv", "cannot be read as text"),
        ("none.tsv", "no such file"),
        ("folder.tsv", "a folder"),
    ):
        with pytest.raises(InputError, match=rf"{name}: {problem}: "):
            read_predictions(tmp_path / name, TRUTH)


def test_operating_points_are_levels_by_ascending_threshold(file: Writer, tmp_path: Path) -> None:
    folder = tmp_path / "points"
    file(HEADER + "Dog\t1\t2\ta.wav\n", "points/predictions_th_0.5.tsv")
    file(HEADER + "Dog\t1\t3\ta.wav\nCat\t0\t1\td.wav\n", "points/z_th_0.05.tsv")
    file(HEADER + "c.wav\n", "points/predictions_th_0.9.tsv")
    file(HEADER, "points/predictions_th_1.tsv")
    read = read_operating_points(folder, TRUTH)
    assert read.thresholds == (0.05, 0.5, 0.9, 1.0)
    assert read.names == ["c.wav", "a.wav", "d.wav"]
    assert rows_of(read.events) == [(0, 1, 2, 1, 3), (0, 2, 0, 0, 1), (1, 1, 2, 1, 2)]


@pytest.mark.parametrize(
    ("name", "threshold"),
    [
        ("predictions_th_0.01.tsv", 0.01),
        ("0.5.tsv", 0.5),
        ("0.50.csv", 0.5),
        ("th0.01.tsv", 0.01),
        ("student2_th-0.3.tsv", 0.3),
        ("run3_th_1.tsv", 1.0),
        ("th_0.tsv", 0.0),
        ("th_1e-05.tsv", 1e-5),
        ("th_0.25_events.csv", 0.25),
        ("th0.51_seed1.tsv", 0.51),
        ("seed1-threshold=0.5-run2.tsv", 0.5),
        ("month7_0.5.tsv", 0.5),
    ],
)
def test_the_threshold_is_a_number_of_the_name(
    file: Writer, tmp_path: Path, name: str, threshold: float
) -> None:
    file(HEADER, f"points/{name}")
    file("what a file browser keeps", "points/.hidden")
    assert read_operating_points(tmp_path / "points", TRUTH).thresholds == (threshold,)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("all.tsv", "none"),
        ("th_1.5.tsv", "1.5"),
        ("th_50.csv", "50"),
        ("th_-0.5.tsv", "-0.5"),
        ("-0.5.tsv", "-0.5"),
        ("seed1_0.5.tsv", "1 and 0.5"),
        ("th_50_0.5.tsv", "50"),
    ],
)
def test_names_without_threshold_are_refused(
    file: Writer, tmp_path: Path, name: str, number: str
) -> None:
    path = file(HEADER, f"points/{name}")
    with pytest.raises(InputError, match=rf"{path}: .*, got {number}$"):
        read_operating_points(tmp_path / "points", TRUTH)


def test_wrong_folders_of_operating_points_are_refused(file: Writer, tmp_path: Path) -> None:
    folder = tmp_path / "points"

    def refused(path: Path, message: str) -> None:
        with pytest.raises(InputError, match=message):
            read_operating_points(path, TRUTH)

    refused(folder, "points: no such folder")
    refused(file(HEADER, "one.tsv"), r"one\.tsv: not a folder")
    file("", "points/.hidden.tsv")
    refused(folder, "points: .* got no file")
    file(HEADER, "points/th_0.5.tsv")
    file(HEADER, "points/th_0.50.csv")
    refused(folder, r"points: .* got th_0\.5\.tsv and th_0\.50\.csv of threshold 0\.5")
    readme = file("", "points/README.md")
    refused(folder, r"README\.md: expected only files of events")
    readme.unlink()
    (folder / "0.7.tsv").mkdir()
    refused(folder, r"0\.7\.tsv: expected only files of events")


def test_a_problem_in_an_operating_point_names_its_file(file: Writer, tmp_path: Path) -> None:
    file(HEADER, "points/th_0.1.tsv")
    file(HEADER + "Dog\t2\t1\ta.wav\n", "points/th_0.3.tsv")
    with pytest.raises(InputError, match=r"th_0\.3\.tsv:2: "):
        read_operating_points(tmp_path / "points", TRUTH)


def as_pandas_reads(path: Path, truth: GroundTruth, level: int) -> list[tuple[float, ...]]:
    table = pd.read_csv(
        path, sep="\t" if path.suffix == ".tsv" else ",", float_precision="round_trip"
    )
    clips = {name: number for number, name in enumerate(truth.events)}
    labels = {label: number for number, label in enumerate(truth.classes)}
    rows = table[["filename", "event_label", "onset", "offset"]].itertuples(index=False)
    return [(level, clips[name], labels[label], *times) for name, label, *times in rows]


def test_files_of_a_system_on_desed(desed_system: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = desed_system
    with caplog.at_level(logging.ERROR):  # annotators' events overlap here and there
        truth = read_truth(folder)
    points = folder / "student" / "predictions_operating_points"
    read = read_operating_points(points, truth)
    assert read.thresholds == tuple(k / 100 for k in range(1, 100, 2))
    assert read.names == list(truth.events)
    assert not caplog.records
    expected = []
    for level, threshold in enumerate(read.thresholds):
        path = points / f"predictions_th_{threshold:.2f}.tsv"
        expected += as_pandas_reads(path, truth, level)
    assert rows_of(read.events) == sorted(expected)

    path = folder / "student" / "predictions0.5.csv"
    one = read_predictions(path, truth)
    rows = as_pandas_reads(path, truth, 0)
    place = list(truth.events).index
    renumbered = [(a, place(one.names[int(clip)]), *rest) for a, clip, *rest in rows_of(one.events)]
    assert renumbered == sorted(rows)
