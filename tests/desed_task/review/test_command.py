"""`sed-detect --review`: a page beside the results, of all recordings that are done."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.detect import Detector, Settings
from desed_task.detect.__main__ import main
from desed_task.detect.events import MISSED_FROM
from tests.support.tiny_model import write_tiny_model

THRESHOLD = 0.9


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_tiny_model(folder)
    return folder


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    for number in range(2):
        random = np.random.default_rng(number)
        loud = np.repeat(random.random(40) > 0.6, 1000) * 0.3 + 1e-3
        soundfile.write(folder / f"r{number} é.wav", loud * random.normal(0, 0.5, 40000), 8000)
    return folder


def _content(page: Path) -> Any:
    match = re.search(r'<script id="content" [^>]*>(.*?)</script>', page.read_text("utf-8"), re.S)
    assert match is not None
    return json.loads(match[1])


def _run(model: Path, audio: Path, *options: str) -> int:
    output = audio.parent / "out"
    return main(
        [
            f"--model={model}",
            f"--output={output}",
            "--review",
            f"--threshold={THRESHOLD}",
            *options,
            str(audio),
        ]
    )


def test_the_page_has_every_event(model: Path, audio: Path) -> None:
    assert _run(model, audio) == 0
    output = audio.parent / "out"
    content = _content(output / "review.html")
    table = pd.read_csv(output / "events.tsv", sep="\t")
    rows = [
        (Path(content["audios"][a][0]).name, onset, offset, content["labels"][label])
        for a, kind, label, onset, offset, *_ in content["rows"]
        if content["kinds"][kind][0] == "detected"
    ]
    events = table[["filename", "onset", "offset", "event_label"]]
    assert sorted(rows) == sorted(map(tuple, events.to_numpy().tolist()))
    assert len(rows) > 5
    doubt = [abs(row[5] - 0.5) for row in content["rows"] if content["kinds"][row[1]][2] == "open"]
    assert doubt == sorted(doubt)
    for *_, name, begin, end in content["rows"]:
        info = soundfile.info(output / "review" / f"{name}.flac")
        assert info.duration == pytest.approx(end - begin, abs=1e-3)


def test_further_calls(
    model: Path, audio: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The same page, then with fewer events, then without a recording."""
    page = audio.parent / "out" / "review.html"
    _run(model, audio)
    text = page.read_text()
    times = {path: path.stat().st_mtime_ns for path in page.parent.glob("review/[!.]*")}
    page.unlink()
    _run(model, audio)
    assert "2 of 2 files are done" in capsys.readouterr().out
    assert page.read_text() == text
    assert times == {path: path.stat().st_mtime_ns for path in page.parent.glob("review/[!.]*")}
    _run(model, audio, "--review_events=2")
    content = _content(page)
    assert sum(content["kinds"][row[1]][2] == "open" for row in content["rows"]) == 2
    n_events = len(pd.read_csv(page.parent / "events.tsv", sep="\t"))
    assert len(content["others"]) == n_events - 2
    lost = audio / "r0 é.wav"
    lost.unlink()
    _run(model, audio, "--review_events=2")
    assert str(lost) in caplog.text
    names = {Path(name).name for name, _ in _content(page)["audios"]}
    assert lost.name in names
    assert len({row[0] for row in _content(page)["rows"]}) == 1


def test_results_of_older_versions_are_detected_again(model: Path, audio: Path) -> None:
    """Their records do not have the places where an event may be missing."""
    _run(model, audio, "--review_events=1")
    page = audio.parent / "out" / "review.html"
    expected = _content(page)
    for path in (audio.parent / "out" / ".detections").glob("*.json"):
        record = json.loads(path.read_text())
        del record["missed"]
        path.write_text(json.dumps(record))
    _run(model, audio, "--review_events=1")
    assert _content(page) == expected


@pytest.mark.parametrize(("method", "gap"), [("median", 0.0), ("median", 0.5), ("sebbs", 0.0)])
def test_missed_events_are_those_below_the_threshold(
    model: Path, audio: Path, method: Any, gap: float
) -> None:
    """Those of a detection with a lower threshold that overlap none of the events."""
    path = sorted(audio.iterdir())[0]

    def detected(threshold: float) -> Any:
        settings = Settings(threshold=threshold, method=method, merge_gap=gap)
        return Detector.load(model, settings=settings)(path)

    result, lower = detected(THRESHOLD), detected(THRESHOLD * MISSED_FROM)
    expected = [
        (each.onset, each.offset, each.event_label)
        for each in lower.detections
        if not any(
            other.event_label == each.event_label
            and other.onset < each.offset
            and other.offset > each.onset
            for other in result.detections
        )
    ]
    assert [each[:3] for each in result.missed] == expected
    assert expected
    for each in result.missed:
        inside = (result.edges[1:] > each.onset) & (result.edges[:-1] < each.offset)
        peak = result.values[result.classes.index(each.event_label), inside].max()
        assert each.peak == pytest.approx(peak / THRESHOLD)
        assert MISSED_FROM < each.peak <= 1


def test_sounds_of_the_page_are_no_recordings(
    model: Path, audio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output folder is below the folder of recordings."""
    given = [f"--model={model}", f"--output={audio / 'out'}", "--review", "--review_events=1"]
    main([*given, str(audio)])
    assert list(audio.glob("out/review/*.flac"))
    main([*given, str(audio)])
    assert "2 of 2 files are done" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--review", "-"], ["--review_events=0", "x.wav"]])
def test_mistakes(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--model=model", *options])
    assert error.value.code == 2
    assert options[0].partition("=")[0] in capsys.readouterr().err
