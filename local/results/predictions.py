"""Predictions of one network on a set: collected batch by batch, gathered over all ranks.

Of n ranks, rank r predicts clips r, r + n, r + 2n, … of a set
(`desed_task.process_group.own_share`); no clip is predicted twice.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from desed_task import process_group
from desed_task.dataio.batch import Batch
from desed_task.nnet.crnn import SEDOutput
from desed_task.report import SodResult
from local.config.load import Config
from local.cross_task import correct_scores
from local.results.sod import count_states


class ClipTable:
    """Named arrays with one row per clip of a set, and the clips' names."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._batches: dict[str, list[NDArray]] = {}

    def add(self, names: Sequence[str], **columns: Tensor) -> None:
        """Add a batch of clips: names and columns, each `(batch, …)`."""
        self.names += names
        for column, values in columns.items():
            self._batches.setdefault(column, []).append(values.cpu().numpy())

    def __contains__(self, column: str) -> bool:
        return column in self._batches

    def __getitem__(self, column: str) -> NDArray:
        """A column `(clips, …)`."""
        return np.concatenate(self._batches[column])

    def gather(self) -> None:
        """On rank 0: take the clips of all ranks, in the order of the set. All ranks call it."""
        tables = process_group.gather((self.names, self._batches))
        if len(tables) < 2:
            return
        order = set_order([len(names) for names, _ in tables])
        names = [name for names, _ in tables for name in names]
        self.names = [names[row] for row in order]
        columns = dict.fromkeys(column for _, batches in tables for column in batches)
        gathered = {c: [b for _, batches in tables for b in batches.get(c, [])] for c in columns}
        self._batches = {c: [np.concatenate(batches)[order]] for c, batches in gathered.items()}


def set_order(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Indices that put the clips of all ranks, one rank after the other, into the set's order.

    Args:
        lengths: number of clips of each rank.

    Example:
        >>> set_order([3, 2])
        array([0, 3, 1, 4, 2])
    """
    indices = [np.arange(length) * len(lengths) + rank for rank, length in enumerate(lengths)]
    return np.argsort(np.concatenate(indices))


class SetPredictions:
    """One network's predictions on a test set of strongly labelled clips."""

    def __init__(self, config: Config, counted: Tensor) -> None:
        self._config = config
        self._counted = counted
        self._clips = ClipTable()

    def add(self, batch: Batch, output: SEDOutput) -> None:
        """Add a batch of strongly labelled clips."""
        strong, sod_logits = output.strong.float(), output.sod_logits
        columns = {"raw_scores": strong, "corrected_scores": strong}
        if sod_logits is not None:
            counts = count_states(batch, strong, sod_logits, self._counted, self._config)
            columns |= counts._asdict()
            if self._config.postprocess.score_correction:
                columns["corrected_scores"] = self._correct(strong, sod_logits)
        self._clips.add(batch.names, **columns)

    def _correct(self, strong: Tensor, sod_logits: Tensor) -> Tensor:
        settings = self._config.postprocess
        return correct_scores(
            strong,
            sod_logits,
            self._counted,
            active_threshold=self._config.cross_task.active_threshold,
            correction_gain=settings.correction_gain,
            correction_floor=settings.correction_floor,
        )

    def gather(self) -> None:
        """On rank 0: take the predictions of all ranks. All ranks call it."""
        self._clips.gather()

    @property
    def names(self) -> list[str]:
        """Names of the clips."""
        return self._clips.names

    def raw_scores(self) -> NDArray[np.float32]:
        """The network's probabilities, `(clips, classes, frames)`."""
        return self._clips["raw_scores"]

    def corrected_scores(self) -> NDArray[np.float32]:
        """The same after score correction, if that is switched on."""
        return self._clips["corrected_scores"]

    def sod_result(self) -> SodResult | None:
        """SOD's states, and how often SED agrees; None for a network without SOD."""
        if "confusion" not in self._clips:
            return None
        confusion = self._clips["confusion"].sum(axis=0)
        frames = int(confusion.sum())
        return SodResult(confusion, int(self._clips["agreeing"].sum()) / frames) if frames else None
