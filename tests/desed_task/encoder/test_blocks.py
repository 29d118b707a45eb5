"""Rates of the parameters of an encoder that is trained, and which are trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from desed_task.ema import make_teacher
from desed_task.encoder.blocks import find_blocks, keep_untrained_statistics, train_parts
from desed_task.encoder.encoder import FrameEncoder
from desed_task.encoder.settings import EncoderSettings
from desed_task.encoder.sources import load_encoder
from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from tests.support.tiny_transformer import SETTINGS, Block, TinyEncoder, pretrained

GRID = FrameGrid(sample_rate=16000, hop_length=1024, time_pooling=2, clip_seconds=10)


def settings(**changes: Any) -> EncoderSettings:
    return EncoderSettings(**SETTINGS | {"train": True, "lr": 0.8} | changes)


def frame_encoder(function: Any, **changes: Any) -> FrameEncoder:
    return FrameEncoder(settings(**changes), function, GRID, "digest")


def rates(encoder: FrameEncoder) -> dict[str, float]:
    """Learning rate by name of the parameter, of those that are trained."""
    parts = train_parts(encoder)
    found = {parameter: part.rate for part in parts for parameter in part.parameters}
    function: Any = encoder.function
    named = dict(function.named_parameters())
    trained = {name for name, parameter in named.items() if parameter.requires_grad}
    assert trained == {name for name, parameter in named.items() if parameter in found}
    return {name: found[named[name]] for name in trained}


def expected_rates(by_prefix: dict[str, float]) -> Any:
    """The same, from the rate of each prefix of a name."""
    names = [name for name, _ in pretrained().named_parameters()]
    return pytest.approx(
        {n: rate for prefix, rate in by_prefix.items() for n in names if n.startswith(prefix)}
    )


BELOW = ("position", "patches", "batch_norm", "input_norm")


def test_rates_fall_from_the_top() -> None:
    encoder = frame_encoder(pretrained())
    around = {**dict.fromkeys(BELOW, 0.1), "last": 0.8}
    blocks = {"blocks.0": 0.2, "blocks.1": 0.4, "blocks.2": 0.8}
    assert rates(encoder) == expected_rates(around | blocks)
    assert encoder.function.training  # type: ignore[attr-defined]
    names = [part.name for part in train_parts(frame_encoder(pretrained()))]
    assert names == ["below", "block 1", "block 2", "block 3", "above"]


def test_the_last_blocks_alone() -> None:
    encoder = frame_encoder(pretrained(), trained_blocks=2)
    expected = {"blocks.1": 0.4, "blocks.2": 0.8, "last": 0.8}
    assert rates(encoder) == expected_rates(expected)


def test_blocks_above_the_layers_that_are_used_are_not_trained() -> None:
    encoder = frame_encoder(pretrained(), layers=(0, 1))
    expected = {**dict.fromkeys(BELOW, 0.2), "blocks.0": 0.4, "blocks.1": 0.8}
    assert rates(encoder) == expected_rates(expected)
    encoder = frame_encoder(pretrained(), layers=(1,), trained_blocks=1)
    assert rates(encoder) == expected_rates({"blocks.1": 0.8})


def test_parameters_that_the_source_froze_are_not_trained() -> None:
    function = pretrained()
    function.blocks[1].requires_grad_(False)
    found = rates(frame_encoder(function))
    assert not any(name.startswith("blocks.1") for name in found)
    assert (found["blocks.0.norm.bias"], found["position"]) == pytest.approx((0.2, 0.1))


def test_blocks_are_the_largest_list_of_one_class() -> None:
    function = pretrained()
    assert find_blocks(function) == list(function.blocks)
    small = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    stages = nn.Sequential(*(nn.Sequential(Block(), Block()) for _ in range(3)))
    assert find_blocks(nn.Sequential(small, stages, function.last)) == list(stages)
    assert find_blocks(nn.Sequential(nn.Linear(2, 2), nn.ReLU())) == []


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_is_trained(tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt2"
    program = torch.export.export(pretrained().eval(), (torch.zeros(1, GRID.n_samples),))
    torch.export.save(program, path)
    encoder = load_encoder(settings(source=str(path)), GRID)
    found = {part.name: (part.rate, len(part.parameters)) for part in train_parts(encoder)}
    assert [found[f"block {n}"] for n in (1, 2, 3)] == [(0.2, 4), (0.4, 4), (0.8, 4)]
    teacher: Any = make_teacher(encoder).train()
    audio = torch.rand(1, GRID.n_samples)
    assert torch.equal(teacher(audio), encoder(audio))


@pytest.mark.filterwarnings("ignore")
def test_weights_that_a_module_computes_are_copied() -> None:
    function: Any = pretrained()
    nn.utils.weight_norm(function.patches)
    encoder = frame_encoder(function)
    train_parts(encoder)
    teacher: Any = make_teacher(encoder).eval()
    audio = torch.rand(1, GRID.n_samples)
    with torch.no_grad():
        function.patches.weight_g.mul_(2)
    before = teacher(audio)
    with torch.no_grad():
        teacher.function.patches.weight_g.mul_(2)
    encoder.eval()
    assert not torch.equal(before, encoder(audio))
    assert torch.equal(teacher(audio), encoder(audio))


class Detached(TinyEncoder):
    def forward(self, audio: Tensor) -> list[Tensor]:
        return [layer.detach() for layer in super().forward(audio)]


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv1d(1, 6, 2560, 2560)

    def forward(self, audio: Tensor) -> Tensor:
        steps: Tensor = self.patches(audio[:, None]).transpose(1, 2)
        return steps


def plain_function() -> Any:
    return lambda audio: audio


def without_gradients() -> nn.Module:
    return pretrained().requires_grad_(False)


WRONG = [
    (plain_function, {}, "encoder.train: expected an nn.Module, got function"),
    (without_gradients, {}, "encoder.train: expected parameters with gradients, got none"),
    (Detached, {}, "encoder.train: expected an output with gradients"),
    (OneLayer, {}, r"encoder.layer_decay: expected 1 for an encoder without blocks .*, got 0.5"),
    (OneLayer, {"layer_decay": 1.0, "trained_blocks": 2}, "trained_blocks: expected null .*got 2"),
    (pretrained, {"trained_blocks": 4}, "trained_blocks: expected at most 3, .*, got 4"),
]


@pytest.mark.parametrize(("make", "changes", "message"), WRONG)
def test_what_cannot_be_trained_is_refused(
    make: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"^{SETTINGS['source']}: .*{message}"):
        train_parts(frame_encoder(make(), **changes))


def test_an_encoder_without_blocks_is_trained_as_a_whole() -> None:
    (part,) = train_parts(frame_encoder(OneLayer(), layer_decay=1.0))
    assert (part.name, part.rate, len(part.parameters)) == ("whole", 0.8, 2)


def test_statistics_that_are_not_trained_are_not_changed() -> None:
    encoders = [frame_encoder(pretrained(), trained_blocks=1) for _ in range(2)]
    train_parts(encoders[0])
    encoders[1].train()
    keep_untrained_statistics(encoders)
    for encoder in encoders:
        function: Any = encoder.function
        training = {name: module.training for name, module in function.named_modules()}
        assert [name for name, trains in training.items() if not trains] == ["batch_norm"]
