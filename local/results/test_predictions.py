"""The test: predictions of student and teacher -> figures, files and a table.

Source: docs/recipe.md, "Test".
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from desed_task import process_group
from desed_task.dataio.batch import Batch
from desed_task.labels import SOD_STATE_NAMES
from desed_task.nnet.crnn import SOD_STATES, SEDOutput
from desed_task.report import SodResult
from local.config.load import Config
from local.cross_task import agreement, correct_scores
from local.objective import sod_labels
from local.results.gathering import in_set_order, names_in_set_order


class TestPredictions:
    """Gathers one network's predictions on a test set."""

    __test__ = False  # not a test case

    def __init__(self, config: Config, counted: Tensor) -> None:
        self._config = config
        self._counted = counted
        self._raw: list[NDArray[np.float32]] = []
        self._corrected: list[NDArray[np.float32]] = []
        self.names: list[str] = []
        self.confusion = np.zeros((SOD_STATES, SOD_STATES), dtype=np.int64)
        self._agreeing = 0  # frames

    def add(self, batch: Batch, output: SEDOutput) -> None:
        """Add a batch of strongly labelled clips."""
        settings, strong = self._config.postprocess, output.strong.float()
        corrected = strong
        if settings.score_correction and output.sod_logits is not None:
            corrected = correct_scores(
                strong,
                output.sod_logits,
                self._counted,
                active_threshold=self._config.cross_task.active_threshold,
                correction_gain=settings.correction_gain,
                correction_floor=settings.correction_floor,
            )
        self._raw.append(strong.cpu().numpy())
        self._corrected.append(corrected.cpu().numpy())
        self.names += batch.names
        if output.sod_logits is not None:
            self._count_states(batch, strong, output.sod_logits)

    def gather(self) -> None:
        """In process 0: take in what the others predicted, in the order of the set.

        All processes call it; nothing happens where there is one.
        """
        own = (self._raw, self._corrected, self.names, self.confusion, self._agreeing)
        parts = process_group.gather(own)
        if len(parts) < 2:
            return
        raw, corrected, names, confusion, agreeing = zip(*parts, strict=True)
        self._raw, self._corrected = map(in_set_order, (raw, corrected))
        self.names = names_in_set_order(names)
        self.confusion, self._agreeing = sum(confusion), sum(agreeing)

    def _count_states(self, batch: Batch, strong: Tensor, sod_logits: Tensor) -> None:
        """Count, of the frames within their clip, SOD's states (rows: true) and agreement."""
        true = sod_labels(batch.targets, self._counted).cpu().numpy()
        said = sod_logits.argmax(dim=-1).cpu().numpy()
        grid = self._config.grid
        ends = [grid.offset_to_frame(seconds) for seconds in batch.seconds.tolist()]
        inside = np.arange(grid.n_frames) < np.array(ends)[:, None]
        pairs = SOD_STATES * true[inside] + said[inside]
        self.confusion += np.bincount(pairs, minlength=SOD_STATES**2).reshape(self.confusion.shape)
        threshold = self._config.cross_task.active_threshold
        agreeing = agreement(strong, sod_logits, self._counted, threshold).cpu().numpy()
        self._agreeing += int(agreeing[inside].sum())

    def raw_scores(self) -> NDArray[np.float32]:
        """The network's probabilities, `(clips, classes, frames)`."""
        return np.concatenate(self._raw)

    def corrected_scores(self) -> NDArray[np.float32]:
        """The same after score correction, where that is switched on."""
        return np.concatenate(self._corrected)

    def sod_result(self) -> SodResult | None:
        """What SOD said, and how often SED agreed; None of a network without SOD."""
        frames = int(self.confusion.sum())
        return SodResult(self.confusion, self._agreeing / frames) if frames else None

    def sod_figures(self) -> dict[str, float | None]:
        """Accuracy, F1 per state, their mean over states that occur, agreement; None: undefined."""
        right, true = np.diag(self.confusion), self.confusion.sum(axis=1)
        both = true + self.confusion.sum(axis=0)
        f1 = [2 * r / b if b else None for r, b in zip(right.tolist(), both.tolist(), strict=True)]
        occurring = [value for value, n in zip(f1, true, strict=True) if n and value is not None]
        return {
            "sod_accuracy": float(right.sum() / true.sum()) if true.sum() else None,
            **{f"sod_f1_{name}": value for name, value in zip(SOD_STATE_NAMES, f1, strict=True)},
            "sod_f1_macro": float(np.mean(occurring)) if occurring else None,
            "sod_sed_agreement": self._agreeing / int(true.sum()) if true.sum() else None,
        }
