"""Training with an encoder that is trained with the network."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from desed_task.encoder.encoder import FrameEncoder
from desed_task.errors import InputError, Terminated
from desed_task.model import load_model, save_model
from local.config.load import Config, load_config, override_config
from local.encoders import configured_encoder
from local.results.model import trained_model
from local.run.description import describe
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT
from local.run.weights import load_tested, start_from
from local.sed_trainer import CrossTaskSED
from tests.support.compare import assert_equal
from tests.support.given_batches import PLAIN, given_batch
from tests.support.paths import CONFS
from tests.support.tiny import tiny_config
from tests.support.tiny_transformer import SETTINGS, TRAINED, pretrained
from tests.support.training import CPU, Recorder, Trained, train

RATES = ("encoder.lr=0.08", "opt.lr=0.004", "opt.convolution_lr=0.002")
EXPECTED_RATES = [0.004, 0.002, 0.01, 0.02, 0.04, 0.08, 0.08]


def module_of(config: Config) -> CrossTaskSED:
    return CrossTaskSED(config, encoder=configured_encoder(config))


def last_checkpoint(trained: Trained) -> Path:
    callback: Any = trained.trainer.checkpoint_callback
    return Path(callback.last_model_path)


def encoder_weights(module: CrossTaskSED, name: str) -> dict[str, Tensor]:
    function: Any = module.encoders[name].function
    return dict(function.state_dict())


@pytest.fixture(scope="module")
def whole(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two epochs of three steps; one epoch of warm-up."""
    config = tiny_config(tiny_data, *TRAINED, *RATES, "encoder.dropout=0.3")
    return train(config, tmp_path_factory.mktemp("whole"))


def test_every_group_has_its_rate(whole: Trained) -> None:
    module, trainer, _ = whole
    (optimizer,) = trainer.optimizers
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(EXPECTED_RATES)
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    trained = [p for p in module.parameters() if p.requires_grad]
    assert len(grouped) == len(trained)
    assert {*grouped} == {*trained}
    names = {p: name for name, p in module.networks["student"].named_parameters()}
    first, second = ({names[p] for p in optimizer.param_groups[n]["params"]} for n in (0, 1))
    assert {"sed_rnn.weight_ih_l0", "sed_embedding.weight", "strong_head.bias"} <= first
    assert {"backbone.0.conv.weight", "sod_scale", "sed_blocks.0.conv.bias"} <= second
    assert first | second == {*names.values()}
    assert "Encoder rates   below 0.01, block 1 0.02, " in describe(module, CPU, 3)


def test_the_convolutions_alone_can_have_another_rate(tiny_data: Path) -> None:
    def groups(*overrides: str) -> list[dict[str, Any]]:
        configured: Any = CrossTaskSED(tiny_config(tiny_data, *overrides)).configure_optimizers()
        return configured["optimizer"].param_groups

    rates = [group["initial_lr"] for group in groups("opt.lr=0.4", "opt.convolution_lr=0.2")]
    assert rates == [0.4, 0.2]
    assert len(groups()) == 1


def test_one_step_changes_the_trained_blocks_alone(tiny_data: Path, tmp_path: Path) -> None:
    config = tiny_config(
        tiny_data,
        *TRAINED,
        "encoder.trained_blocks=1",
        "training.n_epochs=1",
        "training.accumulate_batches=3",
        "training.gradient_clip=1",
    )
    module = train(config, tmp_path).module
    assert module.global_step == 1
    before = pretrained().state_dict()
    student, teacher = (encoder_weights(module, name) for name in ("student", "teacher"))
    changed = {name for name in before if not torch.equal(before[name], student[name])}
    assert changed == {name for name in before if name.startswith(("blocks.2", "last"))}
    for name, tensor in before.items():
        expected = 0.5 * tensor + 0.5 * student[name] if name in changed else tensor
        torch.testing.assert_close(teacher[name], expected)
    assert not any(p.requires_grad for p in module.encoders["teacher"].parameters())


