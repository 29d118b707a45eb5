"""Recordings and labels -> a data set: every format, cuts, splits, mistakes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.dataio.annotations import read_strong, read_weak
from desed_task.errors import InputError
from desed_task.labels import Event
from local.collect import main
from local.config.load import load_config

RATE = 1000
N = 12
CLASSES = ("Bell", "Dog bark")


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Twelve recordings of 25 s, three in each of four folders; a sample is its second / 100."""
    folder = tmp_path / "audio"
    seconds = np.repeat(np.arange(25) / 100, RATE)
    for number in range(N):
        path = folder / f"day {number // 3}" / f"r{number:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, seconds, RATE, subtype="PCM_16")
    return folder


def _events(number: int) -> list[tuple[float, float, str]]:
    return [(8.5, 11.0, "Bell"), (number + 0.25, number + 0.75, "Dog bark")]


def _write(folder: Path, kind: str) -> Path:
    """The events of all recordings in a format; returns what --labels names."""
    folder.mkdir()
    rows = [(f"r{n:02d}.wav", n, *event) for n in range(N) for event in _events(n)]
    if kind == "audacity":
        for number in range(N):
            lines = [f"{a}\t{b}\t{c}\n\\\t100\t200\n" for a, b, c in _events(number)]
            (folder / f"r{number:02d}.txt").write_text("".join(lines) + "3.0\t3.0\tpoint\n")
        return folder
    if kind == "raven":
        for number in range(N):
            table = pd.DataFrame(
                _events(number), columns=["Begin Time (s)", "End Time (s)", "Species"]
            )
            table.insert(0, "Selection", range(1, len(table) + 1))
            name = f"r{number:02d}.Table.1.selections.txt"
            table.to_csv(folder / name, sep="\t", index=False)
        return folder
    names = {
        "csv": ["File", "Start", "End", "Class"],
        "duration.csv": ["path", "begin", "duration", "tag"],
        "desed.tsv": ["filename", "onset", "offset", "event_label"],
    }[kind]
    table = pd.DataFrame([(name, a, b, c) for name, _, a, b, c in rows], columns=names)
    if "duration" in table:
        table["duration"] -= table["begin"]
        table["path"] = [f"C:\\sounds\\day {n}\\{name}" for name, n, *_ in rows for n in [n // 3]]
    table.to_csv(folder / f"labels.{kind}", sep="\t" if "tsv" in kind else ",", index=False)
    return folder / f"labels.{kind}"


@pytest.mark.parametrize("kind", ["audacity", "raven", "csv", "duration.csv", "desed.tsv"])
def test_every_format_gives_the_same_set(
    kind: str, audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = _write(tmp_path / "labels", kind)
    out = tmp_path / "out"
    main([f"--audio={audio}", f"--labels={labels}", f"--output={out}"])
    assert ("labels of no length" in capsys.readouterr().out) == (kind == "audacity")
    config = load_config(out / "conf.yaml")
    assert config.data.classes == tuple(CLASSES)
    sets = config.data.sets
    assert list(sets) == ["synthetic", "synthetic validation", "test"]
    origins = pd.read_csv(out / "metadata" / "clips.tsv", sep="\t").set_index("filename")
    clips: dict[str, list[Event]] = {}
    for audio_set in sets.values():
        folder = str(audio_set.original)
        own = read_strong(str(audio_set.tsv), CLASSES)
        assert {path.name for path in Path(folder).iterdir()} == set(own)
        for name in own:  # the samples are those of the clip's seconds
            samples, rate = soundfile.read(Path(folder) / name)
            begin, end = origins.loc[name, ["start", "end"]]
            assert len(samples) == rate * (end - begin)
            np.testing.assert_allclose(samples[::rate], np.arange(begin, end) / 100, atol=1e-4)
        clips |= own
    assert len(clips) == 3 * N
    for number in range(N):
        expected: dict[float, list[Event]] = {0.0: [], 10.0: [], 20.0: []}
        expected[0.0].append(Event(8.5, 10.0, "Bell"))
        expected[10.0].append(Event(0.0, 1.0, "Bell"))
        bark = number + 0.25
        expected[bark // 10 * 10].append(Event(bark % 10, bark % 10 + 0.5, "Dog bark"))
        for begin, events in expected.items():
            chosen = origins["recording"].str.endswith(f"r{number:02d}.wav")
            (name,) = origins.index[chosen & (origins["start"] == begin)]
            assert sorted(clips[name]) == sorted(events)


def _groups_by_set(out: Path) -> dict[str, set[str]]:
    origins = pd.read_csv(out / "metadata" / "clips.tsv", sep="\t", dtype=str)
    return {name: set(rows["group"]) for name, rows in origins.groupby("set_name")}


@pytest.mark.parametrize("rule", ["folder", r"r0?(\d)", "column:Class", "table"])
def test_groups_stay_together(rule: str, audio: Path, tmp_path: Path) -> None:
    labels = _write(tmp_path / "labels", "csv")
    given = [f"--group={rule}"]
    if rule == "table":
        rows = "".join(f"r{n:02d}.wav,g{n // 2}\n" for n in range(N))
        (tmp_path / "groups.csv").write_text("filename,group\n" + rows)
        given = [f"--groups={tmp_path / 'groups.csv'}"]
    if rule == "column:Class":
        table = pd.read_csv(labels)
        table["Site"] = [f"s{name[1:3]}"[:-1] + str(int(name[2]) % 4) for name in table["File"]]
        table.to_csv(labels, index=False)
        given = ["--group=column:site"]
    out = tmp_path / "out"
    main([f"--audio={audio}", f"--labels={labels}", f"--output={out}", *given])
    sets = _groups_by_set(out)
    assert set(sets) == {"synthetic_train", "synthetic_validation", "validation"}
    every = [group for groups in sets.values() for group in groups]
    assert len(every) == len(set(every)) > 3


def test_a_folder_per_class(audio: Path, tmp_path: Path) -> None:
    """Tags of whole files; noise has none; validation and test score them from start to end."""
    for number, name in enumerate(("Bell", "Dog bark", "noise", "Bell")):
        target = audio / name
        target.mkdir(exist_ok=True)
        for path in (audio / f"day {number}").iterdir():
            path.rename(target / path.name)
        (audio / f"day {number}").rmdir()
    out, more = tmp_path / "out", tmp_path / "more"
    more.mkdir()
    soundfile.write(more / "x.flac", np.zeros(12 * RATE), RATE)
    main([f"--audio={audio}", f"--output={out}", f"--unlabelled={more}", "--clip_seconds=5"])
    config = load_config(out / "conf.yaml")
    assert config.data.audio_max_len == 5
    sets = config.data.sets
    assert list(sets) == ["weak", "unlabelled", "synthetic validation", "test"]
    tags = read_weak(str(sets["weak"].tsv), config.data.classes)
    assert set(tags.values()) == {("Bell",), ("Dog bark",), ()}
    assert len(tags) % 5 == 0
    events = read_strong(str(sets["test"].tsv), config.data.classes)
    assert {event for own in events.values() for event in own} <= {
        Event(0.0, 5.0, name) for name in CLASSES
    }
    unlabelled = Path(str(sets["unlabelled"].original))
    lengths = [soundfile.info(path).duration for path in unlabelled.iterdir()]
    assert sorted(lengths) == [2.0, 5.0, 5.0]


def test_recordings_without_labels(
    audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = _write(tmp_path / "labels", "csv")
    table = pd.read_csv(labels)
    table[~table["File"].isin(["r00.wav", "r07.wav"])].to_csv(labels, index=False)
    given = [f"--audio={audio}", f"--labels={labels}"]
    main([*given, f"--output={tmp_path / 'skip'}"])
    assert "2 recordings have no label and are not used" in capsys.readouterr().out
    (audio / "day 0" / "r01.wav").rename(audio / "day 0" / "other.wav")
    main([*given, f"--output={tmp_path / 'moved'}"])
    printed = capsys.readouterr().out
    assert "labels.csv:2: 2 rows are of 1 recordings that are not below --audio" in printed
    assert "'r01.wav'" in printed
    assert "3 recordings have no label and are not used" in printed
    (audio / "day 0" / "other.wav").rename(audio / "day 0" / "r01.wav")
    for rest, expected in (("skip", 30), ("background", 36), ("unlabelled", 36)):
        out = tmp_path / f"{rest} 2"
        main([*given, f"--output={out}", f"--rest={rest}"])
        origins = pd.read_csv(out / "metadata" / "clips.tsv", sep="\t")
        assert len(origins) == expected
        assert (origins["set_name"] == "unlabelled").sum() == 6 * (rest == "unlabelled")


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ("r00.wav,500,900,Bell", ":2: onset: expected less than the recording's 25 s"),
        ("r00.wav,2,1,Bell", ":2: expected 0 <= onset < offset"),
        ("r00.wav,soon,1,Bell", ":2: onset: expected a number, got"),
        ("r99.wav,0,1,Bell", ":2: no such recording below --audio"),
        ('r00.wav,0,1,"Bell,Dog"', ":2: label"),
        ('r00.wav,0,1,"Bell', ":2: quotation marks"),
        ("r00.wav,0,1,", "--labels: no classes"),
    ],
)
def test_mistakes_in_a_table(row: str, place: str, audio: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "labels.csv", tmp_path / "out"
    table.write_text(f"file,onset,offset,label\n{row}\n")
    with pytest.raises(InputError) as caught:
        main([f"--audio={audio}", f"--labels={table}", f"--output={out}"])
    assert place in str(caught.value)
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ([], "--audio: without --labels expected a folder for each class"),
        (["--audio={folder}/none"], "--audio"),
        (["--labels={folder}/audio"], "--labels"),
        (
            ["--labels={folder}/bad.csv"],
            "{folder}/bad.csv:1: numbers that are not understood in when",
        ),
        (["--labels={table}", "--split=0.5,0.5"], "--split"),
        (["--labels={table}", "--overlap=10"], "--overlap"),
        (["--labels={table}", "--clip_seconds=nan"], "--clip_seconds"),
        (["--labels={table}", "--group=column:place"], "{table}:1: --group"),
        (["--labels={table}", "--group=folder", "--groups={table}"], "--group, --groups"),
        (["--labels={table}"], "--split: validation: expected at least 1 recording"),
        (["--labels={folder}/good.csv", "--output={folder}"], "--output"),
    ],
)
def test_mistakes_name_their_place(
    more: list[str], place: str, audio: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text("file,begin,end,label\nr00.wav,0,1,Bell\n")
    (tmp_path / "bad.csv").write_text("when,what\n1,Bell\n")
    rows = "".join(f"r{n:02d}.wav,0,1,Bell\n" for n in range(N))
    (tmp_path / "good.csv").write_text(f"file,begin,end,label\n{rows}")
    names = {"folder": tmp_path, "table": tmp_path / "labels.csv"}
    given = [f"--audio={audio if more else audio / 'day 0'}", f"--output={tmp_path / 'out'}"]
    with pytest.raises(InputError) as caught:
        main([*given, *(text.format(**names) for text in more)])
    assert str(caught.value).startswith(place.format(**names))
    assert not (tmp_path / "out").exists()


def test_what_points_mark_is_not_known(
    audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording of points alone is neither without events nor unlabelled."""
    labels = _write(tmp_path / "labels", "audacity")
    (labels / "r05.txt").write_text("2.0\t2.0\tBell\n")
    out = tmp_path / "out"
    main([f"--audio={audio}", f"--labels={labels}", f"--output={out}", "--rest=unlabelled"])
    assert "1 recordings have only labels of no length" in capsys.readouterr().out
    origins = pd.read_csv(out / "metadata" / "clips.tsv", sep="\t")
    assert not origins["recording"].str.endswith("r05.wav").any()


def test_unlabelled_recordings_of_test_groups_are_not_trained_on(
    audio: Path, tmp_path: Path
) -> None:
    labels = _write(tmp_path / "labels", "csv")
    table = pd.read_csv(labels)
    table[~table["File"].isin([f"r{n:02d}.wav" for n in range(0, N, 3)])].to_csv(
        labels, index=False
    )
    out = tmp_path / "out"
    given = [f"--audio={audio}", f"--labels={labels}", "--group=folder", "--rest=unlabelled"]
    main([*given, f"--output={out}"])
    origins = pd.read_csv(out / "metadata" / "clips.tsv", sep="\t")
    days = {
        name: {Path(path).parent.name for path in rows["recording"]}
        for name, rows in origins.groupby("set_name")
    }
    assert days["unlabelled"] == days["synthetic_train"]


def test_short_events_and_what_is_in_no_clip(
    audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A data set that `collect` writes is one that a training reads, whatever the times."""
    for path in audio.rglob("*.wav"):
        soundfile.write(path, np.zeros(round(20.3 * RATE)), RATE)
    short = [(1.2341, 1.2344), (4.0, 4.0004), (7.99951, 7.99999), (19.0, 20.004), (9.0, 10.01)]
    none = [(20.1, 20.2), (5.0, 5.0)]
    rows = [f"r{n:02d}.wav,{a},{b},Bell" for n in range(N) for a, b in short + none]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["file,onset_s,offset_s,label", *rows]) + "\n")
    out = tmp_path / "out"
    main([f"--audio={audio}", f"--labels={labels}", f"--output={out}"])
    printed = capsys.readouterr().out
    assert f"{labels}: file = file, onset = onset_s, offset = offset_s, label = label" in printed
    assert "first row: file r00.wav, onset 1.2341, offset 1.2344, label Bell" in printed
    for remark in (
        f"{N} labels of no length (points) are not used",
        f"{N} ends of recordings or stretches, shorter than 0.5 s, are in no clip",
        f"{N} events are only in such ends and are not used",
        f"{N} pieces of events, shorter than 20 ms at a cut, are not used",
    ):
        assert remark in printed
    for audio_set in load_config(out / "conf.yaml").data.sets.values():
        clips = Path(str(audio_set.original)).iterdir()
        seconds = {path.name: soundfile.info(path).duration for path in clips}
        for name, events in read_strong(str(audio_set.tsv), CLASSES, seconds).items():
            times = [(onset, offset) for onset, offset, _ in events]
            first = [*short[:3], (9.0, 10.0)]
            np.testing.assert_allclose(
                times, first if name.endswith("_00000000.wav") else [(9.0, 10.0)], atol=1e-6
            )


def test_options_of_labels_on_the_command_line(audio: Path, tmp_path: Path) -> None:
    rows = "".join(f"r{n:02d}.wav,{n + 1}00,{n + 2}00,{'SIL' if n % 2 else ''}\n" for n in range(N))
    labels, out = tmp_path / "labels.csv", tmp_path / "out"
    labels.write_text(f"file,begin,end,label\n{rows}")
    given = [f"--audio={audio}", f"--labels={labels}", f"--output={out}"]
    with pytest.raises(InputError, match="--columns onset=begin:ms,offset=end:ms"):
        main(given)
    main([*given, "--columns=onset=begin:ms,offset=end:ms", "--label=Owl", "--ignore=SIL"])
    assert load_config(out / "conf.yaml").data.classes == ("Owl",)
    with pytest.raises(InputError, match="--label: expected --labels, got none"):
        main([f"--audio={audio}", f"--output={tmp_path / 'no'}", "--label=Owl"])
