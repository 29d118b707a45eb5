import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from desed_task.errors import InputError
from desed_task.tables import Table, quoted, read_text

Writer = Callable[[str], Path]
Rows = list[tuple[int, list[str]]]

COLUMNS = ("filename", "tags")


@pytest.fixture
def file(tmp_path: Path) -> Writer:
    def write(text: str) -> Path:
        path = tmp_path / "table.tsv"
        path.write_bytes(text.encode())
        return path

    return write


def rows_of(table: Table) -> Rows:
    rows = list(table.rows(lambda name: name.endswith(".wav")))
    table.finish()
    return rows


@pytest.mark.parametrize(
    "text",
    [
        "filename\ttags\na.wav\tDog\n",
        "\ufefffilename\ttags\r\na.wav\tDog",
        "filename\ttags\ra.wav\tDog\r",
        '"filename"\t"tags"\n"a.wav"\t"Dog"\n',
        " filename \t tags \n a.wav \t Dog \n",
    ],
)
def test_line_ends_byte_order_mark_quotes_and_spaces_make_no_difference(
    file: Writer, text: str
) -> None:
    assert rows_of(Table(file(text), COLUMNS)) == [(2, ["a.wav", "Dog"])]


def test_blank_lines_are_skipped_and_counted(file: Writer) -> None:
    path = file("\nfilename\ttags\n\na.wav\tDog\n\t\n \nb.wav\tCat\n")
    assert rows_of(Table(path, COLUMNS)) == [(4, ["a.wav", "Dog"]), (7, ["b.wav", "Cat"])]


def test_columns_are_found_by_name_and_others_ignored(file: Writer) -> None:
    path = file("tags\tindex\tfilename\nDog\t7\ta.wav\n")
    assert rows_of(Table(path, COLUMNS)) == [(2, ["a.wav", "Dog"])]


def test_a_row_of_only_a_file_name_has_empty_values(file: Writer) -> None:
    path = file("tags\tfilename\na.wav\n")
    assert rows_of(Table(path, COLUMNS)) == [(2, ["a.wav", ""])]


def test_tables_are_read_as_pandas_writes_them(tmp_path: Path) -> None:
    values = ["Dog,Speech", 'odd "name"', "tab\there", "plain", "ß"]
    frame = pandas.DataFrame({"filename": [f"{n}.wav" for n in range(5)], "tags": values})
    options: list[dict[str, Any]] = [
        {"sep": "\t"},
        {"sep": "\t", "quoting": 1},  # all fields quoted
        {"sep": ","},
        {"sep": "\t", "encoding": "utf-8-sig", "lineterminator": "\r\n"},
        {"sep": "\t", "encoding": "utf-16"},  # a spreadsheet's "Unicode text"
    ]
    for number, each in enumerate(options):
        path = tmp_path / f"{number}.tsv"
        frame.to_csv(path, index=False, **each)
        rows = rows_of(Table(path, COLUMNS, separators="\t,"))
        assert [row for _, row in rows] == frame.to_numpy().tolist()


def test_separators_are_those_of_the_header(file: Writer) -> None:
    path = file("filename,tags\na.wav,Dog\nb.wav\tCat\n")
    table = Table(path, COLUMNS, separators="\t,")
    with pytest.raises(InputError, match=rf"{path}:3: .* commas, .* \(this .* separated by tabs"):
        rows_of(table)
    with pytest.raises(InputError, match="missing columns filename, tags"):
        Table(path, COLUMNS)


def test_problems_name_file_and_line_and_are_counted(file: Writer) -> None:
    path = file("filename\ttags\n" + 'a.wav\t"Dog\n' + "a.wav\tDog\tx\n" * 6)
    with pytest.raises(InputError) as caught:
        rows_of(Table(path, COLUMNS))
    first, *lines = str(caught.value).splitlines()
    assert first == f"{path}: 7 problems, the first 5:"
    assert lines[0].startswith(f"  {path}:2: quotation marks: ")
    assert lines[1].startswith(f"  {path}:3: number of fields: expected 2, ")
    assert len(lines) == 5


def test_warnings_name_file_and_line(file: Writer, caplog: pytest.LogCaptureFixture) -> None:
    path = file("filename\ttags\na.wav\tDog\n")
    table = Table(path, COLUMNS)
    table.warning(2, "odd")
    with caplog.at_level(logging.WARNING):
        table.finish()
    assert caplog.messages == [f"{path}:2: odd"]


@pytest.mark.parametrize("text", ["1.5", "1e0", " 3 "])
def test_numbers(file: Writer, text: str) -> None:
    assert Table(file("filename\ttags\nx\ty"), COLUMNS).number(2, "tags", text) == float(text)


