"""The command: what it writes, skips and reports; each format read back by another reader."""

import errno
import io
import json
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from desed_task.detect import Detector
from desed_task.detect.__main__ import main
from desed_task.detect.formats import FORMATS
from desed_task.detect.outputs import Outputs
from desed_task.errors import FaultError, InputError, Terminated
from desed_task.evaluation import GroundTruth, read_scores

DONE = ("long.flac", "long.wav", "short.WAV", "sub ♪/a b.ogg")


@pytest.fixture(scope="module")
def output(model: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output") / "found"
    formats = ",".join(FORMATS)
    given = [f"--model={model}", f"--output={folder}", f"--format={formats}", "--plot"]
    assert main([*given, str(recordings)]) == 1  # two files cannot be read
    return folder


def _expected(model: Path, recordings: Path, name: str) -> pd.DataFrame:
    return Detector.load(model)(recordings / name).events


def test_the_files_mirror_the_folder(output: Path) -> None:
    found = {p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_file()}
    found = {name for name in found if not name.startswith(".detections/")}
    endings = (
        ".txt",
        ".confidence.txt",
        ".selections.txt",
        ".rttm",
        ".json",
        ".scores.tsv",
        ".png",
    )
    expected = {name + ending for name in DONE for ending in (*endings, ".png")}
    assert found == expected | {"events.tsv", "events.csv", "unreadable.tsv"}


@pytest.mark.parametrize("name", DONE)
def test_every_format_has_every_event(
    name: str, output: Path, model: Path, recordings: Path
) -> None:
    expected = _expected(model, recordings, name)
    assert len(expected) or name == "short.WAV"
    rows = expected.to_numpy().tolist()

    def same(found: list[list[Any]]) -> None:
        assert [row[2] for row in found] == [row[2] for row in rows]
        numbers = [[float(value) for value in (*row[:2], row[3])] for row in found]
        wanted = [[*row[:2], row[3]] for row in rows]
        np.testing.assert_allclose(
            np.reshape(numbers, (-1, 3)), np.reshape(wanted, (-1, 3)), atol=1e-4
        )

    labels = [line.split("\t") for line in (output / f"{name}.txt").read_text("utf-8").splitlines()]
    assert [[float(on), float(off), name] for on, off, name in labels] == [
        [round(on, 6), round(off, 6), name] for on, off, name, _ in rows
    ]
    text = (output / f"{name}.confidence.txt").read_text("utf-8")
    labels = [line.split("\t") for line in text.splitlines()]
    same([[on, off, *label.rsplit(" ", maxsplit=1)] for on, off, label in labels])
    raven = pd.read_csv(output / f"{name}.selections.txt", sep="\t")
    columns = ["Begin Time (s)", "End Time (s)", "Annotation", "Confidence"]
    same(raven[columns].to_numpy().tolist())
    assert set(raven["Begin Path"]) <= {str(recordings / name)}
    assert list(raven["Selection"]) == list(range(1, len(rows) + 1))
    assert set(raven["Low Freq (Hz)"]) <= {0}
    assert set(raven["High Freq (Hz)"]) <= {4000}
    numbers = raven.columns[3:7]  # crowsetta refuses whole numbers
    assert not rows or all(raven[column].dtype == float for column in numbers)
    assert list(raven["File Offset (s)"]) == list(raven["Begin Time (s)"])
    fields = [line.split() for line in (output / f"{name}.rttm").read_text("utf-8").splitlines()]
    assert all(len(field) == 10 and unquote(field[1]) == name for field in fields)
    same([[f[3], float(f[3]) + float(f[4]), unquote(f[7]), f[8]] for f in fields])
    content = json.loads((output / f"{name}.json").read_text("utf-8"))
    same([list(event.values()) for event in content["events"]])
    for table, column, key in (
        (pd.read_csv(output / "events.tsv", sep="\t"), "filename", name),
        (pd.read_csv(output / "events.csv", comment="#"), "path", str(recordings / name)),
    ):
        own = table[table[column] == key].drop(columns=column)
        same(own.to_numpy().tolist())


def test_scores_are_read_back(output: Path, model: Path, recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "long.tsv").write_bytes((output / "long.wav.scores.tsv").read_bytes())
    classes = ("Bell", "Cat 猫", "Dog")
    truth = GroundTruth.merged(classes, {"long.wav": []}, {"long.wav": 11.3}, source="")
    read = read_scores(tmp_path, truth)
    expected = Detector.load(model)(recordings / "long.wav")
    np.testing.assert_allclose(read.values[0], expected.values, atol=1e-6)
    np.testing.assert_allclose(read.edges[0], expected.edges, atol=1e-9)


def test_the_head_of_the_csv_has_the_settings(output: Path) -> None:
    lines = (output / "events.csv").read_text("utf-8").splitlines()
    head = [line for line in lines if line.startswith("#")]
    settings = {line[2:].split(": ", 1)[0]: json.loads(line.split(": ", 1)[1]) for line in head}
    assert settings["threshold"] == {"Bell": 0.5, "Cat 猫": 0.5, "Dog": 0.5}
    assert settings["postprocess"] == "median"
    assert settings["model"].startswith("student of a test, weights ")


def test_pictures(output: Path) -> None:
    with Image.open(output / "long.wav.png") as picture:
        assert picture.size[0] > 1000
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_unreadable_files_are_listed_and_the_others_are_done(
    model: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run detects nothing but what changed."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("long.wav", "broken.wav", "empty.wav"):
        (folder / name).write_bytes((recordings / name).read_bytes())
    given = [f"--model={model}", f"--output={tmp_path / 'out'}", "--format=tsv,json"]
    assert main([*given, str(folder)]) == 1
    shown = capsys.readouterr()
    assert "error: 2 of 3 files could not be read, see " in shown.err
    assert "broken.wav: cannot be read as audio" in shown.err
    assert "11 s of audio in " in shown.out
    first = (tmp_path / "out" / "long.wav.json").stat().st_mtime_ns
    table = (tmp_path / "out" / "events.tsv").read_text("utf-8")
    for name in ("broken.wav", "empty.wav"):
        (folder / name).unlink()
    assert main([*given, str(folder)]) == 0
    assert "1 of 1 files are done" in capsys.readouterr().out
    assert (tmp_path / "out" / "long.wav.json").stat().st_mtime_ns == first
    assert (tmp_path / "out" / "events.tsv").read_text("utf-8") == table
    soundfile.write(folder / "long.wav", np.zeros(8000), 8000)  # another recording
    assert main([*given, str(folder)]) == 0
    assert "done" not in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "long.wav.json").read_text())["seconds"] == 1.0
    assert main([*given, "--threshold=0.9", str(folder)]) == 0  # other settings
    assert "done" not in capsys.readouterr().out
    assert main([*given, str(folder)]) == 0
    assert len((tmp_path / "out" / "events.tsv").read_text("utf-8").splitlines()) > 1
    (folder / "long.wav").write_bytes(b"RIFF no audio")  # its events are of another file
    assert main([*given, str(folder)]) == 1
    assert len((tmp_path / "out" / "events.tsv").read_text("utf-8").splitlines()) == 1


