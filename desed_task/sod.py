"""Sound occurrence and overlap detection (SOD): the paper's idea, counting sounds, in one file.

SED predicts *which* classes are active in a frame, SOD *how many*: 0, 1, or 2 and more. The two
tasks must agree: in training (expected count, state score, agreement of the pseudo-labels) and in
the test, where SOD corrects SED's scores. In all functions a boolean `counted` `(classes,)` is
False for the classes that are excluded from every count (Dishes in the recipe).
Source: Guan et al. 2024; docs/recipe.md.

Importing this module imports neither torch nor pydantic: evaluation and reports need the names of
the states alone. The settings are in `desed_task.sod_settings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from desed_task.sod_settings import CorrectionSettings

SOD_STATE_NAMES = ("0", "1", "2+")  # number of classes that are active at once
SOD_STATES = len(SOD_STATE_NAMES)
MAX_SOUNDS = SOD_STATES - 1  # the last state is this number "and more"
LABEL_THRESHOLD = 0.5  # targets are 0 or 1


def counted_classes(classes: Sequence[str], excluded_classes: Iterable[str]) -> Tensor:
    """`(classes,)` boolean: False for the excluded classes."""
    import torch

    excluded = set(excluded_classes)
    return torch.tensor([name not in excluded for name in classes])


def active_count(strong: Tensor, counted: Tensor, active_threshold: float) -> Tensor:
    """Number of active classes per frame, at most 2, int64.

    `(batch, classes, frames)` -> `(batch, frames)`. A class is active where its probability (or
    target) exceeds `active_threshold`.
    """
    active = (strong > active_threshold) & counted[:, None]
    return active.sum(dim=1).clamp(max=MAX_SOUNDS)


def sod_labels(targets: Tensor, counted: Tensor) -> Tensor:
    """SOD states of frame labels, int64: min(2, number of active counted classes).

    `(batch, classes, frames)` -> `(batch, frames)`.
    """
    return active_count(targets, counted, LABEL_THRESHOLD)


def expected_count(strong: Tensor, counted: Tensor) -> Tensor:
    """Sum of the counted classes' probabilities, at most 2; `(batch, frames)`, differentiable.

    The gradient is 1 up to a sum of exactly 2. Not `clamp`, whose gradient there depends on
    PyTorch's version: 1 until 2.13, as in the published training, 0 from 2.14 on.
    """
    total = (strong * counted[:, None]).sum(dim=1)
    return total.masked_fill(total > MAX_SOUNDS, MAX_SOUNDS)


def state_score(sod_logits: Tensor) -> Tensor:
    """Largest SOD probability times its state, in [0, 2]; differentiable.

    `(batch, frames, 3)` -> `(batch, frames)`.
    """
    probability, state = sod_logits.softmax(dim=-1).max(dim=-1)
    return probability * state


def agreement(
    strong: Tensor, sod_logits: Tensor, counted: Tensor, active_threshold: float
) -> Tensor:
    """`(batch, frames)` boolean: True where both tasks predict the same number of sounds."""
    return active_count(strong, counted, active_threshold) == sod_logits.argmax(dim=-1)


def correct_scores(
    strong: Tensor,
    sod_logits: Tensor,
    counted: Tensor,
    settings: CorrectionSettings,
) -> Tensor:
    """Raise the score of one class where SOD predicts one more sound than SED.

    In such a frame `correction_gain` is added (clamped to 1): if SOD predicts 1, to the
    highest-scoring class; if it predicts 2, to the second-highest, provided its score exceeds
    `correction_floor`. Excluded classes are neither ranked nor raised; tied classes are all raised.

    Args:
        strong: `(batch, classes, frames)`, probabilities.
        sod_logits: `(batch, frames, 3)`, logits or probabilities of the states.
        counted: `(classes,)`, boolean.
        settings: threshold, gain and floor; the excluded classes are in `counted`.

    Returns: `(batch, classes, frames)`; `strong` is not changed.
    """
    state = sod_logits.argmax(dim=-1)
    missed = state - active_count(strong, counted, settings.active_threshold) == 1
    ranked = strong.masked_fill(~counted[:, None], -1.0)
    best = ranked.topk(min(MAX_SOUNDS, ranked.shape[1]), dim=1).values  # (batch, 1 or 2, frames)
    first, second = best[:, 0], best[:, -1]
    target = first.where(state == 1, second)
    raised = missed & ((state == 1) | (second > settings.correction_floor))
    chosen = (ranked == target[:, None]) & raised[:, None] & counted[:, None]
    return (strong + settings.correction_gain).clamp(max=1.0).where(chosen, strong)


def corrected_scores(
    strong: NDArray[np.float32],
    states: NDArray[np.float32],
    classes: Sequence[str],
    settings: CorrectionSettings | None,
) -> NDArray[np.float32]:
    """A recording's scores after `correct_scores`; without settings unchanged.

    Args:
        strong: `(classes, frames)`.
        states: `(states, frames)`, probabilities.
        classes: their names.
        settings: of the correction.
    """
    if settings is None:
        return strong
    import torch

    corrected = correct_scores(
        torch.from_numpy(np.ascontiguousarray(strong))[None],
        torch.from_numpy(np.ascontiguousarray(states.T))[None],
        counted_classes(classes, settings.excluded_classes),
        settings,
    )
    return corrected[0].numpy()


@dataclass(frozen=True, eq=False)
class SodResult:
    """Result of a network's SOD branch, which predicts the state of each frame: 0, 1 or 2+ sounds.

    Args:
        confusion: frames `(states, states)`; rows: true state, columns: predicted state.
        agreement: share of the frames in which the number of classes that SED detects is the
            state that SOD predicts; None if unknown.
    """

    confusion: NDArray[np.int64]
    agreement: float | None


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
        counted: `(classes,)`, boolean.
        active_threshold: a class is active in SED above it.

    Returns:
        None without any frame within a clip.
    """
    if not inside.any():
        return None
    true = sod_labels(targets[None], counted)[0]
    cells = (SOD_STATES * true + sod_logits.argmax(dim=-1))[inside]
    confusion = cells.bincount(minlength=SOD_STATES**2).view(SOD_STATES, SOD_STATES)
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
