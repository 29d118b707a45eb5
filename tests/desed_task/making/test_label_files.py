"""Labels of every tool, with the recording, the times and the class that they mean."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from desed_task.dataio.recordings import find_recordings
from desed_task.errors import InputError
from desed_task.making.grouping import by_table
from desed_task.making.label_files import LabelOptions, LabelReader, class_files, class_folders
from desed_task.making.label_tables import given_columns
from desed_task.tables import quoted


def test_names_of_folders_are_classes_in_one_unicode_form() -> None:
    labels = class_folders(
        {Path("1"): Path("Ba\u0308r/1.wav"), Path("2"): Path("B\u00e4r/x/2.wav")}
    )
    assert [label.name for label in labels] == ["B\u00e4r", "B\u00e4r"]
    with pytest.raises(InputError, match="3: name of the folder: expected a name without commas"):
        class_folders({Path("3"): Path("a,b/3.wav")})


def test_recordings_are_named_in_any_unicode_form(tmp_path: Path) -> None:
    """As a file system that separates letters and accents has them, and as a table has them."""
    table, recording = tmp_path / "labels.csv", Path("Ba\u0308r 1.wav")
    table.write_text("file,tag,filename,group\nB\u00e4r 1.wav,Dog,B\u00e4r 1.wav,g\n", "utf-8")
    labels = LabelReader({recording: recording}).read(table)
    assert [(label.recording, label.name) for label in labels] == [
        (recording, None),
        (recording, "Dog"),
    ]
    assert by_table(table)(recording) == "g"


def test_two_folders_can_have_the_name_of_a_class(tmp_path: Path) -> None:
    for name in ("B\u00e4r/x.wav", "Ba\u0308r/y.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    found = class_files(tmp_path)
    assert list(found) == ["B\u00e4r"]
    assert {path.name for path in found["B\u00e4r"]} == {"x.wav", "y.wav"}
    (tmp_path / "a,b").mkdir()
    with pytest.raises(InputError, match="a,b: name of the folder: expected a name without commas"):
        class_files(tmp_path)


RATE = 1000
REAL = Path(__file__).parent / "real_labels"


class Labels:
    """Recordings of given seconds, and label files for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.audio = folder / "audio"
        self.reader: LabelReader

    def recording(self, name: str, seconds: float = 10.0, rate: int = RATE) -> Path:
        path = self.audio / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(round(seconds * rate)), rate)
        return path

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / "labels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def read(self, source: Path | None = None, **options: Any) -> list[tuple[str, Any, Any, Any]]:
        """File name, onset, offset and class of each label; None for recordings without one."""
        found = find_recordings([self.audio])
        if "columns" in options:
            options["columns"] = given_columns(options["columns"])
        self.reader = LabelReader(dict(found), LabelOptions(**options))
        relative = {path: name.as_posix() for path, name in found}
        labels = self.reader.read(source or self.folder / "labels")
        named = {label.recording for label in labels if label.name is not None}
        return [
            (relative[each.recording], each.onset, each.offset, each.name)
            for each in labels
            if each.name is not None or each.recording not in named
        ]

    def refused(self, **options: Any) -> str:
        with pytest.raises(InputError) as caught:
            self.read(**options)
        return str(caught.value)


@pytest.fixture
def labels(tmp_path: Path) -> Labels:
    return Labels(tmp_path)


