"""Memory over many tiny epochs of the real training, and whether it grows.

python -m benchmarks epochs [--epochs 300] [--warmup N] [--device cuda] [--set K=V]
                            [--picture FILE] [--json FILE]

Each epoch trains and validates as a run does, with its callbacks, loggers, checkpoints and
pictures; clips last 2 s unless `--set data.audio_max_len=10`. Memory is read after each, garbage
collected: what is resident in the main process, on a GPU also what is allocated there. After a
warm-up a straight line is fitted; where it grows the exit status is 1.
"""

import gc
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from benchmarks import real_training
from benchmarks.devices import device_name
from benchmarks.generated import data_overrides
from benchmarks.options import (
    DEMO,
    add_device,
    add_numbers,
    check_least,
    chosen_device,
    save_figure,
    subject_parser,
    write_report,
)
from benchmarks.trend import BLOCKS, Trend, fit_trend
from desed_task.errors import InputError
from desed_task.synthesis.generate import generate_dataset
from local.config.load import load_config

RESIDENT, ALLOCATED = "resident", "allocated on the GPU"
EPOCHS_OF_RECIPE = 200


class MemoryRecord(Callback):
    """Memory after each epoch, `{kind: kB}`."""

    def __init__(self) -> None:
        self.kb: dict[str, list[float]] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read it once the garbage is collected."""
        gc.collect()
        self.kb.setdefault(RESIDENT, []).append(resident_kb())
        if pl_module.device.type == "cuda":
            allocated = torch.cuda.memory_allocated(pl_module.device) / 1024
            self.kb.setdefault(ALLOCATED, []).append(allocated)


def main(argv: Sequence[str]) -> int:
    """Train, fit, print; the exit status is 1 where memory grows."""
    parser = subject_parser("epochs", __doc__)
    add_device(parser)
    options = {
        "epochs": (300, "epochs"),
        "warmup": (None, "epochs before the fitted ones (default: a third)"),
    }
    add_numbers(parser, options)
    parser.add_argument("--picture", type=Path, help="draw the curve there (PNG)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="K=V",
        dest="overrides",
        help="override a key of the tiny experiment; may be repeated",
    )
    args = parser.parse_args(argv)
    if args.warmup is None:
        args.warmup = args.epochs // 3
    check_least(args, epochs=1, warmup=0)
    if args.epochs - args.warmup < 2 * BLOCKS:
        raise InputError(
            f"--epochs {args.epochs}, --warmup {args.warmup}: leave {2 * BLOCKS} or more to fit"
        )
    device = chosen_device(args.device)
    kb = measure(args.epochs, device, args.overrides)
    trends = {kind: fit_trend(values[args.warmup :]) for kind, values in kb.items()}
    grows = any(trend.grows for trend in trends.values())
    report = {
        "machine": device_name(device),
        "overrides": args.overrides,
        "epochs": args.epochs,
        "warmup": args.warmup,
        "kb": kb,
        "trends": {kind: trend._asdict() for kind, trend in trends.items()},
        "grows": grows,
    }
    print(f"{report['machine']}, torch {torch.__version__}")
    for kind, trend in trends.items():
        print(describe(kind, kb[kind][args.warmup :], trend))
    write_report(args.json, report)
    if args.picture is not None:
        draw(kb, trends, args.warmup, args.picture)
    return int(grows)


def measure(
    epochs: int, device: torch.device, overrides: Sequence[str] = ()
) -> dict[str, list[float]]:
    """Memory after each of so many tiny epochs, in kB."""
    record = MemoryRecord()
    with tempfile.TemporaryDirectory() as folder:
        sets, run = Path(folder) / "sets", Path(folder) / "run"
        generate_dataset(sets, seed=7, sizes=real_training.TINY_SETS)
        run.mkdir()
        length = (f"training.n_epochs={epochs}", f"training.early_stop_patience={epochs}")
        config = load_config(
            DEMO, [*data_overrides(sets), *real_training.TINY, *overrides, *length]
        )
        real_training.prepare(config, device, run, record).fit()
    return record.kb


def resident_kb() -> float:
    """Resident memory of this process, kB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def describe(kind: str, kb: Sequence[float], trend: Trend) -> str:
    """A line of the table; `kb` are the fitted values."""
    growth = trend.slope * EPOCHS_OF_RECIPE / 1024
    verdict = "GROWS" if trend.grows else "no trend"
    return (
        f"{kind:<22}{kb[0] / 1024:9.1f} MB, {len(kb)} epochs later {kb[-1] / 1024:9.1f} MB; "
        f"slope {trend} kB an epoch ({growth:.2f} MB in {EPOCHS_OF_RECIPE}): {verdict}"
    )


def draw(kb: dict[str, list[float]], trends: dict[str, Trend], warmup: int, path: Path) -> None:
    """The curves and the fitted lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2 * len(kb)), layout="constrained")
    axes: Any = figure.subplots(len(kb), squeeze=False)[:, 0]
    for axis, (kind, values) in zip(axes, kb.items(), strict=True):
        numbers = range(1, len(values) + 1)
        axis.plot(numbers, [value / 1024 for value in values], label=f"{kind} after the epoch")
        fitted, trend = values[warmup:], trends[kind]
        height, middle = statistics.median(fitted), (warmup + 1 + len(values)) / 2
        ends = [warmup + 1, len(values)]
        line = [(height + trend.slope * (end - middle)) / 1024 for end in ends]
        axis.plot(
            ends, line, "--", label=f"line through the last {len(fitted)}: {trend} kB an epoch"
        )
        axis.set_xlabel("epoch")
        axis.set_ylabel("MB")
        axis.legend(loc="best")
        axis.grid(alpha=0.3)
    save_figure(figure, path)
