"""The sets of a configuration, and their preparation on first use (docs/recipe.md, "Data")."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from desed_task.dataio.prepare import resample_folder, write_durations
from local.config.load import Config

logger = logging.getLogger(__name__)

VALIDATION = "synthetic validation"


@dataclass(frozen=True)
class AudioSet:
    """Where a set lies, as `data` names it.

    Attributes:
        folder: audio at the rate the network sees.
        original: the audio as published, of any rate; None where there is only `folder`.
        tsv: annotations; None for the unlabelled set.
        durations: lengths of the clips; None for sets that are not scored by events.
    """

    folder: str
    original: str | None
    tsv: str | None
    durations: str | None


def training_sets(config: Config) -> dict[str, AudioSet]:
    """The sets that training and its validation read, by name; those left out are not there.

    The weak set is always there: a part of it is for validation.
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
    left_out = {name for name, clips in config.training.clips_per_set.items() if clips == 0}
    return {name: part for name, part in sets.items() if name not in left_out - {"weak"}}


def test_sets(config: Config) -> dict[str, AudioSet]:
    """The main test set, `test`, and, where the configuration has a second one, `eval`."""
    data = config.data
    sets = {"test": AudioSet(data.test_folder, data.test_folder_44k, data.test_tsv, data.test_dur)}
    if data.eval_folder is not None:
        sets["eval"] = AudioSet(
            data.eval_folder, data.eval_folder_44k, data.eval_tsv, data.eval_dur
        )
    return sets


def prepare_sets(sets: Iterable[AudioSet], sample_rate: int, workers: int) -> None:
    """Resample what is missing of each set, and generate its durations file where it is missing.

    Raises InputError; see `resample_folder` and `write_durations`.
    """
    for part in sets:
        prepared = resample_folder(part.original, part.folder, sample_rate, workers)
        logger.info("%s: %d made, %d there already", part.folder, prepared.made, prepared.kept)
        if part.durations is not None and not Path(part.durations).is_file():
            written = write_durations(part.folder, part.durations)
            logger.info("%s: durations of %d clips written", part.durations, written)
