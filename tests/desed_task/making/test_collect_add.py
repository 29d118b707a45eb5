"""Recordings and corrected labels that a collected data set gets."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.dataio.annotations import read_strong
from desed_task.errors import InputError
from desed_task.labels import Event
from desed_task.making import collect
from local import audio_sets
from local.collect import main
from local.config.load import load_config

RATE = 1000
N = 12
Row = tuple[str, float, float, str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve recordings of 12 s with an event over the cut at 10 s, collected in `own`."""
    for number in range(N):
        _record(tmp_path, f"r{number:02d}")
    _collect(tmp_path, [_row(n) for n in range(N)], f"--output={tmp_path / 'own'}")
    return tmp_path


def _record(folder: Path, name: str) -> None:
    """A recording whose samples are its number and its second."""
    path = folder / "audio" / f"{name}.wav"
    path.parent.mkdir(exist_ok=True)
    seconds = np.repeat(np.arange(12) / 100, RATE) + int(name[1:]) / 1000
    soundfile.write(path, seconds, RATE, subtype="PCM_16")


def _row(number: int, label: str = "Bell") -> Row:
    return f"r{number:02d}.wav", 8.5, 11.25, label


def _collect(folder: Path, rows: list[Row], *more: str, **columns: Sequence[object]) -> None:
    table = pd.DataFrame(rows, columns=["filename", "onset", "offset", "event_label"])
    table.assign(**columns).to_csv(folder / "labels.csv", index=False)
    main([f"--audio={folder / 'audio'}", f"--labels={folder / 'labels.csv'}", *more])


def _clips(own: Path) -> pd.DataFrame:
    clips = pd.read_csv(own / "metadata" / "clips.tsv", sep="\t")
    return clips.assign(name=[Path(path).stem for path in clips["recording"]])


def _sets(own: Path) -> dict[str, str]:
    """The set of each recording; it is in one."""
    sets = _clips(own).groupby("name")["set_name"].agg(set)
    assert set(map(len, sets)) == {1}
    return {name: min(found) for name, found in sets.items()}


def _events(own: Path) -> dict[str, list[Event]]:
    """The events of each recording, from all tables that the configuration names."""
    config = load_config(own / "conf.yaml")
    tables: dict[str, list[Event]] = {}
    for audio_set in config.data.sets.values():
        found = read_strong(str(audio_set.tsv), config.data.classes)
        assert {path.name for path in Path(str(audio_set.original)).iterdir()} == set(found)
        tables |= found
    clips = _clips(own)
    assert set(clips["filename"]) == set(tables)
    events: dict[str, list[Event]] = {name: [] for name in clips["name"]}
    for clip in clips.itertuples():
        events[clip.name] += [
            Event(round(onset + clip.start, 3), round(offset + clip.start, 3), label)
            for onset, offset, label in tables[clip.filename]
        ]
    return {name: sorted(found) for name, found in events.items()}


def _content(own: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}


def _cut(label: str) -> list[Event]:
    return [Event(8.5, 10.0, label), Event(10.0, 11.25, label)]


