"""Files and folders that are whole or absent, locks, paths with `~`."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from desed_task.errors import FaultError, InputError
from desed_task.files import (
    atomic_folder,
    atomic_write,
    check_new_folder,
    only_writer,
    remove_partial_files,
    user_path,
    write_file,
)
from tests.support.paths import ROOT


@pytest.fixture
def file_limit() -> Iterator[int]:
    """A largest size of files that this process writes, as a full disk has it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_old_file_and_reports_needed_and_free_space(
    tmp_path: Path, file_limit: int
) -> None:
    path = tmp_path / "metrics.json"
    write_file(path, "old")
    with pytest.raises(FaultError) as caught:
        write_file(path, b"x" * 3 * file_limit)
    free = os.statvfs(tmp_path)
    assert str(caught.value).startswith(
        f"{path}: cannot be written: File too large: needs 0.30 MB, "
    )
    free_mb = float(str(caught.value).split(", ")[-1].removesuffix(" MB free"))
    assert free_mb == pytest.approx(free.f_bavail * free.f_frsize / 1e6, rel=0.5)
    assert caught.value.path == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["metrics.json"]


STEPS = ("write", "fsync", "replace")
REASONS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EMFILE)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("reason", REASONS)
def test_a_failure_at_any_step_keeps_the_old_file(
    step: str, reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    write_file(path, "old")
    write = Path.write_bytes

    def failing(*args: Any) -> None:
        if step == "write":
            write(args[0], bytes(args[1])[:2])
        raise OSError(reason, os.strerror(reason))

    target: Any = os if step == "fsync" else Path
    monkeypatch.setattr(target, {"write": "write_bytes"}.get(step, step), failing)
    with pytest.raises(FaultError, match=f"last.ckpt: cannot be written: {os.strerror(reason)}"):
        write_file(path, "new content")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        seen.append((Path(name).name, (tmp_path / "a.txt").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write_file(tmp_path / "a.txt", "new")
    assert seen == [(f".a.partial-{os.getpid()}.txt", False), (tmp_path.name, True)]
    seen.clear()
    write_file(tmp_path / "a.txt", "newer", durable=False)
    assert seen == []
    assert (tmp_path / "a.txt").read_text() == "newer"


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match=r"gone/a\.txt: cannot be written: No such file or"):
        write_file(tmp_path / "gone" / "a.txt", "x")


def test_partial_files_of_a_killed_process_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_write(tmp_path / "a.wav") as partial:
        partial.write_bytes(b"x")
        left = partial.with_name(partial.name.replace(str(os.getpid()), "1"))
        left.write_bytes(b"half")

    def read_only(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", read_only)
        remove_partial_files(tmp_path)  # nothing has to be written
    assert left.exists()
    remove_partial_files(tmp_path)
    assert os.listdir(tmp_path) == ["a.wav"]


def _write_folder(path: Path) -> None:
    with atomic_folder(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub/new.txt").write_text("new")


def _tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


NEW_FOLDER = ["out", "out/sub", "out/sub/new.txt"]


@pytest.mark.parametrize("step", ["new", "replaces", "fails", "moved", "empty"])
def test_a_folder_is_old_or_new(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    if step != "new":
        out.mkdir()
        (out / (".hidden" if step == "empty" else "old.txt")).touch()
    old = _tree(tmp_path)
    if step in ("new", "replaces", "empty"):
        _write_folder(out)
        assert _tree(tmp_path) == sorted(NEW_FOLDER + ["out/.hidden"] * (step == "empty"))
    elif step == "fails":

        def failing(*_: Any, **__: Any) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(Path, "write_text", failing)
        with pytest.raises(FaultError, match="out: cannot be written: Input/output"):
            _write_folder(out)
        assert _tree(tmp_path) == old
    else:  # Ctrl-C after the old folder was moved away
        rename = Path.rename

        def interrupted(path: Path, target: Path) -> Path:
            if path.name.endswith("new"):
                raise KeyboardInterrupt
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _write_folder(out)
        assert _tree(tmp_path) == old


WRITING = """
import sys
from pathlib import Path
from desed_task.files import atomic_folder, only_writer
writing = atomic_folder if sys.argv[1] == "folder" else only_writer
with writing(Path(sys.argv[2])) as folder:
    if folder is not None:
        (folder / "half.txt").touch()
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["folder", "lock"])
def test_one_process_writes_and_a_killed_one_leaves_nothing_for_long(
    kind: str, tmp_path: Path
) -> None:
    """Its children, as a loader's workers, do not keep the lock."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", WRITING, kind, str(out)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        left = _tree(tmp_path)
        with pytest.raises(InputError, match=r"out: another process is writing it"):
            _write_folder(out)
        assert _tree(tmp_path) == left
        other.kill()
    assert _tree(tmp_path) == left
    _write_folder(out)
    assert _tree(tmp_path) == NEW_FOLDER


def test_the_old_folder_of_a_killed_process_is_restored(tmp_path: Path) -> None:
    """It was killed after it had moved the old folder and before the new one had its name."""
    (tmp_path / ".out.partial-old").mkdir()
    (tmp_path / ".out.partial-old/old.txt").touch()
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "out"):
        raise KeyboardInterrupt
    assert _tree(tmp_path) == ["out", "out/old.txt"]


def test_children_of_a_killed_process_do_not_keep_its_lock(tmp_path: Path) -> None:
    started, child_lives = os.pipe()
    parent = os.fork()
    if parent == 0:
        with only_writer(tmp_path / "run"):
            if os.fork() == 0:
                os.write(child_lives, str(os.getpid()).encode())
                time.sleep(60)
            time.sleep(60)
    child = int(os.read(started, 100))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    try:
        with only_writer(tmp_path / "run"):
            child_group = os.getpgid(child)  # raises where the child has ended
        assert child_group == os.getpgid(0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(started)
        os.close(child_lives)


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(
    reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr("fcntl.flock", failing)
    _write_folder(tmp_path / "out")
    assert [path for path in _tree(tmp_path) if "lock" not in path] == NEW_FOLDER


def test_only_a_new_folder(tmp_path: Path) -> None:
    check_new_folder("--output", tmp_path / "new")
    (tmp_path / ".hidden").touch()
    check_new_folder("--output", tmp_path)
    (tmp_path / "mine.txt").touch()
    for path in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(InputError, match="--output: expected a new or empty folder, got"):
            check_new_folder("--output", path)


def test_user_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for text, expected in {
        "~/exp": "/home/me/exp",
        "~": "/home/me",
        "a/~/b": "a/~/b",
        "./~x": "~x",
        "$HOME/x": "$HOME/x",
    }.items():
        assert user_path(text) == Path(expected)
    for wrong in ("~nobody_at_all/x", "", "  ", "a\0b"):
        with pytest.raises(InputError):
            user_path(wrong)
