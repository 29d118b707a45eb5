"""What detection writes, `collect` and `evaluation` read: the same events, in every format."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.dataio.recordings import find_recordings
from desed_task.detect.__main__ import main as detect
from desed_task.making.label_files import LabelReader
from desed_task.report.__main__ import main as evaluate

FORMATS = {
    "tsv": "events.tsv",
    "csv": "events.csv",
    "audacity": "**/*.wav.txt",
    "audacity_confidence": "**/*.confidence.txt",
    "raven": "**/*.selections.txt",
    "rttm": "**/*.rttm",
    "json": "**/*.json",
}
SITES = ("site A", "siteB")
NAMES = ("20230601_050000.wav", "x 100%.wav")
Events = dict[str, list[tuple[str, float, float]]]


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of two sites with the same names, and one without events."""
    folder = tmp_path_factory.mktemp("field")
    for number, site in enumerate(SITES):
        (folder / site).mkdir()
        for name in NAMES:
            number += 2
            time = np.arange(round(8000 * (3 + number / 3))) / 8000
            loud = (np.sin(2 * np.pi * time / 1.7) > 0) * 0.3 + 1e-3
            noise = np.random.default_rng(number).normal(0, 0.5, len(time))
            soundfile.write(folder / site / name, (loud * noise).clip(-1, 1), 8000)
    return folder


def _detect(model: Path, output: Path, *audio: Path, formats: str) -> None:
    given = [f"--model={model}", f"--output={output}", "--threshold=0.45", f"--format={formats}"]
    assert detect([*given, *map(str, audio)]) == 0


@pytest.fixture(scope="module")
def output(model: Path, audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All recordings, in all formats."""
    folder = tmp_path_factory.mktemp("detections")
    _detect(model, folder, audio, formats=",".join([*FORMATS, "scores"]))
    return folder


@pytest.fixture(scope="module")
def expected(output: Path, audio: Path) -> Events:
    """The events, as events.csv has them by Python's csv and no other code."""
    lines = (output / "events.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    found: Events = {}
    for row in rows:
        event = (row["class"], float(row["onset"]), float(row["offset"]))
        found.setdefault(row["path"], []).append(event)
    assert found.keys() == {str(audio / site / name) for site in SITES for name in NAMES}
    assert min(map(len, found.values())) > 1
    return {path: sorted(events) for path, events in found.items()}


def _read(source: Path, audio: Path) -> Events:
    """The labels as `collect` reads them."""
    found: Events = {}
    for label in LabelReader(dict(find_recordings([audio]))).read(source):
        if label.name is not None:
            assert label.onset is not None
            assert label.offset is not None
            event = (label.name, label.onset, label.offset)
            found.setdefault(str(label.recording), []).append(event)
    return {path: sorted(set(events)) for path, events in found.items()}


def _same(found: Events, expected: Events) -> None:
    assert found.keys() == expected.keys()
    for path, events in expected.items():
        assert [event[0] for event in found[path]] == [event[0] for event in events]
        times = [event[1:] for event in found[path]]
        np.testing.assert_allclose(times, [event[1:] for event in events], atol=2e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_collect_reads_every_format(
    name: str, output: Path, audio: Path, expected: Events, tmp_path: Path
) -> None:
    paths = sorted(path for path in output.glob(FORMATS[name]) if ".detections" not in path.parts)
    assert len(paths) in (1, 4)
    for path in paths:
        target = tmp_path / path.relative_to(output)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    _same(_read(tmp_path, audio), expected)


@pytest.mark.parametrize(
    "formats", ["tsv", "csv,tsv", "json,rttm,tsv", ",".join([*FORMATS, "scores"])]
)
def test_collect_reads_a_whole_output_folder(
    formats: str, model: Path, audio: Path, expected: Events, tmp_path: Path
) -> None:
    """Also of two calls, whose recordings have the same names."""
    for site in SITES:
        _detect(model, tmp_path, audio / site, formats=formats)
    _same(_read(tmp_path, audio), expected)


def test_corrected_labels_are_read_rather_than_tables(
    model: Path, audio: Path, expected: Events, tmp_path: Path
) -> None:
    first, second = (audio / site / NAMES[0] for site in SITES)
    _detect(model, tmp_path, first, formats="audacity,tsv,csv,raven")
    _detect(model, tmp_path, second, formats="tsv,csv")
    (tmp_path / f"{NAMES[0]}.txt").write_text("0.5\t1.25\tOwl\n")
    corrected = {str(first): [("Owl", 0.5, 1.25)], str(second): expected[str(second)]}
    _same(_read(tmp_path, audio), corrected)
    (tmp_path / f"{NAMES[0]}.txt").write_text("")
    _same(_read(tmp_path, audio), {str(second): expected[str(second)]})


def test_evaluation_reads_events_and_scores(
    model: Path, audio: Path, expected: Events, tmp_path: Path
) -> None:
    """The events as ground truth of themselves: all are found. Other formats are in the folder."""
    folder = audio / SITES[0]
    _detect(model, tmp_path / "out", folder, formats=",".join([*FORMATS, "scores"]))
    rows = [
        (Path(path).name, *event)
        for path in expected
        for event in expected[path]
        if Path(path).parent == folder
    ]
    table = pd.DataFrame(rows, columns=["filename", "event_label", "onset", "offset"])
    table.to_csv(tmp_path / "ground_truth.tsv", sep="\t", index=False)
    seconds = [(name, soundfile.info(folder / name).duration) for name in NAMES]
    durations = pd.DataFrame(seconds, columns=["filename", "duration"])
    durations.to_csv(tmp_path / "durations.tsv", sep="\t", index=False)
    given = [
        f"--ground_truth={tmp_path / 'ground_truth.tsv'}",
        f"--durations={tmp_path / 'durations.tsv'}",
    ]
    given += [f"--scores={tmp_path / 'out'}", f"--predictions={tmp_path / 'out' / 'events.tsv'}"]
    evaluate([*given, f"--output={tmp_path / 'metrics'}", "--f1_threshold=0.45"])
    metrics = json.loads((tmp_path / "metrics" / "metrics.json").read_text())
    found = {key: value for key, value in metrics.items() if "f1" in key and "macro" in key}
    assert found
    assert set(found.values()) == {1.0}
