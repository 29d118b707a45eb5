"""What the two tasks imply for each other in training: counts of active classes, and agreement.

Classes of `cross_task.excluded_classes` (Dishes) are excluded from every count: a boolean `counted`
`(classes,)` is False for them. Source: Guan et al. 2024; docs/recipe.md.
"""

from torch import Tensor

from desed_task.postprocess.score_correction import MOST_SOUNDS, active_count


def expected_count(strong: Tensor, counted: Tensor) -> Tensor:
    """Sum of the counted classes' probabilities, at most 2; `(batch, frames)`, differentiable."""
    return (strong * counted[:, None]).sum(dim=1).clamp(max=MOST_SOUNDS)


def state_score(sod_logits: Tensor) -> Tensor:
    """Largest SOD probability times its state, in [0, 2]; differentiable.

    `(batch, frames, 3)` -> `(batch, frames)`.
    """
    probability, state = sod_logits.softmax(dim=-1).max(dim=-1)
    return probability * state


def agreement(
    strong: Tensor, sod_logits: Tensor, counted: Tensor, active_threshold: float
) -> Tensor:
    """`(batch, frames)` boolean: True where both tasks give the same number of sounds."""
    return active_count(strong, counted, active_threshold) == sod_logits.argmax(dim=-1)
