"""The real training on a handful of generated clips."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from desed_task.schedules import warmup_factor
from local.config.load import Config, override_config
from local.data import DesedDataModule
from local.run.experiment import Machine, make_trainer
from local.sed_trainer import CrossTaskSED
from tests.support.given_batches import PLAIN, given_batch, gradients, half
from tests.support.tiny import tiny_config

CPU = Machine(gpus=0, fast=False)


def train(config: Config, run: Path, resume: Path | None = None) -> tuple[CrossTaskSED, pl.Trainer]:
    run.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(config.training.seed, workers=True, verbose=False)
    data = DesedDataModule(config, config.grid, run / "missing.txt")
    data.prepare_data()
    data.setup("fit")
    module = CrossTaskSED(config, len(data.train_dataloader()))
    trainer = make_trainer(config, CPU, run)
    trainer.log_every_n_steps = 1  # type: ignore[attr-defined]
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return module, trainer


def weights(module: CrossTaskSED) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_a_run_repeats_and_another_seed_does_not(tiny_data: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_data, "training.n_epochs=1")
    first, _ = train(config, tmp_path / "a")
    second, _ = train(config, tmp_path / "b")
    assert_equal(weights(first), weights(second))
    other, _ = train(
        tiny_config(tiny_data, "training.n_epochs=1", "training.seed=3"), tmp_path / "c"
    )
    name = "networks.student.strong_head.weight"
    assert not torch.equal(weights(first)[name], weights(other)[name])


def test_a_resumed_run_gives_the_numbers_of_the_uninterrupted_one(
    tiny_data: Path, tmp_path: Path
) -> None:
    config = tiny_config(tiny_data, "training.n_epochs=3")
    whole, trainer = train(config, tmp_path / "whole")
    interrupted = config.training.model_copy(update={"n_epochs": 1})
    train(config.model_copy(update={"training": interrupted}), tmp_path / "parts")
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    resumed, resumed_trainer = train(config, tmp_path / "parts", resume=last)
    assert resumed_trainer.global_step == trainer.global_step
    assert_equal(weights(whole), weights(resumed))
    figures = [
        {name: float(value) for name, value in each.callback_metrics.items()}
        for each in (trainer, resumed_trainer)
    ]
    assert figures[0] == pytest.approx(figures[1], nan_ok=True)
    best = [each.checkpoint_callback.best_model_score for each in (trainer, resumed_trainer)]  # type: ignore[union-attr]
    assert best[0] == best[1]


class Recorder(pl.Callback):
    """Keeps weights and loss after every step, and its learning rate."""

    def __init__(self) -> None:
        self.student: list[dict[str, Tensor]] = []
        self.teacher: list[dict[str, Tensor]] = []
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.consistency: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._keep(module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any
    ) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *args: Any
    ) -> None:
        self._keep(module)
        self.losses.append(float(outputs["loss"]))
        self.consistency.append(float(trainer.callback_metrics["train/consistency_weight"]))

    def _keep(self, module: Any) -> None:
        for name in ("student", "teacher"):
            parameters = module.networks[name].named_parameters()
            getattr(self, name).append({key: p.detach().clone() for key, p in parameters})


def _recorded(
    config: Config, run: Path, kind: type[CrossTaskSED] = CrossTaskSED
) -> tuple[Any, Recorder]:
    recorder = Recorder()
    trainer = make_trainer(config, CPU, run)
    trainer.log_every_n_steps = 1  # type: ignore[attr-defined]
    trainer.callbacks.append(recorder)  # type: ignore[attr-defined]
    data = DesedDataModule(config, config.grid, run / "missing.txt")
    data.prepare_data()
    data.setup("fit")
    module = kind(config, len(data.train_dataloader()))
    trainer.fit(module, datamodule=data)
    return module, recorder


def test_teacher_is_the_hand_computed_average(tiny_data: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_data, "training.n_epochs=2", "training.ema_factor=0.7")
    module, recorder = _recorded(config, tmp_path)
    assert len(recorder.student) == 1 + 2 * 3
    # The teacher runs in training mode: its batch-norm statistics are its own, and move.
    means = [
        module.state_dict()[f"networks.{name}.backbone.2.norm.running_mean"]
        for name in ("student", "teacher")
    ]
    assert means[1].abs().max() > 0
    assert not torch.equal(means[0], means[1])
    for name, expected in recorder.teacher[0].items():
        assert torch.equal(expected, recorder.student[0][name])
        for step in range(1, len(recorder.student)):
            alpha = min(1 - 1 / (step + 1), 0.7)
            expected = alpha * expected + (1 - alpha) * recorder.student[step][name]
            torch.testing.assert_close(recorder.teacher[step][name], expected)
    assert not torch.equal(
        recorder.student[1]["strong_head.weight"], recorder.student[0]["strong_head.weight"]
    )


def test_rate_and_consistency_weight_ramp_from_the_first_step(
    tiny_data: Path, tmp_path: Path
) -> None:
    config = tiny_config(tiny_data, "training.n_epochs=3", "training.n_epochs_warmup=2")
    _, recorder = _recorded(config, tmp_path)
    expected = [config.opt.lr * warmup_factor(step, 6, 5.0) for step in range(1, 10)]
    assert recorder.rates == pytest.approx(expected)
    ramp = [config.training.const_max * warmup_factor(step, 6, 5.0) for step in range(1, 10)]
    assert recorder.consistency == pytest.approx(ramp)
    assert recorder.rates[6:] == [config.opt.lr] * 3


def test_accumulated_batches_count_as_one_step(tiny_data: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_data, "training.n_epochs=1", "training.accumulate_batches=3")
    module, recorder = _recorded(config, tmp_path)
    assert module.global_step == 1
    name = "strong_head.weight"
    assert torch.equal(recorder.student[0][name], recorder.student[2][name])
    torch.testing.assert_close(
        recorder.teacher[3][name], 0.5 * recorder.student[0][name] + 0.5 * recorder.student[3][name]
    )


def test_two_accumulated_halves_are_one_batch(tiny_data: Path) -> None:
    config = tiny_config(tiny_data, *PLAIN)
    batch = given_batch(config)
    whole = gradients(config, [batch])
    halves = gradients(config, [half(batch, 0), half(batch, 1)])
    assert whole.keys() == halves.keys()
    assert sum(float(gradient.abs().sum()) > 0 for gradient in whole.values()) > 20
    for name, gradient in whole.items():
        torch.testing.assert_close(halves[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_real_steps_drive_the_loss_down(tiny_data: Path, tmp_path: Path, precision: str) -> None:
    config = tiny_config(
        tiny_data,
        f"training.precision={precision}",
        "training.n_epochs=30",
        "training.n_epochs_warmup=0",
        "training.validation_interval=30",
        "training.batch_size=[2, 2, 2]",
        "data.audio_max_len=4",
        "opt.lr=0.01",
    )
    torch.manual_seed(0)  # the weights to start from, whatever ran before
    _, recorder = _recorded(config, tmp_path)
    first, last = (np.mean(part) for part in (recorder.losses[:10], recorder.losses[-10:]))
    assert np.isfinite(recorder.losses).all()
    assert last < 0.8 * first
    assert all(p.dtype == torch.float32 for p in recorder.student[-1].values())


def test_every_ingredient_can_be_switched_off_alone(tiny_data: Path, tmp_path: Path) -> None:
    switches = {
        "net.sod_branch=false": {"sod", "sod_consistency", "cross_task"},
        "losses.cross_task=0": {"cross_task"},
        "cross_task.pseudo_label_selection=false": set(),
        "losses.self_consistency=0": {"self_consistency"},
        "training.mean_teacher=false": {
            "sed_consistency",
            "weak_consistency",
            "sod_consistency",
            "teacher_agreement",
        },
        "postprocess.score_correction=false": set(),
        "augs.mixup=none": set(),
        "augs.aug_methods=[]": set(),
        "training.train_sets=[synthetic]": {"sed_weak"},
    }
    all_terms = _logged(tiny_config(tiny_data), tmp_path / "all")
    assert {"sed_strong", "sed_weak", "sod", "sed_consistency", "teacher_agreement"} <= all_terms
    for number, (switch, gone) in enumerate(switches.items()):
        config = tiny_config(tiny_data, switch, "training.n_epochs=1")
        logged = _logged(config, tmp_path / str(number))
        missing = all_terms - logged
        extra = {"teacher_agreement", "sod_accuracy"} if "sod_branch" in switch else set()
        assert missing == gone | extra, switch


def _logged(config: Config, run: Path) -> set[str]:
    config = config.model_copy(
        update={"training": config.training.model_copy(update={"n_epochs": 1})}
    )
    _, trainer = train(config, run)
    names = {name for name in trainer.callback_metrics if name.startswith("train/")}
    return {name.removeprefix("train/") for name in names}


class MelGains(CrossTaskSED):
    """Notes whether features were made with gains on the mel axis."""

    def features(self, audio: Tensor, mel_gain: Tensor | None = None) -> Tensor:
        features = super().features(audio, mel_gain)
        if self.training:
            assert mel_gain is not None
            masked = (mel_gain == 0).any(dim=1)
            self.masked = masked.sum()
            lowest = features.amin(dim=(1, 2))
            floors = (features == lowest[:, None, None]).all(dim=2).any(dim=1)
            assert floors[masked].all()
        return features


def test_mel_masks_reach_the_network(tiny_data: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_data, "augs.aug_methods=[Frequency mask]", "training.n_epochs=1")
    config = override_config(config, ["augs.frequency_mask=1"])
    module, _ = _recorded(config, tmp_path, MelGains)
    assert int(module.masked) == sum(config.training.batch_size)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_fp16_steps(tiny_data: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_data, "training.n_epochs=2")
    trainer = make_trainer(config, Machine(gpus=1, fast=False), tmp_path)
    data = DesedDataModule(config, config.grid, tmp_path / "missing.txt")
    data.prepare_data()
    data.setup("fit")
    module = CrossTaskSED(config, len(data.train_dataloader()))
    before = weights(module)
    trainer.fit(module, datamodule=data)
    assert trainer.precision == "16-mixed"
    after = weights(module)
    name = "networks.student.strong_head.weight"
    assert torch.isfinite(after[name]).all()
    assert not torch.equal(before[name], after[name].cpu())
