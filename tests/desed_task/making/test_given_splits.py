"""Splits that people have: a column of a table, a folder of the test, shares of 0."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.errors import InputError
from local.collect import main
from local.config.load import load_config

RATE = 1000
N = 12
SETS = {"synthetic_train": "train", "synthetic_validation": "validation", "validation": "test"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve recordings of 2 s, six in each of two folders."""
    for number in range(N):
        path = tmp_path / "audio" / f"site {number % 2}" / f"r{number:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(2 * RATE, number / 100), RATE)
    return tmp_path


def _options(folder: Path, splits: dict[int, str] | None = None) -> list[str]:
    """Options of a table with an event per recording, and the split of some recordings."""
    rows = [(f"r{n:02d}.wav", 0.5, 1.0, "Bell") for n in range(N)]
    table = pd.DataFrame(rows, columns=["filename", "onset", "offset", "event_label"])
    if splits is not None:
        table["Split"] = [splits.get(number, "") for number in range(N)]
    table.to_csv(folder / "labels.csv", index=False)
    names = {"audio": "audio", "labels": "labels.csv", "output": "out"}
    return [f"--{option}={folder / name}" for option, name in names.items()]


def _splits(out: Path) -> dict[str, set[int]]:
    """Numbers of the recordings of each split."""
    clips = pd.read_csv(out / "metadata" / "clips.tsv", sep="\t")
    return {
        SETS[name]: {int(Path(path).stem[1:]) for path in rows["recording"]}
        for name, rows in clips.groupby("set_name")
    }


def test_a_column_names_the_splits(folder: Path) -> None:
    given = dict.fromkeys(range(6), "Training") | {6: "dev", 7: "val", 8: "eval", 9: "Test", 10: ""}
    main(_options(folder, given))
    # Recordings without a split are for training: the table has a validation and a test.
    expected = {"train": {*range(6), 10, 11}, "validation": {6, 7}, "test": {8, 9}}
    assert _splits(folder / "out") == expected


def test_validation_is_drawn_from_training_where_the_column_has_none(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {n: "test" if n < 4 else "train" for n in range(N)}
    options = _options(folder, given)
    main(options)
    assert "column split: it has no validation, which is drawn" in capsys.readouterr().out
    splits = _splits(folder / "out")
    assert splits["test"] == set(range(4))
    assert len(splits["validation"]) == 1
    assert splits["train"] | splits["validation"] == set(range(4, N))
    main([*options[:2], f"--output={folder / 'none'}", "--split=1,0,0"])
    assert _splits(folder / "none") == {"train": set(range(4, N)), "test": set(range(4))}
    assert "no validation set" in capsys.readouterr().out
    config = load_config(folder / "none" / "conf.yaml")
    assert list(config.data.sets) == ["synthetic", "test"]
    assert not config.is_validated


@pytest.mark.parametrize("inside", [True, False])
def test_a_folder_is_the_test(inside: bool, folder: Path) -> None:
    options = _options(folder)
    test = folder / "audio" / "site 1"
    if not inside:
        test = test.rename(folder / "of the test")
    main([*options, f"--test={test}"])
    splits = _splits(folder / "out")
    assert splits["test"] == set(range(1, N, 2))
    assert len(splits["validation"]) == 1
    assert splits["train"] | splits["validation"] == set(range(0, N, 2))


def test_classes_of_a_test_folder_are_its_folders(folder: Path) -> None:
    for number, path in enumerate(sorted((folder / "audio").rglob("*.wav"))):
        parts = "test" if number % 3 == 0 else "sounds", "Owl" if number % 2 else "Bell"
        (folder / Path(*parts)).mkdir(parents=True, exist_ok=True)
        path.rename(folder / Path(*parts) / path.name)
    options = [f"--audio={folder / 'sounds'}", f"--test={folder / 'test'}"]
    main([*options, f"--output={folder / 'out'}"])
    config = load_config(folder / "out" / "conf.yaml")
    assert config.data.classes == ("Bell", "Owl")
    events = pd.read_csv(str(config.data.sets["test"].tsv), sep="\t")
    assert sorted(events["event_label"]) == ["Bell", "Bell", "Owl", "Owl"]


@pytest.mark.parametrize(
    ("split", "expected"),
    [("1,0,0", {"train": 12}), ("0.75,0,0.25", {"train": 9, "test": 3})],
)
def test_shares_of_0(split: str, expected: dict[str, int], folder: Path) -> None:
    main([*_options(folder), f"--split={split}"])
    assert {name: len(found) for name, found in _splits(folder / "out").items()} == expected
    load_config(folder / "out" / "conf.yaml")


@pytest.mark.parametrize(
    ("given", "more", "place"),
    [
        ({0: "train", 2: "test"}, ["--group=folder"], "group 'site 0': expected one split"),
        ({}, ["--group=^r", "--test={folder}/audio/site 1"], "group 'r': expected one split"),
        ({3: "fold 3"}, [], "{folder}/labels.csv:5: split: expected train, training, "),
        ({3: "train"}, ["--test={folder}/audio/site 1"], "{folder}/audio/site 1/r03.wav: expected"),
        (dict.fromkeys(range(N), "test"), [], "--split: train: expected at least 1 recording"),
        ({}, ["--test={folder}/audio"], "--audio {folder}/audio: expected audio files beside"),
        ({}, ["--split=0,0.5,0.5"], "--split: expected three shares"),
        ({}, ["--split=1.2,-0.2,0"], "--split: expected three shares"),
    ],
)
def test_splits_that_cannot_be(
    given: dict[int, str], more: list[str], place: str, folder: Path
) -> None:
    options = [*_options(folder, given), *(text.format(folder=folder) for text in more)]
    with pytest.raises(InputError) as caught:
        main(options)
    assert str(caught.value).startswith(place.format(folder=folder))
    assert not (folder / "out").exists()


def test_a_column_of_another_meaning_can_be_ignored(folder: Path) -> None:
    options = _options(folder, {n: f"fold {n % 5}" for n in range(N)})
    main([*options, "--columns=split=none"])
    assert set(_splits(folder / "out")) == {"train", "validation", "test"}
