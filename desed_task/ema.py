"""The mean teacher (Tarvainen and Valpola 2017; docs/recipe.md, "One training step")."""

import copy

import torch
from torch import nn


class MeanTeacher:
    """Updates a teacher's parameters to an exponential moving average of a student's.

    Buffers (batch-norm statistics) are not averaged: the teacher runs in training mode and has
    its own. Parameters that the student does not train (`requires_grad` is false) stay as they are
    in both networks.

    Args:
        student, teacher: networks of the same shape.
        ema_factor: upper bound of the average's α.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, ema_factor: float) -> None:
        pairs = zip(student.parameters(), teacher.parameters(), strict=True)
        trained = [(own, mean) for own, mean in pairs if own.requires_grad]
        self._student = [own.detach() for own, _ in trained]
        self._teacher = [mean.detach() for _, mean in trained]
        self._ema_factor = ema_factor

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Set teacher ← α·teacher + (1-α)·student after optimiser step `step` = 1, 2, …."""
        weight = 1 - ema_decay(step, self._ema_factor)
        torch._foreach_lerp_(self._teacher, self._student, weight)


def ema_decay(step: int, ema_factor: float) -> float:
    """α of optimiser step n = 1, 2, …: min(1 - 1/(n + 1), ema_factor)."""
    return min(1 - 1 / (step + 1), ema_factor)


def make_teacher(student: nn.Module) -> nn.Module:
    """A copy of the student that receives no gradients."""
    teacher = copy.deepcopy(student)
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return teacher
