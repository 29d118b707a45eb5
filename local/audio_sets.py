"""The audio sets of a configuration, and their preparation on first use.

Source: docs/recipe.md, "Data".
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from desed_task.dataio.audio import MIX, Channel
from desed_task.dataio.prepare import prepare_folder
from desed_task.dataio.recordings import wav_files
from desed_task.desed import BY_NAME, SYNTHETIC_VALIDATION
from desed_task.errors import InputError, listing, nearest
from desed_task.files import visible_entries
from local.config.data import AudioSet
from local.config.load import Config

logger = logging.getLogger(__name__)

_MAX_LISTED = 20


def training_sets(config: Config) -> dict[str, AudioSet]:
    """The sets that training and its validation read, by name; not absent and unused ones.

    The weak set is used even where it is not trained on, because some of its clips validate.
    """
    used = {name for name, clips in config.clips_per_set.items() if clips}
    used |= {"weak", SYNTHETIC_VALIDATION}
    return {name: paths for name, paths in config.data.sets.items() if name in used}


def test_sets(config: Config) -> dict[str, AudioSet]:
    """The main test set, `test`, and the second one, `eval`, if the configuration has one."""
    sets = config.data.sets.items()
    return {name: paths for name, paths in sets if BY_NAME[name].split == "test"}


def check_sets(sets: Iterable[AudioSet], sample_rate: int) -> None:
    """Raise one InputError with every annotation file and every audio folder that is missing."""
    problems = []
    for audio_set in sets:
        keys, original = audio_set.keys, audio_set.original
        if audio_set.tsv is not None and not Path(audio_set.tsv).is_file():
            hint = _similar(Path(audio_set.tsv), Path.is_file)
            problems.append(f"data.{keys.tsv}: expected a file, got {audio_set.tsv}{hint}")
        if wav_files(audio_set.folder) or (original is not None and wav_files(original)):
            continue
        if original is None:
            key, folder, other = keys.folder, audio_set.folder, ""
        else:
            key, folder = keys.original, original
            other = f" (and none at {sample_rate} Hz in data.{keys.folder} {audio_set.folder})"
        hint = _similar(Path(folder), Path.is_dir)
        problems.append(f"data.{key}: expected a folder of .wav files, got {folder}{hint}{other}")
    if problems:
        raise InputError(
            listing("data (relative paths are below data.root)", problems, most=_MAX_LISTED)
        )


def prepare_sets(
    sets: Iterable[AudioSet], sample_rate: int, workers: int, channel: Channel = MIX
) -> None:
    """Resample the missing and outdated files of each set, write or check its durations file.

    Raises InputError; see `check_sets` and `prepare_folder`.
    """
    sets = list(sets)
    check_sets(sets, sample_rate)
    for each in sets:
        made, existed = prepare_folder(
            each.original,
            each.folder,
            sample_rate,
            durations=each.durations,
            workers=workers,
            channel=channel,
        )
        logger.info("%s: %d files made, %d files existed", each.folder, made, existed)


def _similar(missing: Path, is_kind: Callable[[Path], bool]) -> str:
    """A hint at the entry of the same folder whose name is most similar to a missing one."""
    if missing.exists() or not missing.parent.is_dir():
        return ""
    names = [path.name for path in visible_entries(missing.parent) if is_kind(path)]
    return nearest(missing.name, names, cutoff=0.75)
