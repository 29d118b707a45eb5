"""Generate a data set with DESED's layout, from synthesised sounds or from isolated recordings.

    python -m desed_task.making.generate --out DIR --seed 42 --size demo
    python -m desed_task.making.generate --out DIR --soundbank SOUNDS --size medium

DESED's recordings may not be redistributed; with the set of synthesised sounds the whole recipe can
run. Its synthetic and its recorded domain differ (see `domains`), so that a detector gains from
weak labels and unlabelled clips of the recorded domain. With a soundbank the classes are those of
its folders (docs/own_data.md).
"""

import argparse
import io
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from desed_task.errors import InputError, run_cli
from desed_task.files import atomic_folder, check_new_folder, user_path
from desed_task.making.given import GivenClip, unlabelled_clips, weak_clips
from desed_task.making.layout import CLIP_SETS, SIZES, ClipRecord, write_metadata
from desed_task.making.own_config import configuration
from desed_task.making.soundbank import BankOptions, Soundbank, read_soundbank
from desed_task.synthesis.scenes import RenderedClip, render_clip
from desed_task.synthesis.signals import SAMPLE_RATE
from desed_task.synthesis.sources import SYNTHETIC_SOUNDS
from desed_task.tables import normalised

CONFIGURATION = "conf.yaml"
RECORDINGS = "metadata/soundbank.tsv"


@dataclass(frozen=True)
class Material:
    """What clips are made of.

    Attributes:
        bank: the recordings; None: synthesised sounds.
        given: recordings that are the clips of a set, by the set's name.
    """

    bank: Soundbank | None = None
    given: Mapping[str, Sequence[GivenClip]] = field(default_factory=dict)


SYNTHESISED = Material()


def clip_generator(seed: int, set_index: int, clip_index: int) -> np.random.Generator:
    """Return a clip's random generator, which does not depend on the other clips."""
    return np.random.default_rng(np.random.SeedSequence([seed, set_index, clip_index]))


def make_clip(
    seed: int, set_index: int, clip_index: int, material: Material = SYNTHESISED
) -> RenderedClip:
    """Return one clip; clips of the weak set are drawn again until they have a tag."""
    clip_set = CLIP_SETS[set_index]
    rng = clip_generator(seed, set_index, clip_index)
    bank = material.bank
    sounds = bank.sounds[clip_set.split] if bank is not None else SYNTHETIC_SOUNDS
    if bank is not None and clip_set.name in material.given:
        given = material.given[clip_set.name][clip_index]
        return given.render(rng, sounds, bank.cutoff_hz)
    clip = render_clip(rng, clip_set.domain, sounds)
    while clip_set.weak and not clip.events:
        clip = render_clip(rng, clip_set.domain, sounds)
    return clip


def _write_clip(root: Path, seed: int, material: Material, clip_id: tuple[int, int]) -> ClipRecord:
    set_index, clip_index = clip_id
    clip_set = CLIP_SETS[set_index]
    clip = make_clip(seed, set_index, clip_index, material)
    filename = f"{clip_set.prefix}_{clip_index:05d}.wav"
    path = root / clip_set.audio / filename
    content = io.BytesIO()  # whose errors are the system's own, not soundfile's
    soundfile.write(content, clip.audio, SAMPLE_RATE, subtype="PCM_16", format="WAV")
    path.write_bytes(content.getbuffer())
    return ClipRecord(filename, clip.duration, clip.events)


def _write_all(
    root: Path, seed: int, sizes: Mapping[str, int], workers: int, material: Material
) -> None:
    clip_ids = [
        (set_index, clip_index)
        for set_index, clip_set in enumerate(CLIP_SETS)
        for clip_index in range(sizes.get(clip_set.name, 0))
    ]
    for clip_set in CLIP_SETS:
        (root / clip_set.audio).mkdir(parents=True, exist_ok=True)
    write = partial(_write_clip, root, seed, material)
    progress = partial(tqdm, total=len(clip_ids), unit="clip", desc="generating")
    if workers == 1:
        records = list(progress(map(write, clip_ids)))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            records = list(progress(pool.map(write, clip_ids, chunksize=8)))
    for set_index, clip_set in enumerate(CLIP_SETS):
        pairs = zip(records, clip_ids, strict=True)
        own = [record for record, clip_id in pairs if clip_id[0] == set_index]
        write_metadata(root, clip_set, own)


def _check(seed: int, sizes: Mapping[str, int], workers: int) -> None:
    """Raise InputError for impossible values."""
    unknown = set(sizes) - {each.name for each in CLIP_SETS}
    if unknown:
        known = ", ".join(each.name for each in CLIP_SETS)
        raise InputError(f"sizes: unknown set: expected some of {known}, got {min(unknown)!r}")
    if seed < 0:
        raise InputError(f"--seed: expected at least 0, got {seed}")
    if workers < 1:
        raise InputError(f"--workers: expected at least 1, got {workers}")


