"""Folders of runs, `version_N` below `--log_dir`."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from desed_task.errors import file_error
from desed_task.files import only_writer, remove_partial_files

CHECKPOINTS = "checkpoints"
LAST_CHECKPOINT = "last.ckpt"
CONFIG_FILE = "config.yaml"
TRAINING_SECONDS = "training_cpu_seconds"  # in checkpoints, and of each system in metrics.json


def run_folders(log_dir: Path) -> dict[int, Path]:
    """Folders `version_N` in `log_dir` by their number, in ascending order."""
    numbers = {path: path.name.removeprefix("version_") for path in log_dir.glob("version_*")}
    found = {int(number): path for path, number in numbers.items() if number.isdigit()}
    return dict(sorted(found.items()))


def new_run_folder(log_dir: Path) -> Path:
    """Create the next `version_N` in `log_dir`, which no other run has.

    Raises InputError or FaultError where that fails.
    """
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        number = max(run_folders(log_dir), default=-1) + 1
        while not _made(log_dir / f"version_{number}"):
            number += 1
    except OSError as error:
        raise file_error(f"--log_dir {log_dir}", error, "written") from None
    return log_dir / f"version_{number}"


def _made(folder: Path) -> bool:
    """Make a folder; False where it exists, as that of a run that starts at the same time."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


@contextlib.contextmanager
def claimed(folder: Path, *, new: bool) -> Iterator[None]:
    """Keep other runs out of a run's folder during the block.

    A new folder that the block leaves by an exception is removed where it holds nothing but the
    configuration; a resumed one is cleared of the partial files that a killed process left.

    Raises InputError where another process writes the folder.
    """
    with only_writer(folder):
        if not new:
            remove_partial_files(folder)
        try:
            yield
        except BaseException:
            if new and {path.name for path in folder.iterdir()} <= {CONFIG_FILE}:
                shutil.rmtree(folder, ignore_errors=True)
            raise


def saved(run: Path) -> str:
    """What an interrupted run has saved, and how to resume it."""
    checkpoint = run / CHECKPOINTS / LAST_CHECKPOINT
    if not checkpoint.is_file():
        return "nothing was saved"
    return f"saved {checkpoint}; resume with --resume_from_checkpoint {checkpoint}"


def run_folder_of(checkpoint: Path) -> Path | None:
    """Folder of the run that a checkpoint belongs to; None where it lies elsewhere."""
    folder = checkpoint.resolve().parent.parent
    return folder if (folder / CONFIG_FILE).is_file() else None