def test_new_recordings_and_corrected_labels(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = folder / "own"
    before = _sets(own)
    shutil.rmtree(folder / "audio")  # the recordings that do not change are not needed
    for number in (1, *range(N, N + 8)):
        _record(folder, f"r{number:02d}")
    (folder / "audio" / "r01.wav").rename(folder / "audio" / "renamed.wav")
    rows = [_row(number, "Owl") for number in range(N, N + 8)]
    rows.append(("renamed.wav", 1.0, 2.0, "Anvil"))
    capsys.readouterr()
    _collect(folder, rows, f"--add={own}")
    printed = capsys.readouterr().out
    assert "8 recordings are new, 1 have new labels, 22 of 24 clips do not change" in printed
    assert "new classes, behind the others: Anvil, Owl" in printed
    assert load_config(own / "conf.yaml").data.classes == ("Bell", "Anvil", "Owl")
    after = _sets(own)
    assert after.pop("renamed") == before["r01"]
    added = {name: after.pop(name) for name in list(after) if int(name[1:]) >= N}
    assert after == {name: found for name, found in before.items() if name != "r01"}
    counts = pd.Series(added).value_counts()
    assert counts.to_dict() == {
        "synthetic_train": 6,
        "synthetic_validation": 1,
        "validation": 1,
    }
    expected = {f"r{n:02d}": _cut("Bell" if n < N else "Owl") for n in range(N + 8) if n != 1}
    assert _events(own) == expected | {"renamed": [Event(1.0, 2.0, "Anvil")]}
    for clip in _clips(own).itertuples():
        (path,) = own.rglob(clip.filename)
        samples, _ = soundfile.read(path)
        number = 1 if clip.name == "renamed" else int(clip.name[1:])
        np.testing.assert_allclose(samples[0], clip.start / 100 + number / 1000, atol=1e-4)
    assert not list(folder.glob(".own*"))


def test_only_changed_clips_are_prepared_again(folder: Path) -> None:
    own = folder / "own"

    def prepare() -> dict[Path, int]:
        config = load_config(own / "conf.yaml")
        sets = audio_sets.training_sets(config) | audio_sets.test_sets(config)
        audio_sets.prepare_sets(sets.values(), config.data.fs, 1)
        return {path: path.stat().st_ino for path in sorted(own.rglob("*_16k/*.wav"))}

    before = prepare()
    assert len(before) == 2 * N
    _record(folder, "r12")
    shorter = np.zeros(11 * RATE)
    soundfile.write(folder / "audio" / "r03.wav", shorter, RATE)  # at the same path: the same one
    _collect(folder, [_row(12), ("r03.wav", 1.0, 2.0, "Bell")], f"--add={own}")
    after = prepare()
    kept = {path: inode for path, inode in before.items() if "r03" not in path.name}
    assert kept.items() <= after.items()
    assert len(after) == 2 * N + 2
    (path,) = (path for path in after if path.name == "r03_00010000.wav")
    assert soundfile.info(path).duration == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError])
