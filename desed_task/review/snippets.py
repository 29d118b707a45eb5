"""Sounds and spectrograms of a review page: a FLAC and a JPEG file for each place."""

import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from desed_task.dataio.audio import MIX, Channel, Mono, open_audio, to_16_bit
from desed_task.dataio.recordings import NOT_SEARCHED, file_state
from desed_task.drawing.clip_pictures import TICKS_HZ, hz_to_mel
from desed_task.errors import FaultError, InputError
from desed_task.files import write_file, writing
from desed_task.review.places import Place

SOUNDS = "review"
"""Folder of the files, beside the page."""
SOUND, PICTURE = ".flac", ".jpg"
N_BANDS = 96
_WINDOW_S = 0.032  # shorter than the networks' windows: onsets are to be seen
_HOP_S = 0.008
_MAX_COLUMNS = 1500
_RANGE_PERCENT = (5.0, 99.7)
_MIN_RANGE_DB = 30.0
_FLOOR = 1e-10
_QUALITY = 70
_OURS = re.compile(r"[0-9a-f]{20}\.(flac|jpg)")
_VERSION = 1  # of what the files have; another one writes them again


class Snippets:
    """Writes the files of places to a folder; those that are there are not written again.

    Args:
        folder: is made where it is missing.
        sample_rate: Hz, of the sounds.
        channel: how channels become one, see `desed_task.dataio.audio.Mono`.
    """

    def __init__(self, folder: Path, sample_rate: int, channel: Channel = MIX) -> None:
        self.folder, self.sample_rate, self._channel = folder, sample_rate, channel

    def write(self, places: Sequence[Place]) -> tuple[dict[Place, str], dict[Path, str]]:
        """The names of the places' files without ending, and why recordings cannot be read."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / NOT_SEARCHED).touch()  # they are no recordings
        by_file: dict[Path, list[Place]] = defaultdict(list)
        for place in places:
            by_file[place.audio.file].append(place)
        names: dict[Place, str] = {}
        problems: dict[Path, str] = {}
        with tqdm(total=len(places), unit="event", desc="sounds of the review") as bar:
            for file, own in sorted(by_file.items()):
                try:
                    names |= self._write_file(file, own)
                except InputError as error:
                    problems[file] = str(error)
                except FaultError as error:
                    if not str(error).startswith(str(file)):
                        raise
                    problems[file] = str(error)
                bar.update(len(own))
        return names, problems

    def remove_others(self, names: Iterable[str]) -> None:
        """Remove the files of other places, as of an earlier call."""
        kept = {f"{name}{ending}" for name in names for ending in (SOUND, PICTURE)}
        with writing(self.folder):
            for path in self.folder.iterdir():
                if path.name not in kept and _OURS.fullmatch(path.name):
                    path.unlink()

    def _write_file(self, file: Path, places: Sequence[Place]) -> dict[Place, str]:
        try:
            state = file_state(file)
        except OSError:
            raise InputError(f"{file}: no such audio file") from None
        names = {}
        for place in places:
            key = (_VERSION, str(file), *state, *place.window, self.sample_rate, self._channel)
            names[place] = hashlib.sha256(repr(key).encode("utf-8", "replace")).hexdigest()[:20]
        waiting = {
            place.window: name
            for place, name in names.items()
            if not all((self.folder / f"{name}{ending}").is_file() for ending in (SOUND, PICTURE))
        }
        if waiting:
            mono = Mono(self._channel)
            with open_audio(file) as audio:
                rate = audio.sample_rate
                for window, name in sorted(waiting.items()):
                    begin, end = (round(time * rate) for time in window)
                    samples = mono(audio.read(begin, end - begin)).audio
                    self._write(name, soxr.resample(samples, rate, self.sample_rate))
        return names

    def _write(self, name: str, audio: NDArray[np.float32]) -> None:
        picture, sound = io.BytesIO(), io.BytesIO()
        image = Image.fromarray(spectrogram(audio, self.sample_rate))
        image.save(picture, "JPEG", quality=_QUALITY)
        soundfile.write(sound, to_16_bit(audio), self.sample_rate, format="FLAC")
        write_file(self.folder / f"{name}{PICTURE}", picture.getbuffer(), durable=False)
        write_file(self.folder / f"{name}{SOUND}", sound.getbuffer(), durable=False)


def spectrogram(audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.uint8]:
    """A grey picture `(N_BANDS, frames)` of levels, high frequencies at the top, loud ones dark.

    The bands have equal widths on the mel scale; each has the highest level of its bins. The first
    and the last column begin and end with the sound.

    Args:
        audio: `(samples,)`.
        sample_rate: Hz.
    """
    window = round(_WINDOW_S * sample_rate)
    n_frames = int(np.clip(len(audio) / (_HOP_S * sample_rate), 1, _MAX_COLUMNS))
    starts = ((np.arange(n_frames) + 0.5) / n_frames * len(audio)).astype(int)
    padded = np.pad(audio, (window // 2, window))
    frames = padded[starts[:, None] + np.arange(window)] * np.hanning(window).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    bins_mel = [hz_to_mel(hz) for hz in np.fft.rfftfreq(window, 1 / sample_rate)]
    bins = np.searchsorted(bins_mel, np.linspace(0, bins_mel[-1], N_BANDS, endpoint=False))
    levels = 10 * np.log10(np.maximum.reduceat(power, bins, axis=1).T + _FLOOR)
    low, high = np.percentile(levels, _RANGE_PERCENT)
    low = min(low, high - _MIN_RANGE_DB)
    grey = 255 * (1 - np.clip((levels - low) / (high - low), 0, 1))
    return grey.astype(np.uint8)[::-1]


def ticks(sample_rate: int) -> list[tuple[float, str]]:
    """Height in the picture (0: bottom, 1: top) and text of frequencies."""
    top = hz_to_mel(sample_rate / 2)
    shown = [hz for hz in TICKS_HZ if hz < sample_rate / 2]
    return [(hz_to_mel(hz) / top, f"{hz / 1000:g} kHz") for hz in shown]
