"""The table of a review page -> a data set of the reviewed stretches alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.dataio.annotations import read_strong
from desed_task.errors import InputError
from desed_task.labels import Event
from desed_task.making.cutting import merge_spans, spans_between
from local.collect import main

RATE = 1000
HEADER = "filename\tonset\toffset\tevent_label\treviewed_from\treviewed_to"


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Four recordings of 30 s; a sample is its second / 100."""
    folder = tmp_path / "audio"
    folder.mkdir()
    for number in range(4):
        samples = np.repeat(np.arange(30) / 100, RATE)
        soundfile.write(folder / f"r{number}.wav", samples, RATE, subtype="PCM_16")
    return folder


def _collect(audio: Path, rows: list[str], *options: str) -> Path:
    """The data set of a table; the first recording's rows are `rows`."""
    others = [f"r{number}.wav\t1\t2\tDog\t0\t4" for number in (1, 2)]
    table = audio.parent / "reviewed.tsv"
    table.write_text("\n".join((HEADER, *rows, *others)) + "\n")
    out = audio.parent / "out"
    # A seed that makes the first recording one of training.
    main([f"--audio={audio}", f"--labels={table}", f"--output={out}", "--seed=3", *options])
    return out


def test_only_reviewed_stretches_are_labelled(
    audio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        "r0.wav\t5\t6\tDog\t3\t8",
        "r0.wav\t7.5\t9\tBell\t7\t9",  # its stretch overlaps the one before
        "r0.wav\t\t\t\t12\t14.5",  # nothing is there
        "r0.wav\t21\t26\tDog\t20\t24",  # cut where an event was not reviewed
        "r0.wav\t29.7\t29.9\tDog\t29.6\t30",  # shorter than a clip
        "r0.wav\t16\t17\tDog\t16\t16",  # beside an event without an answer
        "r3.wav\t16\t17\tDog\t16\t16",
    ]
    out = _collect(audio, rows, "--clip_seconds=5", "--rest=unlabelled")
    table = pd.read_csv(out / "metadata" / "clips.tsv", sep="\t")
    table["recording"] = [Path(path).name for path in table.recording]
    own = table[table.recording == "r0.wav"]
    spans = {
        name: list(zip(part.start, part.end, strict=True)) for name, part in own.groupby("set_name")
    }
    assert spans["synthetic_train"] == [(3.0, 8.0), (8.0, 9.0), (12.0, 14.5), (20.0, 24.0)]
    assert spans["unlabelled"][0] == (0.0, 3.0)
    assert sum(end - start for start, end in spans["unlabelled"]) == pytest.approx(30 - 12.5)
    assert set(table[table.recording == "r3.wav"].set_name) == {"unlabelled"}
    (tsv,) = (out / "metadata").glob("train/synthetic*/*.tsv")
    events = read_strong(tsv, ["Bell", "Dog"])
    by_start = {row.start: events.get(row.filename, []) for row in own.itertuples()}
    assert list(by_start[3.0]) == [Event(2.0, 3.0, "Dog"), Event(4.5, 5.0, "Bell")]
    assert list(by_start[8.0]) == [Event(0.0, 1.0, "Bell")]
    assert list(by_start[20.0]) == [Event(1.0, 4.0, "Dog")]
    assert not by_start[12.0]
    (clip,) = out.glob("audio/train/**/r0_00012000.wav")
    samples, _ = soundfile.read(clip)
    assert samples == pytest.approx(
        np.repeat([0.12, 0.13, 0.14], [RATE, RATE, RATE // 2]), abs=1e-4
    )
    printed = capsys.readouterr().out
    assert "3 recordings have reviewed stretches" in printed
    assert "1 reviewed stretches, shorter" in printed
    assert "2 answers beside" in printed


def test_other_labels_of_a_reviewed_recording_are_not_used(
    audio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = audio.parent / "labels"
    labels.mkdir()
    rows = [f"r{number}.wav\t1\t2\tDog\t0\t4" for number in range(3)]
    (labels / "reviewed.tsv").write_text("\n".join((HEADER, *rows)) + "\n")
    (labels / "r0.txt").write_text("5\t6\tCat\n")
    out = audio.parent / "out"
    main([f"--audio={audio}", f"--labels={labels}", f"--output={out}"])
    assert "1 labels of recordings that a review has" in capsys.readouterr().out
    assert "Cat" not in (out / "conf.yaml").read_text()


@pytest.mark.parametrize(
    "row",
    [
        "r0.wav\t5\t6\tDog\t\t8",
        "r0.wav\t5\t6\tDog\t3\teight",
        "r0.wav\t5\t6\tDog\t3\t31",
        "r0.wav\t5\t6\tDog\t8\t3",
        "r0.wav\t5\t6\tDog\t10\t12",
    ],
)
def test_impossible_rows_are_refused(row: str, audio: Path) -> None:
    with pytest.raises(InputError, match=r"reviewed\.tsv:2: "):
        _collect(audio, [row])


def test_two_reviews_of_the_same_seconds_are_refused(audio: Path) -> None:
    labels = audio.parent / "labels"
    labels.mkdir()
    for name, stretch in {"a": "0\t4", "b": "3\t8"}.items():
        (labels / f"{name}.tsv").write_text(f"{HEADER}\nr0.wav\t3.2\t4\tDog\t{stretch}\n")
    with pytest.raises(InputError, match=r"b\.tsv: .*a\.tsv"):
        main([f"--audio={audio}", f"--labels={labels}", f"--output={audio.parent / 'out'}"])


def test_a_table_without_the_end_of_the_stretches_is_refused(audio: Path) -> None:
    table = audio.parent / "reviewed.tsv"
    table.write_text(HEADER.removesuffix("\treviewed_to") + "\nr0.wav\t5\t6\tDog\t3\n")
    with pytest.raises(InputError, match=r"reviewed\.tsv:1: reviewed_to"):
        main([f"--audio={audio}", f"--labels={table}", f"--output={audio.parent / 'out'}"])


def test_spans() -> None:
    spans = merge_spans([(5, 6), (1, 2), (2, 3), (5.5, 5.8)])
    assert spans == [(1, 3), (5, 6)]
    assert spans_between(spans, 9) == [(0, 1), (3, 5), (6, 9)]
    assert spans_between([(0, 9)], 9) == []
