"""Loss curves in float32 and in mixed precision, from the same weights and draws.

python -m benchmarks curves [--precision bf16 16] [--seeds N] [--steps 200] [--data FOLDER]
                            [--output FILE] [--conf_file FILE] [--set K=V] [--device cuda]
                            [--json FILE]

Trains on a generated data set: in float32, in each mixed precision, and --seeds times in float32
with other dropout masks, which shows how far apart equally good trainings are. Weights, batches
and augmentations are the same in all. The warm-up is shortened to two epochs, so that the loss
falls. Curves are compared as running means over 20 steps. A mixed precision is within the spread
of the seeds if its mean difference from float32 is at most the largest one between two float32
trainings. On a CPU the batch is 2 + 2 + 4
clips of 2 s, since most processors emulate bf16; --set gives another size.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback

from benchmarks.measure import aligned, finish
from benchmarks.options import (
    PRECISIONS,
    ROOT,
    TINY,
    Number,
    add_configuration,
    parse,
    subject_parser,
)
from benchmarks.training import train, write_noise_sets
from desed_task.drawing.style import new_figure, nth_colour, tidy, to_png
from desed_task.errors import InputError
from desed_task.files import user_path, write_file, writing
from desed_task.making.generate import generate_dataset
from desed_task.making.layout import SIZES
from local.config.load import Config, load_config, override_config
from tests.support.tiny import SIZES as TINY_SIZES
from tests.support.tiny import data_overrides

FLOAT32, OTHER_MASKS = "float32", "float32, other dropout masks"
WINDOW = 20  # steps of a running mean
ON_A_CPU = ("training.batch_size=[2, 2, 4]", "data.audio_max_len=2")
NUMBERS = {
    "steps": Number(WINDOW + 2, 60, 200, "steps of each training", least=WINDOW),
    "seeds": Number(2, 1, 5, "further float32 trainings, each with other dropout masks"),
}


class LossRecorder(Callback):
    """Records the loss of each step, draws the dropout masks from a seed, ends after `steps`."""

    def __init__(self, steps: int, dropout_seed: int) -> None:
        self._steps, self._seed = steps, dropout_seed
        self._losses: list[torch.Tensor] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed what is drawn after the weights."""
        torch.manual_seed(self._seed)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Record; the value is fetched from a GPU only at the end."""
        self._losses.append(outputs["loss"].detach().float())
        if len(self._losses) == self._steps:
            trainer.should_stop = True

    def losses(self) -> list[float]:
        """One number per step."""
        return [float(loss) for loss in self._losses]


def main(argv: Sequence[str]) -> int:
    """Train, compare, draw; returns the exit status."""
    args = _arguments(argv)
    mixed = [PRECISIONS[name] for name in args.mixed]
    seeds = {FLOAT32: 1, OTHER_MASKS: 2}
    seeds |= {f"{OTHER_MASKS} {n}": n + 1 for n in range(2, args.seeds + 1)}
    runs = {FLOAT32: ("32", 1), **{name: (name, 1) for name in mixed}}
    runs |= {name: ("32", seed) for name, seed in seeds.items()}
    with tempfile.TemporaryDirectory() as folder:
        config = _config(args, Path(folder) / "sets")
        losses = {
            name: _losses(config, precision, seed, args, Path(folder) / name)
            for name, (precision, seed) in runs.items()
        }
    differences = {name: difference(losses[FLOAT32], losses[name]) for name in list(runs)[1:]}
    spread = max(
        difference(losses[one], losses[other])["mean"] for one, other in combinations(seeds, 2)
    )
    within = {name: differences[name]["mean"] <= spread for name in mixed}
    title = " ".join([args.conf_file.name, *args.overrides])
    lines = [
        f"{title}: {args.steps} steps; difference from {FLOAT32}, running means of {WINDOW} steps",
        *aligned(
            [
                (name, *(f"{kind} {value:.4f}" for kind, value in found.items()))
                for name, found in differences.items()
            ]
        ),
        f"largest mean difference of two float32 trainings: {spread:.4f}",
        *(f"{name}: {'within' if ok else 'outside'} this spread" for name, ok in within.items()),
    ]
    results = {"losses": losses, "differences": differences, "spread": spread}
    finish(args, lines, results | {"within_spread": within})
    with writing(args.output):
        args.output.parent.mkdir(parents=True, exist_ok=True)
    write_file(args.output, draw(losses, title))
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = subject_parser(__doc__, NUMBERS)
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=["bf16", "16"],
        dest="mixed",
        help="default: bf16; with --device cuda both",
    )
    add_configuration(parser)
    parser.add_argument("--data", type=user_path, help="generated data set (default: a new one)")
    parser.add_argument(
        "--output", type=user_path, help="picture (default: curves.png beside --json)"
    )
    args = parse(parser, NUMBERS, argv)
    on_gpu = args.device.type == "cuda"
    if args.mixed is None:
        args.mixed = ["bf16", "16"] if on_gpu else ["bf16"]
    if "16" in args.mixed and not on_gpu:
        raise InputError("--precision: expected bf16 on a CPU, got 16; see --device cuda")
    if args.output is None:
        args.output = (args.json.parent if args.json else ROOT / "bench_results") / "curves.png"
    return args


def _config(args: argparse.Namespace, folder: Path) -> Config:
    """The experiment on `--data`, or on sets that are generated in an empty folder."""
    size = TINY if args.tiny else ON_A_CPU if args.device.type == "cpu" else ()
    if args.data is not None:
        data = data_overrides(args.data)
    elif args.tiny:
        data = write_noise_sets(folder, TINY_SIZES, load_config(args.conf_file, size).grid)
    else:
        sizes = SIZES["tiny" if args.device.type == "cpu" else "demo"]
        generate_dataset(folder, seed=1, sizes=sizes)
        data = data_overrides(folder)
    config = load_config(args.conf_file, [*size, *data, *args.overrides])
    warmup = min(config.training.n_epochs_warmup, 2)
    never = args.steps + 1  # an epoch has at least one step
    settings = f"n_epochs={never}", f"validation_interval={never}", f"n_epochs_warmup={warmup}"
    return override_config(config, [f"training.{setting}" for setting in settings])


def _losses(
    config: Config, precision: str, dropout_seed: int, args: argparse.Namespace, run: Path
) -> list[float]:
    """Total loss of each step of a training without validation."""
    recorder = LossRecorder(args.steps, dropout_seed)
    config = override_config(config, [f"training.precision={precision}"])
    # Without validation there is no metric to select a checkpoint or to stop by.
    train(config, args.device, run, recorder, callbacks=[], limit_val_batches=0)
    return recorder.losses()


def running_mean(losses: Sequence[float]) -> NDArray[np.float64]:
    """Means of `WINDOW` successive steps."""
    return np.convolve(losses, np.full(WINDOW, 1 / WINDOW), mode="valid")


def difference(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """Largest and mean absolute difference of two curves' running means."""
    differences = np.abs(running_mean(one) - running_mean(other))
    return {"largest": float(differences.max()), "mean": float(differences.mean())}


def draw(losses: Mapping[str, Sequence[float]], title: str) -> bytes:
    """PNG of each step's loss, faint, and its running mean."""
    figure = new_figure(4.5, width=8)
    axis = figure.subplots()
    for number, (name, curve) in enumerate(losses.items()):
        colour = "0.6" if name.startswith(OTHER_MASKS) else nth_colour(number)  # the seeds: grey
        line = ("-", "--", ":")[number % 3]
        axis.plot(range(1, len(curve) + 1), curve, color=colour, alpha=0.25, linewidth=0.8)
        steps = range(WINDOW, len(curve) + 1)
        axis.plot(steps, running_mean(curve), line, color=colour, label=name)
    axis.set_xlabel(f"optimiser step (lines: mean of the last {WINDOW})")
    axis.set_ylabel("total loss")
    axis.set_title(title, fontsize="small")
    axis.legend()
    tidy(axis)
    return to_png(figure)
