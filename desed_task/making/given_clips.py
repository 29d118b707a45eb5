"""Recordings that are used as clips: of a folder per class (weak), or of one without labels."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from desed_task.dataio.audio import MIX, Channel, audio_info
from desed_task.dataio.recordings import files_below
from desed_task.errors import InputError, shortened
from desed_task.labels import Event
from desed_task.making.cutting import cut
from desed_task.making.grouping import TRAIN, GroupOf
from desed_task.making.label_files import class_files
from desed_task.making.soundbank import Soundbank
from desed_task.synthesis.domains import CLIP_SECONDS, RECORDED, Draw
from desed_task.synthesis.recorded import RecordedSounds, lowest_limit, read_sound, resampled
from desed_task.synthesis.scenes import RenderedClip
from desed_task.synthesis.signals import (
    SAMPLE_RATE,
    Signal,
    add_at,
    faded,
    level,
    seconds_to_samples,
    unit_power,
    within_full_scale,
)
from desed_task.synthesis.sources import SoundSource

logger = logging.getLogger(__name__)

MIN_REST_S = 1.0
"""The end of a long recording without labels is a clip if it is at least this long."""
EDGE_S = 0.01


@dataclass(frozen=True)
class GivenClip:
    """A recording of a class, or a section of one without labels.

    `start` and `n_samples` are in samples at the file's rate; `label` is empty without labels;
    `channel`: how channels become one.
    """

    path: Path
    label: str = ""
    start: int = 0
    n_samples: int | None = None
    channel: Channel = MIX

    def render(self, rng: np.random.Generator, bank: RecordedSounds) -> RenderedClip:
        """The clip, at `SAMPLE_RATE`, mono.

        A recording of a class is limited as a scene is, unless it would be silent.
        """
        if self.label:
            sounds = bank.drawn(rng)
            if lowest_limit(resampled(self.path, channel=self.channel)) > sounds.cutoff_hz:
                sounds = bank.limited(bank.cutoff_hz)
            sound = read_sound(self.path, sounds.cutoff_hz, self.channel)
            return _weak_clip(rng, sounds, sound, self.label)
        audio = resampled(self.path, self.start, self.n_samples, self.channel)
        return RenderedClip(audio[:, None], ())


def _weak_clip(
    rng: np.random.Generator, sounds: SoundSource, sound: Signal, label: str
) -> RenderedClip:
    """Ten seconds: of a longer recording the loudest, a shorter one at a random time.

    The rest of the clip is a background as far below the recording as in scenes.
    """
    samples = seconds_to_samples(CLIP_SECONDS)
    if len(sound) >= samples:
        audio = _loudest(sound, samples)
    else:
        draw = Draw(rng, RECORDED)
        ratio = 10 ** (-draw.within(*draw.domain.event_to_background_db) / 20)
        ambience = unit_power(sounds.background(draw, samples))
        audio = ambience * np.float32(ratio * level(sound) / max(level(ambience), 1e-6))
        add_at(audio, faded(sound, EDGE_S, EDGE_S), int(rng.integers(samples - len(sound) + 1)))
    return RenderedClip(within_full_scale(audio)[:, None], (Event(0.0, CLIP_SECONDS, label),))


def _loudest(sound: Signal, samples: int) -> Signal:
    """The section of this length with the largest energy, to a second."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(sound, dtype=np.float64))])
    starts = np.arange(0, len(sound) - samples + 1, SAMPLE_RATE)
    start = int(starts[np.argmax(energy[starts + samples] - energy[starts])])
    return sound[start : start + samples]


def weak_clips(folder: Path, bank: Soundbank, group_of: GroupOf) -> list[GivenClip]:
    """One clip per file of a folder per class, without recordings of the validation and the test.

    Raises InputError for folders that are no class, and where no file can be used.
    """
    kinds = class_files(folder)
    unknown = [label for label in kinds if label not in bank.classes]
    if unknown:
        raise InputError(
            f"--weak {folder}: expected folders named as the soundbank's classes "
            f"({shortened(bank.classes, 10)}), got {shortened(unknown)}"
        )
    clips = [
        GivenClip(path, label, channel=bank.channel)
        for label, paths in kinds.items()
        for path in _for_training("--weak", paths, bank, group_of)
    ]
    return _not_empty(clips, "--weak", folder)


def unlabelled_clips(folder: Path, bank: Soundbank, group_of: GroupOf) -> list[GivenClip]:
    """Sections of at most ten seconds of all files, as `weak_clips` chooses them."""
    clips = []
    for path in _for_training("--unlabelled", files_below(folder), bank, group_of):
        info = audio_info(path)
        for begin, end in cut(info.seconds, CLIP_SECONDS, shortest=MIN_REST_S):
            start, stop = (round(seconds * info.sample_rate) for seconds in (begin, end))
            clips.append(GivenClip(path, "", start, stop - start, bank.channel))
    return _not_empty(clips, "--unlabelled", folder)


def _for_training(
    option: str, paths: Iterable[Path], bank: Soundbank, group_of: GroupOf
) -> list[Path]:
    """The files that are of no recording of the soundbank's validation and test."""
    splits = bank.split_of()
    used: list[Path] = []
    excluded: list[Path] = []
    for path in paths:
        try:
            split = splits.get(group_of(path), TRAIN)
        except InputError:  # neither in the table nor named as the soundbank's recordings
            split = TRAIN
        (used if split == TRAIN else excluded).append(path)
    if excluded:
        logger.warning(
            "%s: %d files are of recordings in the validation or the test, not used: %s",
            option,
            len(excluded),
            shortened(path.name for path in excluded),
        )
    return used


def _not_empty(clips: list[GivenClip], option: str, folder: Path) -> list[GivenClip]:
    if not clips:
        raise InputError(f"{option} {folder}: expected audio files for the training, got none")
    return clips
