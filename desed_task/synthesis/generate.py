"""Generate a data set with DESED's layout and classes from synthesised sounds.

    python -m desed_task.synthesis.generate --out DIR --seed 42 --size demo

DESED's recordings may not be redistributed; with this data set the whole recipe can run. Its
synthetic and its recorded domain differ (see `domains`), so that a detector gains from weak labels
and unlabelled clips of the recorded domain.
"""

import argparse
import io
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from tqdm import tqdm

from desed_task.errors import InputError, file_error, run_cli
from desed_task.files import user_path, visible_entries
from desed_task.labels import Event
from desed_task.synthesis.domains import RECORDED, SYNTHETIC, Domain
from desed_task.synthesis.scenes import RenderedClip, render_clip
from desed_task.synthesis.signals import SAMPLE_RATE


@dataclass(frozen=True)
class ClipSet:
    """One set: its domain, its audio folder and its tables, relative to the data set's folder.

    Tables: `strong` (events), `weak` (tags), `durations`, `listing` (file names only). File names
    are `prefix` and a number.
    """

    name: str
    domain: Domain
    audio: str
    prefix: str
    strong: str | None = None
    weak: str | None = None
    durations: str | None = None
    listing: str | None = None


CLIP_SETS = (
    ClipSet(
        "synthetic_train",
        SYNTHETIC,
        "audio/train/synthetic21_train/soundscapes",
        "soundscape_train",
        strong="metadata/train/synthetic21_train/soundscapes.tsv",
    ),
    ClipSet("weak", RECORDED, "audio/train/weak", "weak", weak="metadata/train/weak.tsv"),
    ClipSet(
        "unlabelled",
        RECORDED,
        "audio/train/unlabel_in_domain",
        "unlabelled",
        listing="metadata/train/unlabel_in_domain.tsv",
    ),
    ClipSet(
        "synthetic_validation",
        SYNTHETIC,
        "audio/validation/synthetic21_validation/soundscapes",
        "soundscape_validation",
        strong="metadata/validation/synthetic21_validation/soundscapes.tsv",
        durations="metadata/validation/synthetic21_validation/durations.tsv",
    ),
    ClipSet(
        "validation",
        RECORDED,
        "audio/validation/validation",
        "validation",
        strong="metadata/validation/validation.tsv",
        durations="metadata/validation/validation_durations.tsv",
    ),
    ClipSet(
        "public",
        RECORDED,
        "audio/eval/public",
        "public",
        strong="metadata/eval/public.tsv",
        durations="metadata/eval/public_durations.tsv",
    ),
)

SIZES: dict[str, dict[str, int]] = {
    name: dict(zip([each.name for each in CLIP_SETS], counts, strict=True))
    for name, counts in {
        "tiny": (12, 10, 20, 6, 8, 6),
        "demo": (240, 160, 320, 60, 120, 40),
        "ablation": (240, 160, 320, 60, 480, 40),
        "full": (10000, 1578, 14412, 2500, 1168, 692),
    }.items()
}
"""Number of clips in each set; `full` has DESED's counts, `ablation` more test clips than demo."""


@dataclass(frozen=True)
class ClipRecord:
    """The metadata of one written clip; duration in seconds."""

    filename: str
    duration: float
    events: tuple[Event, ...]


def clip_generator(seed: int, set_index: int, clip_index: int) -> np.random.Generator:
    """Return a clip's random generator, which does not depend on the other clips."""
    return np.random.default_rng(np.random.SeedSequence([seed, set_index, clip_index]))


def make_clip(seed: int, set_index: int, clip_index: int) -> RenderedClip:
    """Return one clip; clips of the weak set are drawn again until they have a tag."""
    clip_set = CLIP_SETS[set_index]
    rng = clip_generator(seed, set_index, clip_index)
    clip = render_clip(rng, clip_set.domain)
    while clip_set.weak and not clip.events:
        clip = render_clip(rng, clip_set.domain)
    return clip


def _write_clip(root: Path, seed: int, clip_id: tuple[int, int]) -> ClipRecord:
    set_index, clip_index = clip_id
    clip_set = CLIP_SETS[set_index]
    clip = make_clip(seed, set_index, clip_index)
    filename = f"{clip_set.prefix}_{clip_index:05d}.wav"
    path = root / clip_set.audio / filename
    content = io.BytesIO()  # whose errors are the system's own, not soundfile's
    soundfile.write(content, clip.audio, SAMPLE_RATE, subtype="PCM_16", format="WAV")
    path.write_bytes(content.getbuffer())
    return ClipRecord(filename, clip.duration, clip.events)


