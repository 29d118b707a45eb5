"""Events per hour of recordings whose names have date and time."""

import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from desed_task.detect import activity_picture
from desed_task.detect.__main__ import main
from desed_task.detect.activity import activity_table, count_activity, recording_start
from desed_task.detect.events import Detection
from desed_task.detect.formats import Found

MORNING = datetime(2024, 5, 3, 7, 15)


@pytest.mark.parametrize(
    ("path", "site", "time"),
    [
        ("/a/wood/20240503_071500.WAV", "wood", MORNING),  # AudioMoth
        ("/a/wood/20240503_071500T.WAV", "wood", MORNING),  # triggered
        ("/a/wood/20240503/20240503_071500.WAV", "wood", MORNING),  # a folder per day
        ("/a/wood/Data/2024-05-03_07-15-00.wav", "wood", MORNING),
        ("/a/b/North pond_20240503_071500.wav", "North pond", MORNING),
        ("/a/b/S4A01234_20240503_071500.wav", "S4A01234", MORNING),  # Song Meter
        ("/a/b/20240503T071500+1000_REC [-27.5].flac", "b", MORNING),
        ("/20240503_071500.WAV", "", MORNING),
        ("/a/b/kitchen.wav", None, None),
        ("/a/b/20241303_071500.wav", None, None),  # no such month
        ("/a/b/120240503_071500.wav", None, None),
        ("/a/b/20240503_0715001.wav", None, None),
    ],
)
def test_site_and_time_of_a_name(path: str, site: str | None, time: datetime | None) -> None:
    found = recording_start(path)
    assert (found and found.site, found and found.time) == (site, time)


def _found(path: str, seconds: float, events: Sequence[tuple[float, str]]) -> Found:
    detections = [Detection(onset, onset + 1, label, 0.9) for onset, label in events]
    return Found(path, Path(path).name, seconds, detections)


RECORDINGS = [
    _found("/x/W_20240503_235000.wav", 1800, [(0, "Owl"), (599, "Owl"), (601, "Owl")]),  # midnight
    _found("/x/W_20240504_003000.wav", 600, [(10, "Fox")]),
    _found("/x/P_20240503_235959.wav", 1, []),
    _found("/x/kitchen.wav", 3600, [(10, "Owl")]),
]


def test_rates_are_of_recorded_time() -> None:
    table = pd.read_csv(
        io.StringIO(activity_table(count_activity(RECORDINGS), ["Fox", "Owl", "Yak"])),
        sep="\t",
        dtype={"hour": str},
    )
    rows = {(r.site, r.date, r.hour, r.event_label): r for r in table.itertuples()}
    hours = {key[:3] for key in rows}
    assert hours == {
        ("W", "2024-05-03", "23"),
        ("W", "2024-05-04", "00"),
        ("P", "2024-05-03", "23"),
    }
    assert len(rows) == len(table) == 9
    before, after = rows["W", "2024-05-03", "23", "Owl"], rows["W", "2024-05-04", "00", "Owl"]
    assert (before.minutes, before.events, before.events_per_hour) == (10, 2, 12)
    assert (after.minutes, after.events, after.events_per_hour) == (30, 1, 2)
    assert rows["W", "2024-05-04", "00", "Fox"].events_per_hour == 2
    assert rows["W", "2024-05-04", "00", "Yak"].events_per_hour == 0


@pytest.mark.parametrize("n_sites", [2, 9])
def test_the_picture_has_a_row_for_each_class_that_was_found(
    n_sites: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity_picture, "MAX_CLASSES", 2)

    def height(*labels: str) -> int:
        sites = [
            _found(f"/x/S{n}_20240503_071500.wav", 100, [(n, label) for label in labels])
            for n in range(n_sites)
        ]
        picture = activity_picture.draw_activity(count_activity(sites), ["A", "B", "C", "D"])
        return Image.open(io.BytesIO(picture)).height

    assert height() < height("D") < height("B", "C") == height("A", "B", "D")


def test_the_command_writes_them_where_they_are_asked_for(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * 16000)
    for name in ("20240503_065958.WAV", "20240503_081500.WAV"):
        (tmp_path / "wood").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "wood" / name, noise, 16000)
    given = [f"--model={model}", f"--output={tmp_path / 'out'}", str(tmp_path / "wood")]
    main(given)
    assert "2 recordings have their time in the name; --activity" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("activity*"))
    main([*given, "--activity"])
    assert str(tmp_path / "out" / "activity.png") in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "activity.tsv", sep="\t")
    assert set(table["site"]) == {"wood"}
    minutes = table.groupby("hour")["minutes"].first().to_dict()
    assert minutes == {6: 0.03, 7: 0.03, 8: 0.07}
    events = pd.read_csv(tmp_path / "out" / "events.tsv", sep="\t")
    assert table["events"].sum() == events["onset"].notna().sum()
    Image.open(tmp_path / "out" / "activity.png").verify()
