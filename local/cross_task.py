"""What SED and SOD say of each other: counts, agreement, score correction.

SED says which classes are active in a frame, SOD how many: 0, 1, or 2 and more. Classes named in
`cross_task.excluded_classes` (Dishes) are left out of every count; here they are a boolean
`counted` `(classes,)`, False for them. Source: Guan et al. 2024; docs/recipe.md.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

MOST_SOUNDS = 2  # "2 and more" is one state


def counted_classes(classes: Sequence[str], excluded: Iterable[str]) -> Tensor:
    """`(classes,)` boolean: True for the classes that count."""
    left_out = set(excluded)
    return torch.tensor([name not in left_out for name in classes])


def active_count(strong: Tensor, counted: Tensor, threshold: float) -> Tensor:
    """Number of active classes per frame, at most 2, int64.

    `(batch, classes, frames)` -> `(batch, frames)`. A class is active where its probability (or
    target) exceeds `threshold`.
    """
    active = (strong > threshold) & counted[:, None]
    return active.sum(dim=1).clamp(max=MOST_SOUNDS)


def expected_count(strong: Tensor, counted: Tensor) -> Tensor:
    """Sum of the counted classes' probabilities, at most 2; differentiable. `(batch, frames)`."""
    return (strong * counted[:, None]).sum(dim=1).clamp(max=MOST_SOUNDS)


def state_score(sod_logits: Tensor) -> Tensor:
    """Largest SOD probability times its state, in [0, 2]; differentiable.

    `(batch, frames, 3)` -> `(batch, frames)`.
    """
    probability, state = sod_logits.softmax(dim=-1).max(dim=-1)
    return probability * state


def agreement(strong: Tensor, sod_logits: Tensor, counted: Tensor, threshold: float) -> Tensor:
    """Where both tasks give the same number of sounds: `(batch, frames)`, boolean."""
    return active_count(strong, counted, threshold) == sod_logits.argmax(dim=-1)


def correct_scores(
    strong: Tensor,
    sod_logits: Tensor,
    counted: Tensor,
    *,
    threshold: float,
    gain: float,
    floor: float,
) -> Tensor:
    """Raise the score of the class that SOD hears and SED just misses.

    Where SOD's state exceeds SED's count by exactly 1, `gain` is added (clamped to 1): if SOD says
    1, to the highest-scoring class; if it says 2, to the second-highest, provided it exceeds
    `floor`. Classes that do not count are neither ranked nor raised; tied ones are all raised.

    Args:
        strong: `(batch, classes, frames)`, probabilities.
        sod_logits: `(batch, frames, 3)`.
        counted: `(classes,)`, boolean.

    Returns: `(batch, classes, frames)`; `strong` is not changed.
    """
    state = sod_logits.argmax(dim=-1)
    missed = state - active_count(strong, counted, threshold) == 1
    ranked = strong.masked_fill(~counted[:, None], -1.0)
    places = min(MOST_SOUNDS, ranked.shape[1])
    best = ranked.topk(places, dim=1).values  # (batch, places, frames)
    first, second = best[:, 0], best[:, -1]
    target = torch.where(state == 1, first, second)
    raised = missed & ((state == 1) | (second > floor))
    chosen = (ranked == target[:, None]) & raised[:, None] & counted[:, None]
    return torch.where(chosen, (strong + gain).clamp(max=1.0), strong)
