"""Folders of runs, `version_N` below `--log_dir`."""

from pathlib import Path

from desed_task.errors import InputError

CHECKPOINTS = "checkpoints"
LAST_CHECKPOINT = "last.ckpt"
CONFIG_FILE = "config.yaml"


def run_folders(log_dir: Path) -> dict[int, Path]:
    """Folders `version_N` in `log_dir` by their number, in ascending order."""
    numbers = {path: path.name.removeprefix("version_") for path in log_dir.glob("version_*")}
    found = {int(number): path for path, number in numbers.items() if number.isdigit()}
    return dict(sorted(found.items()))


def new_run_folder(log_dir: Path) -> Path:
    """Create the next `version_N` in `log_dir`. Raises InputError where that fails."""
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        folder = log_dir / f"version_{max(run_folders(log_dir), default=-1) + 1}"
        folder.mkdir()
    except OSError as error:
        raise InputError(f"--log_dir {log_dir}: cannot be written: {error.strerror}") from None
    return folder


def newest_checkpoint(log_dir: Path) -> Path:
    """`last.ckpt` of the newest run in `log_dir` that has one (runs that only tested have none).

    Raises InputError where no run has one.
    """
    for folder in reversed(run_folders(log_dir).values()):
        checkpoint = folder / CHECKPOINTS / LAST_CHECKPOINT
        if checkpoint.is_file():
            return checkpoint
    raise InputError(
        f"--resume_from_checkpoint last: no run under --log_dir {log_dir} has a "
        f"{CHECKPOINTS}/{LAST_CHECKPOINT}"
    )


def run_folder_of(checkpoint: Path) -> Path | None:
    """Folder of the run that a checkpoint belongs to; None where it lies elsewhere."""
    folder = checkpoint.resolve().parent.parent
    return folder if (folder / CONFIG_FILE).is_file() else None