@pytest.mark.parametrize(
    ("header", "onset", "offset"),
    [
        ("onset_s,offset_s,label", "1.4", "2.5"),
        ("start_seconds,stop_seconds,name", "1.4", "2.5"),
        ("start_sec,end_sec,species", "1.4", "2.5"),
        ("min_t,max_t,species", "1.4", "2.5"),
        ("tmin,tmax,text_label", "1.4", "2.5"),
        ("onset.s,offset.s,label", "1.4", "2.5"),
        ("start_ms,end_ms,label", "1400", "2500"),
        ("Start [ms],End [ms],label", "1400", "2500.0"),
        ("startTime,endTime,label", "1.4", "2.5"),
        ("StartTimeMs,EndTimeMs,label", "1400", "2500"),
        ("Begin Time (s),End Time (s),Species", "1.4", "2.5"),
        ("Start (s),End (s),Common name", "1.4", "2.5"),
        ("start_sample,end_sample,label", "1400", "2500"),
        ("onset (samples),duration (samples),label", "1400", "1100"),
        ("onset,Delta Time (s),label", "1.4", "1.1"),
        ("begin_time,duration_ms,label", "1.4", "1100"),
        ("event_start,event_end,label", "1.4", "2.5"),
        ("from (s),to (s),label", "1,4", "2,5"),
        ("Starttime,Endtime,label", "1.4", "2.5"),
    ],
)
def test_units_in_names_of_columns(header: str, onset: str, offset: str, labels: Labels) -> None:
    labels.recording("x.wav")
    separator = ";" if "," in onset else ","
    text = f"{header},file,Low Freq (Hz)\n".replace(",", separator)
    labels.write("all.csv", text + separator.join((onset, offset, "Owl", "x.wav", "310")) + "\n")
    options: dict[str, Any] = {"columns": "label=text_label"} if "text_label" in header else {}
    ((name, begin, end, label),) = labels.read(**options)
    assert (name, label) == ("x.wav", "Owl")
    assert (begin, end) == (pytest.approx(1.4), pytest.approx(2.5))
    (note,) = labels.reader.notes
    assert f"onset = {header.split(',')[0]}" in note
    assert "not used: Low Freq (Hz)" in note
    assert f"first row: file x.wav, onset {onset}" in note


def test_the_first_column_without_a_name_is_a_row_number(labels: Labels) -> None:
    labels.recording("x.wav")
    labels.write("x_annotations.csv", ",name,start_seconds,stop_seconds\n0,Owl,1,2\n1,Owl,3,4\n")
    assert labels.read() == [("x.wav", 1.0, 2.0, "Owl"), ("x.wav", 3.0, 4.0, "Owl")]


@pytest.mark.parametrize(
    ("header", "row", "named"),
    [
        ("file,start_frame,end_frame,label", "x.wav,44,97,Owl", "start_frame, end_frame"),
        ("file,t1,t2,label", "x.wav,1.4,2.5,Owl", "t1, t2"),
        ("file,label,begin_min", "x.wav,Owl,2", "begin_min"),
        ("file,label,duration", "x.wav,Owl,2", "duration"),
        ("file,OFFSET,DURATION,label", "x.wav,6,2,Owl", "OFFSET, DURATION"),
        ("file,label,fold", "x.wav,Owl,2", "fold"),
        (",file,label,1", "7,x.wav,Owl,2", "column 1"),
        ("file,label,low,high", "x.wav,Owl,,200", "high"),
        ("file,time in,time out,label", "x.wav,0:01.4,00:00:02.5,Owl", "time in, time out"),
        ("file,at,label", "x.wav,1.4-2.5 s,Owl", "at"),
        ("file,geometry,label", 'x.wav,"[1.4, 200, 2.5, 400]",Owl', "geometry"),
    ],
)
def test_numbers_that_are_not_understood_are_refused(
    header: str, row: str, named: str, labels: Labels
) -> None:
    labels.recording("x.wav")
    path = labels.write("all.csv", f"{header}\n{row}\n{row}\n")
    message = labels.refused()
    assert message.startswith(f"{path}:1: numbers that are not understood in {named}")
    assert quoted(", ".join(header.split(","))) in message
    assert "--columns onset=…,offset=…,label=…,file=…" in message
    options = "onset=none,offset=none,duration=none"
    assert labels.read(columns=options)[0] == ("x.wav", None, None, "Owl")


def test_tags_with_row_numbers_and_confidences(labels: Labels) -> None:
    labels.recording("x.wav")
    labels.recording("y.wav")
    labels.write("all.csv", 'index,file,tags,confidence\n7,x.wav,"Owl, Fox,",0.5\n8,y.wav,,1\n')
    assert labels.read() == [
        ("x.wav", None, None, "Owl"),
        ("x.wav", None, None, "Fox"),
        ("y.wav", None, None, None),
    ]
    assert "no times: tags of whole recordings" in labels.reader.notes[0]


