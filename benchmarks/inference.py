"""Inference: seconds of computing per second of audio (real-time factor).

python -m benchmarks inference [--clips 36] [--rounds N] [--precision 32|bf16|16] [--device cuda]
                               [--json FILE]

From audio in memory to smoothed scores in memory, as in the test: features, the student in
evaluation mode, score correction, median filter; for one clip, and for a batch of `--clips`. The
weights are random, which does not change the time.
"""

import statistics
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import aligned, finish, interleaved, shown
from benchmarks.options import RECIPE, Number, parse, subject_parser
from desed_task.dataio.batch import Batch, ClipKind
from desed_task.frames import FrameGrid
from desed_task.postprocess.median import median_filter
from desed_task.processor import keep_freed_memory
from local.config.load import Config, load_config
from local.results.predictions import SetPredictions
from local.sed_trainer import CrossTaskSED
from tests.support.classes import CLASSES
from tests.support.training_step import DTYPES, NARROW

NUMBERS = {
    "clips": Number(3, 36, 36, "clips of the batch"),
    "rounds": Number(1, 3, 20, "rounds"),
}


def main(argv: Sequence[str]) -> int:
    """Measure and print; returns the exit status."""
    args = parse(subject_parser(__doc__, NUMBERS, precision=True), NUMBERS, argv)
    if args.device.type == "cpu":
        keep_freed_memory()
    config = load_config(RECIPE, NARROW if args.tiny else ())
    infer = inference(config, args.device, args.precision)
    batches = {f"{clips} clips": noise(clips, config.grid) for clips in (1, args.clips)}
    durations, _ = interleaved(
        {name: partial(infer, batch) for name, batch in batches.items()}, args.rounds
    )
    results, table = [], []
    for name, batch in batches.items():
        factor = statistics.median(durations[name]) / float(batch.seconds.sum())
        results.append(
            {"clips": len(batch.names), "seconds": durations[name], "real_time_factor": factor}
        )
        factor_text = f"real-time factor {factor:.6f}, {1 / factor:.0f} times real time"
        table.append((name, shown(durations[name]), factor_text))
    finish(args, [f"precision {args.precision}", *aligned(table)], {"batches": results})
    return 0


def inference(
    config: Config, device: torch.device, precision: str
) -> Callable[[Batch], NDArray[np.floating]]:
    """A function from a batch on the CPU to scores `(clips, classes, frames)` on the CPU.

    It has a student with random weights and the post-processing of the recipe.
    """
    torch.backends.cudnn.benchmark = True  # as the run's trainer on a GPU
    torch.manual_seed(0)
    module = CrossTaskSED(config).to(device).eval()

    @torch.inference_mode()
    def infer(batch: Batch) -> NDArray[np.floating]:
        on_device = batch.to(device)
        features = module.features(on_device.audio)
        with torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "32"):
            output = module.networks["student"](features)
        predictions = SetPredictions(config, module.counted)
        predictions.add(on_device, output)
        return median_filter(predictions.corrected_scores().values, config.median_windows)

    return infer


def noise(clips: int, grid: FrameGrid) -> Batch:
    """A batch of noise without events."""
    generator = torch.Generator().manual_seed(0)
    return Batch(
        audio=0.1 * torch.randn(clips, grid.n_samples, generator=generator),
        targets=torch.zeros(clips, len(CLASSES), grid.n_frames),
        kind=torch.full((clips,), int(ClipKind.SYNTHETIC)),
        names=tuple(map(str, range(clips))),
        seconds=torch.full((clips,), grid.clip_seconds, dtype=torch.float64),
    )
