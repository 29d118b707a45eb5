"""Gating, dropout and pooling on a CPU against autograd of PyTorch's layers on given masks."""

import pytest
import torch
from torch import Tensor, nn

from desed_task.nnet import blocks, cpu
from desed_task.nnet.blocks import ConvBlock
from desed_task.nnet.cpu import Dropout, DropoutMask, draw_mask, gated_pool
from tests.support.tiny_model import tiny_description

SHAPE = (3, 6, 16, 11)
POOLINGS = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (4, 3)]  # (band, time); some leave a rest


def _maps(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, gate = torch.randn(2, *SHAPE, generator=generator).to(dtype)
    return x, gate


def _mask(shape: tuple[int, ...] = SHAPE) -> DropoutMask:
    """A mask of PyTorch's own Bernoulli draws, p = 0.4."""
    kept = torch.bernoulli(torch.full(shape, 0.6), generator=torch.Generator().manual_seed(2))
    return DropoutMask(kept.bool(), 1 / 0.6)


def _layers(x: Tensor, gate: Tensor, mask: DropoutMask | None, pooling: tuple[int, int]) -> Tensor:
    """Layer by layer."""
    dropped = 1.0 if mask is None else mask.kept.to(x.dtype) * mask.scale
    return nn.functional.avg_pool2d(x * torch.sigmoid(gate) * dropped, pooling)


@pytest.mark.parametrize("mask", [None, _mask()], ids=["no dropout", "dropout"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_values_and_gradients(pooling: tuple[int, int], mask: DropoutMask | None) -> None:
    results = []
    for function in (_layers, gated_pool):
        x, gate = (tensor.requires_grad_() for tensor in _maps())
        # The gate is overwritten, so it must not be a leaf.
        out = function(x, gate * 1.0, mask, pooling)
        weights = torch.linspace(-1, 1, out.numel()).view_as(out)
        results.append((out, *torch.autograd.grad((out * weights).sum(), (x, gate))))
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_without_gradients(pooling: tuple[int, int]) -> None:
    x, gate = _maps()
    expected = _layers(x, gate, None, pooling)
    with torch.no_grad():
        out = gated_pool(x.clone(), gate.clone(), None, pooling)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    assert out.grad_fn is None


def test_half_precision_is_as_exact_as_the_layers() -> None:
    exact = _layers(*_maps(), None, (2, 2))
    x, gate = _maps(torch.bfloat16)
    layers = _layers(x, gate, None, (2, 2))
    out = gated_pool(x.clone(), gate.clone(), None, (2, 2))
    assert out.dtype == layers.dtype == torch.bfloat16
    fused_error, layers_error = ((y.float() - exact).norm() / exact.norm() for y in (out, layers))
    assert fused_error < max(2 * layers_error, 0.01)


@pytest.mark.parametrize("subspectral", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_block(subspectral: bool, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole block equals its layers, in training and in evaluation, which has no dropout."""
    drawn = []

    def given_mask(shape: tuple[int, ...], p: float) -> DropoutMask:
        drawn.append(p)
        return _mask(shape)

    monkeypatch.setattr(blocks, "draw_mask", given_mask)
    torch.manual_seed(0)
    settings = tiny_description().network.model_copy(
        update={"dropout": 0.4, "subspectral_bands": 4}
    )
    block = ConvBlock(
        2,
        6,
        settings,
        kernel_size=3,
        convolution="plain",
        pooling=(2, 2),
        subspectral=subspectral,
    ).train(training)
    features = torch.randn(3, 2, 16, 11)
    out = block(features)
    assert drawn == ([0.4] if training else [])
    normed = block.norm(block.conv(features))
    mask = _mask() if training else None
    expected = _layers(normed, block.gate.linear(normed), mask, (2, 2))
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)


def test_dropout_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "draw_mask", lambda shape, p: _mask(tuple(shape)))
    x, _ = _maps()
    layer, mask = Dropout(0.4), _mask()
    torch.testing.assert_close(layer(x), torch.where(mask.kept, x / 0.6, torch.zeros(())))
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_masks_are_independent_draws(p: float) -> None:
    """Share of kept elements, and no correlation along any axis or between two draws."""
    torch.manual_seed(2)
    first, second = (draw_mask((10, 10, 100, 101), p) for _ in range(2))
    assert first.scale == pytest.approx(1 / (1 - p), rel=1e-5)
    kept = first.kept.float()
    deviation = (p * (1 - p) / kept.numel()) ** 0.5  # of the share
    assert kept.mean().item() == pytest.approx(1 - p, abs=5 * deviation)
    neighbours = [(kept.roll(1, dim), kept) for dim in range(4)]
    for one, other in [*neighbours, (kept, second.kept.float())]:
        correlation = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()
        assert abs(correlation) < 5 / kept.numel() ** 0.5


def test_masks_follow_pytorchs_random_state() -> None:
    state = torch.get_rng_state()
    first = draw_mask((100, 101), 0.2).kept
    assert not torch.equal(draw_mask((100, 101), 0.2).kept, first)
    torch.set_rng_state(state)
    assert torch.equal(draw_mask((100, 101), 0.2).kept, first)
