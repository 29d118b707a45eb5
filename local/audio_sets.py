"""The audio sets of a configuration, and their preparation on first use.

Source: docs/recipe.md, "Data".
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from desed_task.dataio.prepare import prepare_durations, resample_folder
from local.config.load import Config

logger = logging.getLogger(__name__)

VALIDATION = "synthetic validation"


@dataclass(frozen=True)
class AudioSet:
    """The paths of a set, from the keys of `data`.

    Attributes:
        folder: audio at the network's rate.
        original: the published audio, of any rate; None if only `folder` exists.
        tsv: annotations; None for the unlabelled set.
        durations: file with the clips' lengths; None for sets that are not scored by events.
    """

    folder: str
    original: str | None
    tsv: str | None
    durations: str | None


def training_sets(config: Config) -> dict[str, AudioSet]:
    """The sets that training and its validation read, by name, without those of batch size 0.

    The weak set is always included, because some of its clips are for validation.
    """
    data = config.data
    sets = {
        "synthetic": AudioSet(data.synth_folder, data.synth_folder_44k, data.synth_tsv, None),
        "weak": AudioSet(data.weak_folder, data.weak_folder_44k, data.weak_tsv, None),
        "unlabelled": AudioSet(data.unlabeled_folder, data.unlabeled_folder_44k, None, None),
        VALIDATION: AudioSet(
            data.synth_val_folder, data.synth_val_folder_44k, data.synth_val_tsv, data.synth_val_dur
        ),
    }
    unused = {name for name, clips in config.training.clips_per_set.items() if clips == 0}
    return {name: audio_set for name, audio_set in sets.items() if name not in unused - {"weak"}}


def test_sets(config: Config) -> dict[str, AudioSet]:
    """The main test set, `test`, and the second one, `eval`, if the configuration has one."""
    data = config.data
    sets = {"test": AudioSet(data.test_folder, data.test_folder_44k, data.test_tsv, data.test_dur)}
    if data.eval_folder is not None:
        sets["eval"] = AudioSet(
            data.eval_folder, data.eval_folder_44k, data.eval_tsv, data.eval_dur
        )
    return sets


def prepare_sets(sets: Iterable[AudioSet], sample_rate: int, workers: int) -> None:
    """Resample the missing and outdated files of each set, write or check its durations file.

    Raises InputError; see `resample_folder` and `prepare_durations`.
    """
    for audio_set in sets:
        prepared = resample_folder(audio_set.original, audio_set.folder, sample_rate, workers)
        counts = prepared.made, prepared.kept
        logger.info("%s: %d files made, %d files existed", audio_set.folder, *counts)
        if audio_set.durations is not None and prepare_durations(
            audio_set.folder, audio_set.durations, prepared.seconds, sample_rate
        ):
            logger.info("%s: %d durations written", audio_set.durations, len(prepared.seconds))
