"""The losses against golden numbers: values and gradients of every term."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from desed_task.augment import DistortedBatch, Record
from desed_task.dataio.batch import ClipKind
from desed_task.nnet.crnn import SEDOutput
from local.classes import CLASSES
from local.config import Config, load_config
from local.cross_task import active_count, agreement, correct_scores, counted_classes
from local.objective import DISTANCES, Objective, self_consistency_loss, sod_labels
from tests.paths import CONFS, GOLDEN

RELATIVE = 1e-5
GRADIENT = 1e-3
KINDS = {"strong": ClipKind.SYNTHETIC, "weak": ClipKind.WEAK, "unsup": ClipKind.UNLABELLED}
COUNTED = counted_classes(CLASSES, ["Dishes"])


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN / "losses.npz") as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive}


@pytest.fixture(scope="module")
def expected() -> Any:
    return json.loads((GOLDEN / "losses.json").read_text())


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(CONFS / "sed.yaml")


def _student(golden: dict[str, Tensor]) -> SEDOutput:
    names = ("student_strong", "student_weak", "student_sod")
    return SEDOutput(*(golden[name].clone().requires_grad_() for name in names))


def _sharpen(probability: Tensor) -> Tensor:
    clamped = probability.clamp(1e-4, 1 - 1e-4)
    return (4 * clamped.logit()).sigmoid()


def _teacher(golden: dict[str, Tensor]) -> SEDOutput:
    return SEDOutput(golden["teacher_strong"], golden["teacher_weak"], golden["teacher_sod"])


def _distorted(golden: dict[str, Tensor], records: dict[ClipKind, Record]) -> DistortedBatch:
    kind = torch.empty(24, dtype=torch.long)
    kind[golden["strong_mask"]] = ClipKind.SYNTHETIC
    kind[golden["weak_mask"]] = ClipKind.WEAK
    kind[golden["unlabelled_mask"]] = ClipKind.UNLABELLED
    copies = [0] * 8 + [1, 1, 2, 2] * 2 + [1] * 4 + [2] * 4
    return DistortedBatch(
        audio=torch.zeros(24, 1),
        targets=golden["labels"].float(),
        kind=kind,
        copy=torch.tensor(copies),
        mel_gain=None,
        records=records,
    )


PLAIN = {kind: Record() for kind in ClipKind}
TERMS = {
    "sed_strong": "sed_strong",
    "sed_weak": "sed_weak",
    "sod": "sod",
    "sed_consistency": "sed_consistency",
    "weak_consistency": "weak_consistency",
    "sod_consistency": "sod_consistency",
    "cross_task": "cross_task_mse",
}


@pytest.mark.parametrize("name", TERMS)
def test_term(name: str, golden: dict[str, Tensor], expected: Any, config: Config) -> None:
    student = _student(golden)
    objective = Objective(config, COUNTED)
    term = objective.terms(student, _teacher(golden), _distorted(golden, PLAIN))[name]
    assert term.item() == pytest.approx(expected["losses"][TERMS[name]], rel=RELATIVE)
    term.backward()
    norms = expected["gradient_norms"][TERMS[name]]
    _check_gradients(student, norms)


def _check_gradients(leaves: SEDOutput, norms: dict[str, float | None]) -> None:
    names = ("student_strong", "student_weak", "student_sod")
    for name, leaf in zip(names, leaves, strict=True):
        assert leaf is not None
        norm = norms[name]
        if norm is None:
            assert leaf.grad is None or leaf.grad.abs().max() == 0, name
        else:
            assert leaf.grad is not None, name
            assert leaf.grad.norm().item() == pytest.approx(norm, rel=GRADIENT), name


@pytest.mark.parametrize("case", ["a", "b"])
@pytest.mark.parametrize("kind", KINDS)
def test_self_consistency(
    case: str, kind: str, golden: dict[str, Tensor], expected: Any, config: Config
) -> None:
    made = expected["self_consistency_cases"][case][kind]
    record = Record(
        torch.tensor(made["permutations"]), made["augmentation"], made["shift_frames"] or 0
    )
    leaves = _student(golden)
    student = SEDOutput(_sharpen(leaves.strong), _sharpen(leaves.weak), leaves.sod_logits)
    loss = self_consistency_loss(
        student,
        _distorted(golden, {KINDS[kind]: record}),
        KINDS[kind],
        active=config.losses.self_consistency_active,
        inactive=config.losses.self_consistency_inactive,
        distance=DISTANCES[config.augs.consis_loss],
    )
    name = f"self_consistency_{case}_{kind}"
    assert loss.item() == pytest.approx(expected["losses"][name], rel=RELATIVE)
    loss.backward()
    _check_gradients(leaves, expected["gradient_norms"][name])


def test_sod_labels_and_counts(golden: dict[str, Tensor]) -> None:
    synthetic = golden["labels"].float()[golden["strong_mask"]]
    assert torch.equal(sod_labels(synthetic, COUNTED), golden["sod_labels"])
    count = active_count(golden["teacher_strong"], COUNTED, 0.5)
    assert torch.equal(count, golden["teacher_count"])
    agree = agreement(golden["teacher_strong"], golden["teacher_sod"], COUNTED, 0.5)
    assert torch.equal(agree.long(), golden["agreement"])


def test_score_correction(golden: dict[str, Tensor]) -> None:
    corrected = correct_scores(
        golden["student_strong"],
        golden["student_sod"],
        COUNTED,
        threshold=0.5,
        gain=0.2,
        floor=0.2,
    )
    torch.testing.assert_close(corrected, golden["post_processed"], rtol=RELATIVE, atol=0)
