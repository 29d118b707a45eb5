"""Sound occurrence detection in the test: counted states -> metrics."""

import numpy as np
import torch
from torch import Tensor

from desed_task.labels import SOD_STATE_NAMES
from desed_task.nnet.crnn import SOD_STATES
from desed_task.report import SodResult
from local.cross_task import agreement
from local.objective import sod_labels


def count_states(
    strong: Tensor,
    sod_logits: Tensor,
    targets: Tensor,
    inside: Tensor,
    counted: Tensor,
    active_threshold: float,
) -> SodResult | None:
    """Frames by true and predicted state, and the share of frames in which SED agrees.

    Args:
        strong: SED probabilities, `(classes, frames)`.
        sod_logits: `(frames, states)`.
        targets: frame labels, `(classes, frames)`.
        inside: frames that lie within their clip, `(frames,)` boolean; no others are counted.
        counted: see `local.cross_task.counted_classes`.
        active_threshold: a class is active in SED above it.

    Returns:
        None without any frame within a clip.
    """
    if not inside.any():
        return None
    true = sod_labels(targets[None], counted)[0]
    cells = (SOD_STATES * true + sod_logits.argmax(dim=-1))[inside]
    confusion = torch.bincount(cells, minlength=SOD_STATES**2).view(SOD_STATES, SOD_STATES)
    agreeing = agreement(strong[None], sod_logits[None], counted, active_threshold)[0]
    return SodResult(confusion.numpy(), int(agreeing[inside].sum()) / len(cells))


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
