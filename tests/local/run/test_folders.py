"""Folders of runs: their numbers and one writer."""

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from desed_task.errors import InputError
from local.run.folders import (
    claimed,
    new_run_folder,
    run_folder_of,
)
from tests.support.paths import ROOT


def test_run_folders_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "version_7").mkdir()
    (tmp_path / "version_x").mkdir()
    assert new_run_folder(tmp_path).name == "version_8"
    checkpoint = tmp_path / "version_8" / "checkpoints" / "last.ckpt"
    assert run_folder_of(checkpoint) is None
    (tmp_path / "version_8" / "config.yaml").touch()
    assert run_folder_of(checkpoint) == tmp_path / "version_8"


def test_a_log_dir_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--log_dir"):
        new_run_folder(tmp_path / "file" / "runs")


def test_runs_that_start_together_get_folders_of_their_own(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    folders: list[Path] = []

    def start() -> None:
        barrier.wait()
        folders.append(new_run_folder(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in folders) == [f"version_{number}" for number in range(8)]


RESUME = """
import sys
from pathlib import Path
from desed_task.errors import InputError
from local.run.folders import claimed
try:
    with claimed(Path(sys.argv[1]), new=False):
        print("claimed")
except InputError as error:
    print(error)
"""


def test_a_run_is_written_by_one_process(tmp_path: Path) -> None:
    def resumed(run: Path) -> str:
        command = [sys.executable, "-c", RESUME, str(run)]
        return subprocess.check_output(command, cwd=ROOT, text=True)

    run = new_run_folder(tmp_path)
    (run / ".raw.partial-new").mkdir()
    with claimed(run, new=True):
        assert f"{run}: another process is writing it" in resumed(run)
    assert resumed(run) == "claimed\n"
    assert [path.name for path in tmp_path.rglob("*")] == [run.name]


def test_only_an_unused_folder_is_removed(tmp_path: Path) -> None:
    for files, kept in ((["config.yaml"], False), (["config.yaml", "last.ckpt"], True)):
        folder = new_run_folder(tmp_path)
        with contextlib.suppress(KeyboardInterrupt), claimed(folder, new=True):
            for name in files:
                (folder / name).touch()
            raise KeyboardInterrupt
        assert folder.exists() == kept
