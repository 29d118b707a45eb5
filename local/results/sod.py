"""Sound occurrence detection in the test: counted states per clip -> metrics."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from desed_task.dataio.batch import Batch
from desed_task.labels import SOD_STATE_NAMES
from desed_task.nnet.crnn import SOD_STATES
from desed_task.report import SodResult
from local.config.load import Config
from local.cross_task import agreement
from local.objective import sod_labels


class SodCounts(NamedTuple):
    """Frames of each clip, counted.

    Attributes:
        confusion: frames by true and predicted state, `(batch, true, predicted)`.
        agreeing: frames in which SED's number of active classes equals SOD's state, `(batch,)`.
    """

    confusion: Tensor
    agreeing: Tensor


def count_states(
    batch: Batch, strong: Tensor, sod_logits: Tensor, counted: Tensor, config: Config
) -> SodCounts:
    """Count the frames that lie within their clip.

    Args:
        batch: strongly labelled clips.
        strong: SED probabilities, `(batch, classes, frames)`.
        sod_logits: `(batch, frames, states)`.
        counted: see `local.cross_task.counted_classes`.
        config: the experiment.
    """
    grid = config.grid
    ends = [grid.offset_to_frame(seconds) for seconds in batch.seconds.tolist()]
    inside = torch.arange(grid.n_frames) < torch.tensor(ends)[:, None]
    true = sod_labels(batch.targets, counted).cpu()
    predicted = sod_logits.argmax(dim=-1).cpu()
    clip = torch.arange(len(true))[:, None]
    cells = (SOD_STATES * clip + true) * SOD_STATES + predicted
    counts = torch.bincount(cells[inside], minlength=len(true) * SOD_STATES**2)
    agreeing = agreement(strong, sod_logits, counted, config.cross_task.active_threshold).cpu()
    return SodCounts(
        confusion=counts.view(-1, SOD_STATES, SOD_STATES),
        agreeing=(agreeing & inside).sum(dim=1),
    )


def sod_metrics(result: SodResult | None) -> dict[str, float | None]:
    """Accuracy, F1 per state, their mean over the states that occur, agreement with SED.

    None where a metric is undefined, and for all metrics of a network without SOD.
    """
    states = (SOD_STATES, SOD_STATES)
    confusion = np.zeros(states, dtype=np.int64) if result is None else result.confusion
    correct, true = np.diag(confusion), confusion.sum(axis=1)
    either = true + confusion.sum(axis=0)
    f1 = [2 * c / e if e else None for c, e in zip(correct.tolist(), either.tolist(), strict=True)]
    occurring = [
        value for value, frames in zip(f1, true, strict=True) if frames and value is not None
    ]
    return {
        "sod_accuracy": float(correct.sum() / true.sum()) if true.sum() else None,
        **{f"sod_f1_{name}": value for name, value in zip(SOD_STATE_NAMES, f1, strict=True)},
        "sod_f1_macro": float(np.mean(occurring)) if occurring else None,
        "sod_sed_agreement": None if result is None else result.agreement,
    }
