"""Long recordings with exact labels, mixed from isolated recordings of a soundbank.

`SOUNDS/foreground/CLASS/*` and `SOUNDS/background/*` (docs/own_data.md). Sounds of two classes are
events; those of the other classes lie between them without a label. Training and test have
different source recordings.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from desed_task.dataio.audio import to_16_bit, wav_bytes
from desed_task.dataio.recordings import files_below
from desed_task.files import write_file
from desed_task.synthesis.recorded import bursts, looped, resampled
from desed_task.synthesis.signals import SAMPLE_RATE, Signal, level

SECONDS = 60.0
"""Length of a recording."""
PAUSE_S = (0.5, 5.0)
"""Between two sounds."""
MAX_SOUND_S = 3.0


class Material(NamedTuple):
    """How difficult recordings are.

    Attributes:
        held_out: the test has sounds and backgrounds of other source recordings.
        level_db: of a sound above the background.
        unlabelled_share: share of sounds of other classes, without a label.
    """

    held_out: bool
    level_db: tuple[float, float]
    unlabelled_share: float


ONE_PLACE = Material(held_out=False, level_db=(12.0, 25.0), unlabelled_share=0.0)
MANY_PLACES = Material(held_out=True, level_db=(3.0, 20.0), unlabelled_share=0.25)


def write_recordings(
    sounds: Path,
    labelled: Sequence[str],
    material: Material,
    held_out: str,
    numbers: Mapping[str, int],
    output: Path,
    seed: int,
) -> None:
    """Write `output/train` and `output/test`: `NUMBER.wav` and its Audacity labels `NUMBER.txt`.

    Args:
        sounds: the soundbank.
        labelled: classes whose sounds are events.
        material: how difficult they are.
        held_out: regular expression of the files that the test is made of.
        numbers: recordings of `train` and `test`.
        output: a folder.
        seed: of all random numbers.
    """
    for number, (split, count) in enumerate(numbers.items()):
        bank = Bank(sounds, labelled, material, held_out, test=split == "test")
        (output / split).mkdir(parents=True)
        for index in tqdm(range(count), desc=split, unit="recording"):
            audio, labels = bank.recording(np.random.default_rng([seed, number, index]))
            path = output / split / f"{split}_{index:03d}.wav"
            write_file(path, wav_bytes(to_16_bit(audio), SAMPLE_RATE))
            rows = (f"{onset:.6f}\t{offset:.6f}\t{name}\n" for onset, offset, name in labels)
            write_file(path.with_suffix(".txt"), "".join(rows))


class Bank:
    """Sounds of one split; see `write_recordings` for the arguments."""

    def __init__(
        self,
        sounds: Path,
        labelled: Sequence[str],
        material: Material,
        held_out: str,
        *,
        test: bool,
    ) -> None:
        self._labelled, self._material = labelled, material

        def read(folder: Path) -> list[Signal]:
            paths = [
                path
                for path in files_below(folder)
                if not material.held_out or bool(re.search(held_out, path.name)) == test
            ]
            return [resampled(path) for path in paths]

        self._sounds = {
            folder.name: [burst for signal in read(folder) for burst in _bursts(signal)]
            for folder in sorted((sounds / "foreground").iterdir())
        }
        self._backgrounds = read(sounds / "background")

    def recording(self, rng: np.random.Generator) -> tuple[Signal, list[tuple[float, float, str]]]:
        """Audio `(samples,)`, and onset, offset (seconds) and class of its events."""
        material = self._material
        background = self._backgrounds[int(rng.integers(len(self._backgrounds)))]
        audio = looped(rng, background, int(SECONDS * SAMPLE_RATE)).copy()
        floor = level(audio)
        others = [name for name in self._sounds if name not in self._labelled]
        labels, time = [], rng.uniform(*PAUSE_S)
        while True:
            names = others if rng.random() < material.unlabelled_share else self._labelled
            name = names[int(rng.integers(len(names)))]
            sound = self._sounds[name][int(rng.integers(len(self._sounds[name])))]
            start = int(time * SAMPLE_RATE)
            end = start + len(sound)
            if end > len(audio):
                break
            gain = floor * 10 ** (rng.uniform(*material.level_db) / 20) / max(level(sound), 1e-6)
            audio[start:end] += np.float32(gain) * sound
            if name in self._labelled:
                labels.append((start / SAMPLE_RATE, end / SAMPLE_RATE, name))
            time = end / SAMPLE_RATE + rng.uniform(*PAUSE_S)
        return audio * np.float32(0.9 / max(1.0, float(np.abs(audio).max()))), labels


def _bursts(signal: Signal) -> list[Signal]:
    """Bursts of sound; long ones are cut."""
    longest = int(MAX_SOUND_S * SAMPLE_RATE)
    return [signal[start : min(stop, start + longest)] for start, stop in bursts(signal, 0.25)]
