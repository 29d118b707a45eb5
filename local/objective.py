"""The training objective: each term of the table in docs/recipe.md, "One training step".

Losses are means over all elements, masked ones included, and are computed in float32.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from desed_task.augment import Copy, DistortedBatch
from desed_task.dataio.batch import FRAME_LABELLED, RECORDED, ClipKind
from desed_task.nnet.crnn import SEDOutput
from desed_task.sod import agreement, expected_count, sod_labels, state_score
from local.config.schema import Config, Losses

Distance = Callable[[Tensor, Tensor], Tensor]

# bce takes probabilities, mse and mae take any values.
DISTANCES: Mapping[str, Distance] = {
    "bce": F.binary_cross_entropy,
    "mse": F.mse_loss,
    "mae": F.l1_loss,
}


def sed_consistency_loss(
    student: Tensor,
    teacher: Tensor,
    synthetic: Tensor,
    real: Tensor,
    selected: Tensor | None,
    disagreement_weight: float,
    distance: Distance,
) -> Tensor:
    """Distance of student's and teacher's `strong` `(clips, classes, frames)`.

    All frames of the rows `synthetic` have weight 1. In the rows `real` (both int64), frames that
    are not `selected` `(clips, frames)` have `disagreement_weight` (None: all have weight 1).
    """
    total = student.new_zeros(())
    if len(synthetic):
        total = total + distance(*_chosen(synthetic, student, teacher))
    if not len(real):
        return total
    student, teacher = _chosen(real, student, teacher)
    if selected is None:
        return total + distance(student, teacher)
    agreeing = selected.index_select(0, real).unsqueeze(1).to(student.dtype)
    disagreeing = 1 - agreeing
    return (
        total
        + distance(agreeing * student, agreeing * teacher)
        + disagreement_weight * distance(disagreeing * student, disagreeing * teacher)
    )


def _chosen(rows: Tensor, *tensors: Tensor) -> list[Tensor]:
    return [tensor.index_select(0, rows) for tensor in tensors]


def sod_consistency_loss(
    student: Tensor, teacher: Tensor, selected: Tensor | None, self_sup_loss: str
) -> Tensor:
    """Distance of student's and teacher's SOD logits `(clips, frames, 3)`.

    `self_sup_loss` mse compares the logits, bce the probabilities of the three states. Frames that
    are not `selected` `(clips, frames)` are treated as equal (None: all frames are compared).
    """
    if self_sup_loss == "bce":
        student, teacher = student.softmax(dim=-1), teacher.softmax(dim=-1)
    if selected is not None:
        chosen = selected.unsqueeze(-1).to(student.dtype)
        student, teacher = chosen * student, chosen * teacher
    return DISTANCES[self_sup_loss](student, teacher)


def mixup_self_consistency(
    mixed: Tensor, original: Tensor, permutations: Tensor, losses: Losses, distance: Distance
) -> Tensor:
    """Distance of a mixture's prediction and the OR of its clips' confident predictions.

    Elements without a confident OR (no clip above `self_consistency_active`, not all below
    `self_consistency_inactive`) contribute 0.
    `mixed`, `original` `(clips, …)`; `permutations` `(permutations, clips)` that were added.
    """
    clips = torch.stack([original, *(original.index_select(0, row) for row in permutations)])
    high = (clips > losses.self_consistency_active).any(dim=0)
    low = (clips < losses.self_consistency_inactive).all(dim=0)
    return distance(mixed * (high | low), high.to(mixed.dtype))


def self_consistency_loss(
    student: SEDOutput,
    distorted: DistortedBatch,
    kind: ClipKind,
    losses: Losses,
    distance: Distance,
) -> Tensor:
    """Self-consistency (RCT, Shao et al. 2022) of one kind of clip.

    Half the mixup term plus half the augmentation term, each summed over `weak` and `strong`.
    """
    record = distorted.records[kind]
    rows = {copy: distorted.rows(kind, copy=copy) for copy in Copy}
    total = student.weak.new_zeros(())
    for name, prediction in (("weak", student.weak), ("strong", student.strong)):
        original = prediction.index_select(0, rows[Copy.ORIGINAL])
        if record.permutations is not None:
            mixed = prediction.index_select(0, rows[Copy.MIXED])
            total = total + 0.5 * mixup_self_consistency(
                mixed, original, record.permutations, losses, distance
            )
        if record.augmentation is not None:
            if name == "strong":
                original = original.roll(record.shift_frames, dims=-1)
            augmented = prediction.index_select(0, rows[Copy.AUGMENTED])
            total = total + 0.5 * distance(augmented, original)
    return total


@dataclass(frozen=True)
class Objective:
    """All terms of a configuration.

    Attributes:
        config: the whole configuration.
        counted: `(classes,)` boolean, False for classes excluded from SOD, on the losses' device.
    """

    config: Config
    counted: Tensor

    def terms(
        self, student: SEDOutput, teacher: SEDOutput | None, distorted: DistortedBatch
    ) -> dict[str, Tensor]:
        """Each term before its weight, by its name in `losses`; scalars.

        Terms of weight 0, and those without clips or branch, are absent.
        """
        losses, targets = self.config.losses, distorted.targets
        strong, weak = distorted.rows(*FRAME_LABELLED), distorted.rows(ClipKind.WEAK)
        terms: dict[str, Tensor] = {}
        if losses.sed_strong and len(strong):
            predicted, labels = _chosen(strong, student.strong, targets)
            terms["sed_strong"] = F.binary_cross_entropy(predicted, labels)
        if losses.sed_weak and len(weak):
            predicted, labels = _chosen(weak, student.weak, targets)
            terms["sed_weak"] = F.binary_cross_entropy(predicted, labels.amax(dim=-1))
        if losses.sod and len(strong) and student.sod_logits is not None:
            logits, labels = _chosen(strong, student.sod_logits, targets)
            states = sod_labels(labels, self.counted)  # (clips, frames)
            terms["sod"] = F.cross_entropy(logits.flatten(0, 1), states.flatten())
        if teacher is not None:
            terms |= self._teacher_terms(student, teacher, distorted)
        if losses.cross_task and student.sod_logits is not None:
            # Gradients reach both branches.
            terms["cross_task"] = DISTANCES[losses.cross_task_loss](
                expected_count(student.strong, self.counted), state_score(student.sod_logits)
            )
        if losses.self_consistency:
            terms["self_consistency"] = self._self_consistency(student, distorted)
        return terms

    def total(self, terms: Mapping[str, Tensor], consistency_weight: float) -> Tensor:
        """The weighted sum; `consistency_weight` is w of the step."""
        supervised = {"sed_strong", "sed_weak", "sod"}
        return sum(
            getattr(self.config.losses, name)
            * (1.0 if name in supervised else consistency_weight)
            * term
            for name, term in terms.items()
        )

    def selected(self, teacher: SEDOutput) -> Tensor | None:
        """`(clips, frames)` boolean: the teacher's tasks agree; None without a SOD branch."""
        if teacher.sod_logits is None:
            return None
        active_threshold = self.config.cross_task.active_threshold
        return agreement(teacher.strong, teacher.sod_logits, self.counted, active_threshold)

    def _teacher_terms(
        self, student: SEDOutput, teacher: SEDOutput, distorted: DistortedBatch
    ) -> dict[str, Tensor]:
        losses, cross_task = self.config.losses, self.config.cross_task
        self_sup_loss = self.config.training.self_sup_loss
        selected = self.selected(teacher)
        terms: dict[str, Tensor] = {}
        if losses.sed_consistency:
            terms["sed_consistency"] = sed_consistency_loss(
                student.strong,
                teacher.strong,
                distorted.rows(ClipKind.SYNTHETIC),
                distorted.rows(*RECORDED),
                selected if cross_task.pseudo_label_selection else None,
                cross_task.disagreement_weight,
                DISTANCES[losses.sed_consistency_loss],
            )
        if losses.weak_consistency:
            terms["weak_consistency"] = DISTANCES[self_sup_loss](student.weak, teacher.weak)
        if losses.sod_consistency and student.sod_logits is not None:
            assert teacher.sod_logits is not None  # both networks have one shape
            terms["sod_consistency"] = sod_consistency_loss(
                student.sod_logits,
                teacher.sod_logits,
                selected if cross_task.select_sod_consistency else None,
                self_sup_loss,
            )
        return terms

    def _self_consistency(self, student: SEDOutput, distorted: DistortedBatch) -> Tensor:
        losses, distance = self.config.losses, DISTANCES[self.config.augs.consis_loss]
        total = student.weak.new_zeros(())
        for kind in distorted.records:
            share = getattr(losses.self_consistency_share, kind.name.lower())
            if share:
                loss = self_consistency_loss(student, distorted, kind, losses, distance)
                total = total + share * loss
        return total
