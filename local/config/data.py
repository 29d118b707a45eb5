"""Section `data` of the configuration: classes, folders and annotation files of the sets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from desed_task.errors import InputError
from desed_task.files import expand_user
from desed_task.settings import ClassName, NonEmpty, Positive, PositiveInt, Settings, misfit


class SetKeys(NamedTuple):
    """The keys of a set in section `data`; None for those that its kind does not have."""

    folder: str
    original: str
    tsv: str | None = None
    durations: str | None = None

    @property
    def needed(self) -> list[str]:
        """Keys that a set must have; the others are all keys but `original`."""
        return [key for key in (self.folder, self.tsv, self.durations) if key is not None]


# By the names of `desed_task.desed`.
KEYS = {
    "synthetic": SetKeys("synth_folder", "synth_folder_44k", "synth_tsv"),
    "weak": SetKeys("weak_folder", "weak_folder_44k", "weak_tsv"),
    "unlabelled": SetKeys("unlabeled_folder", "unlabeled_folder_44k"),
    "strong": SetKeys("strong_folder", "strong_folder_44k", "strong_tsv"),
    "synthetic validation": SetKeys(
        "synth_val_folder", "synth_val_folder_44k", "synth_val_tsv", "synth_val_dur"
    ),
    "test": SetKeys("test_folder", "test_folder_44k", "test_tsv", "test_dur"),
    "eval": SetKeys("eval_folder", "eval_folder_44k", "eval_tsv", "eval_dur"),
}


@dataclass(frozen=True)
class AudioSet:
    """The resolved paths of a set.

    Attributes:
        keys: their keys in section `data`.
        folder: audio at the network's rate.
        original: the published audio, of any rate; None if only `folder` exists.
        tsv: annotations; None for the unlabelled set.
        durations: file with the clips' lengths; None for sets that are not scored by events.
    """

    keys: SetKeys
    folder: str
    original: str | None
    tsv: str | None
    durations: str | None


def _expanded(text: str) -> str:
    try:
        return expand_user(text)
    except InputError as error:
        raise misfit(str(error)) from None


DataPath = Annotated[str, AfterValidator(_expanded)]


class Data(Settings):
    """Classes; folders and annotation files of the sets; rate and length of the clips.

    All keys of a set may be `null`: the set is absent. Training needs a labelled set.
    """

    classes: NonEmpty[ClassName] = Field(
        description="names of the classes as the annotation files have them, in the order of the "
        "network's outputs",
    )
    root: DataPath = Field(
        description="folder of the data set: the other paths are relative to it, unless absolute; "
        "itself relative to the folder in which the program is started"
    )
    synth_folder: DataPath | None = Field(
        description="synthetic training set at `fs`; missing clips are made from "
        "`synth_folder_44k`; all three keys `null`: no such set, and no strong and SOD loss"
    )
    synth_folder_44k: DataPath | None = Field(
        description="the same audio as published, of any rate; `null`: only the 16 kHz folder"
    )
    synth_tsv: DataPath | None = Field(description="events of the synthetic training set")
    weak_folder: DataPath | None = Field(
        description="weakly labelled set at `fs`; all three keys `null`: no such set, no weak "
        "loss, and the synthetic validation set alone selects the best checkpoint"
    )
    weak_folder_44k: DataPath | None = Field(description="the same audio as published, or `null`")
    weak_tsv: DataPath | None = Field(description="tags of the weakly labelled set")
    unlabeled_folder: DataPath | None = Field(
        description="unlabelled in-domain set at `fs`; both keys `null`: no such set"
    )
    unlabeled_folder_44k: DataPath | None = Field(
        description="the same audio as published, or `null`"
    )
    strong_folder: DataPath | None = Field(
        description="recorded training set with strong labels, at `fs`, which the published recipe "
        "does not have; needs `strong` in `training.train_sets` and a fourth number in "
        "`training.batch_size`; all three keys `null`: no such set"
    )
    strong_folder_44k: DataPath | None = Field(description="the same audio as published, or `null`")
    strong_tsv: DataPath | None = Field(description="events of this set")
    synth_val_folder: DataPath | None = Field(
        description="synthetic validation set at `fs`; all four keys `null`: no such set, the weak "
        "F1 alone selects the best checkpoint, and nothing can be tuned. Without a weak set as "
        "well, the weights after the last epoch are tested"
    )
    synth_val_folder_44k: DataPath | None = Field(
        description="the same audio as published, or `null`"
    )
    synth_val_tsv: DataPath | None = Field(description="events of the synthetic validation set")
    synth_val_dur: DataPath | None = Field(
        description="durations of the synthetic validation clips; a missing file is generated"
    )
    test_folder: DataPath | None = Field(
        description="main test set (real validation) at `fs`; all four keys `null`: no such set"
    )
    test_folder_44k: DataPath | None = Field(description="the same audio as published, or `null`")
    test_tsv: DataPath | None = Field(description="events of the main test set")
    test_dur: DataPath | None = Field(
        description="durations of the test clips; a missing file is generated"
    )
    eval_folder: DataPath | None = Field(
        description="second test set (public evaluation) at `fs`, scored in the same run; all four "
        "`eval_` keys `null`: no second test set"
    )
    eval_folder_44k: DataPath | None = Field(description="the same audio as published, or `null`")
    eval_tsv: DataPath | None = Field(description="events of the second test set, or `null`")
    eval_dur: DataPath | None = Field(
        description="durations of its clips (a missing file is generated), or `null`"
    )
    audio_max_len: Positive = Field(
        description="seconds, length of the network's input; shorter clips are padded. Training "
        "crops longer ones at random; validation and test read them whole, as half overlapping "
        "windows of this length. A test of a checkpoint may use another length than its training"
    )
    fs: PositiveInt = Field(description="Hz, sample rate of the network's input")
    channel: PositiveInt | Literal["mix", "loudest"] = Field(
        description="how the channels of the published audio become one: `mix`: their mean, or the "
        "loudest one where they cancel (with a warning); `loudest`; or a channel's number from 1 "
        "on. Another value makes the audio at `fs` again",
    )

    @model_validator(mode="after")
    def _check(self) -> "Data":
        for keys in KEYS.values():
            self._check_set(keys)
        self._require_distinct("classes")
        return self

    def _check_set(self, keys: SetKeys) -> None:
        """All or none of a set's keys have values; `original` only where the others have."""
        needed = keys.needed
        every = [*needed, keys.original]
        given = [getattr(self, key) is not None for key in every]
        self._require(
            all(given[:-1]) or not any(given),
            every[given.index(False)] if False in given else needed[0],
            f"a value in {' and '.join(', '.join(needed).rsplit(', ', 1))}, or null in all of "
            f"{', '.join(every)}",
            *every,
        )

    @property
    def sets(self) -> dict[str, AudioSet]:
        """The sets that are not absent, with resolved paths, by the names of `KEYS`."""
        paths = self.paths()
        return {
            name: AudioSet(keys, paths[keys.folder], *(paths.get(key or "") for key in keys[1:]))
            for name, keys in KEYS.items()
            if keys.folder in paths
        }

    def paths(self) -> dict[str, str]:
        """The paths as they are opened, by their keys; none of a key that is `null`."""
        keys = (key for set_keys in KEYS.values() for key in set_keys if key is not None)
        given = {key: getattr(self, key) for key in keys}
        root = Path(self.root)
        return {key: str(root / path) for key, path in given.items() if path is not None}

    def resolved(self) -> dict[str, Any]:
        """The section without `root`, its paths as they are opened."""
        values = self.plain() | self.paths()
        del values["root"]
        return values
