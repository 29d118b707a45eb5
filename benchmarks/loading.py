"""Loading: clips per second from WAV files through worker processes.

python -m benchmarks loading [--clips N] [--rounds N] [--workers N] [--folder DIR] [--json FILE]

Clips of 10 s in batches of 24 with their targets, until the batch is in the main process. The
files are read once before the first counted round: they come from the operating system's cache.
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import DataLoader

from benchmarks.measure import finish, interleaved
from benchmarks.options import Number, parse, subject_parser
from desed_task.dataio.batch import Clip, ClipKind, collate
from desed_task.dataio.datasets import ClipDataset
from desed_task.dataio.sampler import MixtureBatchSampler
from desed_task.files import user_path
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from tests.support.classes import CLASSES
from tests.support.step_data import write_noise

GRID = FrameGrid()
BATCH = 24
PASSES = 4  # over all clips in a round: the first batches of a worker are slower
NUMBERS = {
    "clips": Number(BATCH, 240, 720, "generated clips", least=BATCH),
    "rounds": Number(1, 3, 5, "rounds"),
    "workers": Number(1, 2, 6, "loading processes", least=0),
}


def main(argv: Sequence[str]) -> int:
    """Measure and print; returns the exit status."""
    parser = subject_parser(__doc__, NUMBERS)
    parser.add_argument("--folder", type=user_path, help="for the files (default: a temporary one)")
    args = parse(parser, NUMBERS, argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        speeds = clips_per_second(Path(folder) / "16k", args.clips, args.workers, args.rounds)
    median, low, high = statistics.median(speeds), min(speeds), max(speeds)
    line = f"{median:.0f} clips/s ({low:.0f} to {high:.0f}), {args.workers} workers"
    finish(args, [line], {"clips_per_second": speeds})
    return 0


def clips_per_second(folder: Path, n_clips: int, workers: int, rounds: int) -> list[float]:
    """Clips per second in each round, of generated clips with four events each."""
    names = [f"clip{number:06d}.wav" for number in range(n_clips)]
    write_noise(folder, names, GRID)
    events = [Event(second, second + 2.5, CLASSES[second]) for second in range(4)]
    clips = ClipDataset(
        folder,
        dict.fromkeys(names, events),
        dict.fromkeys(names, GRID.clip_seconds),
        ClipKind.SYNTHETIC,
        CLASSES,
        GRID,
    )
    loader: DataLoader[Clip] = DataLoader(
        clips,
        batch_sampler=MixtureBatchSampler({"clips": n_clips}, {"clips": BATCH}, seed=0),
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )

    def load() -> None:
        loaded = sum(len(batch.names) for _ in range(PASSES) for batch in loader)
        assert loaded == expected

    expected = PASSES * (n_clips // BATCH * BATCH)
    durations, _ = interleaved({"load": load}, rounds)
    return [expected / duration for duration in durations["load"]]