@pytest.mark.parametrize("text", ["", "nan", "inf", "-inf", "1,5", "one"])
def test_texts_that_are_no_finite_numbers(file: Writer, text: str) -> None:
    path = file("filename\ttags\nx\ty")
    table = Table(path, COLUMNS)
    assert table.number(2, "tags", text) is None
    with pytest.raises(InputError, match=f"{path}:2: tags: expected a number"):
        table.finish()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("filename", ":1: missing column tags: "),
        ("a b", ":1: missing columns filename, tags: "),
        ("tags\tfilename\ttags", ":1: repeated column tags: "),
        ('filename\t"tags', ":1: quotation marks: "),
    ],
)
def test_column_names_are_checked(file: Writer, header: str, message: str) -> None:
    with pytest.raises(InputError, match=f"table.tsv{message}"):
        Table(file(f"{header}\na.wav\tDog\n"), COLUMNS)


@pytest.mark.parametrize(("text", "count"), [("", 0), ("\n", 0), ("\ufeff", 0), ("filename\n", 1)])
def test_a_file_without_rows_is_refused_where_rows_are_required(
    file: Writer, text: str, count: int
) -> None:
    path = file(text)
    with pytest.raises(InputError, match=f"{path}: no rows: .* got {count} line"):
        Table(path, COLUMNS)


def test_a_file_without_rows_is_read_where_none_are_required(file: Writer) -> None:
    table = Table(file("\n"), COLUMNS, rows_required=False)
    assert table.is_blank
    assert rows_of(table) == []
    table = Table(file("filename\ttags\n"), COLUMNS, rows_required=False)
    assert not table.is_blank
    assert rows_of(table) == []


def test_files_in_other_encodings_and_missing_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bytes.tsv"
    path.write_bytes(b"filename\n\xff\xfe.wav\n")
    with pytest.raises(InputError, match=r"bytes\.tsv: cannot be read as text: 'utf-8'"):
        read_text(path)
    path.write_bytes(b"\xff\xfea")
    with pytest.raises(InputError, match=r"bytes\.tsv: cannot be read as text: 'utf-16"):
        read_text(path)
    with pytest.raises(InputError, match=r"none\.tsv: cannot be read"):
        read_text(tmp_path / "none.tsv")
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path)


def test_long_texts_are_shortened_in_messages() -> None:
    assert quoted("a\tb") == r"'a\tb'"
    assert quoted("x" * 1000) == repr("x" * 80 + "…")


def test_quotation_marks_and_line_ends_in_cells(file: Writer) -> None:
    """As Python's csv reads them; problems after them have the right line."""
    path = file(
        'filename\ttags\tnotes\na.wav\t5" nail\tx\nb.wav\t"two ""b""\r\n\r\nlines"\ty\n\n'
        "c.wav\tDog\nd.wav\tCat\tz\n"
    )
    table = Table(path, COLUMNS)
    rows = list(table.rows(lambda name: False))
    assert rows == [
        (2, ["a.wav", '5" nail']),
        (3, ["b.wav", 'two "b"\n\nlines']),
        (8, ["d.wav", "Cat"]),
    ]
    with pytest.raises(InputError, match=rf"{path}:7: number of fields: expected 3, .* got 2"):
        table.finish()


def test_a_quotation_mark_without_end_is_the_problem_of_its_line(file: Writer) -> None:
    path = file('filename\ttags\na.wav\t"Dog\nb.wav\t"Cat" x\nc.wav\tOwl\n' + "d.wav\tFox\n" * 200)
    table = Table(path, COLUMNS)
    assert len(list(table.rows(lambda name: False))) == 201
    assert table.n_problems == 2
    with pytest.raises(InputError) as caught:
        table.finish()
    assert [f"{path}:{line}: quotation marks: " in str(caught.value) for line in (2, 3)] == [
        True
    ] * 2


def test_a_column_name_with_a_line_end(file: Writer) -> None:
    path = file('filename\t"my\nnotes"\ttags\na.wav\tx\tDog\n')
    assert rows_of(Table(path, COLUMNS)) == [(3, ["a.wav", "Dog"])]


def test_names_of_files_have_one_unicode_form(file: Writer) -> None:
    path = file("filename\ttags\nBa\u0308r.wav\tUhu\u0308\nBa\u0308r2.wav\n")
    assert rows_of(Table(path, COLUMNS)) == [
        (2, ["B\u00e4r.wav", "Uh\u00fc"]),
        (3, ["B\u00e4r2.wav", ""]),
    ]