def test_columns_of_dates_and_few_numbers_are_no_times(labels: Labels) -> None:
    labels.recording("x.wav")
    rows = "x.wav,2023-06-01,2,Owl\nx.wav,2023-06-01 05:00:00,tree,Owl\nx.wav,,pond,Owl\n"
    labels.write("all.csv", f"file,date,place,label\n{rows}")
    assert set(labels.read()) == {("x.wav", None, None, "Owl")}
    labels.write("all.csv", f"file,date,place,label\n{rows.replace('tree', '3')}")
    assert "numbers that are not understood in place" in labels.refused()


@pytest.mark.parametrize(
    "text", ["['Owl', 'Fox']", '[{"start":1,"labels":["Owl"]}]', '{"1":"Owl"}', "[Owl, Fox]"]
)
@pytest.mark.parametrize("times", ["", "\t1\t2"])
def test_lists_are_no_labels(times: str, text: str, labels: Labels) -> None:
    """As pandas and Label Studio write them into a cell."""
    labels.recording("x.wav")
    head = "file\tonset\toffset\tlabel" if times else "file\tlabel"
    cell = '"' + text.replace('"', '""') + '"'
    path = labels.write("all.tsv", f"{head}\nx.wav{times}\t{cell}\n")
    assert labels.refused() == f"{path}:2: label: expected a name, got a list: {quoted(text)}"
    path.write_text(f"{head}\nx.wav{times}\t[owl] (far)\n")
    assert labels.read()[0][3] == "[owl] (far)"


def test_labels_without_times_in_a_table_with_times_are_no_tags(labels: Labels) -> None:
    """DAS writes the names of its classes so."""
    for name in "xy":
        labels.recording(f"{name}.wav")
        end = "pulse,1,2\n" if name == "x" else ""
        header = "name,start_seconds,stop_seconds\n"
        labels.write(f"{name}_annotations.csv", f"{header}vibration,nan,nan\n{end}")
    assert labels.read() == [("x.wav", 1, 2, "pulse")]
    assert labels.reader.counts["labels without times, in tables with times, are not used"] == 2
    assert {path.name for path in labels.reader.pointed} == {"y.wav"}


def test_begin_without_end_is_refused(labels: Labels) -> None:
    labels.recording("x.wav")
    labels.write("all.csv", "file,onset,label\nx.wav,1,Owl\n")
    assert "begin without end or duration" in labels.refused()


def test_columns_are_named_with_their_units(labels: Labels) -> None:
    labels.recording("x.wav")
    labels.write("all.csv", "wav name,t: one,t2,what,label\nx.wav,1400,2.5,Owl,no\n")
    given = "onset=t: one:ms,offset=T2,label=what,file=wav name"
    assert labels.read(columns=given) == [("x.wav", 1.4, 2.5, "Owl")]
    assert "--columns label: expected a column who, got 0" in labels.refused(
        columns=given.replace("what", "who")
    )
    for wrong in ("onset", "begin=x", "onset=", "onset=a,onset=b"):
        with pytest.raises(InputError, match="--columns: expected MEANING=COLUMN of file, onset"):
            given_columns(wrong)


@pytest.mark.parametrize(
    ("header", "rows", "option", "expected"),
    [  # milliseconds in seconds: an onset, and an offset, far behind the end
        ("start_seconds,stop_seconds", "1400,2500", "onset=start_seconds:ms", (1.4, 2.5)),
        ("onset_s,offset_s", "0,2500", "offset=offset_s:ms", (0.0, 2.5)),
        ("start,duration", "1,2500", "duration=duration:ms", (0.001, 2.501)),
        # seconds in milliseconds and in samples
        ("start_ms,end_ms", "1.4,2.5", "onset=start_ms:s", (1.4, 2.5)),
        ("start_sample,end_sample", "1.4,2.5", "onset=start_sample:s", (1.4, 2.5)),
    ],
)
def test_values_that_contradict_the_unit(
    header: str, rows: str, option: str, expected: tuple[float, float], labels: Labels
) -> None:
    labels.recording("x.wav")
    labels.write("x_labels.csv", f"{header},label\n{rows},Owl\n")
    message = labels.refused()
    assert option in message
    first, last = header.split(",")
    unit = option.rpartition(":")[2]
    kind = "duration" if last == "duration" else "offset"
    given = f"onset={first}:{unit},{kind}={last}:{unit}"
    ((_, begin, end, _),) = labels.read(columns=given)
    assert (begin, end) == (pytest.approx(expected[0]), pytest.approx(expected[1]))


RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tBegin Path\tFile Offset (s)\tSpecies"
)


def test_raven_times_of_several_files(labels: Labels) -> None:
    """Times run over all open files; `File Offset (s)` is the begin in its file."""
    for name in ("a.wav", "b.wav"):
        labels.recording(f"site/{name}")
    rows = [
        ("Waveform 1", 3, 4.5, "a.wav", 3, "Owl"),
        ("Spectrogram 1", 3, 4.5, "a.wav", 3, "Owl"),
        ("Waveform 1", 13, 14.5, "b.wav", 3, "Fox"),
        ("Spectrogram 1", 13, 14.5, "b.wav", 3, "Fox"),
        ("Spectrogram 1", 19, 19.25, "b.wav", 9, "Fox"),
    ]
    table = "\n".join(
        f"{n}\t{view}\t1\t{a}\t{b}\tD:\\rec\\site\\{file}\t{at}\t{label}"
        for n, (view, a, b, file, at, label) in enumerate(rows)
    )
    labels.write("all.Table.1.selections.txt", f"{RAVEN}\n{table}\n")
    assert labels.read() == [
        ("site/a.wav", 3.0, 4.5, "Owl"),
        ("site/b.wav", 3.0, 4.5, "Fox"),
        ("site/b.wav", 9.0, 9.25, "Fox"),
    ]


def test_raven_times_of_several_files_without_their_offsets(labels: Labels) -> None:
    for name in ("a.wav", "b.wav"):
        labels.recording(name, 10 if name == "a.wav" else 60)
    head = RAVEN.replace("\tFile Offset (s)", "")
    row = "{}\tSpectrogram 1\t1\t{}\t{}\t{}\tOwl\n"
    path = labels.write(
        "all.txt",
        f"{head}\n{row.format(1, 3, 4, 'a.wav')}{row.format(2, 13, 14, 'b.wav')}",
    )
    expected = f"{path}:1: times that run over several files: expected a column File Offset (s)"
    assert labels.refused().startswith(expected)
    assert len(labels.read(columns="onset=Begin Time (s):s")) == 2
    path.write_text(path.read_text() + row.format(3, 1, 2, "b.wav"))
    assert len(labels.read()) == 3


def test_a_row_of_raven_without_its_file_offset(labels: Labels) -> None:
    labels.recording("a.wav")
    row = "1\tSpectrogram 1\t1\t{}\t{}\ta.wav\t{}\tOwl\n"
    path = labels.write("all.txt", f"{RAVEN}\n{row.format(13, 14, 3)}{row.format(4, 5, '')}")
    assert labels.refused().startswith(f"{path}:3: File Offset (s): expected a number")


@pytest.mark.parametrize(
    ("header", "given", "named"),
    [
        ("file,start,end,onset,end_sample,label", "onset=onset", "onset: expected one, got"),
        (
            "file,onset,start,duration,length,label",
            "onset=start,duration=length",
            "onset: expected",
        ),
        (
            "file,onset,end,duration,stop,label",
            "offset=stop",
            "offset: expected one, got end, stop",
        ),
        ("file,onset,end,label,x,Label", "label=x", "label: expected one, got label, Label"),
        ("file,onset,end,label,x,file", "file=x", "file: expected one, got file, file"),
    ],
)
def test_several_columns_of_one_meaning(
    header: str, given: str, named: str, labels: Labels
) -> None:
    labels.recording("x.wav")
    rows = "x.wav,2,5,Owl,x.wav,Owl" if header.count("label") > 1 or ",x," in header else ""
    labels.write("all.csv", f"{header}\n{rows or 'x.wav,1,5,2,4,Owl'}\n")
    assert f"all.csv:1: several columns for {named}" in labels.refused()
    assert len(labels.read(columns=given)) == 1


def test_a_given_column_has_no_other_meaning(labels: Labels) -> None:
    """Kaleidoscope's `OFFSET` is the onset."""
    labels.recording("a/x.wav")
    labels.write("id.csv", "FOLDER,IN FILE,OFFSET,DURATION,MANUAL ID\na,x.wav,6,2,Owl\n")
    given = "file=IN FILE,onset=OFFSET,duration=DURATION,label=MANUAL ID"
    assert labels.read(columns=given) == [("a/x.wav", 6.0, 8.0, "Owl")]


