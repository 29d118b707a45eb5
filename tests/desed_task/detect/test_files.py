"""Names of recordings in the output, and names that tables must quote."""

import csv
import io
import warnings
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from desed_task.detect.detector import Result
from desed_task.detect.events import Detection
from desed_task.detect.formats import (
    Found,
    audacity,
    audacity_confidence,
    combined_csv,
    raven,
    rttm,
    scores,
    tsv,
)
from desed_task.drawing.style import new_figure, to_png
from desed_task.tables import Table, split_fields


@pytest.mark.parametrize("name", ["a\tb.wav", 'a"b.wav', "a\nb.wav", "a\rb.wav", "a, b.wav"])
def test_any_name_in_tables(name: str, tmp_path: Path) -> None:
    found = Found(name, name, 3.0, [Detection(0.5, 1.0, "Dog", 0.75), Detection(1, 2, "Cat", 0.5)])
    result = Result(3.0, [], ("Cat", "Dog"), np.zeros((2, 1)), np.zeros(2), None, np.zeros(2), 8e3)
    for separator, column, parts in (
        ("\t", "filename", tsv([found], {})),
        ("\t", "Begin Path", raven(found, result)),
        (",", "path", combined_csv([found], {})),
    ):
        text = "".join(parts)
        table = pd.read_csv(io.StringIO(text, newline=""), sep=separator)
        assert list(table[column]) == [name, name]
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
        assert {len(row) for row in rows} == {len(table.columns)}
    fields = [line.split() for line in "".join(rttm(found, result)).splitlines()]
    assert [(len(each), unquote(each[1])) for each in fields] == [(10, name)] * 2
    assert len("".join(audacity(found, result)).splitlines()) == 2
    if not set(name) & set("\r\n"):
        (tmp_path / "events.tsv").write_text("".join(tsv([found], {})), encoding="utf-8")
        read = Table(tmp_path / "events.tsv", ["filename", "event_label"])
        assert [values for _, values in read.rows(str.isalpha)] == [[name, "Dog"], [name, "Cat"]]


def test_class_names_differ_in_every_format() -> None:
    names = [
        "A B",
        "A_B",
        "A  B",
        "A%20B",
        "100%",
        "猫\u3000犬",
        'the "loud" one',
        '"x"',
        "می\u200cزند",
    ]
    found = Found("x.wav", "x.wav", 9.0, [Detection(0, 1, name, 0.5) for name in names])
    edges = np.array([0.0, 9.0])
    result = Result(9.0, [], tuple(names), np.zeros((9, 1)), edges, None, edges, 8e3)
    marked = [line.split() for line in "".join(rttm(found, result)).splitlines()]
    assert [unquote(fields[7]) for fields in marked] == names
    assert {len(fields) for fields in marked} == {10}
    labels = [line.split("\t")[2] for line in "".join(audacity(found, result)).split("\n")[:-1]]
    assert labels == names
    marked = [line.split("\t") for line in "".join(audacity_confidence(found, result)).split("\n")]
    assert [each[2] for each in marked[:-1]] == [f"{name} 0.5000" for name in names]
    for separator, column, parts in (
        ("\t", "event_label", tsv([found], {})),
        ("\t", "Annotation", raven(found, result)),
        (",", "class", combined_csv([found], {})),
    ):
        table = pd.read_csv(io.StringIO("".join(parts)), sep=separator)
        assert list(table[column]) == names
    columns = pd.read_csv(io.StringIO("".join(scores(found, result))), sep="\t").columns
    assert list(columns[2:]) == names
    assert split_fields("".join(scores(found, result)).split("\n")[0])[2:] == names


def test_a_name_that_the_font_lacks_warns_nobody() -> None:
    figure = new_figure(1.0, 1.0)
    figure.suptitle("猫")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert to_png(figure)
