"""The real training on a handful of generated clips."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor

from desed_task.schedules import rampdown_factor, warmup_factor
from local.config.load import override_config
from local.run.machine import Machine
from local.sed_trainer import CrossTaskSED
from tests.support.compare import assert_equal
from tests.support.given_batches import PLAIN, given_batch, gradients, half
from tests.support.tiny import tiny_config
from tests.support.training import Recorder, Trained, metrics, train


@pytest.fixture(scope="module")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Three epochs of three steps, every step recorded; two epochs of warm-up."""
    config = tiny_config(
        tiny_data,
        "training.n_epochs=3",
        "training.n_epochs_warmup=2",
        "training.ema_factor=0.7",
    )
    return train(config, tmp_path_factory.mktemp("trained"), Recorder(weights=True), log_interval=1)


@pytest.fixture(scope="module")
def first_epoch(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run of the first epoch alone."""
    run = tmp_path_factory.mktemp("first")
    train(override_config(trained.module.config, ["training.n_epochs=1"]), run)
    return run / "checkpoints" / "last.ckpt"


def test_a_resumed_run_repeats_the_uninterrupted_one(
    trained: Trained, first_epoch: Path, tmp_path: Path
) -> None:
    """Its first epoch shows that the same seed gives the same numbers."""
    config = trained.module.config
    run = shutil.copytree(first_epoch.parents[1], tmp_path / "run")
    last = run / "checkpoints" / "last.ckpt"
    module, trainer, _ = train(config, run, resume=last, log_interval=1)
    assert trainer.global_step == trained.trainer.global_step
    assert_equal(trained.module.state_dict(), module.state_dict())
    assert metrics(trainer) == pytest.approx(metrics(trained.trainer), nan_ok=True)
    best = [t.checkpoint_callback.best_model_score for t in (trainer, trained.trainer)]  # type: ignore[union-attr]
    assert best[0] == best[1]


# Fused, and step counts on the parameters' device: saved on a GPU; neither: on a CPU, or clipped.
@pytest.mark.parametrize("saved", [True, False, None])
@pytest.mark.parametrize("fused", [True, None])
def test_a_checkpoint_of_another_device_is_resumed(
    fused: bool | None,
    saved: bool | None,
    trained: Trained,
    first_epoch: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint = torch.load(first_epoch, weights_only=True)
    checkpoint["optimizer_states"][0]["param_groups"][0]["fused"] = saved
    torch.save(checkpoint, tmp_path / "moved.ckpt")
    monkeypatch.setattr(CrossTaskSED, "_fused", lambda self, device: fused)
    config = override_config(trained.module.config, ["training.n_epochs=2"])
    _, trainer, recorder = train(
        config, tmp_path, Recorder(weights=True), resume=tmp_path / "moved.ckpt"
    )
    assert trainer.optimizers[0].param_groups[0]["fused"] is fused
    steps = {int(state["step"]) for state in trainer.optimizers[0].state.values()}
    assert steps == {6}
    for name, expected in trained.recorder.student[6].items():
        found = recorder.student[-1][name]
        if fused is None:
            assert torch.equal(found, expected), name
        elif not name.endswith("conv.bias"):  # its gradient is noise: normalisation follows
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_checkpoint_of_float32_is_resumed_with_scaled_gradients(
    clip: float,
    trained: Trained,
    first_epoch: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As 16-mixed on a GPU, on the CPU."""
    monkeypatch.setattr(CrossTaskSED, "_fused", lambda self, device: None if clip else True)
    monkeypatch.setattr(
        Machine,
        "trainer_options",
        lambda *_: {"accelerator": "cpu", "plugins": [MixedPrecision("16-mixed", "cpu")]},
    )
    changes = ["training.n_epochs=2", f"training.gradient_clip={clip}"]
    config = override_config(trained.module.config, changes)
    module, trainer, _ = train(config, tmp_path, resume=first_epoch)
    assert trainer.global_step == 6
    assert all(p.isfinite().all() for p in module.parameters())
    # Back again: the scaler's state in the checkpoint is of no use, and harmless.
    monkeypatch.undo()
    config = override_config(config, ["training.n_epochs=3"])
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert "MixedPrecision" in torch.load(last, weights_only=True)
    assert train(config, tmp_path, resume=last).trainer.global_step == 9


def test_another_seed_gives_other_weights(trained: Trained, tmp_path: Path) -> None:
    config = override_config(trained.module.config, ["training.seed=3", "training.n_epochs=1"])
    recorder = train(config, tmp_path, Recorder(weights=True)).recorder
    name = "strong_head.weight"
    for step in (0, 3):
        assert not torch.equal(recorder.student[step][name], trained.recorder.student[step][name])


def test_teacher_is_the_hand_computed_average(trained: Trained) -> None:
    module, _, recorder = trained
    assert len(recorder.student) == 1 + 3 * 3
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


def test_rate_and_consistency_weight_ramp_from_the_first_step(trained: Trained) -> None:
    config, recorder = trained.module.config, trained.recorder
    expected = [config.opt.lr * warmup_factor(step, 6, 5.0) for step in range(1, 10)]
    assert recorder.rates == pytest.approx(expected)
    ramp = [config.training.const_max * warmup_factor(step, 6, 5.0) for step in range(1, 10)]
    assert recorder.consistency == pytest.approx(ramp)
    assert recorder.rates[6:] == [config.opt.lr] * 3


def test_the_ramps_follow_the_planned_steps(tiny_data: Path, tmp_path: Path) -> None:
    """Three epochs of five steps, though the smallest set has three."""
    config = tiny_config(
        tiny_data,
        "training.steps_per_epoch=5",
        "training.n_epochs=3",
        "training.n_epochs_rampdown=1",
    )
    _, trainer, recorder = train(config, tmp_path)
    assert (trainer.global_step, trainer.num_training_batches) == (15, 5)
    expected = [
        config.opt.lr * warmup_factor(step, 5, 5.0) * rampdown_factor(step, 15, 5)
        for step in range(1, 16)
    ]
    assert recorder.rates == pytest.approx(expected)
    assert len(recorder.metrics) == 3


def test_accumulated_batches_are_one_step(tiny_data: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_data, "training.n_epochs=1", "training.accumulate_batches=3")
    module, _, recorder = train(config, tmp_path, Recorder(weights=True))
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
    recorder = train(config, tmp_path, Recorder(weights=True)).recorder
    first, last = np.mean(recorder.losses[:10]), np.mean(recorder.losses[-10:])
    assert np.isfinite(recorder.losses).all()
    assert last < 0.8 * first
    assert all(p.dtype == torch.float32 for p in recorder.student[-1].values())


def test_every_ingredient_can_be_switched_off_alone(trained: Trained, tmp_path: Path) -> None:
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
    all_terms = _logged_terms(trained)
    assert {"sed_strong", "sed_weak", "sod", "sed_consistency", "teacher_agreement"} <= all_terms
    for number, (switch, gone) in enumerate(switches.items()):
        config = override_config(trained.module.config, [switch, "training.n_epochs=1"])
        logged = _logged_terms(train(config, tmp_path / str(number), log_interval=3))
        extra = {"teacher_agreement", "sod_accuracy"} if "sod_branch" in switch else set()
        assert all_terms - logged == gone | extra, switch


def _logged_terms(trained: Trained) -> set[str]:
    return {name.removeprefix("train/") for name in metrics(trained.trainer, "train/")}


def test_mel_masks_reach_the_network(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked_rows = []
    features_of = CrossTaskSED.features

    def features(self: CrossTaskSED, audio: Tensor, mel_gain: Tensor | None = None) -> Tensor:
        features = features_of(self, audio, mel_gain)
        if self.training:
            assert mel_gain is not None
            masked = (mel_gain == 0).any(dim=1)
            masked_rows.append(int(masked.sum()))
            lowest = features.amin(dim=(1, 2))
            floors = (features == lowest[:, None, None]).all(dim=2).any(dim=1)
            assert floors[masked].all()
        return features

    monkeypatch.setattr(CrossTaskSED, "features", features)
    config = tiny_config(
        tiny_data,
        "augs.aug_methods=[Frequency mask]",
        "augs.frequency_mask=1",
        "training.n_epochs=1",
    )
    train(config, tmp_path)
    assert masked_rows == [sum(config.training.batch_size)] * 3