def _strong_table(records: Sequence[ClipRecord]) -> pd.DataFrame:
    """Return one row per event, and an empty row for a clip without events."""
    rows = [
        (record.filename, *(("", "", "") if event is None else _event_row(event)))
        for record in records
        for event in (record.events or (None,))
    ]
    return pd.DataFrame(rows, columns=["filename", "onset", "offset", "event_label"])


def _event_row(event: Event) -> tuple[str, str, str]:
    return f"{event.onset:.3f}", f"{event.offset:.3f}", event.event_label


def _weak_table(records: Sequence[ClipRecord]) -> pd.DataFrame:
    tags = [",".join(sorted({event.event_label for event in record.events})) for record in records]
    names = [record.filename for record in records]
    return pd.DataFrame({"filename": names, "event_labels": tags})


def _write_metadata(root: Path, clip_set: ClipSet, records: Sequence[ClipRecord]) -> None:
    names = [record.filename for record in records]
    lengths = [f"{record.duration:.3f}" for record in records]
    tables = {
        clip_set.strong: lambda: _strong_table(records),
        clip_set.weak: lambda: _weak_table(records),
        clip_set.durations: lambda: pd.DataFrame({"filename": names, "duration": lengths}),
        clip_set.listing: lambda: pd.DataFrame({"filename": names}),
    }
    for path, table in tables.items():
        if path is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            table().to_csv(root / path, sep="\t", index=False)


def _write_all(root: Path, seed: int, sizes: Mapping[str, int], workers: int) -> None:
    clip_ids = [
        (set_index, clip_index)
        for set_index, clip_set in enumerate(CLIP_SETS)
        for clip_index in range(sizes.get(clip_set.name, 0))
    ]
    for clip_set in CLIP_SETS:
        (root / clip_set.audio).mkdir(parents=True, exist_ok=True)
    write = partial(_write_clip, root, seed)
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
        _write_metadata(root, clip_set, own)


def _partial_folder(out: Path, seed: int, sizes: Mapping[str, int], workers: int) -> Path:
    """Return the folder to write to before it is renamed.

    Raises InputError for impossible values and for folders with content.
    """
    unknown = set(sizes) - {each.name for each in CLIP_SETS}
    if unknown:
        known = ", ".join(each.name for each in CLIP_SETS)
        raise InputError(f"sizes: unknown set: expected some of {known}, got {min(unknown)!r}")
    if seed < 0:
        raise InputError(f"--seed: expected at least 0, got {seed}")
    if workers < 1:
        raise InputError(f"--workers: expected at least 1, got {workers}")
    if out.exists() and (not out.is_dir() or visible_entries(out)):
        raise InputError(f"--out: expected a new or empty folder, got {out}")
    partial_out = out.with_name(out.name + ".partial")
    if partial_out.exists():
        raise InputError(
            f"--out: {partial_out} exists: an earlier run was interrupted or is still running; "
            "remove the folder to start again"
        )
    return partial_out


def generate_dataset(out: Path, seed: int, sizes: Mapping[str, int], workers: int = 1) -> None:
    """Write a data set; the same seed gives the same bytes for any number of workers.

    `sizes` maps names of `CLIP_SETS` to numbers of clips; other sets stay empty. Everything is
    written to `<out>.partial`, the metadata last, and renamed to `out` when complete.
    """
    out = Path(os.path.abspath(out))
    partial_out = _partial_folder(out, seed, sizes, workers)
    try:
        partial_out.mkdir(parents=True)
        _write_all(partial_out, seed, sizes, workers)
        if out.exists():  # it may have hidden files
            for path in visible_entries(partial_out):
                path.rename(out / path.name)
            partial_out.rmdir()
        else:
            partial_out.rename(out)
    except OSError as error:
        raise file_error(f"--out {out}", error, "written") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and generate the data set."""
    parser = argparse.ArgumentParser(
        description="Generate a data set with DESED's layout and classes."
    )
    parser.add_argument("--out", type=user_path, required=True, help="folder to make, new or empty")
    parser.add_argument("--seed", type=int, default=42, help="at least 0 (default: %(default)s)")
    parser.add_argument("--size", default="demo", help=f"{', '.join(SIZES)} (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="number of processes"
    )
    options = parser.parse_args(arguments)
    if options.size not in SIZES:
        raise InputError(f"--size: expected one of {', '.join(SIZES)}, got {options.size!r}")
    generate_dataset(options.out, options.seed, SIZES[options.size], options.workers)


if __name__ == "__main__":
    run_cli(main)
