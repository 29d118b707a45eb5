"""Detection of files, whole, beside the published network's plain forward pass.

python -m benchmarks detection [--clips 36] [--rounds N] [--precision 32|bf16|16] [--device cuda]
                               [--json FILE]

From files to events in memory, as in `sed-detect`, and through onnxruntime: reading, resampling,
features, the network, score correction, median filter, events. The plain pass is that of the
reference network on features in memory, float32, in a process of its own without our memory
settings. With pictures: as `sed-detect --plot`, without writing the files. The weights are random,
which does not change the time.
"""

import operator
import tempfile
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from benchmarks.measure import (
    aligned,
    finish,
    interleaved,
    other_process,
    ratio,
    shown,
    synchronize,
)
from benchmarks.options import RECIPE, Number, parse, subject_parser
from desed_task.detect import Detector
from desed_task.detect.detector import Precision, Result
from desed_task.detect.plots import draw_recording
from desed_task.detect.reading import file_blocks
from desed_task.detect.scoring import Recording
from desed_task.model import save_model
from desed_task.model.graphs import export_graphs
from desed_task.processor import keep_freed_memory
from local.config.load import Config, load_config
from local.results.model import trained_model
from local.sed_trainer import CrossTaskSED
from tests.support.reference_network import ReferenceCRNN, reference_weights
from tests.support.training_step import NARROW

RATE = 44100  # Hz, of the files
SHORT_SECONDS = 3
BATCH = 16  # windows
NUMBERS = {
    "clips": Number(3, 36, 36, "clips of the network's length"),
    "rounds": Number(1, 3, 20, "rounds"),
}
PLAIN = "published network, plain forward"


def main(argv: Sequence[str]) -> int:
    """Measure and print; returns the exit status."""
    args = parse(subject_parser(__doc__, NUMBERS, precision=True), NUMBERS, argv)
    config = load_config(RECIPE, NARROW if args.tiny else ())
    made = plain_forward, config, args.clips, args.device
    with other_process(args.device, *made) as call, tempfile.TemporaryDirectory() as folder:
        if args.device.type == "cpu":
            keep_freed_memory()
        torch.manual_seed(0)
        functions = detections(CrossTaskSED(config).eval(), args, Path(folder))
        functions[PLAIN] = partial(call, operator.call)
        durations, events = interleaved(functions, args.rounds, "Detection")
    seconds = config.grid.clip_seconds
    results, table = {}, []
    for row, values in durations.items():
        speed = ratio(durations[PLAIN], values)
        results[row] = {"seconds": values, "speed": speed, "events": events[row]}
        table.append((row, shown(values), f"{speed:.2f} x the plain forward"))
    title = f"{args.clips} clips of {seconds:g} s, {args.clips * seconds:g} s in all"
    finish(args, [title, *aligned(table)], {"rows": results})
    return 0


def detections(module: CrossTaskSED, args: Namespace, folder: Path) -> dict[str, Callable[[], int]]:
    """Functions that detect clips, one long file and short files of the same seconds in all.

    By row of the table; each returns the number of events.

    Args:
        module: its student and scaler are the model.
        args: `clips`, `precision`, `device` and `tiny`.
        folder: an empty folder for the files.
    """
    grid, model = module.config.grid, folder / "model"
    save_model(model, trained_model(module, "student", None, "benchmark"))
    seconds = args.clips * grid.clip_seconds
    clips = write_noise(folder / "clips", args.clips, grid.clip_seconds)
    short = write_noise(folder / "short", int(seconds // SHORT_SECONDS), SHORT_SECONDS)
    long = write_noise(folder / "long", 1, seconds)
    precision: Precision = "32" if args.precision == "32" else "bf16"
    ours = Detector(model, device=args.device.type, precision=precision, batch_size=BATCH)
    label = f"ours, {precision}"
    rows = {
        f"{label}: files of {grid.clip_seconds:g} s": detection(ours, clips),
        f"{label}: files of {grid.clip_seconds:g} s, pictures": detection(ours, clips, plot=True),
        f"{label}: 1 file": detection(ours, long),
        f"{label}: 1 file, pictures": detection(ours, long, plot=True),
        f"{label}: files of {SHORT_SECONDS} s": detection(ours, short),
    }
    has_runtime = not args.tiny and find_spec("onnxruntime")  # an export takes seconds
    if args.device.type == "cpu" and precision == "32" and has_runtime:
        export_graphs(model, onnx=True, torch_export=False)
        onnx = Detector(model, device="cpu", runtime="onnx", batch_size=BATCH)
        rows[f"onnxruntime, 32: files of {grid.clip_seconds:g} s"] = detection(onnx, clips)
    return rows


def detection(detector: Detector, paths: list[Path], *, plot: bool = False) -> Callable[[], int]:
    """A function that detects the events of files, and returns their number.

    `plot`: it draws the recordings as well.
    """
    rate, log_mel = detector.description.sample_rate, detector.model.log_mel

    def run() -> int:
        files = [Recording(path, partial(file_blocks, path, rate)) for path in paths]
        events = 0
        for path, result in detector.detect(files, workers=1):
            if not isinstance(result, Result):
                raise result
            events += len(result.detections)
            if plot:
                blocks = partial(file_blocks, path, rate, warn=False)
                deque(draw_recording(path.name, blocks, result, log_mel, rate), maxlen=0)
        return events

    return run


def plain_forward(config: Config, clips: int, device: torch.device) -> Callable[[], int]:
    """The published network's forward pass on the features of `clips` clips, float32.

    As PyTorch runs by itself. The returned function returns 0 events.
    """
    torch.manual_seed(0)
    module = CrossTaskSED(config).to(device).eval()
    network = ReferenceCRNN(config.net, len(config.data.classes)).to(device).eval()
    network.load_state_dict(reference_weights(module.networks["student"].state_dict()))
    audio = 0.1 * torch.randn(BATCH, config.grid.n_samples)
    with torch.inference_mode():
        features: Tensor = module.features(audio.to(device))

    @torch.inference_mode()
    def run() -> int:
        for first in range(0, clips, BATCH):
            network(features[: min(BATCH, clips - first)])
        synchronize(device)
        return 0

    return run


def write_noise(folder: Path, files: int, seconds: float) -> list[Path]:
    """Write WAV files of noise, mono, 16 bit; their paths."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    paths = [folder / f"{number}.wav" for number in range(files)]
    for path in paths:
        noise = generator.normal(0, 0.1, round(seconds * RATE)).astype(np.float32)
        soundfile.write(path, noise, RATE)
    return paths
