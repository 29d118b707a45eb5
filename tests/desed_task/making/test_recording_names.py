"""Paths in tables and names of label files -> recordings."""

from pathlib import Path

import pytest

from desed_task.making.recording_names import RecordingNames

ROOT = Path("/data/field/audio")


def _names(*relative: str, root: Path = ROOT) -> RecordingNames:
    return RecordingNames({root / each: Path(each) for each in relative})


def _found(names: RecordingNames, *paths: str, root: Path = ROOT) -> list[list[str]]:
    found = names.find(paths)
    return [[each.relative_to(root).as_posix() for each in found[path]] for path in paths]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("siteA/x.wav", ["siteA/x.wav"]),
        ("audio/siteB/x.wav", ["siteB/x.wav"]),
        ("./siteA/x.wav", ["siteA/x.wav"]),
        ("siteA\\x.wav", ["siteA/x.wav"]),
        ("D:\\2023\\siteB\\x.wav", ["siteB/x.wav"]),
        ("/mnt/old/siteA/x.wav", ["siteA/x.wav"]),
        ("/data/field/audio/siteA/x.wav", ["siteA/x.wav"]),
        ("field/audio/siteA/x", ["siteA/x.wav"]),
        ("siteA/x.mp3", ["siteA/x.wav"]),
        ("../other/../siteA/x.wav", ["siteA/x.wav"]),
        ("proj/siteA/x.wav", ["siteA/x.wav"]),
        ("y.wav", ["siteB/day1/y.wav"]),
        ("day1/y.wav", ["siteB/day1/y.wav"]),
        ("x.wav", ["siteA/x.wav", "siteB/x.wav"]),
        ("siteC/x.wav", []),
        ("siteA/day1/y.wav", []),
        ("D:\\siteC\\x.wav", []),
        ("z.wav", []),
        ("x.wav.old", []),
    ],
)
def test_a_path_is_compared_from_its_end(path: str, expected: list[str]) -> None:
    assert _found(_names("siteA/x.wav", "siteB/x.wav", "siteB/day1/y.wav"), path) == [expected]


def test_recordings_of_another_site_are_elsewhere() -> None:
    """The folder given is one of two sites whose files have the same names."""
    root = Path("/data/siteA")
    for start in ("", "D:\\field\\", "/old/disk/", "recordings/"):
        for separator in ("/", "\\"):
            rows = [f"{start}siteA{separator}x.wav", f"{start}siteB{separator}x.wav"]
            assert _found(_names("x.wav", root=root), *rows, root=root) == [["x.wav"], []]
    assert _found(_names("x.wav", root=root), "siteB/x.wav", root=root) == [[]]
    nested = _names("day1/x.wav", root=root)
    rows = ["D:/siteA/day1/x.wav", "D:/siteB/day1/x.wav"]
    assert _found(nested, *rows, root=root) == [["day1/x.wav"], []]


def test_a_folder_of_another_computer_is_the_audio_folder_if_it_is_the_only_one() -> None:
    names = _names("x.wav", "y.wav")
    assert _found(names, "C:\\sounds\\x.wav", "C:\\sounds\\y.wav") == [["x.wav"], ["y.wav"]]
    assert names.moved == [("sounds", 2)]
    assert _found(_names("x.wav"), "C:\\one\\x.wav", "C:\\two\\x.wav") == [[], []]


def test_an_existing_file_is_only_itself(tmp_path: Path) -> None:
    for name in ("a/x.wav", "b/x.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    names = _names("x.wav", root=tmp_path / "a")
    assert _found(names, f"{tmp_path}/b/x.wav", root=tmp_path / "a") == [[]]
    assert _found(names, f"{tmp_path}/link/x.wav", root=tmp_path / "a") == [["x.wav"]]


def test_names_directly_in_the_folder_where_others_have_folders() -> None:
    names = _names("x.wav", "day/x.wav")
    assert _found(names, "x.wav", "day/x.wav") == [["x.wav"], ["day/x.wav"]]
    assert len(_found(names, "x.wav")[0]) == 2


@pytest.mark.parametrize(
    "name",
    [
        *("x.txt", "x.wav.txt", "x_annotations.csv", "x_labels.txt", "x.Table.1.selections.txt"),
        *("x.BirdNET.results.csv", "x.BirdNET.selection.table.txt", "x.wav.selections.txt"),
        *("x.TextGrid", "x.wav.rttm", "x-events.csv", "sub/x.wav.json", "x.wav.confidence.txt"),
    ],
)
def test_names_of_label_files(name: str) -> None:
    names = _names("a/x.wav", "a/x_1.wav", "a/x.1.wav")
    assert names.by_label_file([Path(name)]) == {Path(name): [ROOT / "a/x.wav"]}


def test_names_of_label_files_are_whole() -> None:
    names = _names("x.wav", "x_labels.wav", "siteA/y.wav", "siteB/y.wav")

    def found(*files: str) -> list[list[Path]]:
        return list(names.by_label_file([Path(file) for file in files]).values())

    assert found("x_2.txt", "x.old.txt", "notes.txt") == [[], [], []]
    assert found("x_labels.txt") == [[ROOT / "x_labels.wav"]]
    assert found("siteB/y.txt", "y_labels.txt", "siteC/y.txt") == [
        [ROOT / "siteB/y.wav"],
        [ROOT / "siteA/y.wav", ROOT / "siteB/y.wav"],
        [],
    ]
