"""Files that are whole or absent, paths with `~`, and faults of the system in one line."""

import errno
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from desed_task.dataio.audio import audio_info
from desed_task.errors import FaultError, InputError, file_error, named_folders, run_cli
from desed_task.files import atomic_write, remove_partial_files, user_path, write_file


@pytest.fixture
def file_limit() -> Iterator[int]:
    """A largest size of files that this process writes, as a full disk has it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_old_file_and_says_how_much_is_needed(
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
    told = float(str(caught.value).split(", ")[-1].removesuffix(" MB free"))
    assert told == pytest.approx(free.f_bavail * free.f_frsize / 1e6, rel=0.5)
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


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, InputError),
        (errno.EISDIR, InputError),
        (errno.EACCES, FaultError),
        (errno.EMFILE, FaultError),
        (errno.EIO, FaultError),
    ],
)
def test_a_wrong_path_is_a_mistake_and_all_else_a_fault(number: int, kind: type) -> None:
    error = file_error("a.tsv", OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert str(error) == f"a.tsv: cannot be read: {os.strerror(number)}"


def _raise(error: BaseException) -> None:
    raise error


FAULTS = {
    "a permission": (PermissionError(13, "Permission denied", "/d/x.wav"), "/d/x.wav: Permission"),
    "no file name": (OSError(28, "No space left on device"), "/run: No space left on device"),
    "PyTorch": (RuntimeError("unable to write: No space left on device (28)\nat x.cc"), "(28)"),
    "ours": (FaultError("/d/y.wav: cannot be written: x", "/d/y.wav"), "/d/y.wav: cannot be"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_the_system_are_one_line_with_status_1(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error, expected = FAULTS[name]

    def main() -> None:
        with named_folders({"data.test_folder": "/d", "data.other": "/e"}, written="/run"):
            _raise(error)

    with pytest.raises(SystemExit) as caught:
        run_cli(main)
    assert caught.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert expected in message
    assert ("; data.test_folder may name another place" in message) == ("/d/" in message)


def test_a_fault_survives_the_closing_of_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """Lightning closes its loggers after an error; on a full disk that fails too."""

    def main() -> None:
        try:
            _raise(FaultError("last.ckpt: cannot be written", "last.ckpt"))
        finally:
            _raise(OSError(28, "No space left on device"))

    with pytest.raises(SystemExit):
        run_cli(main)
    assert capsys.readouterr().err == "error: last.ckpt: cannot be written\n"


def test_other_runtime_errors_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run_cli(lambda: _raise(RuntimeError("mat1 and mat2 shapes cannot be multiplied")))


def test_what_the_system_refuses_is_no_broken_audio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, [0.0] * 10, 16000)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    kept = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, limits[1]))
    try:
        while True:
            kept.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        with pytest.raises(FaultError, match=r"a\.wav: cannot be read: Too many open files"):
            audio_info(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in kept:
            os.close(descriptor)
