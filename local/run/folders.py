"""The folders of runs: where a run writes, and what an earlier one left."""

from pathlib import Path

from desed_task.errors import InputError

CHECKPOINTS = "checkpoints"
LAST_CHECKPOINT = "last.ckpt"
CONFIG_FILE = "config.yaml"


def run_folders(log_dir: Path) -> dict[int, Path]:
    """The folders `version_N` under `log_dir` by their number, in its order."""
    numbers = {path: path.name.removeprefix("version_") for path in log_dir.glob("version_*")}
    found = {int(number): path for path, number in numbers.items() if number.isdigit()}
    return dict(sorted(found.items()))


def new_run_folder(log_dir: Path) -> Path:
    """The next `version_N` under `log_dir`, made. Raises InputError where it cannot be."""
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        folder = log_dir / f"version_{max(run_folders(log_dir), default=-1) + 1}"
        folder.mkdir()
    except OSError as error:
        raise InputError(f"--log_dir {log_dir}: cannot be written: {error.strerror}") from None
    return folder


def newest_checkpoint(log_dir: Path) -> Path:
    """`last.ckpt` of the newest run under `log_dir` that has one (a mere test has none).

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
    """The run a checkpoint belongs to, None where it lies elsewhere."""
    folder = checkpoint.resolve().parent.parent
    return folder if (folder / CONFIG_FILE).is_file() else None
