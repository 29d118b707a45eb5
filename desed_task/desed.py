"""The sets of DESED: names, labels, folders, tables and published numbers of clips.

This table is the only one. Paths are relative to DESED's folder, which holds `audio/` and
`metadata/`; a generated or collected data set has the same layout.
Source: docs/recipe.md, "Data"; the later DCASE recipes for the real set with strong labels.
"""

from dataclasses import dataclass
from typing import Literal

PREPARED = "_16k"  # end of the name of a folder of audio at the network's rate


@dataclass(frozen=True)
class ClipSet:
    """One set.

    Attributes:
        name: in messages, in the coverage table, and of results.
        title: as publications name it.
        labels: `strong` (events with times), `weak` (tags of clips) or `unlabelled`.
        domain: whether its clips are mixed from isolated sounds or recorded.
        split: what it is for.
        audio: its folder of WAV files as published; a copy at the network's rate is in `prepared`.
        table: its events, tags, or (unlabelled) list of files.
        durations: file with the clips' lengths; None for a set that is not scored by events.
        clips: the published number.
        stem: of the file names of generated clips.
        other_audio: other folders in which its audio is distributed.
        optional: whether the published recipe can be followed without it.
    """

    name: str
    title: str
    labels: Literal["strong", "weak", "unlabelled"]
    domain: Literal["synthetic", "recorded"]
    split: Literal["train", "validation", "test"]
    audio: str
    table: str
    durations: str | None
    clips: int
    stem: str
    other_audio: tuple[str, ...] = ()
    optional: bool = False

    @property
    def audio_folders(self) -> tuple[str, ...]:
        """All folders in which its audio is distributed."""
        return self.audio, *self.other_audio

    @property
    def prepared(self) -> str:
        """The folder of its audio at the network's rate."""
        return self.audio + PREPARED


# The number of a row seeds the generated clips: a new row comes last.
CLIP_SETS = (
    ClipSet(
        name="synthetic",
        title="synthetic",
        labels="strong",
        domain="synthetic",
        split="train",
        audio="audio/train/synthetic21_train/soundscapes",
        table="metadata/train/synthetic21_train/soundscapes.tsv",
        durations=None,
        clips=10_000,
        stem="soundscape_train",
    ),
    ClipSet(
        name="weak",
        title="weak",
        labels="weak",
        domain="recorded",
        split="train",
        audio="audio/train/weak",
        table="metadata/train/weak.tsv",
        durations=None,
        clips=1578,
        stem="weak",
    ),
    ClipSet(
        name="unlabelled",
        title="unlabelled",
        labels="unlabelled",
        domain="recorded",
        split="train",
        audio="audio/train/unlabel_in_domain",
        table="metadata/train/unlabel_in_domain.tsv",
        durations=None,
        clips=14_412,
        stem="unlabelled",
    ),
    ClipSet(
        name="synthetic validation",
        title="synthetic validation",
        labels="strong",
        domain="synthetic",
        split="validation",
        audio="audio/validation/synthetic21_validation/soundscapes",
        table="metadata/validation/synthetic21_validation/soundscapes.tsv",
        durations="metadata/validation/synthetic21_validation/durations.tsv",
        clips=2500,
        stem="soundscape_validation",
    ),
    ClipSet(
        name="test",
        title="real validation",
        labels="strong",
        domain="recorded",
        split="test",
        audio="audio/validation/validation",
        table="metadata/validation/validation.tsv",
        durations="metadata/validation/validation_durations.tsv",
        clips=1168,
        stem="validation",
        other_audio=("audio/validation",),
    ),
    ClipSet(
        name="eval",
        title="public evaluation",
        labels="strong",
        domain="recorded",
        split="test",
        audio="audio/eval/public",
        table="metadata/eval/public.tsv",
        durations="metadata/eval/public_durations.tsv",
        clips=692,
        stem="public",
        other_audio=("audio/eval21", "audio/eval/eval21"),
        optional=True,
    ),
    ClipSet(
        name="strong",
        title="real with strong labels",
        labels="strong",
        domain="recorded",
        split="train",
        audio="audio/train/strong_label_real",
        table="metadata/train/audioset_strong.tsv",
        durations=None,
        clips=3470,
        stem="strong",
        optional=True,
    ),
)
"""Training sets are in the order of `dataio.batch.ClipKind`."""

BY_NAME = {clip_set.name: clip_set for clip_set in CLIP_SETS}
SYNTHETIC_VALIDATION = "synthetic validation"
TRAINING_SETS = tuple(each.name for each in CLIP_SETS if each.split == "train")
