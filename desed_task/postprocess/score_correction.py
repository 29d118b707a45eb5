"""Score correction: raise the score of a class where SOD predicts one more sound than SED.

SED predicts which classes are active in a frame, SOD how many: 0, 1, or 2 and more. In these
functions a boolean `counted` `(classes,)` is False for classes that are excluded from the count.
Source: Guan et al. 2024; docs/recipe.md.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

MOST_SOUNDS = 2  # SOD's last state is "2 and more"


def counted_classes(classes: Sequence[str], excluded_classes: Iterable[str]) -> Tensor:
    """`(classes,)` boolean: False for the excluded classes."""
    excluded = set(excluded_classes)
    return torch.tensor([name not in excluded for name in classes])


def active_count(strong: Tensor, counted: Tensor, active_threshold: float) -> Tensor:
    """Number of active classes per frame, at most 2, int64.

    `(batch, classes, frames)` -> `(batch, frames)`. A class is active where its probability (or
    target) exceeds `active_threshold`.
    """
    active = (strong > active_threshold) & counted[:, None]
    return active.sum(dim=1).clamp(max=MOST_SOUNDS)


def correct_scores(
    strong: Tensor,
    sod_logits: Tensor,
    counted: Tensor,
    *,
    active_threshold: float,
    correction_gain: float,
    correction_floor: float,
) -> Tensor:
    """Raise the score of one class where SOD predicts one more sound than SED.

    In such a frame `correction_gain` is added (clamped to 1): if SOD predicts 1, to the
    highest-scoring class; if it predicts 2, to the second-highest, provided its score exceeds
    `correction_floor`. Excluded classes are neither ranked nor raised; tied classes are all raised.

    Args:
        strong: `(batch, classes, frames)`, probabilities.
        sod_logits: `(batch, frames, 3)`, logits or probabilities of the states.
        counted: `(classes,)`, boolean.

    Returns: `(batch, classes, frames)`; `strong` is not changed.
    """
    state = sod_logits.argmax(dim=-1)
    missed = state - active_count(strong, counted, active_threshold) == 1
    ranked = strong.masked_fill(~counted[:, None], -1.0)
    best = ranked.topk(min(MOST_SOUNDS, ranked.shape[1]), dim=1).values  # (batch, 1 or 2, frames)
    first, second = best[:, 0], best[:, -1]
    target = torch.where(state == 1, first, second)
    raised = missed & ((state == 1) | (second > correction_floor))
    chosen = (ranked == target[:, None]) & raised[:, None] & counted[:, None]
    return torch.where(chosen, (strong + correction_gain).clamp(max=1.0), strong)