def test_rows_with_more_fields_than_the_header(labels: Labels) -> None:
    labels.recording("x.wav")
    path = labels.write("all.csv", "file,onset,offset,label\nx.wav,1,2,Owl,,\nx.wav,1,2,Owl, Fox\n")
    expected = f"{path}:3: number of fields: expected at most 4, got 5"
    assert labels.refused().startswith(expected)


def test_birdnet(labels: Labels) -> None:
    """The table of all recordings, a table and a CSV of one; the last window ends behind it."""
    labels.recording("a/x.wav", 7)
    labels.recording("a/y.wav", 7)
    head = (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\t"
        "Common Name\tSpecies Code\tConfidence\tBegin Path\tFile Offset (s)\n"
    )
    table = labels.write(
        "BirdNET_SelectionTable.txt",
        head
        + "1\tSpectrogram 1\t1\t3.0\t6.0\t0\t15000\tOwl\tow\t0.9\t/in/a/x.wav\t3.0\n"
        + "2\tSpectrogram 1\t1\t13.0\t16.0\t0\t15000\tFox\tfo\t0.9\t/in/a/y.wav\t6.0\n",
    )
    expected = [("a/x.wav", 3.0, 6.0, "Owl"), ("a/y.wav", 6.0, 7.0, "Fox")]
    assert labels.read() == expected
    assert labels.reader.counts["labels end after their recording and are cut at its end"] == 1
    table.unlink()
    header = "Start (s),End (s),Scientific name,Common name,Confidence"
    labels.write("x.BirdNET.results.csv", f"{header},File\n3.0,6.0,Strix,Owl,0.9,/in/a/x.wav\n")
    labels.write("y.BirdNET.results.csv", f"{header}\n6.0,9.0,Vulpes,Fox,0.9\n")
    assert labels.read() == expected


def test_rows_of_recordings_elsewhere_are_counted_and_named(labels: Labels) -> None:
    labels.recording("siteA/x.wav")
    head = "file,onset,offset,label\n"
    labels.write("all.csv", f"{head}siteA/x.wav,1,2,Owl\nsiteB/x.wav,3,4,Fox\nz.wav,3,4,Fox\n")
    assert labels.read() == [("siteA/x.wav", 1.0, 2.0, "Owl")]
    note = "all.csv:3: 2 rows are of 2 recordings that are not below --audio and are not used: "
    assert f"{note}'siteB/x.wav', 'z.wav'" in labels.reader.notes[1]
    labels.recording("siteB/x.wav")
    labels.write("all.csv", f"{head}x.wav,1,2,Owl\n")
    assert "all.csv:2: 'x.wav': fits several recordings: expected one, got" in labels.refused()
    labels.write("all.csv", f"{head}siteC/x.wav,1,2,Owl\n")
    expected = "all.csv:2: no such recording below --audio: 'siteC/x.wav' (did you mean site"
    assert expected in labels.refused()


def test_a_label_file_without_recording_is_named(labels: Labels) -> None:
    labels.recording("x.wav")
    path = labels.write("y_labels.csv", "onset,offset,label\n1,2,Owl\n")
    message = labels.refused()
    assert message.startswith(f"{path}: its name fits no recording below --audio")
    assert message.endswith("; --columns file=… names a column of paths")
    path.rename(path.with_name("y.txt"))
    assert "y.txt: its name fits no recording below --audio" in labels.refused()


@pytest.mark.parametrize(
    ("name", "events", "first", "options"),
    [
        ("audacity_with_frequencies.txt", 18, (0.101385, 0.36752, "SP"), {}),
        ("raven_dawn_chorus.Table.1.selections.txt", 6, (154.387792767, 154.911598217, "EATO"), {}),
        ("raven_annotation_column.txt", 1, (1.897648165999982, 4.110570810999974, "CSWA"), {}),
        ("raven_empty.Table.1.selections.txt", 0, (None, None, None), {}),
        ("scaper_soundscape.txt", 3, (2.0, 7.0, "siren"), {}),
        ("scaper_background_only.jams", 0, (None, None, None), {}),
    ],
)
def test_files_of_real_tools(
    name: str, events: int, first: tuple[Any, ...], options: dict[str, Any], labels: Labels
) -> None:
    labels.recording("x.wav", 400)
    labels.write("x" + name[name.index(".") :], (REAL / name).read_bytes())
    found = labels.read(**options)
    assert found[0] == ("x.wav", *first)
    assert sum(each[3] is not None for each in found) == events


