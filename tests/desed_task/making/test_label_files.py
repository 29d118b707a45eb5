"""Names of classes and recordings in any Unicode form; folders as classes."""

from pathlib import Path

import pytest

from desed_task.errors import InputError
from desed_task.making.grouping import by_table
from desed_task.making.label_files import LabelReader, class_files, class_folders


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
