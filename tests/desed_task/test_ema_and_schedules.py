"""Mean teacher and warm-up against golden values; the ramp-down."""

import json

import pytest
import torch
from torch import nn

from desed_task.ema import MeanTeacher, ema_decay, make_teacher
from desed_task.schedules import rampdown_factor, warmup_factor
from tests.support.paths import GOLDEN


def test_golden_teacher() -> None:
    golden = json.loads((GOLDEN / "ema.json").read_text())
    student, teacher = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(teacher.weight, golden["start"])
    mean_teacher = MeanTeacher(student, teacher, 0.999)
    for step, value, alpha, expected in golden["update_student_alpha_teacher"]:
        nn.init.constant_(student.weight, value)
        mean_teacher.update(step)
        assert ema_decay(step, 0.999) == pytest.approx(alpha, rel=1e-5)
        assert teacher.weight.item() == pytest.approx(expected, rel=1e-5)


def test_decay_is_bounded() -> None:
    assert ema_decay(10**6, 0.999) == 0.999
    assert ema_decay(998, 0.999) == pytest.approx(1 - 1 / 999)


def test_buffers_are_not_averaged() -> None:
    student = nn.BatchNorm1d(2)
    teacher = make_teacher(student)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    changed = {"running_mean": torch.full((2,), 5.0), "weight": torch.full((2,), 3.0)}
    student.load_state_dict(changed, strict=False)
    MeanTeacher(student, teacher, 0.999).update(1)
    after = teacher.state_dict()
    assert after["running_mean"].tolist() == [0.0, 0.0]
    assert after["weight"].tolist() == [2.0, 2.0]
    assert student.weight.tolist() == [3.0, 3.0]


def test_parameters_that_are_not_trained_stay() -> None:
    student = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    teacher = make_teacher(student)
    for network, value in ((student, 0.0), (teacher, 1.0)):
        for parameter in network.parameters():
            nn.init.constant_(parameter, value)
    student[0].requires_grad_(False)
    MeanTeacher(student, teacher, 0.999).update(1)
    assert [parameter.item() for parameter in teacher.parameters()] == [1.0, 1.0, 0.5, 0.5]


def test_golden_warmup() -> None:
    golden = json.loads((GOLDEN / "warmup.json").read_text())
    for step, factor in golden["step_factor"]:
        assert warmup_factor(step, golden["ramp_up_length"], 5.0) == pytest.approx(factor, rel=1e-5)


def test_no_warmup() -> None:
    assert warmup_factor(1, 0, 5.0) == 1.0


def test_rampdown_is_half_a_cosine_over_the_last_steps() -> None:
    factors = [rampdown_factor(step, 10, 3) for step in range(1, 12)]
    assert factors[:7] == [1.0] * 7
    assert factors[7:] == pytest.approx([(2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0.0])


def test_no_rampdown() -> None:
    assert rampdown_factor(10, 10, 0) == 1.0


def test_update_averages_weights_loaded_after_construction() -> None:
    student, teacher = nn.Linear(2, 2), nn.Linear(2, 2)
    mean_teacher = MeanTeacher(student, teacher, 0.999)
    student.load_state_dict({name: torch.ones_like(t) for name, t in student.state_dict().items()})
    teacher.load_state_dict({name: torch.zeros_like(t) for name, t in teacher.state_dict().items()})
    mean_teacher.update(1)
    assert teacher.weight.tolist() == [[0.5, 0.5], [0.5, 0.5]]
