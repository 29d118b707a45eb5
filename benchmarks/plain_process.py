"""The plain step in a process of its own, as a plain program runs: with the system's allocator.

Ours keeps freed memory (`local.run.memory`), which is a setting of a whole process; in one process
the plain step would have it too.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.devices import Clock
from benchmarks.step_data import StepData
from benchmarks.training_step import (
    ReferenceStep,
    batch_shares,
    random_batch,
    time_step,
)
from local.config.load import Config

Timer = Callable[[], dict[str, float]]
"""Runs a step once; seconds by part."""
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def plain_step(config: Config, clips: int, device: torch.device, folder: Path) -> ReferenceStep:
    """The plain step and its loader, of clips that are generated in an empty folder."""
    step = ReferenceStep(config, random_batch(clips, config, device))
    step.batches = StepData(folder, batch_shares(clips), config.grid).plain_batches(device)
    return step


@contextmanager
def plain_timer(config: Config, clips: int, folder: Path, clock: str) -> Iterator[Timer]:
    """Times the plain step on the CPU in another process, which waits in between.

    Raises EOFError from the timer where that process has ended.
    """
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(
        target=_serve, args=(there, config, clips, folder, clock), daemon=True
    )
    process.start()
    there.close()

    def timer() -> dict[str, float]:
        here.send(True)
        return here.recv()

    try:
        yield timer
    finally:
        here.close()
        process.join()


def _serve(connection: Connection, config: Config, clips: int, folder: Path, clock: str) -> None:
    step = plain_step(config, clips, torch.device("cpu"), folder)
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        connection.send(time_step(step, CLOCKS[clock]))