def test_a_row_without_class_is_counted_or_has_the_given_one(labels: Labels) -> None:
    labels.recording("x.wav", 400)
    content = (REAL / "raven_frogs_and_birds.Table.1.selections.txt").read_bytes()
    labels.write("x.Table.1.selections.txt", content)
    found = labels.read()
    assert len(found) == 9
    assert labels.reader.counts["labels have no class and are not used; see --label"] == 1
    assert labels.read(label="Unknown") == [
        *found,
        ("x.wav", 15.87474886299998, 16.07000674400001, "Unknown"),
    ]


def test_labels_that_are_no_class(labels: Labels) -> None:
    labels.recording("x.wav", 400)
    labels.write("x.txt", (REAL / "audacity_canary.txt").read_bytes())
    labels.recording("y.wav")
    labels.write("y.txt", "1\t2\tTRASH\n")
    every = [each for each in labels.read() if each[0] == "x.wav"]
    kept = [each for each in every if each[3] != "SIL"]
    assert len(every) > len(kept) > 20
    assert labels.read(ignore=("SIL", "TRASH")) == [*kept, ("y.wav", None, None, None)]
    ignored = labels.reader.counts["labels are ignored (--ignore)"]
    assert ignored == len(every) - len(kept) + 1
    assert "--ignore: expected labels of the files, got Sil" in labels.refused(ignore=("Sil",))


def test_tables_without_classes(labels: Labels) -> None:
    labels.recording("x.wav")
    labels.recording("y.wav")
    labels.write("all.csv", "file,onset,offset\nx.wav,1,2\ny.wav,,\n")
    message = labels.refused()
    assert "all.csv:1: missing column of classes: expected one of event label" in message
    assert "--label" in message
    assert labels.read(label="Owl") == [("x.wav", 1, 2, "Owl"), ("y.wav", None, None, None)]
    labels.write("all.csv", "file\nx.wav\n")
    assert labels.read(label="Owl") == [("x.wav", None, None, "Owl")]


def test_a_recording_with_labels_of_no_class_alone_is_not_silent(labels: Labels) -> None:
    labels.recording("x.wav")
    labels.recording("y.wav")
    labels.write("x.txt", "1\t2\t\n3\t4\n")
    labels.write("y.txt", "1\t2\tOwl\n")
    assert labels.read() == [("y.wav", 1, 2, "Owl")]
    assert {path.name for path in labels.reader.pointed} == {"x.wav"}
    assert labels.read(label="Fox")[:2] == [("x.wav", 1, 2, "Fox"), ("x.wav", 3, 4, "Fox")]


@pytest.mark.parametrize(("yes", "no"), ["10", ("1.0", "0.0"), ("True", "False"), ("POS", "UNK")])
@pytest.mark.parametrize("times", ["", ",onset,offset"])
def test_a_column_for_each_class_is_refused(times: str, yes: str, no: str, labels: Labels) -> None:
    labels.recording("x.wav")
    values = ",1,2" if times else ""
    labels.write(
        "all.csv",
        f"file{times},Owl,Fox\nx.wav{values},{yes},{no}\nx.wav{values},{no},{yes}\n",
    )
    for options in ({}, {"label": "Owl"}):
        assert "a column of 0 and 1 for each class (Owl, Fox) is not read" in labels.refused(
            **options
        )


def test_channels_and_frequencies_of_raven_are_no_classes(labels: Labels) -> None:
    labels.recording("x.wav")
    head = RAVEN.partition("\tBegin Path")[0]
    row = "1\tSpectrogram 1\t1\t1.0\t2.0\t0\t0\n"
    labels.write("x.Table.1.selections.txt", f"{head}\tLow Freq (Hz)\tPeak Freq (Hz)\n{row}")
    assert "missing column of classes" in labels.refused()
    assert labels.read(label="Owl") == [("x.wav", 1.0, 2.0, "Owl")]


