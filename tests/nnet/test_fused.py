"""The fused end of a block against its layers: values, gradients, running statistics."""

import copy

import pytest
import torch
from torch import Tensor, nn

from desed_task.nnet import blocks, fused
from desed_task.nnet.blocks import ConvBlock


@pytest.fixture(autouse=True)
def _small_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "SMALLEST_MAP", 1)


def _block(groups: int | None, pooling: tuple[int, int], dropout: float = 0.0) -> ConvBlock:
    torch.manual_seed(0)
    block = ConvBlock(
        2,
        6,
        kernel_size=3,
        pooling=pooling,
        groups=groups,
        dropout=dropout,
        eps=1e-3,
        momentum=0.99,
    )
    for name, parameter in block.named_parameters():
        if "norm" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return block.train()


def _run(block: ConvBlock, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The output; gradients by parameter, that of the input, and the buffers."""
    torch.manual_seed(3)
    x = x.clone().requires_grad_()
    out = block(x)
    (out.float() * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    found = {name: p.grad for name, p in block.named_parameters() if p.grad is not None}
    assert x.grad is not None
    return out, found | {"input": x.grad} | dict(block.named_buffers())


def _layers(block: ConvBlock, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, dict]:
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "can_fuse", lambda *_: False)
        return _run(block, x)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(
    ("groups", "pooling"), [(4, (2, 2)), (4, (1, 2)), (None, (1, 2)), (2, (3, 1))]
)
def test_equals_the_layers(
    groups: int | None,
    pooling: tuple[int, int],
    dropout: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the same mask; frames that the pooling leaves included."""
    block = _block(groups, pooling, dropout)
    x = torch.randn(3, 2, 16, 11, generator=torch.Generator().manual_seed(1))
    expected, details = _layers(copy.deepcopy(block), x, monkeypatch)
    out, found = _run(block, x)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    assert found.keys() == details.keys()
    for name, value in details.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4, msg=name)


def test_half_precision_is_as_near_as_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under bf16 autocast both differ from float32 by the same order."""
    block = _block(4, (2, 2))
    x = torch.randn(3, 2, 16, 40, generator=torch.Generator().manual_seed(1))
    exact, exact_details = _run(copy.deepcopy(block), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layers, layer_details = _layers(copy.deepcopy(block), x, monkeypatch)
        out, details = _run(block, x)
    assert out.dtype == layers.dtype
    errors = [(part - exact).norm() / exact.norm() for part in (out, layers)]
    assert errors[0] < max(2 * errors[1], 0.01)
    for name in ("input", "gate.linear.weight", "norm.norm.weight"):
        scale = exact_details[name].norm()
        mine, theirs = (
            (part[name] - exact_details[name]).norm() / scale for part in (details, layer_details)
        )
        assert mine < max(2 * theirs, 0.02), name


def test_without_gradients_nothing_is_kept() -> None:
    block = _block(4, (2, 2), 0.2)
    with torch.no_grad():
        out = block(torch.randn(2, 2, 16, 12))
    assert out.grad_fn is None
    assert dict(block.named_buffers())["norm.norm.num_batches_tracked"] == 1


def test_small_maps_go_through_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "SMALLEST_MAP", 1 << 21)
    assert not fused.can_fuse(torch.zeros(2, 32, 64, 626), 4, (2, 2))
    assert fused.can_fuse(torch.zeros(2, 32, 128, 626), 4, (2, 2))