def generate_dataset(
    out: Path,
    seed: int,
    sizes: Mapping[str, int],
    workers: int = 1,
    material: Material = SYNTHESISED,
) -> None:
    """Write a data set; the same seed gives the same bytes for any number of workers.

    `sizes` maps names of `CLIP_SETS` to numbers of clips; other sets stay empty, and given clips
    are all used. `out` appears when it is complete (see `atomic_folder`).
    Of a soundbank the folder also has its configuration and the table of its files.
    """
    out = Path(os.path.abspath(out))
    _check(seed, sizes, workers)
    sizes = {**sizes, **{name: len(clips) for name, clips in material.given.items()}}
    check_new_folder("--out", out)
    with atomic_folder(out) as folder:
        _write_all(folder, seed, sizes, workers, material)
        if material.bank is not None:
            text = configuration(out.resolve(), material.bank.classes, sizes)
            (folder / CONFIGURATION).write_text(text, encoding="utf-8")
            table = folder / RECORDINGS
            material.bank.table().to_csv(table, sep="\t", index=False)


def _pauses(text: str) -> tuple[float, dict[str, float]]:
    """`0.25,Clock_tick=1.5`: the pause for all classes, and exceptions."""
    default, pauses = BankOptions.pause_s, {}
    for item in text.split(","):
        label, _, number = item.rpartition("=")
        try:
            seconds = float(number)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < np.inf:
            raise InputError(
                f"--pause: expected seconds or CLASS=seconds, at least 0, got {item!r}"
            )
        if label:
            pauses[normalised(label.strip())] = seconds
        else:
            default = seconds
    return default, pauses


def read_material(options: argparse.Namespace) -> Material:
    """The recordings that the command line names. Raises InputError."""
    if options.soundbank is None:
        for name in ("weak", "unlabelled", "group", "groups", "test_groups", "bandwidth", "pause"):
            if getattr(options, name) is not None:
                raise InputError(f"--{name}: expected --soundbank as well, got none")
        return SYNTHESISED
    pause, pauses = _pauses(options.pause or str(BankOptions.pause_s))
    bank_options = BankOptions(
        options.group, options.groups, options.test_groups, options.bandwidth, pause, pauses
    )
    bank = read_soundbank(options.soundbank, options.seed, bank_options)
    group_of = bank_options.group_of()
    given = {}
    if options.weak is not None:
        given["weak"] = weak_clips(options.weak, bank, group_of)
    if options.unlabelled is not None:
        given["unlabelled"] = unlabelled_clips(options.unlabelled, bank, group_of)
    return Material(bank, given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Generate a data set with DESED's layout.")
    parser.add_argument("--out", type=user_path, required=True, help="folder to make, new or empty")
    parser.add_argument("--seed", type=int, default=42, help="at least 0 (default: %(default)s)")
    parser.add_argument("--size", default="demo", help=f"{', '.join(SIZES)} (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="number of processes"
    )
    own = parser.add_argument_group("from isolated recordings (docs/own_data.md)")
    own.add_argument(
        "--soundbank", type=user_path, help="folder with foreground/CLASS/* and background/*"
    )
    own.add_argument("--weak", type=user_path, help="folder per class: clips with weak labels")
    own.add_argument("--unlabelled", type=user_path, help="folder of clips without labels")
    own.add_argument(
        "--group",
        help="regular expression of a recording's name in a file's (default: without take letter)",
    )
    own.add_argument("--groups", type=user_path, help="table with the columns filename and group")
    own.add_argument("--test_groups", help="regular expression of the recordings that are the test")
    own.add_argument(
        "--bandwidth", type=float, help="limit in Hz for all recordings (default: the lowest)"
    )
    own.add_argument(
        "--pause",
        help="seconds of silence between two events of a recording, CLASS=seconds for exceptions: "
        f"{BankOptions.pause_s},Clock=1.5 (default: {BankOptions.pause_s})",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and generate the data set."""
    options = _parser().parse_args(arguments)
    if options.size not in SIZES:
        raise InputError(f"--size: expected one of {', '.join(SIZES)}, got {options.size!r}")
    _check(options.seed, SIZES[options.size], options.workers)
    material = read_material(options)
    generate_dataset(options.out, options.seed, SIZES[options.size], options.workers, material)
    if material.bank is not None:
        print(_summary(material.bank, options.out))


def _summary(bank: Soundbank, out: Path) -> str:
    """Recordings and groups of each class in each split, and the next command."""
    table = bank.table().drop_duplicates(["kind", "group"])
    counts = table.pivot_table(index="kind", columns="split", values="group", aggfunc="count")
    return (
        f"recordings (files of one recording count once):\n{counts.to_string()}\n"
        f"bandwidth: {bank.cutoff_hz:.0f} Hz\n"
        f"next: python train_sed.py --conf_file {out / CONFIGURATION}"
    )


if __name__ == "__main__":
    run_cli(main)
