"""Progress of a training and a test in the terminal or in a log."""

import sys
import time
from collections.abc import Callable
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm


class Progress(Callback):
    """In a terminal one bar per epoch, else one line per epoch, on the standard output.

    A line has the epoch's mean loss, the selection metric where there was a validation, and the
    time. The loss is fetched only when it is shown, which makes a GPU finish its work.

    Args:
        metric: name of the selection metric.
        interval: steps between two updates of the bar.
        on_closed: called where nobody reads the standard output any more.
    """

    def __init__(self, metric: str, interval: int, on_closed: Callable[[], None]) -> None:
        self._metric = metric
        self._interval = interval
        self._on_closed = on_closed
        self._bar: tqdm[Any] | None = None
        self._losses: list[torch.Tensor] = []
        self._validated = False
        self._start = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the time of a line: a run resumed within an epoch does not start that one."""
        self._start = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a bar, or the time of a line."""
        self._losses = []
        self._validated = False
        self._start = time.monotonic()
        title = f"Epoch {trainer.current_epoch}"
        self._bar = self._open(trainer, title, trainer.num_training_batches)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Collect the loss on its device; show it from time to time."""
        self._losses.append(pl_module.loss)
        done = batch_idx + 1
        if self._bar is not None and (done % self._interval == 0 or done == self._bar.total):
            self._bar.set_postfix(loss=f"{self._fetch(pl_module.loss):.3g}", refresh=False)
            self._bar.update(done - self._bar.n)

    def on_validation_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Show in the bar that the networks are validated."""
        if self._bar is not None:
            self._bar.set_description(f"Epoch {trainer.current_epoch}, validation")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that the metric has a new value."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Complete the bar, or write the line."""
        if not trainer.is_global_zero:
            return
        values: dict[str, float] = {}
        if self._losses:  # none where the run was resumed at the validation
            values["loss"] = self._fetch(torch.stack(self._losses).mean())
        if self._validated:
            values[self._metric] = float(trainer.callback_metrics[self._metric])
            before = cast(Any, trainer.checkpoint_callback).best_model_score
            best = values[self._metric] if before is None else float(before)
            values["best"] = max(best, values[self._metric])
        if self._bar is not None:
            self._bar.set_description(f"Epoch {trainer.current_epoch}")
            self._bar.set_postfix(values)
            self._bar.close()
            self._bar = None
        else:
            seconds = time.monotonic() - self._start
            shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            try:
                print(f"Epoch {trainer.current_epoch}: {shown}, {seconds:.1f} s", flush=True)
            except BrokenPipeError:
                self._on_closed()

    def on_exception(self, *args: Any) -> None:
        """Leave the terminal's line."""
        self.on_test_end()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the bar of a test."""
        self._bar = self._open(trainer, "Test", int(sum(trainer.num_test_batches)))

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update()

    def on_test_end(self, *args: Any) -> None:
        """Complete the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open(self, trainer: pl.Trainer, title: str, total: float) -> "tqdm[Any] | None":
        if not (trainer.is_global_zero and sys.stdout.isatty()):
            return None
        return tqdm(total=total, desc=title, unit="batch", file=sys.stdout, dynamic_ncols=True)

    def _fetch(self, loss: torch.Tensor) -> float:
        """Number in a tensor; on a GPU this waits for all work that was begun."""
        return float(loss)
