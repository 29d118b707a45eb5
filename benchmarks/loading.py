"""Loading: clips a second from WAV files and from a packed store; cost of a large set's index.

python -m benchmarks loading [--clips N] [--rounds N] [--workers N] [--entries N …] [--json FILE]

Files are read once before they are timed, so they come from the operating system's cache. A clip
lasts 10 s; what is timed ends with the batch in the main process, 24 clips each, and includes
targets. The large sets are generated: annotations, an index of as many entries, and a store of
empty space; preparing them (resampling, checksums) is not part of what is timed.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from benchmarks.generated import write_clips
from benchmarks.large_set import LargeSet, measure_large_set
from benchmarks.measure import Timing, interleaved, machine
from benchmarks.options import add_numbers, check_least, subject_parser, write_report
from desed_task.dataio.batch import Clip, collate
from desed_task.dataio.datasets import ClipDataset
from desed_task.dataio.packed_store import PackedStore, store_path
from desed_task.dataio.packing import pack_folder
from desed_task.dataio.sampler import MixtureBatchSampler
from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from local.classes import CLASSES

GRID = FrameGrid()
BATCH = 24
_PASSES = 4  # over all clips in a round: a process's first batches are slower


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    parser = subject_parser("loading", __doc__)
    options = {"clips": (720, "generated"), "rounds": (5, "rounds"), "workers": (2, "processes")}
    add_numbers(parser, options)
    parser.add_argument(
        "--entries",
        type=int,
        nargs="*",
        default=[10_000, 100_000],
        help="sizes of the large sets (default: %(default)s)",
    )
    parser.add_argument("--folder", type=Path, help="for the files (default: a temporary one)")
    args = parser.parse_args(argv)
    check_least(args, clips=BATCH, rounds=1, workers=0)
    if min(args.entries, default=BATCH) < BATCH:
        raise InputError(f"--entries {min(args.entries)}: {BATCH} or more is right")
    print(machine())
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        speeds = clips_a_second(Path(folder), args.clips, args.workers, args.rounds)
    for name, speed in speeds.items():
        print(f"{name:<16}{speed['median']:9.0f} clips/s", end=" ")
        print(f"({speed['least']:.0f} to {speed['most']:.0f}; {args.workers} workers)", flush=True)
    sets = []
    for entries in args.entries:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            sets.append(measure_large_set(Path(folder), entries, args.workers))
    print_large_sets(sets)
    report = {
        "machine": machine(),
        "workers": args.workers,
        "clips_per_second": speeds,
        "large_sets": [vars(of_set) for of_set in sets],
    }
    write_report(args.json, report)
    return 0


def clips_a_second(
    folder: Path, n_clips: int, workers: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Median, least and most clips a second of rounds in turns, from WAV files and the store."""
    names = [f"clip{number:06d}.wav" for number in range(n_clips)]
    write_clips(folder / "16k", names)
    pack_folder(folder / "16k", GRID.sample_rate, progress=False)
    store = PackedStore(store_path(folder / "16k"))
    events = {
        name: [Event(second, second + 2.5, CLASSES[second]) for second in range(4)]
        for name in names
    }
    routes = {
        name: _Route(ClipDataset.strong(folder / "16k", events, CLASSES, GRID, source), workers)
        for name, source in (("wav", None), ("packed store", store))
    }
    timings, served = interleaved(routes, rounds + 1, "clips a second")
    speeds = {}
    for name, timing in timings.items():
        # The first round fills the cache.
        speed = sorted(served[name] / seconds for seconds in timing.seconds[1:])
        median = served[name] / Timing(timing.seconds[1:]).median
        speeds[name] = {"median": median, "least": speed[0], "most": speed[-1]}
    return speeds


class _Route:
    """An epoch of random clips through worker processes that stay, as in training."""

    def __init__(self, clips: ClipDataset, workers: int) -> None:
        sampler = MixtureBatchSampler({"clips": len(clips)}, {"clips": BATCH}, seed=0)
        self.loader: DataLoader[Clip] = DataLoader(
            clips,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def __call__(self) -> int:
        """Clips served."""
        return sum(len(batch.names) for _ in range(_PASSES) for batch in self.loader)


def print_large_sets(sets: Sequence[LargeSet]) -> None:
    """A column per set, a line per figure."""
    rows: list[tuple[str, str, Any]] = [
        ("entries", "{:,}", lambda of_set: of_set.entries),
        ("reading the annotations, s", "{:.2f}", lambda of_set: of_set.annotations_s),
        ("looking for the files, s", "{:.2f}", lambda of_set: of_set.coverage_s),
        ("comparing sources and index, s", "{:.2f}", lambda of_set: of_set.sources_s),
        ("opening the store, s", "{:.3f}", lambda of_set: of_set.opening_s),
        ("data set, s", "{:.2f}", lambda of_set: of_set.dataset_s),
        ("sampler, a whole epoch, s", "{:.3f}", lambda of_set: of_set.sampler_s),
        ("sampler, to the first batch, s", "{:.4f}", lambda of_set: of_set.sampler_first_s),
        ("index, bytes an entry", "{:.0f}", lambda of_set: of_set.index_bytes / of_set.entries),
        (
            "data set, bytes an entry",
            "{:.0f}",
            lambda of_set: of_set.dataset_bytes / of_set.entries,
        ),
        ("a worker's own memory, MB", "{:.1f}", lambda of_set: max(of_set.worker_mb, default=0)),
    ]
    for title, form, value in rows:
        print(f"{title:<34}" + "".join(f"{form.format(value(of_set)):>12}" for of_set in sets))
