"""Numbers that are not finite end a training with one message."""

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from desed_task.errors import FaultError
from desed_task.nnet.crnn import SEDOutput
from local.lightning_internals import (
    has_loss_scale,
    last_checkpoint,
    learning_rate,
    logs_this_step,
    loss_scale,
)

logger = logging.getLogger(__name__)


class _Step(NamedTuple):
    number: int
    rate: float
    values: dict[str, Tensor]


class FiniteWatch:
    """Checks scores, losses and gradients of a training.

    On a CPU a number is checked at once. On a GPU, where fetching one waits for all work, numbers
    stay on their device until they are fetched anyway: in steps that are logged, and before a
    validation. fp16's scaler skips steps that are not finite: one such step is then no failure,
    only a whole interval of them is.

    Every method that checks raises FaultError, with the first step that is not finite, its numbers
    by name, the learning rate and the last checkpoint.

    Args:
        trainer: of the training.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self._trainer = trainer
        self._on_cpu = trainer.strategy.root_device.type == "cpu"
        self._scores: dict[str, Tensor] = {}  # of the current step
        self._steps: list[_Step] = []  # since the last check
        self._warned = False

    def check_scores(
        self, student: SEDOutput, teacher: SEDOutput | None
    ) -> tuple[SEDOutput, SEDOutput | None]:
        """The outputs with 0 for NaN, for which BCE on a GPU would end the process.

        NaN is noted, for the check of the step's losses.
        """
        outputs = {"student": student} | ({} if teacher is None else {"teacher": teacher})
        self._scores = {
            f"scores of the {name}": output.strong.detach().sum() + output.weak.detach().sum()
            for name, output in outputs.items()
        }
        return _without_nan(student), teacher and _without_nan(teacher)

    def check_losses(self, losses: Mapping[str, Tensor]) -> None:
        """Note the current step's scalars, by name; check all noted ones if this is the time."""
        step, rate = self._trainer.global_step + 1, learning_rate(self._trainer)
        values = self._scores | {name: value.detach() for name, value in losses.items()}
        self._steps.append(_Step(step, rate, values))
        if self._checks_this_step:
            self.check()

    def check(self) -> None:
        """Check the numbers of all steps since the last check."""
        steps, self._steps = self._steps, []
        values = [value.float() for step in steps for value in step.values.values()]
        if not values:
            return
        finite = iter(torch.stack(values).isfinite().tolist())  # one transfer for all
        wrong = [[name for name in step.values if not next(finite)] for step in steps]
        if not any(wrong) or (has_loss_scale(self._trainer) and not all(wrong)):
            return
        first, names = next(
            (step, names) for step, names in zip(steps, wrong, strict=True) if names
        )
        raise self._error(first.number, first.rate, names)

    def check_gradients(self, parameters: Iterable[nn.Parameter], *, scaled: bool) -> Tensor | None:
        """Norm of all gradients together, before clipping; None in a step that is not checked.

        Args:
            parameters: those that are trained.
            scaled: whether the gradients are still multiplied by fp16's loss scale.
        """
        if not self._checks_this_step:
            return None
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if scaled:
            norm = norm / loss_scale(self._trainer)
        if has_loss_scale(self._trainer):  # the scaler skips a step that is not finite
            self._warn_of_small_scale()
        elif not norm.isfinite():
            rate = learning_rate(self._trainer)
            raise self._error(self._trainer.global_step + 1, rate, ["gradient"])
        return norm

    def _warn_of_small_scale(self) -> None:
        scale = loss_scale(self._trainer)
        if scale < 1 and not self._warned:
            self._warned = True
            logger.warning(
                "step %d: fp16's loss scale fell below 1, to %g: gradients overflow; "
                "training.precision=bf16-mixed or 32 has a larger range",
                self._trainer.global_step + 1,
                scale,
            )

    @property
    def _checks_this_step(self) -> bool:
        return self._on_cpu or logs_this_step(self._trainer)

    def _error(self, step: int, rate: float, names: list[str]) -> FaultError:
        path = last_checkpoint(self._trainer)
        saved = f"last checkpoint {path}" if path else "no checkpoint was saved"
        return FaultError(
            f"step {step}: not finite: {', '.join(names)}; learning rate {rate:.3g}; {saved}; try "
            "a lower opt.lr, training.gradient_clip, or training.precision=32"
        )


def _without_nan(output: SEDOutput) -> SEDOutput:
    return output._replace(strong=output.strong.nan_to_num(0.0), weak=output.weak.nan_to_num(0.0))
