"""Gating, dropout and pooling as one operation against PyTorch's layers."""

import pytest
import torch
from torch import Tensor, nn

from desed_task.nnet.blocks import ConvBlock
from desed_task.nnet.dropout import draw_kept, kept_scale
from desed_task.nnet.gating import gated_pool

SHAPE = (3, 6, 16, 11)
POOLINGS = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (4, 3)]  # (band, time); some leave a rest


def _maps(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(SHAPE, generator=generator).to(dtype) for _ in range(2))  # type: ignore[return-value]


def _layers(x: Tensor, gate: Tensor, p: float, pooling: tuple[int, int]) -> Tensor:
    kept = draw_kept(x.shape, p) * kept_scale(p) if p else torch.ones(())
    return nn.functional.avg_pool2d(x * gate.sigmoid() * kept, pooling)


@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_equals_the_layers(pooling: tuple[int, int], p: float) -> None:
    """Values and gradients, with the same mask."""
    found = []
    for task in (_layers, gated_pool):
        torch.manual_seed(3)
        x, gate = (tensor.requires_grad_() for tensor in _maps())
        # The gate is used up, so it must not be a leaf.
        out = task(x, gate * 1.0, p, pooling)
        weights = torch.linspace(-1, 1, out.numel()).view_as(out)
        found.append((out, *torch.autograd.grad((out * weights).sum(), (x, gate))))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_without_gradients(pooling: tuple[int, int]) -> None:
    x, gate = _maps()
    expected = _layers(x, gate, 0.0, pooling)
    with torch.no_grad():
        out = gated_pool(x.clone(), gate.clone(), 0.0, pooling)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    assert out.grad_fn is None


def test_half_precision_is_as_near_as_the_layers() -> None:
    exact = _layers(*_maps(), 0.0, (2, 2))
    x, gate = _maps(torch.bfloat16)
    layers = _layers(x, gate, 0.0, (2, 2))
    out = gated_pool(x.clone(), gate.clone(), 0.0, (2, 2))
    assert out.dtype == layers.dtype == torch.bfloat16
    errors = [(part.float() - exact).norm() / exact.norm() for part in (out, layers)]
    assert errors[0] < max(2 * errors[1], 0.01)


@pytest.mark.parametrize("groups", [4, None])
@pytest.mark.parametrize("training", [True, False])
def test_a_block_goes_through_it(groups: int | None, training: bool) -> None:
    """A whole block equals its layers, in training and in evaluation, whose dropout is off."""
    torch.manual_seed(0)
    block = ConvBlock(
        2,
        6,
        kernel_size=3,
        pooling=(2, 2),
        groups=groups,
        dropout=0.3,
        eps=1e-3,
        momentum=0.1,
    ).train(training)
    audio = torch.randn(3, 2, 16, 11)
    torch.manual_seed(5)
    out = block(audio)
    normed = block.norm(block.conv(audio))
    torch.manual_seed(5)
    p = 0.3 if training else 0.0
    expected = _layers(normed, block.gate.linear(normed), p, (2, 2))
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)


def test_share_of_kept_elements_and_repetition() -> None:
    torch.manual_seed(2)
    state = torch.get_rng_state()
    kept = draw_kept((1000, 1001), 0.2)
    assert kept.float().mean().item() == pytest.approx(0.8, abs=0.002)  # five deviations
    assert not torch.equal(draw_kept((1000, 1001), 0.2), kept)
    torch.set_rng_state(state)
    assert torch.equal(draw_kept((1000, 1001), 0.2), kept)