class Norms(Recorder):
    """Records the norm of all gradients of every step, before and after clipping."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Tensor] = []
        self.logged: list[Tensor] = []
        self.clipped: list[Tensor] = []

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self.before.append(self._norm(module))

    def on_before_zero_grad(self, trainer: Any, module: Any, optimizer: Any) -> None:
        if self.before:  # of the step before
            self.clipped.append(self._norm(module))
            self.logged.append(trainer.callback_metrics["train/gradient_norm"])

    @staticmethod
    def _norm(module: torch.nn.Module) -> Tensor:
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        return torch.stack([gradient.norm() for gradient in gradients]).norm()


def test_gradients_of_the_encoder_are_measured_and_clipped(tiny_data: Path, tmp_path: Path) -> None:
    """In bfloat16, as well as network and encoder."""
    config = tiny_config(
        tiny_data,
        *TRAINED,
        "encoder.precision=bf16",
        "training.precision=bf16-mixed",
        "training.n_epochs=1",
        "training.gradient_clip=0.001",
    )
    norms = Norms()
    module = train(config, tmp_path, norms, log_interval=1).module
    assert len(norms.clipped) == 2
    torch.testing.assert_close(norms.logged, norms.before[:2])
    torch.testing.assert_close(norms.clipped, [torch.tensor(0.001)] * 2, rtol=1e-3, atol=0)
    assert all(p.dtype == torch.float32 for p in module.encoders.parameters())


def test_an_interrupted_run_is_resumed_to_the_bit(whole: Trained, tmp_path: Path) -> None:
    config = whole.module.config
    with pytest.raises(Terminated):
        train(config, tmp_path, Recorder("step", 2))
    module, _, rest = train(config, tmp_path, resume=tmp_path / CHECKPOINTS / LAST_CHECKPOINT)
    assert rest.losses == whole.recorder.losses[-len(rest.losses) :]
    state = module.state_dict()
    assert "encoders.teacher.function.blocks.0.linear.weight" in state
    assert_equal(whole.module.state_dict(), state)


def test_a_resumed_run_has_the_changed_rates(whole: Trained, tmp_path: Path) -> None:
    last = last_checkpoint(whole)
    changes = ["encoder.lr=0.8", "encoder.layer_decay=0.1", "training.n_epochs=3"]
    config = override_config(whole.module.config, changes)
    shutil.copytree(last.parents[1], tmp_path, dirs_exist_ok=True)
    trainer = train(config, tmp_path, resume=tmp_path / CHECKPOINTS / LAST_CHECKPOINT).trainer
    rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
    assert rates == pytest.approx([0.004, 0.002, 0.0008, 0.008, 0.08, 0.8, 0.8])
    for refused in ("opt.convolution_lr=null", "encoder.trained_blocks=1"):
        with pytest.raises(InputError, match=refused.partition("=")[0]):
            train(override_config(config, [refused]), tmp_path, resume=last)


def test_a_test_has_the_trained_encoders(whole: Trained) -> None:
    last = last_checkpoint(whole)
    module = load_tested(whole.module.config, last).module
    assert_equal(whole.module.state_dict(), module.state_dict())


def test_the_second_stage_starts_from_the_first(whole: Trained, tmp_path: Path) -> None:
    first = override_config(whole.module.config, ["encoder.train=false", "training.n_epochs=1"])
    trained = train(first, tmp_path).module
    assert not any("encoder" in name for name in trained.state_dict())
    module = module_of(whole.module.config)
    line, _ = start_from(module, tmp_path / CHECKPOINTS / LAST_CHECKPOINT)
    assert line.endswith(f"; encoder: as in {SETTINGS['source']}")
    assert_equal(trained.networks.state_dict(), module.networks.state_dict())
    for name in ("student", "teacher"):
        assert_equal(pretrained().state_dict(), encoder_weights(module, name))


def test_a_trained_encoder_is_trained_further(whole: Trained, tmp_path: Path) -> None:
    last = last_checkpoint(whole)
    module = module_of(whole.module.config)
    start_from(module, last)
    assert_equal(whole.module.state_dict(), module.state_dict())
    # Without its teacher, the student's weights are those of both.
    content = torch.load(last, weights_only=True)
    weights = content["state_dict"]
    content["state_dict"] = {k: v for k, v in weights.items() if ".teacher." not in k[:20]}
    torch.save(content, tmp_path / "student.ckpt")
    start_from(module, tmp_path / "student.ckpt")
    student, teacher = (encoder_weights(module, name) for name in ("student", "teacher"))
    assert_equal(student, teacher)
    frozen = module_of(override_config(whole.module.config, ["encoder.train=false"]))
    with pytest.raises(InputError, match=r"its encoder was trained: expected encoder\.train true"):
        start_from(frozen, last)
    content["state_dict"]["encoders.student.function.last.bias"] = torch.zeros(1)
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match=r"fit the encoder of encoder\.source, .*last\.bias"):
        start_from(module, tmp_path / "other.ckpt")


def test_student_and_teacher_read_their_own_encoder(tiny_data: Path) -> None:
    config = tiny_config(tiny_data, *PLAIN, *TRAINED)
    alone = module_of(override_config(config, ["training.mean_teacher=false"]))
    assert [*alone.encoders] == ["student"]
    module = module_of(config)
    assert all(encoder.training for encoder in module.encoders.values())
    module.eval()
    with torch.no_grad():
        for parameter in module.encoders["teacher"].parameters():
            parameter.mul_(0.5)
    batch = given_batch(module.config)
    found = module.embeddings(batch)
    assert set(found) == {"student", "teacher"}
    for name, embeddings in found.items():
        assert embeddings is not None
        assert embeddings.requires_grad == (name == "student")
        assert torch.equal(embeddings, module.encoders[name](batch.audio))


def test_the_same_clips_are_dropped_for_both(tiny_data: Path) -> None:
    module = module_of(tiny_config(tiny_data, *PLAIN, *TRAINED, "encoder.dropout=0.5"))
    found = module.embeddings(given_batch(module.config))
    dropped = {n: (e == 0).all(dim=(1, 2)) for n, e in found.items() if e is not None}
    assert torch.equal(dropped["student"], dropped["teacher"])
    assert 0 < dropped["student"].sum() < 8


def test_a_model_has_the_trained_encoder_of_its_network(whole: Trained, tmp_path: Path) -> None:
    module = whole.module.eval()
    batch = given_batch(module.config)
    with torch.no_grad():
        _, outputs = module.predict(batch)
        for name in ("student", "teacher"):
            save_model(tmp_path / name, trained_model(module, name, None, "last.ckpt"))
            model = load_model(tmp_path / name, encoder=SETTINGS["source"])
            torch.testing.assert_close(model(batch.audio).strong, outputs[name].strong)
    module.train()


def test_both_stages_load_and_fit_the_tokens_of_beats() -> None:
    """496 tokens, those of 62 steps and 8 groups of bands for a clip of 10 s."""
    source = ["encoder.source=my_beats:load"]
    first, second = (load_config(CONFS / f"sed_encoder{n}.yaml", source) for n in ("", "_tuned"))
    for config in (first, second):
        assert config.encoder is not None
        encoder = FrameEncoder(config.encoder, lambda _: torch.ones(2, 496, 768), config.grid, "")
        assert encoder(torch.zeros(2, 160_000)).shape == (2, config.grid.n_frames, 768)
    assert not first.encoder.train  # type: ignore[union-attr]
    assert second.encoder.train  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"sed_encoder\.yaml:\d+: encoder\.source: missing$"):
        load_config(CONFS / "sed_encoder.yaml")
