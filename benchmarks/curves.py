"""Loss curves in float32 and in mixed precision, from the same weights and draws.

python -m benchmarks curves [--precision bf16-mixed|16-mixed] [--steps 200] [--device cuda]
                            [--conf_file FILE] [--set K=V] [--data FOLDER] [--output FILE]
                            [--json FILE]

Trains three times on a generated data set: in float32, in mixed precision, and in float32 with
other dropout masks; the last tells how far apart two trainings are that are equally good. Weights,
batches and augmentations are those of the configuration's seed in all three. On a CPU the network
is the demo's, on a GPU the recipe's with batches of 6 + 6 + 12, its warm-up shortened to
two epochs so that something is learnt. Curves are compared as running means over 20 steps.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback

from benchmarks.devices import device_name
from benchmarks.generated import data_overrides
from benchmarks.options import (
    DEMO,
    RECIPE,
    add_device,
    add_numbers,
    check_least,
    chosen_device,
    save_figure,
    subject_parser,
    write_report,
)
from benchmarks.real_training import prepare
from desed_task.errors import InputError
from desed_task.synthesis.generate import SIZES, generate_dataset
from local.config.load import Config, load_config, override_config
from local.run.callbacks import Progress

FLOAT32, OTHER_MASKS = "float32", "float32, other dropout masks"
SMOOTHED = 20  # steps
DROPOUT_SEED = 1


class LossRecord(Callback):
    """The total loss of each step; the tensors stay where they are until asked for."""

    def __init__(self) -> None:
        self._losses: list[torch.Tensor] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Keep it."""
        self._losses.append(outputs["loss"].detach().float())

    def losses(self) -> list[float]:
        """One number per step."""
        return [float(loss) for loss in self._losses]


def main(argv: Sequence[str]) -> int:
    """Train, compare, draw."""
    args = _arguments(argv)
    device = torch.device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        data = args.data
        if data is None:
            data = Path(folder) / "sets"
            generate_dataset(data, seed=1, sizes=SIZES["demo"])
        config = _config(args, data)
        curves = {
            name: losses(config, precision, device, args.steps, seed)
            for name, precision, seed in (
                (FLOAT32, 32, DROPOUT_SEED),
                (args.precision, args.precision, DROPOUT_SEED),
                (OTHER_MASKS, 32, DROPOUT_SEED + 1),
            )
        }
    distances = {name: distance(curves[FLOAT32], curves[name]) for name in list(curves)[1:]}
    report = {
        "machine": device_name(device),
        "configuration": " ".join([args.conf_file.name, *args.overrides]),
        "torch": torch.__version__,
        "smoothed_over": SMOOTHED,
        "losses": curves,
        "differences": distances,
    }
    title = f"{report['machine']}, torch {torch.__version__}, {report['configuration']}"
    print(title)
    print(f"{args.steps} steps; difference from {FLOAT32}, running means of {SMOOTHED} steps")
    for name, found in distances.items():
        print(f"{name:<32}largest {found['largest']:.4f}, mean {found['mean']:.4f}")
    write_report(args.json, report)
    draw(curves, title, args.output)
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = subject_parser("curves", __doc__)
    add_device(parser)
    add_numbers(parser, {"steps": (200, "optimiser steps of each training")})
    parser.add_argument("--precision", choices=["bf16-mixed", "16-mixed"], default="bf16-mixed")
    parser.add_argument("--conf_file", type=Path, help="default: confs/demo.yaml; cuda: sed.yaml")
    parser.add_argument("--data", type=Path, help="generated data set (default: a new one)")
    parser.add_argument("--output", type=Path, default=Path("docs/loss_curves.png"))
    parser.add_argument("--set", action="append", default=[], metavar="K=V", dest="overrides")
    args = parser.parse_args(argv)
    check_least(args, steps=SMOOTHED)
    device = chosen_device(args.device)
    if args.precision == "16-mixed" and device.type == "cpu":
        raise InputError("--precision 16-mixed: needs a GPU; on a CPU bf16-mixed is right")
    if args.conf_file is None:
        args.conf_file = DEMO if device.type == "cpu" else RECIPE
    return args


def _config(args: argparse.Namespace, data: Path) -> Config:
    config = load_config(args.conf_file, [*data_overrides(data), *args.overrides])
    shorter = min(config.training.n_epochs_warmup, 2)
    # No validation: the trainings end after their steps, in the first epochs.
    length = (f"training.n_epochs={args.steps}", f"training.validation_interval={args.steps}")
    return override_config(config, [*length, f"training.n_epochs_warmup={shorter}"])


def losses(
    config: Config, precision: str | int, device: torch.device, steps: int, dropout_seed: int
) -> list[float]:
    """Total loss of each step of a training from the configuration's seed."""
    config = override_config(config, [f"training.precision={precision}"])
    record = LossRecord()
    with tempfile.TemporaryDirectory() as folder:
        training = prepare(config, device, Path(folder), record)
        torch.manual_seed(dropout_seed)  # the weights are drawn
        trainer: Any = training.trainer
        # Without validations there is nothing to select by or to save.
        kept = Progress, LossRecord
        trainer.callbacks = [one for one in trainer.callbacks if isinstance(one, kept)]
        trainer.limit_val_batches = 0
        trainer.fit_loop.epoch_loop.max_steps = steps
        training.fit()
    return record.losses()


def smooth(curve: Sequence[float]) -> NDArray[np.float64]:
    """Running means over `SMOOTHED` steps, those that are complete."""
    return np.convolve(curve, np.full(SMOOTHED, 1 / SMOOTHED), mode="valid")


def distance(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """Largest and mean absolute difference of two smoothed curves."""
    difference = np.abs(smooth(one) - smooth(other))
    return {"largest": float(difference.max()), "mean": float(difference.mean())}


def draw(curves: Mapping[str, Sequence[float]], title: str, path: Path) -> None:
    """Each step's loss, faint, and its running mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    looks = ("tab:blue", "-"), ("tab:orange", "--"), ("tab:green", ":")
    for (name, curve), (colour, line) in zip(curves.items(), looks, strict=True):
        axis.plot(range(1, len(curve) + 1), curve, color=colour, alpha=0.25, linewidth=0.8)
        steps = range(SMOOTHED, len(curve) + 1)
        axis.plot(steps, smooth(curve), line, color=colour, label=name)
    axis.set_xlabel(f"optimiser step (lines: mean of the last {SMOOTHED})")
    axis.set_ylabel("total loss")
    axis.set_title(title, fontsize="small")
    axis.legend()
    axis.grid(alpha=0.3)
    save_figure(figure, path)
