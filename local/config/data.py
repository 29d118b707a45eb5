"""Section `data` of the configuration: classes, folders and annotation files of the sets."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from desed_task.errors import InputError
from desed_task.files import expand_user
from desed_task.settings import ClassName, NonEmpty, Positive, PositiveInt, Settings, misfit

# Keys of each set of `data` that may be absent: all `null`, the optional `_folder_44k` too.
SET_KEYS = {
    "synth": ("folder", "tsv"),
    "weak": ("folder", "tsv"),
    "unlabeled": ("folder",),
    "synth_val": ("folder", "tsv", "dur"),
    "eval": ("folder", "tsv", "dur"),
}
KIND_PREFIXES = {"synthetic": "synth", "weak": "weak", "unlabelled": "unlabeled"}


def _expanded(text: str) -> str:
    try:
        return expand_user(text)
    except InputError as error:
        raise misfit(str(error)) from None


DataPath = Annotated[str, AfterValidator(_expanded)]


class Data(Settings):
    """Classes; folders and annotation files of the sets; rate and length of the clips.

    All keys of a set may be `null`, but for the test set's: the set is absent. Training needs a
    labelled set, and its validation the weak or the synthetic validation set.
    """

    classes: NonEmpty[ClassName] = Field(
        description="names of the classes as the annotation files have them, in the order of the "
        "network's outputs",
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
    synth_val_folder: DataPath | None = Field(
        description="synthetic validation set at `fs`; all four keys `null`: no such set, the weak "
        "F1 alone selects the best checkpoint, and nothing can be tuned"
    )
    synth_val_folder_44k: DataPath | None = Field(
        description="the same audio as published, or `null`"
    )
    synth_val_tsv: DataPath | None = Field(description="events of the synthetic validation set")
    synth_val_dur: DataPath | None = Field(
        description="durations of the synthetic validation clips; a missing file is generated"
    )
    test_folder: DataPath = Field(description="main test set (real validation) at `fs`")
    test_folder_44k: DataPath | None = Field(description="the same audio as published, or `null`")
    test_tsv: DataPath = Field(description="events of the main test set")
    test_dur: DataPath = Field(
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

    @model_validator(mode="after")
    def _check(self) -> "Data":
        for prefix, parts in SET_KEYS.items():
            keys = [f"{prefix}_{part}" for part in (*parts, "folder_44k")]
            given = [getattr(self, key) is not None for key in keys]
            shown = " and ".join(", ".join(keys[:-1]).rsplit(", ", 1))
            self._require(
                all(given[:-1]) or not any(given),
                keys[given.index(False)] if False in given else keys[0],
                f"a value in {shown}, or null in all of {', '.join(keys)}",
                *keys,
            )
        self._require_distinct("classes")
        return self

    def has(self, prefix: str) -> bool:
        """Whether the set with the keys `PREFIX_folder` and so on is there."""
        return getattr(self, f"{prefix}_folder") is not None
