"""The recordings that the clips of a data set were cut from."""

import logging
from pathlib import Path

from desed_task.dataio.annotations import read_clip_recordings
from desed_task.errors import InputError
from desed_task.making.collected import CLIPS

logger = logging.getLogger(__name__)


def clip_recordings(root: Path) -> dict[str, str] | None:
    """The recording of each clip of a data set that `local.collect` made; None of another one."""
    table = root / CLIPS
    try:
        return read_clip_recordings(table) if table.is_file() else None
    except InputError as error:  # of another program: no reason to lose a test
        logger.warning("%s; the recordings of clips are unknown", error)
        return None
