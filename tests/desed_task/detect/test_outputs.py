"""What an output folder keeps: recordings of several calls, and what could not be read."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from desed_task.detect.__main__ import main
from desed_task.detect.outputs import _content_digest
from desed_task.errors import InputError

Run = Callable[..., int]
NAME = "20230601_050000.WAV"
TIME = 1_700_000_000_000_000_000


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Run:
    """The command with output `out`, tables and Audacity labels."""
    given = [f"--model={model}", f"--output={tmp_path / 'out'}", "--format=tsv,csv,audacity"]
    return lambda *more: main([*given, *map(str, more)])


def _record(path: Path, seed: int, seconds: float = 2.0) -> None:
    """A recording whose first half is loud or quiet; all of one length have equal size and time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = np.random.default_rng(seed).normal(0, 0.2, round(8000 * seconds))
    audio[: len(audio) // 2] *= 0.01 + seed % 2
    soundfile.write(path, audio.clip(-1, 1), 8000)
    os.utime(path, ns=(TIME, TIME))


def _rows(folder: Path) -> dict[str, list[list[object]]]:
    """Rows of events.csv by path; those of events.tsv are the same."""
    table = pd.read_csv(folder / "events.csv", comment="#")
    names = pd.read_csv(folder / "events.tsv", sep="\t")
    assert names.iloc[:, 1:].to_numpy().tolist() == table.iloc[:, 1:].to_numpy().tolist()
    return {str(path): rows.iloc[:, 1:].to_numpy().tolist() for path, rows in table.groupby("path")}


def test_two_recorders_on_one_schedule(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal names, sizes and times: in one call, in two, and again."""
    sites = {site: tmp_path / site / NAME for site in ("siteA", "siteB")}
    for seed, path in enumerate(sites.values()):
        _record(path, seed)
    assert run(tmp_path / "siteA") == 0
    first = (tmp_path / "out" / f"{NAME}.txt").read_text()
    assert run(tmp_path / "siteB") == 0
    assert "done" not in capsys.readouterr().out
    rows = _rows(tmp_path / "out")
    assert rows.keys() == set(map(str, sites.values()))
    assert rows[str(sites["siteA"])] != rows[str(sites["siteB"])]
    assert (tmp_path / "out" / f"{NAME}.txt").read_text() == first
    assert (tmp_path / "out" / "siteB" / f"{NAME}.txt").is_file()
    for again in ([tmp_path / "siteB"], sites.values(), [tmp_path / "siteA", tmp_path / "siteB"]):
        assert run(*again) == 0
        assert f"{len(list(again))} of" in capsys.readouterr().out
        assert _rows(tmp_path / "out") == rows
    shutil.rmtree(tmp_path / "out")
    assert run(tmp_path / "siteA", tmp_path / "siteB") == 0
    assert _rows(tmp_path / "out") == rows


def test_another_recording_at_the_same_path(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next memory card at one mount point, with equal name, size and time."""
    path = tmp_path / "card" / NAME
    _record(path, 0)
    assert run(path) == 0
    before = _rows(tmp_path / "out")
    _record(path, 1)
    capsys.readouterr()
    assert run(path) == 0
    assert "1 files differ from those that were detected" in capsys.readouterr().out
    assert _rows(tmp_path / "out") != before


def test_moved_recordings_are_done(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _record(tmp_path / "card" / NAME, 1)
    assert run(tmp_path / "card") == 0
    rows = _rows(tmp_path / "out")
    (tmp_path / "card").rename(tmp_path / "archive")
    capsys.readouterr()
    assert run(tmp_path / "archive") == 0
    assert "1 of 1 files are done" in capsys.readouterr().out
    moved = _rows(tmp_path / "out")
    assert list(moved) == [str(tmp_path / "archive" / NAME)]
    assert list(moved.values()) == list(rows.values())
    shutil.copytree(tmp_path / "archive", tmp_path / "copy")  # is another file
    assert run(tmp_path / "copy") == 0
    assert len(_rows(tmp_path / "out")) == 2


def test_a_path_written_in_another_way_is_the_same(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _record(tmp_path / "card" / NAME, 1)
    (tmp_path / "link").symlink_to("card")
    assert run(tmp_path / "card") == 0
    monkeypatch.chdir(tmp_path)
    for path in ("card", "link", f"card/../card/{NAME}", tmp_path):
        capsys.readouterr()
        assert run(path) == 0
        assert "1 of 1 files are done" in capsys.readouterr().out


def test_other_settings_do_not_share_a_table(run: Run, tmp_path: Path) -> None:
    for seed, name in enumerate(("a.wav", "b.wav")):
        _record(tmp_path / "in" / name, seed)
    a, b = tmp_path / "in" / "a.wav", tmp_path / "in" / "b.wav"
    assert run(a) == 0
    rows = _rows(tmp_path / "out")
    with pytest.raises(InputError, match=r"1 other recordings are done there with another model"):
        run("--threshold=0.4", b)
    with pytest.raises(InputError, match=r"another model or other settings: .*a\.wav; name"):
        run("--channel=1", b)
    assert _rows(tmp_path / "out") == rows
    assert run("--threshold=0.4", "--format=audacity", b) == 0  # no table
    assert run("--threshold=0.4", a, b) == 0
    assert set(_rows(tmp_path / "out")) == {str(a), str(b)}


def test_all_unreadable_files_are_named(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    _record(folder / "good.wav", 1)
    bad = sorted(folder / f"bad {n}\t{'é' * 60}.wav" for n in range(12))
    for path in bad:
        path.write_bytes(b"RIFF no audio")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.wav").touch()
    assert run(folder) == 1
    assert "12 of 13 files could not be read, see" in capsys.readouterr().err
    table = tmp_path / "out" / "unreadable.tsv"
    found = pd.read_csv(table, sep="\t")
    assert list(found.columns) == ["file", "reason"]
    assert list(found["file"]) == list(map(str, bad))
    assert all("cannot be read as audio" in reason for reason in found["reason"])
    assert run(tmp_path / "other") == 1
    assert len(pd.read_csv(table, sep="\t")) == 13  # those of the first call, too
    assert run(tmp_path / "missing.wav", folder / "good.wav") == 1
    assert len(pd.read_csv(table, sep="\t")) == 14
    for path in bad[1:]:
        path.unlink()
    _record(bad[0], 1)
    assert run(folder) == 0
    assert str(bad[0]) not in list(pd.read_csv(table, sep="\t")["file"])


def test_a_result_is_kept_while_its_recording_is_away(run: Run, tmp_path: Path) -> None:
    _record(tmp_path / "card" / NAME, 1)
    assert run(tmp_path / "card" / NAME) == 0
    rows = _rows(tmp_path / "out")
    (tmp_path / "card").rename(tmp_path / "away")
    assert run(tmp_path / "card" / NAME) == 1
    assert _rows(tmp_path / "out") == rows


@pytest.mark.parametrize("size", [200, 235, 236, 245, 251])
def test_names_of_any_length(
    size: int, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In characters of three bytes; names that begin alike do not share files."""
    stem = "猫" * (size // 3) + "x" * (size % 3)
    folder = tmp_path / "in"
    for seed, ending in enumerate((".wav", ".WAV", ".ogg")):
        _record(folder / (stem[:-1] + str(seed) + ending), seed)
    given = ("--format=tsv,csv,audacity,raven,rttm,json,scores", "--plot", folder)
    assert run(*given) == 0
    rows = _rows(tmp_path / "out")
    assert set(rows) == set(map(str, folder.iterdir()))
    files = [path for path in (tmp_path / "out").iterdir() if path.suffix == ".txt"]
    assert len([path for path in files if not path.name.endswith(".selections.txt")]) == 3
    capsys.readouterr()
    assert run(*given) == 0
    assert "3 of 3 files are done" in capsys.readouterr().out
    assert _rows(tmp_path / "out") == rows


def test_names_that_are_no_text(run: Run, tmp_path: Path) -> None:
    """Bytes of another encoding than UTF-8, as old archives have them."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/caf\xe9.wav"))
    _record(tmp_path / "in" / "x.wav", 1)
    (tmp_path / "in" / "x.wav").rename(path)
    escaped = f"{tmp_path}/in/caf\\xe9.wav"
    if run(path.parent):
        table = pd.read_csv(tmp_path / "out" / "unreadable.tsv", sep="\t")
        assert list(table["file"]) == [escaped]
    else:
        assert set(_rows(tmp_path / "out")) == {escaped}


def test_the_digest_reads_a_sample_of_long_files(tmp_path: Path) -> None:
    path, content = tmp_path / "x", bytearray(range(256)) * 12000
    path.write_bytes(content)
    whole = _content_digest(path, len(content))
    for position in (0, len(content) - 1, len(content) // 7 + 99):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        assert _content_digest(path, len(content)) != whole
