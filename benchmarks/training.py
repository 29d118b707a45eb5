"""The training loop: its steps, the gaps between them, its validation; 200 epochs projected.

python -m benchmarks training [--steps 15] [--epochs 3] [--clips N] [--weak_clips N] [--workers N]
                              [--precision 32|bf16|16] [--conf_file FILE] [--set K=V]
                              [--device cuda] [--json FILE]

Trains and validates on generated noise as `train_sed.py` does, with its loggers and checkpoints.
The first epoch is not counted, nor is the first step of an epoch. A GPU is waited for only there
and at an epoch's end. `gap` is the time between a step's end and the next one's start in the
loop: data, loggers, progress. `idle` is the time that a GPU itself had no work of a step in
between, by events in its queue: an upper bound of its wait for data; on a CPU it is the gap. The
projection to DESED (200 epochs
of 236 steps and a validation of 2 500 + 158 clips) uses the medians.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from benchmarks.measure import aligned, finish, shown, synchronize
from benchmarks.options import PRECISIONS, TINY, Number, add_configuration, parse, subject_parser
from desed_task.desed import CLIP_SETS
from desed_task.frames import FrameGrid
from desed_task.labels import Event
from desed_task.making.layout import ClipRecord, clip_tables, write_texts
from desed_task.processor import keep_freed_memory
from local.config.load import Config, load_config
from local.lightning_internals import silence_lightning
from local.run.experiment import prepare_fit
from local.run.machine import Machine
from tests.support.classes import CLASSES
from tests.support.generated_system import generated_truth
from tests.support.step_data import write_noise
from tests.support.tiny import data_overrides

EPOCHS, STEPS, VALIDATION_CLIPS = 200, 236, 2500 + 158  # of the recipe on DESED
NUMBERS = {
    "steps": Number(3, 15, 60, "steps of an epoch", least=3),
    "epochs": Number(2, 3, 3, "epochs", least=2),
    "clips": Number(3, 72, 2500, "strong validation clips"),
    "weak_clips": Number(2, 12, 158, "weak validation clips"),
    "workers": Number(0, 1, 6, "loading processes", least=0),
}


class LoopClock(Callback):
    """Seconds of each counted `step` (an epoch's mean), `gap`, `idle`, `validation` and `epoch`."""

    def __init__(self) -> None:
        names = ("step", "gap", "idle", "validation", "epoch")
        self.durations: dict[str, list[float]] = {name: [] for name in names}
        self._marks: dict[str, float] = {}
        self._step_ends: torch.cuda.Event | None = None
        self._gpu_gaps: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mark the epoch's start."""
        self._mark("epoch", pl_module)
        self._first_step_done = False

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Record the gap before a step."""
        if self._first_step_done and trainer.current_epoch > 0:
            gap = time.perf_counter() - self._marks["gap"]
            self.durations["gap"].append(gap)
            if self._step_ends is None:
                self.durations["idle"].append(gap)
            else:
                self._gpu_gaps.append((self._step_ends, _recorded_event()))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any
    ) -> None:
        """Mark a step's end."""
        if not self._first_step_done:
            self._mark("step", pl_module)
            self._first_step_done = True
        if pl_module.device.type == "cuda":
            self._step_ends = _recorded_event()
        self._marks["gap"] = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the epoch's steps."""
        self._record("step", trainer, pl_module, parts=int(trainer.num_training_batches) - 1)
        # The GPU has finished: the events have their times.
        self.durations["idle"] += [a.elapsed_time(b) / 1000 for a, b in self._gpu_gaps]
        self._gpu_gaps.clear()
        self._mark("validation", pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the validation, metrics included, the checkpoint excluded."""
        self._record("validation", trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the epoch."""
        self._record("epoch", trainer, pl_module)

    def _mark(self, name: str, pl_module: pl.LightningModule) -> None:
        synchronize(pl_module.device)
        self._marks[name] = time.perf_counter()

    def _record(
        self, name: str, trainer: pl.Trainer, pl_module: pl.LightningModule, parts: int = 1
    ) -> None:
        synchronize(pl_module.device)
        if trainer.current_epoch > 0:
            self.durations[name].append((time.perf_counter() - self._marks[name]) / parts)


def _recorded_event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def main(argv: Sequence[str]) -> int:
    """Measure and print; returns the exit status."""
    parser = subject_parser(__doc__, NUMBERS, precision=True)
    add_configuration(parser)
    args = parse(parser, NUMBERS, argv)
    clock = LoopClock()
    with tempfile.TemporaryDirectory() as folder:
        config = _config(args, Path(folder))
        train(config, args.device, Path(folder) / "run", clock)
    idle_share = statistics.mean(clock.durations["idle"]) / statistics.mean(clock.durations["step"])
    projection = project(clock.durations, args.steps, args.clips + args.weak_clips)
    batch = " + ".join(str(number) for number in config.clips_per_set.values())
    lines = [
        f"{args.conf_file.name}, steps of {batch} clips, precision {args.precision}, "
        f"{args.workers} workers; validation of {args.clips} + {args.weak_clips} clips",
        *aligned([(name, shown(values)) for name, values in clock.durations.items()]),
        f"idle between two steps: at most {idle_share:.2%} of a step",
        f"projection, not run: {EPOCHS} epochs x ({STEPS} steps of {projection['step']:.4f} s + "
        f"validation {projection['validation']:.2f} s + rest {projection['rest']:.2f} s) = "
        f"{projection['minutes']:.1f} minutes",
    ]
    results = {"seconds": clock.durations, "idle_share": idle_share, "projection": projection}
    finish(args, lines, results)
    return 0


def train(
    config: Config, device: torch.device, run: Path, callback: Callback, **trainer_settings: Any
) -> None:
    """Train as `train_sed.py` does, with one more callback; its output goes to standard error.

    Args:
        config: the experiment.
        device: a CPU or a GPU.
        run: the run's folder, created here.
        callback: added to the trainer's.
        trainer_settings: attributes of Lightning's trainer to replace.
    """
    silence_lightning()
    if device.type == "cpu":
        keep_freed_memory()
    run.mkdir()
    with redirect_stdout(sys.stderr):
        machine = Machine(gpus=int(device.type == "cuda"))
        trainer, module, data = prepare_fit(config, machine, run, None)
        for name, value in trainer_settings.items():
            setattr(trainer, name, value)
        trainer.callbacks.append(callback)  # type: ignore[attr-defined]
        trainer.fit(module, datamodule=data)


def project(
    durations: Mapping[str, Sequence[float]], steps: int, validated: int
) -> dict[str, float]:
    """Medians in seconds scaled to DESED, and the minutes of all its epochs.

    `steps` and `validated` are the steps of a measured epoch and the clips of its validation.
    `rest` is what else an epoch consists of: checkpoints, and starting its loader.
    """
    step, validation, epoch = (
        statistics.median(durations[name]) for name in ("step", "validation", "epoch")
    )
    rest = max(0.0, epoch - steps * step - validation)
    validation *= VALIDATION_CLIPS / validated
    minutes = EPOCHS * (STEPS * step + validation + rest) / 60
    return {"step": step, "validation": validation, "rest": rest, "minutes": minutes}


def _config(args: argparse.Namespace, folder: Path) -> Config:
    """The experiment on noise: as many clips as its steps take."""
    tiny = TINY if args.tiny else ()
    batch = load_config(args.conf_file, [*tiny, *args.overrides])
    in_batch = batch.clips_per_set
    trained = {name: max(1, number * args.steps) for name, number in in_batch.items()}
    sizes = trained | {
        "weak": trained["weak"] + args.weak_clips,
        "synthetic validation": args.clips,
    }
    settings = (
        f"training.weak_split={trained['weak'] / sizes['weak']!r}",
        f"training.n_epochs={args.epochs}",
        "training.n_epochs_warmup=1",
        f"training.precision={PRECISIONS[args.precision]}",
        f"training.num_workers={args.workers}",
    )
    overrides = write_noise_sets(folder / "sets", sizes, batch.grid)
    return load_config(args.conf_file, [*tiny, *overrides, *settings, *args.overrides])


def write_noise_sets(folder: Path, sizes: Mapping[str, int], grid: FrameGrid) -> list[str]:
    """Write sets of noise with random events, at the grid's rate; returns `data.key=value`.

    Args:
        folder: an empty folder, filled in the layout of `desed_task.desed`.
        sizes: number of clips of each of `CLIP_SETS` by its name; 1 for the others.
        grid: the clips' time axis.
    """
    seconds = grid.clip_seconds
    records: dict[str, list[ClipRecord]] = {}
    for number, clip_set in enumerate(CLIP_SETS):
        n_clips, rng = sizes.get(clip_set.name, 1), np.random.default_rng(number)
        truth = generated_truth(rng, n_clips, seconds)
        write_noise(folder / clip_set.prepared, list(truth.events), grid)
        # every weak clip has a tag
        none = [Event(0.0, seconds, CLASSES[0])] if clip_set.labels == "weak" else []
        records[clip_set.name] = [
            ClipRecord(name, seconds, tuple(events or none))
            for name, events in truth.events.items()
        ]
    write_texts(folder, clip_tables(records))
    return data_overrides(folder)