def test_nothing_is_lost_where_it_fails(
    error: type[BaseException], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _content(folder / "own")

    def failing(*args: object) -> None:
        raise error("stop")

    monkeypatch.setattr(collect, "write_texts", failing)
    with pytest.raises(error):
        _collect(folder, [_row(1, "Owl")], f"--add={folder / 'own'}")
    assert _content(folder / "own") == before
    assert not [path for path in folder.glob(".own*") if path.is_dir()]


def test_an_edited_configuration_is_not_replaced(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = folder / "own"
    edited = (own / "conf.yaml").read_text() + "# mine\n"
    (own / "conf.yaml").write_text(edited)
    _collect(folder, [_row(1, "Owl")], f"--add={own}")
    assert f"{own / 'conf.yaml'} was edited and is not changed" in capsys.readouterr().out
    assert (own / "conf.yaml").read_text() == edited
    assert load_config(own / "conf.2.yaml").data.classes == ("Bell", "Owl")
    _collect(folder, [_row(2, "Yak")], f"--add={own}")
    assert load_config(own / "conf.2.yaml").data.classes == ("Bell", "Owl", "Yak")
    assert not (own / "conf.3.yaml").exists()


def test_the_result_is_another_set(folder: Path) -> None:
    own, more = folder / "own", folder / "more"
    (own / "conf.yaml").write_text("edited: true")
    before = _content(own)
    _collect(folder, [_row(1, "Owl")], f"--add={own}", f"--output={more}")
    assert _content(own) == before
    config = load_config(more / "conf.yaml")
    assert config.data.root == str(more.resolve())
    assert _events(more)["r01"] == _cut("Owl")
    assert _sets(more) == _sets(own)
    inodes = {path.stat().st_ino for path in own.rglob("*.wav")}
    assert inodes.isdisjoint(path.stat().st_ino for path in more.rglob("*.wav"))


def test_a_review_corrects_stretches(folder: Path) -> None:
    none = ("r02.wav", float("nan"), float("nan"), "")
    _collect(
        folder,
        [("r01.wav", 9.0, 9.5, "Owl"), none],
        f"--add={folder / 'own'}",
        reviewed_from=[9.0, 10.5],
        reviewed_to=[10.25, 11.0],
    )
    events = _events(folder / "own")
    assert events.pop("r01") == [
        Event(8.5, 9.0, "Bell"),
        Event(9.0, 9.5, "Owl"),
        Event(10.25, 11.25, "Bell"),
    ]
    assert events.pop("r02") == [
        Event(8.5, 10.0, "Bell"),
        Event(10.0, 10.5, "Bell"),
        Event(11.0, 11.25, "Bell"),
    ]
    assert events == {f"r{n:02d}": _cut("Bell") for n in range(N) if n not in (1, 2)}


def test_groups_of_the_set_keep_their_split(folder: Path) -> None:
    own, audio = folder / "sites", folder / "audio"
    rows = [_row(n) for n in range(N)]
    sites = [f"s{n % 4}" for n in range(N)]
    _collect(folder, rows, f"--output={own}", "--group=column:site", site=sites)
    before = _sets(own)
    for number in range(N, N + 4):
        _record(folder, f"r{number:02d}")
    _collect(folder, [_row(n) for n in range(N, N + 4)], f"--add={own}", site=sites[:4])
    after = _sets(own)
    assert [after[f"r{n + N:02d}"] for n in range(4)] == [before[f"r{n:02d}"] for n in range(4)]
    _collect(folder, [_row(1, "Owl")], f"--add={own}")  # its group is known
    assert _sets(own) == after
    _record(folder, "r16")
    with pytest.raises(InputError, match=r"r16\.wav: --group column:site: expected a value"):
        _collect(folder, [_row(16)], f"--add={own}")
    test = next(n for n in range(4) if before[f"r{n:02d}"] == "validation")
    with pytest.raises(InputError, match=rf"group 's{test}': expected one split, got test \(in"):
        _collect(folder, [_row(16)], f"--add={own}", site=[f"s{test}"], split=["train"])
    assert audio.is_dir()


@pytest.mark.parametrize(
    ("more", "place"),
    [
        (["--add={folder}/audio"], "--add {folder}/audio: expected a data set that"),
        (["--add={folder}/own", "--clip_seconds=5"], "--clip_seconds: expected 10.0"),
        (["--add={folder}/own", "--output={folder}"], "--output: expected a new or empty folder"),
        ([], "expected --output, or --add"),
    ],
)
def test_mistakes(more: list[str], place: str, folder: Path) -> None:
    before = _content(folder / "own")
    with pytest.raises((InputError, SystemExit)) as caught:
        _collect(folder, [_row(1, "Owl")], *(text.format(folder=folder) for text in more))
    assert isinstance(caught.value, SystemExit) or str(caught.value).startswith(
        place.format(folder=folder)
    )
    assert _content(folder / "own") == before


def test_new_labels_of_audio_that_breaks_off_do_not_cost_the_old_clips(folder: Path) -> None:
    before = _content(folder / "own")
    broken = np.zeros(12 * RATE, np.float32)
    broken[-1] = np.nan
    soundfile.write(folder / "audio" / "r01.wav", broken, RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"r01\.wav: .*NaN"):
        _collect(folder, [_row(1, "Owl")], f"--add={folder / 'own'}", "--skip_unreadable")
    assert _content(folder / "own") == before


def test_a_link_to_the_set_and_decomposed_names(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "own")
    _record(folder, "r12")
    name = "e\u0301té.wav"  # é as two characters and as one
    (folder / "audio" / "r12.wav").rename(folder / "audio" / name)
    for label in ("Owl", "Yak"):
        _collect(folder, [(name, 8.5, 11.25, label)], f"--add={folder / 'link'}")
    assert (folder / "link").is_symlink()
    assert _events(folder / "own")["été"] == _cut("Yak")
