"""Inference as a real-time factor: seconds of computing per second of audio.

python -m benchmarks inference [--batch_sizes 1 36] [--precision 32 bf16 16] [--rounds N]
                               [--device cuda] [--json FILE]

From audio in memory to post-processed scores in memory: features, the student in evaluation mode,
score correction, median filter. Weights are fresh; they do not change the time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from benchmarks.devices import autocast, device_name, seconds
from benchmarks.measure import Timing
from benchmarks.options import (
    DTYPES,
    RECIPE,
    add_device,
    add_numbers,
    check_least,
    chosen_device,
    subject_parser,
    write_report,
)
from desed_task.errors import InputError
from desed_task.postprocess.median import median_filter
from local.config.load import load_config
from local.cross_task import correct_scores
from local.sed_trainer import CrossTaskSED


class Inference:
    """A student with fresh weights, and what makes its scores final.

    Args:
        device: where the network runs; audio begins and scores end in the processor's memory.
        precision: of the network, a key of `DTYPES`.
    """

    def __init__(self, device: torch.device, precision: str) -> None:
        self.config = load_config(RECIPE)
        self.device, self.precision = device, precision
        torch.manual_seed(0)
        self._module = CrossTaskSED(self.config).to(device).eval()

    @torch.inference_mode()
    def __call__(self, audio: Tensor) -> NDArray[np.floating]:
        """Audio `(clips, samples)` -> scores `(clips, classes, frames)`."""
        features = self._module.features(audio.to(self.device))
        with autocast(self.device, self.precision):
            output = self._module.networks["student"](features)
        settings = self.config.postprocess
        corrected = correct_scores(
            output.strong.float(),
            output.sod_logits,
            self._module.counted,
            active_threshold=self.config.cross_task.active_threshold,
            correction_gain=settings.correction_gain,
            correction_floor=settings.correction_floor,
        )
        return median_filter(corrected.cpu().numpy(), settings.windows)

    def audio(self, clips: int) -> Tensor:
        """Noise, `(clips, samples)`."""
        generator = torch.Generator().manual_seed(0)
        return 0.1 * torch.randn(clips, self.config.grid.n_samples, generator=generator)


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    parser = subject_parser("inference", __doc__)
    add_device(parser)
    add_numbers(parser, {"rounds": (5, "rounds")})
    parser.add_argument(
        "--batch_sizes", type=int, nargs="+", default=[1, 36], help="clips (default: 1 36)"
    )
    parser.add_argument("--precision", nargs="+", choices=list(DTYPES), default=["32"])
    args = parser.parse_args(argv)
    check_least(args, rounds=1)
    if min(args.batch_sizes) < 1:
        raise InputError(f"--batch_sizes {min(args.batch_sizes)}: 1 or more is right")
    device = chosen_device(args.device)
    figures = [
        figure(timing, clips, clip_seconds) | {"precision": precision}
        for precision in args.precision
        for clips, clip_seconds, timing in measure(device, precision, args.batch_sizes, args.rounds)
    ]
    report = {
        "machine": device_name(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "figures": figures,
    }
    print(f"{report['machine']}, torch {torch.__version__}, {report['threads']} threads")
    print("precision  clips  seconds (range)                    real-time factor")
    for found in figures:
        print(
            f"{found['precision']:<9}{found['clips']:>7}{Timing(found['seconds'])!s:<37}"
            f"{found['real_time_factor']:.6f}, {found['times_real_time']:.0f} times real time"
        )
    write_report(args.json, report)
    return 0


def measure(
    device: torch.device, precision: str, batch_sizes: Sequence[int], rounds: int
) -> list[tuple[int, float, Timing]]:
    """Clips, their length in seconds, and the time they take; sizes in turns, one round first."""
    infer = Inference(device, precision)
    batches = [infer.audio(clips) for clips in batch_sizes]
    found: list[list[float]] = [[] for _ in batches]
    for number in tqdm(range(rounds + 1), desc=f"Precision {precision}", leave=False):
        for audio, of_batch in zip(batches, found, strict=True):
            value = seconds(lambda audio=audio: infer(audio), device)  # type: ignore[misc]
            if number:
                of_batch.append(value)
    length = infer.config.grid.clip_seconds
    return [
        (len(audio), length, Timing(tuple(of_batch)))
        for audio, of_batch in zip(batches, found, strict=True)
    ]


def figure(timing: Timing, clips: int, clip_seconds: float) -> dict[str, Any]:
    """Real-time factor of the median, and its inverse."""
    factor = timing.median / (clips * clip_seconds)
    return {
        "clips": clips,
        "clip_seconds": clip_seconds,
        "seconds": timing.seconds,
        "real_time_factor": factor,
        "times_real_time": 1 / factor,
    }


def run_once(clips: int, precision: str) -> None:
    """One batch on the CPU, for its peak memory."""
    infer = Inference(torch.device("cpu"), precision)
    infer(infer.audio(clips))
