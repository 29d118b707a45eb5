"""Generate a data set with DESED's layout, from synthesised sounds or from isolated recordings.

DESED's recordings may not be redistributed; with the set of synthesised sounds the whole recipe can
run. Its synthetic and its recorded domain differ (see `domains`), so that a detector gains from
weak labels and unlabelled clips of the recorded domain. With a soundbank the classes are those of
its folders (docs/own_data.md). The command is `python -m local.generate`.
"""

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from tqdm import tqdm

from desed_task.dataio.audio import wav_bytes
from desed_task.desed import BY_NAME, CLIP_SETS, ClipSet
from desed_task.errors import InputError
from desed_task.files import atomic_folder, check_new_folder
from desed_task.making.given_clips import GivenClip, unlabelled_clips, weak_clips
from desed_task.making.grouping import TEST
from desed_task.making.layout import ClipRecord, clip_tables, write_texts
from desed_task.making.soundbank import BankOptions, Soundbank, read_soundbank
from desed_task.synthesis.domains import DOMAINS, SCENES_ALONE, SHARES, SceneShares
from desed_task.synthesis.isolated import render_recorded
from desed_task.synthesis.scenes import RenderedClip, render_clip
from desed_task.synthesis.signals import SAMPLE_RATE

RECORDINGS = "metadata/soundbank.tsv"


@dataclass(frozen=True)
class Material:
    """Recordings that clips are made of.

    Attributes:
        bank: isolated sounds.
        given: recordings that are the clips of a set, by the set's name.
        shares: of clips that are no scene, in the sets of training and validation.
    """

    bank: Soundbank
    given: Mapping[str, Sequence[GivenClip]] = field(default_factory=dict)
    shares: SceneShares = SHARES

    def render(self, rng: np.random.Generator, clip_set: ClipSet, clip_index: int) -> RenderedClip:
        """A random clip of a set, or a given one."""
        sounds = self.bank.sounds[clip_set.split]
        if clip_set.name in self.given:
            return self.given[clip_set.name][clip_index].render(rng, sounds)
        shares = SCENES_ALONE if clip_set.split == TEST else self.shares
        if clip_set.labels == "weak":
            shares = replace(shares, empty=0.0)
        return render_recorded(rng, DOMAINS[clip_set.domain], sounds, shares)

    def sizes(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Number of clips of each set, which is that of the given recordings where there are."""
        return {**sizes, **{name: len(clips) for name, clips in self.given.items()}}


def read_material(
    soundbank: Path,
    seed: int,
    options: BankOptions,
    weak: Path | None = None,
    unlabelled: Path | None = None,
    shares: SceneShares = SHARES,
) -> Material:
    """A soundbank, and the clips of the folders `weak` and `unlabelled`. Raises InputError."""
    bank = read_soundbank(soundbank, seed, options)
    group_of = options.group_of()
    given = {}
    if weak is not None:
        given["weak"] = weak_clips(weak, bank, group_of)
    if unlabelled is not None:
        given["unlabelled"] = unlabelled_clips(unlabelled, bank, group_of)
    return Material(bank, given, shares)


def clip_generator(seed: int, set_index: int, clip_index: int) -> np.random.Generator:
    """Return a clip's random generator, which does not depend on the other clips."""
    return np.random.default_rng(np.random.SeedSequence([seed, set_index, clip_index]))


def make_clip(
    seed: int, set_index: int, clip_index: int, material: Material | None = None
) -> RenderedClip:
    """Return one clip; clips of the weak set are drawn again until they have a tag.

    Without material the sounds are synthesised.
    """
    clip_set = CLIP_SETS[set_index]
    rng = clip_generator(seed, set_index, clip_index)

    def render() -> RenderedClip:
        if material is None:
            return render_clip(rng, DOMAINS[clip_set.domain])
        return material.render(rng, clip_set, clip_index)

    clip = render()
    while clip_set.labels == "weak" and not clip.events:
        clip = render()
    return clip


def generate_dataset(
    out: Path,
    seed: int,
    sizes: Mapping[str, int],
    workers: int = 1,
    material: Material | None = None,
    files: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a data set, which appears as a whole; the same seed gives the same bytes.

    Args:
        out: its folder, new or empty.
        seed: of all random numbers.
        sizes: number of clips of sets of `CLIP_SETS` by name; other sets are absent.
        workers: number of processes.
        material: recordings; None: synthesised sounds. Given clips are all used.
        files: further files of the data set, text by name.
    """
    unknown = sizes.keys() - BY_NAME
    if unknown:
        known = ", ".join(BY_NAME)
        raise InputError(f"sizes: unknown set: expected some of {known}, got {min(unknown)!r}")
    if material is not None:
        sizes = material.sizes(sizes)
        files = {RECORDINGS: material.bank.table(), **files}
    check_new_folder("--output", out)
    with atomic_folder(out) as folder:
        for name in sizes:
            (folder / BY_NAME[name].audio).mkdir(parents=True, exist_ok=True)
        records = _write_clips(folder, seed, sizes, workers, material)
        write_texts(folder, {**clip_tables(records), **files})


def _write_clips(
    root: Path, seed: int, sizes: Mapping[str, int], workers: int, material: Material | None
) -> dict[str, list[ClipRecord]]:
    """Write the audio of all clips; returns the records of each set."""
    clip_ids = [
        (set_index, clip_index)
        for set_index, clip_set in enumerate(CLIP_SETS)
        for clip_index in range(sizes.get(clip_set.name, 0))
    ]
    write = partial(_write_clip, root, seed, material)
    progress = partial(tqdm, total=len(clip_ids), unit="clip", desc="generating")
    if workers == 1:
        written = list(progress(map(write, clip_ids)))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            written = list(progress(pool.map(write, clip_ids, chunksize=8)))
    records: dict[str, list[ClipRecord]] = {name: [] for name in sizes}
    for (set_index, _), record in zip(clip_ids, written, strict=True):
        records[CLIP_SETS[set_index].name].append(record)
    return records


def _write_clip(
    root: Path, seed: int, material: Material | None, clip_id: tuple[int, int]
) -> ClipRecord:
    set_index, clip_index = clip_id
    clip_set = CLIP_SETS[set_index]
    clip = make_clip(seed, set_index, clip_index, material)
    filename = f"{clip_set.stem}_{clip_index:05d}.wav"
    (root / clip_set.audio / filename).write_bytes(wav_bytes(clip.audio, SAMPLE_RATE))
    return ClipRecord(filename, clip.duration, clip.events)
