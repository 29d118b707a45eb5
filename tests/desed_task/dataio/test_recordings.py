"""Which recordings are found in folders, and their names."""

import logging
import os
from pathlib import Path

import pytest

from desed_task.dataio.recordings import clip_path, files_below, find_recordings, wav_files
from desed_task.errors import InputError


def _touched(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def test_a_file_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touched(tmp_path, "in/a.wav", "in/x/b.wav")
    monkeypatch.chdir(tmp_path)
    ways = ["in", "in/x/../a.wav", str(tmp_path / "in" / "a.wav"), "in/x"]
    found = find_recordings(map(Path, ways))
    assert [name.as_posix() for _, name in found] == ["a.wav", "x/b.wav"]


def test_names_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a/x.wav", "b/x.wav", "c/a/x.wav", "a/s/y.wav", "b/s/y.wav", "z.wav")
    files = _touched(tmp_path / "d", *names)
    found = [name.as_posix() for _, name in find_recordings(files)]
    assert found == ["d/a/x.wav", "b/x.wav", "c/a/x.wav", "a/s/y.wav", "b/s/y.wav", "z.wav"]
    monkeypatch.chdir(tmp_path / "d" / "c")
    found = [name.as_posix() for _, name in find_recordings([Path("../a"), Path("../b")])]
    assert found == ["a/s/y.wav", "a/x.wav", "b/s/y.wav", "b/x.wav"]
    os.symlink("x.wav", tmp_path / "d" / "a" / "link.wav")
    assert len(find_recordings([tmp_path / "d"])) == len(names)


def test_links_hidden_and_other_files(tmp_path: Path) -> None:
    """A linked folder is searched once, also where it leads back."""
    _touched(tmp_path / "in", "x/b.WAV", ".hidden/c.wav", "x/._b.wav", "x/notes.txt", "a.flac")
    _touched(tmp_path / "elsewhere", "d.ogg")
    (tmp_path / "in/folder.wav").mkdir()
    for link, target in {"in/x/back": "in", "in/linked": "elsewhere", "in/again": "in/x"}.items():
        os.symlink(tmp_path / target, tmp_path / link)
    os.symlink(tmp_path / "gone.wav", tmp_path / "in/broken.wav")
    found = [path.relative_to(tmp_path / "in").as_posix() for path in files_below(tmp_path / "in")]
    assert found == ["a.flac", "linked/d.ogg", "x/b.WAV"]
    assert [path.name for path in files_below(tmp_path / "in", {".txt"})] == ["notes.txt"]


def test_folders_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _touched(tmp_path, "lost/a.wav", "b.wav")
    scandir = os.scandir

    def denied(path: Path) -> object:
        if path.name == "lost":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with caplog.at_level(logging.WARNING):
        assert files_below(tmp_path) == [tmp_path / "b.wav"]
    assert f"{tmp_path}: not read: 1 folders (lost: Permission denied)" in caplog.text
    with pytest.raises(InputError, match="none: cannot be read"):
        files_below(tmp_path / "none")


def test_names_of_clips_in_any_unicode_form(tmp_path: Path) -> None:
    _touched(tmp_path, "Ba\u0308r.wav", "U\u0308hu\u00fc.wav", "a.wav")
    assert list(wav_files(tmp_path)) == ["B\u00e4r.wav", "a.wav", "\u00dchu\u00fc.wav"]
    assert clip_path(tmp_path, "B\u00e4r.wav") == tmp_path / "Ba\u0308r.wav"
    assert clip_path(tmp_path, "\u00dchu\u00fc.wav") == tmp_path / "U\u0308hu\u00fc.wav"
    for name in ("a.wav", "b.wav", "\u00e9.wav"):
        assert clip_path(tmp_path, name) == tmp_path / name
    _touched(tmp_path, "B\u00e4r.wav")
    with pytest.raises(InputError, match="names that differ in more than their Unicode form"):
        wav_files(tmp_path)


def test_what_is_not_read_is_named_and_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _touched(tmp_path, "a.wav", "x/b.m4a", "x/c.WMA", "d.aac", "e.mp4", "notes.txt", ".f.m4a")
    os.symlink(tmp_path / "gone.wav", tmp_path / "g.wav")
    with caplog.at_level(logging.WARNING):
        assert files_below(tmp_path) == [tmp_path / "a.wav"]
        assert files_below(tmp_path, {".txt"}) == [tmp_path / "notes.txt"]
    assert caplog.messages == [
        f"{tmp_path}: not read: 1 broken links or devices (g.wav), 4 files of other formats "
        "(d.aac, e.mp4, x/b.m4a and 1 more); WAV, FLAC, Ogg and MP3 files are"
    ]
