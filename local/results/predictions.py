"""Predictions of one network on a test set: batches -> clips, with and without correction."""

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from desed_task.dataio.batch import Batch
from desed_task.evaluation import Scores
from desed_task.frames import FrameGrid
from desed_task.nnet.crnn import SEDOutput
from desed_task.sod import SodResult, corrected_scores, count_states
from local.config.load import Config
from local.results.windows import WindowTable


class SetPredictions:
    """One network's predictions on a test set of strongly labelled clips.

    All windows of all ranks are added and gathered before anything is read.

    Args:
        config: the experiment.
        counted: `(C,)`, whether the SOD task counts a class; None: a network without SOD.
        grid: time axis of a window; None: that of the configuration's networks.

    Attributes:
        training_seconds: CPU seconds of the network's training; None: unknown.
    """

    def __init__(
        self, config: Config, counted: Tensor | None = None, grid: FrameGrid | None = None
    ) -> None:
        self.training_seconds: float | None = None
        self._config = config
        self._counted = None if counted is None else counted.cpu()
        self._windows = WindowTable(grid or config.grid)

    def add(self, batch: Batch, output: SEDOutput) -> None:
        """Add a batch of windows of strongly labelled clips."""
        columns = {"scores": output.strong.float()}
        if output.sod_logits is not None:
            states = output.sod_logits.float().softmax(dim=-1).transpose(1, 2)
            columns |= {"states": states, "targets": batch.targets}
        self._windows.add(batch, **columns)

    def gather(self) -> None:
        """On rank 0: take the predictions of all ranks. All ranks call it."""
        self._windows.gather()

    @property
    def names(self) -> list[str]:
        """Names of the clips."""
        return [clip.name for clip in self._windows.clips]

    @cached_property
    def _raw(self) -> list[NDArray[np.float32]]:
        return self._windows.joined("scores")

    @cached_property
    def _states(self) -> NDArray[np.float32] | None:
        """Probabilities of SOD's states, `(states, frames of all clips)`."""
        if "states" not in self._windows:
            return None
        return np.concatenate(self._windows.joined("states"), axis=1)

    def raw_scores(self) -> Scores:
        """The network's probabilities."""
        return self._windows.scores(self._raw)

    def corrected_scores(self) -> Scores:
        """The same after score correction, if that is switched on."""
        if self._states is None:
            return self.raw_scores()
        # Frames are corrected one by one, so that all clips can be one long clip.
        raw, config = np.concatenate(self._raw, axis=1), self._config
        corrected = corrected_scores(raw, self._states, config.data.classes, config.correction)
        ends = np.cumsum([clip.shape[1] for clip in self._raw])
        return self._windows.scores(np.split(corrected, ends[:-1], axis=1))

    def sod_result(self) -> SodResult | None:
        """SOD's states, and how often SED agrees; None for a network without SOD."""
        if self._states is None or self._counted is None:
            return None
        inside = [
            np.arange(clip.grid.n_frames) < clip.grid.offset_to_frame(clip.seconds)
            for clip in self._windows.clips
        ]
        return count_states(
            torch.from_numpy(np.concatenate(self._raw, axis=1)),
            torch.from_numpy(self._states.T),
            torch.from_numpy(np.concatenate(self._windows.joined("targets"), axis=1)),
            torch.from_numpy(np.concatenate(inside)),
            self._counted,
            self._config.cross_task.active_threshold,
        )
