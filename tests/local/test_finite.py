"""Numbers that are not finite, on a CPU and as on a GPU."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from desed_task.errors import FaultError
from desed_task.nnet.crnn import SEDOutput
from local.finite import FiniteWatch
from tests.support.tiny import tiny_config
from tests.support.training import train

GOOD, BAD = torch.tensor(1.0), torch.tensor(float("nan"))


def trainer(device: str, *, scale: float | None = None, log_every_n_steps: int = 50) -> Any:
    """A trainer in its first step; `scale`: of fp16."""
    scaler = None if scale is None else SimpleNamespace(get_scale=lambda: scale)
    return SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device(device)),
        global_step=0,
        log_every_n_steps=log_every_n_steps,
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.1}])],
        precision_plugin=SimpleNamespace(scaler=scaler),
        checkpoint_callback=SimpleNamespace(last_model_path="here"),
    )


def output(value: torch.Tensor) -> SEDOutput:
    return SEDOutput(value.expand(1, 3, 4), GOOD.expand(1, 3), None)


def test_on_a_gpu_the_first_step_is_named_at_the_next_check() -> None:
    on_gpu = trainer("cuda")
    watch = FiniteWatch(on_gpu)
    for step, value in enumerate((GOOD, BAD, BAD)):
        on_gpu.global_step = step
        watch.check_losses({"sod": GOOD, "cross_task": value, "loss": value})
    with pytest.raises(FaultError) as caught:
        watch.check()
    message = str(caught.value)
    assert message.startswith("step 2: not finite: cross_task, loss; learning rate 0.1; last ")
    assert "checkpoint here" in message
    watch.check()  # nothing since
    on_gpu.global_step = 49  # the values are logged
    with pytest.raises(FaultError, match="step 50"):
        watch.check_losses({"loss": BAD})


def test_fp16_may_skip_steps_but_not_all() -> None:
    scaled = trainer("cuda", scale=2.0)
    watch = FiniteWatch(scaled)
    watch.check_losses({"loss": BAD})
    watch.check_losses({"loss": GOOD})
    watch.check()
    scaled.global_step = 2
    watch.check_losses({"loss": BAD})
    with pytest.raises(FaultError, match="step 3"):
        watch.check()


@pytest.mark.parametrize(("device", "log_every_n_steps"), [("cpu", 50), ("cuda", 1)])
def test_scores_have_no_nan(device: str, log_every_n_steps: int) -> None:
    watch = FiniteWatch(trainer(device, log_every_n_steps=log_every_n_steps))
    student, teacher = watch.check_scores(output(BAD), output(GOOD))
    assert (student.strong == 0).all()
    assert teacher is not None
    assert (teacher.strong == 1).all()
    with pytest.raises(FaultError, match="step 1: not finite: scores of the student;"):
        watch.check_losses({"loss": GOOD})


def test_gradients(caplog: pytest.LogCaptureFixture) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert FiniteWatch(trainer("cuda")).check_gradients([parameter], scaled=False) is None
    watch = FiniteWatch(trainer("cuda", scale=0.5, log_every_n_steps=1))
    for _ in range(2):
        assert watch.check_gradients([parameter], scaled=True) == 10
    assert [record.message[:40] for record in caplog.records] == [
        "step 1: fp16's loss scale fell below 1, "
    ]
    parameter.grad[0] = float("inf")
    watch.check_gradients([parameter], scaled=True)  # the scaler skips this step
    with pytest.raises(FaultError, match="step 1: not finite: gradient;"):
        FiniteWatch(trainer("cpu")).check_gradients([parameter], scaled=False)


def test_a_training_that_diverges_ends_with_one_line(tiny_data: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_data, "opt.lr=1e30", "training.n_epochs_warmup=0")
    with pytest.raises(FaultError) as caught:
        train(config, tmp_path)
    message = str(caught.value)
    assert message.startswith("step 2: not finite: ")
    assert "scores of the student" in message
    assert "learning rate 1e+30; no checkpoint was saved" in message
    assert "\n" not in message
    assert not list(tmp_path.rglob("*.ckpt"))