def test_a_stream_prints_a_line_per_event(
    model: Path,
    recordings: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    audio, _ = soundfile.read(recordings / "long.wav", dtype="int16")
    both = np.stack([audio, audio], axis=1).tobytes() + b"\x01"  # cut within a sample
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(both)))
    assert main([f"--model={model}", "--rate=8000", "--channels=2", "--latency=3", "-"]) == 0
    shown = capsys.readouterr()
    assert "incomplete last sample, dropped: expected 4 bytes (2 channels" in caplog.text
    lines = [json.loads(line) for line in shown.out.splitlines()]
    events = pd.DataFrame(lines).sort_values(["onset", "event_label"], ignore_index=True)
    expected = _expected(model, recordings, "long.wav")
    expected = expected.sort_values(["onset", "event_label"], ignore_index=True)
    pd.testing.assert_frame_equal(events, expected, atol=1e-4)


def test_mistakes_on_the_command_line(model: Path, recordings: Path, tmp_path: Path) -> None:
    given, path = [f"--model={model}", f"--output={tmp_path / 'o'}"], str(recordings / "long.wav")
    for more, message in (
        (["--format=tsv,audacty", path], r"--format: .* got 'audacty' \(did you mean audacity\?\)"),
        (["--threshold=loud", path], "--threshold: expected a number, got 'loud'"),
        (["--threshold=0.5,Dog=0.4", path], "--threshold: expected a number, or CLASS=NUMBER"),
        (["--threshold=0.5,0.4", path], "with each class once, got '0.5,0.4'"),
        (["--threshold=Dog=0.5,Dog=0.4", path], "with each class once, got 'Dog=0.5,Dog=0.4'"),
        (["--classes=Dog,Cow", path], "--classes: expected classes of the model"),
        ([str(tmp_path)], "no audio files: expected at least 1, got 0"),
        (["--batch_size=0", path], "--batch_size: expected at least 1, got 0"),
        (["--runtime=onnx", path], r"model\.onnx: no such file"),
        (["--runtime=onnx", "--precision=bf16", path], "--runtime onnx: expected"),
    ):
        with pytest.raises(InputError, match=message):
            main([*given, *more])
    (tmp_path / "best.ckpt").touch()
    with pytest.raises(InputError, match=r"best\.ckpt: .* python -m local\.export"):
        main([f"--model={tmp_path / 'best.ckpt'}", path])
    with pytest.raises(InputError, match="no such model"):
        main([f"--model={tmp_path / 'nothing'}", path])
    assert not (tmp_path / "o").exists()


def test_a_missing_file_is_a_mistake(model: Path, tmp_path: Path) -> None:
    assert main([f"--model={model}", f"--output={tmp_path}", str(tmp_path / "no.wav")]) == 1


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_finished_files_remain(
    fault: BaseException,
    model: Path,
    recordings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The disk is full, or Ctrl-C is pressed, when the second file is written."""
    threads, write, calls = threading.active_count(), Outputs.write, iter([None, fault])

    def failing(*args: Any) -> None:
        if (error := next(calls)) is not None:
            raise error
        write(*args)

    given = [f"--model={model}", f"--output={tmp_path}", str(recordings / "long.wav")]
    given += [str(recordings / name) for name in ("short.WAV", "long.flac")]
    monkeypatch.setattr(Outputs, "write", failing)
    with pytest.raises((FaultError, Terminated)) as caught:
        main(given)
    monkeypatch.setattr(Outputs, "write", write)
    assert threading.active_count() == threads
    if isinstance(fault, OSError):
        assert isinstance(caught.value, FaultError)
        assert str(tmp_path) in str(caught.value)
        assert "--output" in str(caught.value)
    else:
        assert isinstance(caught.value, Terminated)
        assert caught.value.status == 130
        assert str(caught.value).startswith("interrupted: 1 of 3 files are written")
    capsys.readouterr()
    assert main(given) == 0
    assert "1 of 3 files are done" in capsys.readouterr().out