def test_quotation_marks_and_line_ends_in_cells(labels: Labels) -> None:
    labels.recording("x.wav")
    path = labels.write(
        "all.csv",
        'file,notes,onset,offset,label\r\n"x.wav","a ""b"", 5"" nail\r\n\r\nsecond",1,2,Owl\r\n'
        'x.wav,5" nail,3,4,Owl\r\nx.wav,,soon,4,Owl\r\n',
    )
    assert labels.refused() == f"{path}:6: onset: expected a number, got 'soon'"
    path.write_text(path.read_text().replace("soon", "3.5"))
    assert [each[1] for each in labels.read()] == [1, 3, 3.5]


TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 10
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "vögel 2"
        xmin = 0
        xmax = 10
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.25
            text = ""
        intervals [2]:
            xmin = 1.25
            xmax = 2
            text = "say ""owl"" item [2]: 7 "
        intervals [3]:
            xmin = 2
            xmax = 10
            text = " "
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 10
        points: size = 1
        points [1]:
            number = 0.5
            mark = "click"
    item [3]:
        class = "IntervalTier"
        name = "IntervalTier"
        xmin = 0
        xmax = 10
        intervals: size = 1
        intervals [1]:
            xmin = 3e0
            xmax = 10
            text = "Fox"
"""


def _short_form(text: str) -> str:
    """The values alone, one a line, as Praat's short text files have them."""
    head, _, rest = text.partition("\n\n")
    values = re.findall(r'(?<== )"(?:[^"]|"")*"|(?<== )[\d.e]+|<exists>', rest)
    return f"{head}\n\n" + "\n".join(values) + "\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("form", [str, _short_form])
def test_textgrids(form: Callable[[str], str], encoding: str, labels: Labels) -> None:
    labels.recording("x.wav")
    text = form(TEXTGRID).replace("\n", "\r\n")
    labels.write("x.TextGrid", ("\ufeff" * (encoding == "utf-16-be") + text).encode(encoding))
    owl = ("x.wav", 1.25, 2.0, 'say "owl" item [2]: 7')
    assert labels.read() == [owl, ("x.wav", 3.0, 10.0, "Fox")]
    assert labels.reader.counts["labels of no length (points) are not used"] == 1
    assert labels.read(tier="vögel 2") == [owl]
    assert labels.reader.counts["labels in other tiers than --tier are not used"] == 2
    assert labels.read(tier="clicks") == []  # points alone: what happens is not known
    assert "x.TextGrid:" in labels.refused(tier="birds")
    assert "--tier: expected the tier birds, got vögel 2, clicks" in labels.refused(tier="birds")


def test_broken_textgrids_are_refused(labels: Labels) -> None:
    labels.recording("x.wav")
    path = labels.write("x.TextGrid", TEXTGRID[:-60])
    assert labels.refused() == f"{path}:41: TextGrid: expected a number, got its end"
    labels.write("x.TextGrid", TEXTGRID.replace("xmax = 2\n", 'xmax = "2"\n'))
    assert labels.refused() == f"{path}:21: TextGrid: expected a number, got '\"2\"'"


def test_rttm(labels: Labels) -> None:
    labels.recording("day 1/a b.wav")
    labels.recording("c.wav")
    labels.write(
        "any.rttm",
        ";; comment\nSPKR-INFO c 1 <NA> <NA> <NA> unknown Owl <NA>\n"
        "SPEAKER day%201/a%20b.wav 1 1.000000 0.500000 <NA> <NA> Great%20Owl 0.9000 <NA>\n"
        "SPEAKER c 1 2 1.5 <NA> <NA> Fox <NA> <NA>\n",
    )
    assert labels.read() == [
        ("day 1/a b.wav", 1.0, 1.5, "Great Owl"),
        ("c.wav", 2.0, 3.5, "Fox"),
    ]
    labels.write("any.rttm", "SPEAKER c 1 two 1.5 <NA> <NA> Fox <NA> <NA>\n")
    assert "any.rttm:1: expected SPEAKER and at least 7 fields" in labels.refused()


