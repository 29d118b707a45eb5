"""Loading: clips per second from WAV files.

python -m benchmarks loading [--clips N] [--rounds N] [--workers N] [--json FILE]

Files are read once before they are timed, so they come from the operating system's cache. A clip
lasts 10 s; what is timed ends with the batch in the main process, 24 clips each, and includes
targets.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import DataLoader

from benchmarks.generated import write_clips
from benchmarks.measure import Timing, interleaved, machine
from benchmarks.options import add_numbers, check_least, subject_parser, write_report
from desed_task.dataio.batch import Clip, collate
from desed_task.dataio.datasets import ClipDataset
from desed_task.dataio.sampler import MixtureBatchSampler
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
    parser.add_argument("--folder", type=Path, help="for the files (default: a temporary one)")
    args = parser.parse_args(argv)
    check_least(args, clips=BATCH, rounds=1, workers=0)
    print(machine())
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        speeds = clips_a_second(Path(folder), args.clips, args.workers, args.rounds)
    for name, speed in speeds.items():
        print(f"{name:<16}{speed['median']:9.0f} clips/s", end=" ")
        print(f"({speed['least']:.0f} to {speed['most']:.0f}; {args.workers} workers)", flush=True)
    report = {
        "machine": machine(),
        "workers": args.workers,
        "clips_per_second": speeds,
    }
    write_report(args.json, report)
    return 0


def clips_a_second(
    folder: Path, n_clips: int, workers: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Median, least and most clips a second of rounds in turns, from WAV files."""
    names = [f"clip{number:06d}.wav" for number in range(n_clips)]
    write_clips(folder / "16k", names)
    events = {
        name: [Event(second, second + 2.5, CLASSES[second]) for second in range(4)]
        for name in names
    }
    routes = {"wav": _Route(ClipDataset.strong(folder / "16k", events, CLASSES, GRID), workers)}
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
