"""The audio sets of a configuration, and their preparation on first use.

Source: docs/recipe.md, "Data".
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from desed_task.dataio.prepare import prepare_durations, resample_folder
from desed_task.dataio.recordings import wav_files
from desed_task.errors import InputError, listing, nearest
from desed_task.files import visible_entries
from local.config.data import KIND_PREFIXES, Data
from local.config.load import Config

logger = logging.getLogger(__name__)

VALIDATION = "synthetic validation"
_MAX_LISTED = 20


@dataclass(frozen=True)
class AudioSet:
    """The paths of a set, from the keys of `data`.

    Attributes:
        prefix: its keys are `data.PREFIX_folder`, `_folder_44k`, `_tsv` and `_dur`.
        folder: audio at the network's rate.
        original: the published audio, of any rate; None if only `folder` exists.
        tsv: annotations; None for the unlabelled set.
        durations: file with the clips' lengths; None for sets that are not scored by events.
    """

    prefix: str
    folder: str
    original: str | None
    tsv: str | None
    durations: str | None


def training_sets(config: Config) -> dict[str, AudioSet]:
    """The sets that training and its validation read, by name; not absent and unused ones.

    The weak set is used even where it is not trained on, because some of its clips validate.
    """
    unused = {name for name, clips in config.clips_per_set.items() if clips == 0} - {"weak"}
    return {
        name: _audio_set(config.data, prefix)
        for name, prefix in (KIND_PREFIXES | {VALIDATION: "synth_val"}).items()
        if name not in unused and config.data.has(prefix)
    }


def test_sets(config: Config) -> dict[str, AudioSet]:
    """The main test set, `test`, and the second one, `eval`, if the configuration has one."""
    sets = {"test": _audio_set(config.data, "test")}
    if config.data.has("eval"):
        sets["eval"] = _audio_set(config.data, "eval")
    return sets


def check_sets(sets: Iterable[AudioSet], sample_rate: int) -> None:
    """Raise one InputError with every annotation file and every audio folder that is missing."""
    problems = []
    for audio_set in sets:
        keys, original = f"data.{audio_set.prefix}", audio_set.original
        if audio_set.tsv is not None and not Path(audio_set.tsv).is_file():
            hint = _similar(Path(audio_set.tsv), Path.is_file)
            problems.append(f"{keys}_tsv: expected a file, got {audio_set.tsv}{hint}")
        if wav_files(audio_set.folder) or (original is not None and wav_files(original)):
            continue
        if original is None:
            key, folder, other = f"{keys}_folder", audio_set.folder, ""
        else:
            key, folder = f"{keys}_folder_44k", original
            other = f" (and none at {sample_rate} Hz in {keys}_folder {audio_set.folder})"
        hint = _similar(Path(folder), Path.is_dir)
        problems.append(f"{key}: expected a folder of .wav files, got {folder}{hint}{other}")
    if problems:
        raise InputError(listing("data", problems, most=_MAX_LISTED))


def prepare_sets(sets: Iterable[AudioSet], sample_rate: int, workers: int) -> None:
    """Resample the missing and outdated files of each set, write or check its durations file.

    Raises InputError; see `check_sets`, `resample_folder` and `prepare_durations`.
    """
    sets = list(sets)
    check_sets(sets, sample_rate)
    for audio_set in sets:
        prepared = resample_folder(audio_set.original, audio_set.folder, sample_rate, workers)
        counts = prepared.made, prepared.existed
        logger.info("%s: %d files made, %d files existed", audio_set.folder, *counts)
        if audio_set.durations is not None and prepare_durations(
            audio_set.folder, audio_set.durations, prepared.seconds, sample_rate
        ):
            logger.info("%s: %d durations written", audio_set.durations, len(prepared.seconds))


def _audio_set(data: Data, prefix: str) -> AudioSet:
    folder, *others = (
        getattr(data, f"{prefix}_{key}", None) for key in ("folder", "folder_44k", "tsv", "dur")
    )
    return AudioSet(prefix, str(folder), *others)


def _similar(missing: Path, is_kind: Callable[[Path], bool]) -> str:
    """A hint at the entry of the same folder whose name is most similar to a missing one."""
    if missing.exists() or not missing.parent.is_dir():
        return ""
    names = [path.name for path in visible_entries(missing.parent) if is_kind(path)]
    return nearest(missing.name, names, cutoff=0.75)
