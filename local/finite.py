"""Numbers that are not finite end a training with one message."""

from typing import NamedTuple

import torch
from torch import Tensor

from desed_task.errors import FaultError


class _Noted(NamedTuple):
    step: int
    rate: float
    values: dict[str, Tensor]


class FiniteWatch:
    """Loss terms since the last check, on their device: fetching them makes a GPU wait.

    Args:
        scaled: whether fp16's scaler skips steps that are not finite. One such step is then no
            failure; only a whole interval of them is.
    """

    def __init__(self, scaled: bool) -> None:
        self._scaled = scaled
        self._noted: list[_Noted] = []

    def note(self, step: int, rate: float, values: dict[str, Tensor]) -> None:
        """Keep the scalars of a step by name, detached."""
        self._noted.append(_Noted(step, rate, values))

    def check(self, saved: str) -> None:
        """Raise FaultError for the first noted step that is not finite; forget the noted ones.

        Args:
            saved: where the last checkpoint is, for the message.
        """
        noted, self._noted = self._noted, []
        names = [name for each in noted for name in each.values]
        values = [value for each in noted for value in each.values.values()]
        if not values:
            return
        finite = torch.stack([value.float() for value in values]).isfinite().tolist()
        steps = [index for index, each in enumerate(noted) for _ in each.values]
        wrong: dict[int, list[str]] = {}
        for index, name, is_finite in zip(steps, names, finite, strict=True):
            if not is_finite:
                wrong.setdefault(index, []).append(name)
        if not wrong or (self._scaled and len(wrong) < len(noted)):
            return
        first = min(wrong)
        raise not_finite(noted[first].step, ", ".join(wrong[first]), noted[first].rate, saved)


def not_finite(step: int, what: str, rate: float, saved: str) -> FaultError:
    """The error that ends a training."""
    return FaultError(
        f"step {step}: not finite: {what}; learning rate {rate:.3g}; {saved}; try a lower opt.lr, "
        "training.gradient_clip, or training.precision=32"
    )
