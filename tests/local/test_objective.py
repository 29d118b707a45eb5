"""The losses against golden values: every term and its gradients."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from desed_task.augment import DistortedBatch, Record
from desed_task.dataio.batch import ClipKind
from desed_task.nnet.crnn import SEDOutput
from desed_task.sod import (
    active_count,
    agreement,
    correct_scores,
    counted_classes,
    expected_count,
    sod_labels,
)
from local.config.load import Config, override_config
from local.objective import DISTANCES, Objective, self_consistency_loss
from tests.support.classes import CLASSES
from tests.support.paths import GOLDEN

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
def test_term(name: str, golden: dict[str, Tensor], expected: Any, recipe: Config) -> None:
    student = _student(golden)
    objective = Objective(recipe, COUNTED)
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
    case: str, kind: str, golden: dict[str, Tensor], expected: Any, recipe: Config
) -> None:
    case_record = expected["self_consistency_cases"][case][kind]
    record = Record(
        torch.tensor(case_record["permutations"]),
        case_record["augmentation"],
        case_record["shift_frames"] or 0,
    )
    leaves = _student(golden)
    student = SEDOutput(_sharpen(leaves.strong), _sharpen(leaves.weak), leaves.sod_logits)
    loss = self_consistency_loss(
        student,
        _distorted(golden, {KINDS[kind]: record}),
        KINDS[kind],
        recipe.losses,
        DISTANCES[recipe.augs.consis_loss],
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


def test_score_correction(golden: dict[str, Tensor], recipe: Config) -> None:
    assert recipe.correction is not None
    corrected = correct_scores(
        golden["student_strong"], golden["student_sod"], COUNTED, recipe.correction
    )
    torch.testing.assert_close(corrected, golden["post_processed"], rtol=RELATIVE, atol=0)


def test_total_is_the_weighted_sum_of_the_table(recipe: Config) -> None:
    """Consistency terms are also multiplied by w; weights as in the specification."""
    names = (*TERMS, "self_consistency")
    values = (2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0)
    terms = {name: torch.tensor(v) for name, v in zip(names, values, strict=True)}
    w = 0.7
    expected = 2 + 3 + 0.2 * 5 + w * (7 + 11 + 0.05 * 13 + 0.01 * 17 + 19)
    total = Objective(recipe, COUNTED).total(terms, w)
    assert float(total) == pytest.approx(expected, rel=1e-6)


def test_self_consistency_is_weighted_by_kind(
    golden: dict[str, Tensor], expected: Any, recipe: Config
) -> None:
    records = {
        KINDS[kind]: Record(torch.tensor(made["permutations"]), "", made["shift_frames"] or 0)
        for kind, made in expected["self_consistency_cases"]["a"].items()
    }
    student = SEDOutput(_sharpen(golden["student_strong"]), _sharpen(golden["student_weak"]), None)
    terms = Objective(recipe, COUNTED).terms(student, None, _distorted(golden, records))
    values = {kind: expected["losses"][f"self_consistency_a_{kind}"] for kind in KINDS}
    total = 0.25 * values["strong"] + 0.25 * values["weak"] + 0.5 * values["unsup"]
    assert float(terms["self_consistency"]) == pytest.approx(total, rel=RELATIVE)


def _term(name: str, golden: dict[str, Tensor], recipe: Config, *overrides: str) -> float:
    objective = Objective(override_config(recipe, overrides), COUNTED)
    terms = objective.terms(_student(golden), _teacher(golden), _distorted(golden, PLAIN))
    return terms[name].item()


def test_selection_and_distances_follow_the_configuration(
    golden: dict[str, Tensor], recipe: Config
) -> None:
    student, teacher = golden["student_strong"], golden["teacher_strong"]
    synthetic = golden["strong_mask"]
    agree = golden["agreement"][~synthetic][:, None].float()
    bce = torch.nn.functional.binary_cross_entropy
    on_synthetic = bce(student[synthetic], teacher[synthetic])
    s, t = student[~synthetic], teacher[~synthetic]

    plain = on_synthetic + bce(s, t)
    value = _term("sed_consistency", golden, recipe, "cross_task.pseudo_label_selection=false")
    assert value == pytest.approx(float(plain), rel=RELATIVE)

    disagreeing = bce((1 - agree) * s, (1 - agree) * t)
    weighted = on_synthetic + bce(agree * s, agree * t) + 0.8 * disagreeing
    value = _term("sed_consistency", golden, recipe, "cross_task.disagreement_weight=0.8")
    assert value == pytest.approx(float(weighted), rel=RELATIVE)

    squares = (student[synthetic] - teacher[synthetic]).square().mean()
    squares += (agree * (s - t)).square().mean() + 0.3 * ((1 - agree) * (s - t)).square().mean()
    value = _term("sed_consistency", golden, recipe, "losses.sed_consistency_loss=mse")
    assert value == pytest.approx(float(squares), rel=RELATIVE)

    logits = golden["student_sod"] - golden["teacher_sod"]
    masked = (golden["agreement"][..., None] * logits).square().mean()
    value = _term("sod_consistency", golden, recipe, "cross_task.select_sod_consistency=true")
    assert value == pytest.approx(float(masked), rel=RELATIVE)

    states = [golden[f"{name}_sod"].softmax(dim=-1) for name in ("student", "teacher")]
    value = _term("sod_consistency", golden, recipe, "training.self_sup_loss=bce")
    assert value == pytest.approx(float(bce(states[0], states[1])), rel=RELATIVE)

    count = student.masked_fill(~COUNTED[:, None], 0).sum(dim=1).clamp(max=2)
    best, state = golden["student_sod"].softmax(dim=-1).max(dim=-1)
    value = _term("cross_task", golden, recipe, "losses.cross_task_loss=mae")
    assert value == pytest.approx(float((count - best * state).abs().mean()), rel=RELATIVE)


def test_gradient_of_the_expected_count_at_its_bound() -> None:
    """1 up to a sum of exactly 2, 0 above; NaN is not hidden. PyTorch's clamp changed at 2."""
    sums = torch.tensor([1.5, 2.0, 2.5, float("nan")])
    strong = torch.stack([sums / 2, sums / 2, sums])[None].requires_grad_()  # the last: excluded
    count = expected_count(strong, torch.tensor([True, True, False]))
    assert count[0, :3].tolist() == [1.5, 2.0, 2.0]
    assert count[0, 3].isnan()
    (gradient,) = torch.autograd.grad(count.sum(), strong)
    assert gradient[0, :2, :3].tolist() == [[1.0, 1.0, 0.0]] * 2
    assert not gradient[0, 2, :3].any()
