"""A folder that appears when complete: leftovers, other runs, folders of the user."""

import subprocess
import sys
from pathlib import Path

import pytest

from desed_task.errors import InputError
from desed_task.making.output_folder import whole_folder

LOCKING = """
import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


def write(out: Path) -> None:
    """Make a folder with one file, in a subfolder."""
    with whole_folder(out) as folder:
        (folder / "sub").mkdir()
        (folder / "sub/new.txt").write_text("new")


def test_what_a_killed_run_left_is_used_anew(tmp_path: Path) -> None:
    left = tmp_path / "out.partial"
    (left / "sub").mkdir(parents=True)
    (left / ".lock").touch()
    (left / "sub/old.txt").write_text("old")
    write(tmp_path / "out")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "out",
        "out/sub",
        "out/sub/new.txt",
    ]


def test_a_run_that_still_writes_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "out.partial"
    folder.mkdir()
    command = [sys.executable, "-S", "-c", LOCKING, str(folder / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"locked\n"
        (folder / "clip.wav").write_bytes(b"theirs")
        with pytest.raises(InputError, match=r"another run is writing .*out\.partial"):
            write(tmp_path / "out")
        assert (folder / "clip.wav").read_bytes() == b"theirs"
        other.stdin.close()


def test_a_folder_of_the_user_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial/mine.txt").write_text("keep")
    with pytest.raises(InputError, match=r"expected no file or folder .*out\.partial"):
        write(tmp_path / "out")
    assert (tmp_path / "out.partial/mine.txt").read_text() == "keep"