def test_json_of_our_own_and_jams(labels: Labels) -> None:
    labels.recording("a.wav")
    labels.recording("b.wav")
    event = {"onset": 1.0, "offset": 2.5, "event_label": "Owl", "confidence": 0.9}
    content = {"path": "/in/audio/a.wav", "seconds": 10, "classes": ["Owl"], "events": [event]}
    labels.write("a.wav.json", json.dumps(content))
    scaper = {"label": "Fox", "role": "foreground"}
    data = [
        {"time": 1, "duration": 2, "value": scaper, "confidence": 1},
        {"time": 0, "duration": 10, "value": {"label": "park", "role": "background"}},
        {"time": 5.0, "duration": 1, "value": "Dog"},
    ]
    labels.write("b.jams", json.dumps({"annotations": [{"namespace": "scaper", "data": data}]}))
    assert labels.read() == [
        ("a.wav", 1.0, 2.5, "Owl"),
        ("b.wav", 1.0, 3.0, "Fox"),
        ("b.wav", 5.0, 6.0, "Dog"),
    ]
    labels.write("a.wav.json", json.dumps([{"annotations": []}]))
    assert "a.wav.json: expected JSON of sed-detect or JAMS, got a list (Label Studio" in (
        labels.refused()
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", "["),
        ("x.json", "[" * 100_000),
        ("x.json", "5"),
        ("x.json", '{"events": [5, {"onset": 1, "offset": null, "event_label": "A"}]}'),
        ("x.json", '{"path": null, "events": [{"onset": 1, "offset": 2, "event_label": 7}]}'),
        ("x.jams", '{"annotations": [5]}'),
        ("x.jams", '{"annotations": [{"data": 5}, {"data": [5]}, {"data": [{"value": 5}]}]}'),
        ("x.jams", '{"annotations": [{"data": [{"value": "A", "time": NaN, "duration": 1}]}]}'),
        ("x.TextGrid", TEXTGRID.replace("size = 3", "size = 1e999")),
        ("x.TextGrid", "ooBinaryFile\x08TextGrid"),
        ("x.rttm", "SPEAKER x"),
        ("x.txt", "Owl\n"),
        ("x.csv", ""),
        ("x.csv", "\n\n"),
        ("x.csv", '"onset'),
        ("x.txt", b"\xff\xff"),
    ],
)
def test_broken_files_are_refused(name: str, content: str | bytes, labels: Labels) -> None:
    labels.recording("x.wav")
    path = labels.write(name, content)
    assert labels.refused().startswith((f"{path}:", "--labels: "))


@pytest.mark.parametrize("name", ["x.eaf", "x.svl", "x.XLSX", "x.lab"])
def test_formats_that_are_not_read_are_named(name: str, labels: Labels) -> None:
    labels.recording("x.wav")
    path = labels.write(name, "<?xml?>")
    assert labels.refused().startswith(f"{path}: is not read; ")


def test_a_text_file_with_a_header_is_a_table(labels: Labels) -> None:
    labels.recording("x.wav")
    labels.write("x_labels.txt", "start\tend\tlabel\n1\t2\tOwl\n")
    assert labels.read() == [("x.wav", 1.0, 2.0, "Owl")]


def test_confidences_behind_labels_of_audacity_are_removed(labels: Labels) -> None:
    labels.recording("x.wav")
    labels.write("x.wav.txt", "1.0\t2.0\tSpeech 0.7350\n3.0\t4.0\tSpeech\n5.0\t6.0\tTake 2\t1\n")
    assert [each[3] for each in labels.read()] == ["Speech", "Speech", "Take 2"]
    assert labels.reader.counts["confidences behind labels were removed from them"] == 1
    assert labels.reader.counts["fields behind the labels of label tracks are not used"] == 1


def test_lines_before_the_header_that_begin_with_a_number_sign(labels: Labels) -> None:
    labels.recording("x.wav")
    text = '# model: "a, b"\n# threshold: 0.5\npath,onset,offset,class,confidence\n'
    path = labels.write("events.csv", f"{text}/in/audio/x.wav,1.0,2.0,Owl,0.9\n")
    assert labels.read() == [("x.wav", 1.0, 2.0, "Owl")]
    path.write_text(f"{text}/in/audio/x.wav,late,2.0,Owl,0.9\n")
    assert labels.refused().startswith(f"{path}:4: onset: expected a number")
