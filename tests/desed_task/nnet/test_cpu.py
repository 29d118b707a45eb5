"""The layers for a CPU against autograd of PyTorch's layers, with equal dropout masks."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from desed_task.nnet import cpu
from desed_task.nnet.blocks import ConvBlock, SubSpectralBatchNorm
from desed_task.nnet.cpu import Dropout, DropoutMasks, channels_last, norm_gate_pool
from desed_task.nnet.cpu_gru import run_grus
from tests.support.tiny_model import tiny_description

P = 0.3
GROUPS = 4
# (batch, channels, bands, frames), pooling (band, time); windows inside a group of bands and over
# several, frames that fill no window, an odd number of frames, more channels than 16.
CASES = {
    "plain": ((3, 8, 16, 12), (1, 1)),
    "time": ((3, 8, 16, 11), (1, 3)),
    "bands": ((3, 24, 16, 5), (4, 1)),
    "both": ((4, 8, 16, 11), (2, 2)),
    "groups in a window": ((3, 4, 8, 13), (4, 2)),
}


def _maps(shape: tuple[int, ...]) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(1)) + 2


def _norm(channels: int) -> SubSpectralBatchNorm:
    """A norm whose weights and statistics are not the initial ones."""
    norm = SubSpectralBatchNorm(channels, GROUPS, eps=1e-3, momentum=0.3)
    generator = torch.Generator().manual_seed(2)
    for name, values in norm.norm.state_dict().items():
        if name != "num_batches_tracked":
            values.uniform_(0.5, 1.5, generator=generator)
    return norm


def _kept(shape: tuple[int, ...]) -> Tensor:
    """The mask that `DropoutMasks` draws next for a whole map, in the order of its memory."""
    batch, channels, bands, frames = shape
    with torch.random.fork_rng():
        drawn = DropoutMasks(P).draw((batch, bands, frames, channels))
    return torch.from_numpy(drawn).permute(0, 3, 1, 2)


def _layers(
    x: Tensor, norm: nn.Module, gate: nn.Module, kept: Tensor | None, pooling: tuple[int, int]
) -> Tensor:
    """Layer by layer."""
    x = norm(x)
    dropped = 1.0 if kept is None else kept.to(x.dtype) / (1 - P)
    return nn.functional.avg_pool2d(x * torch.sigmoid(gate(x)) * dropped, pooling)


@pytest.mark.parametrize("piece", [1, 1 << 17], ids=["pieces of a clip", "pieces of clips"])
@pytest.mark.parametrize("training", [True, False], ids=["batch", "running"])
@pytest.mark.parametrize("drops", [True, False], ids=["dropout", "no dropout"])
@pytest.mark.parametrize("case", CASES)
def test_values_gradients_and_statistics(
    case: str, drops: bool, training: bool, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_PIECE", piece)
    shape, pooling = CASES[case]
    torch.manual_seed(0)
    norm, gate = _norm(shape[1]).train(training), nn.Conv2d(shape[1], shape[1], 1)
    plain = copy.deepcopy(norm)
    x = _maps(shape).requires_grad_()
    kept = _kept(shape) if drops else None
    expected = _layers(x, plain, gate, kept, pooling)
    masks = DropoutMasks(P) if drops else None
    out = norm_gate_pool(x, norm.norm, GROUPS, gate, masks, pooling)
    weights = torch.linspace(-1, 1, out.numel()).view_as(out)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    gradients, references = (
        torch.autograd.grad((y * weights).sum(), [x, *gate.parameters(), *module.parameters()])
        for y, module in ((out, norm), (expected, plain))
    )
    for actual, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(actual, reference, rtol=1e-4, atol=1e-4)
    for actual, reference in zip(norm.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(actual, reference)


def test_half_precision_is_as_exact_as_the_layers() -> None:
    shape, pooling = CASES["both"]
    torch.manual_seed(0)
    norm, gate = _norm(shape[1]), nn.Conv2d(shape[1], shape[1], 1)
    x = _maps(shape)
    exact = _layers(x, copy.deepcopy(norm), gate, None, pooling)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layers = _layers(x.bfloat16(), copy.deepcopy(norm), gate, None, pooling)
        out = norm_gate_pool(x.bfloat16(), norm.norm, GROUPS, gate, None, pooling)
    assert out.dtype == torch.bfloat16
    errors = [(y.float() - exact).norm() / exact.norm() for y in (out, layers)]
    assert errors[0] < max(2 * errors[1], 0.01)


@pytest.mark.parametrize("subspectral", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_block(subspectral: bool, training: bool) -> None:
    """A whole block equals its layers, in training and in evaluation, which has no dropout."""
    torch.manual_seed(0)
    settings = tiny_description().network.model_copy(
        update={"dropout": P, "subspectral_bands": GROUPS}
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
    plain = copy.deepcopy(block)
    features = torch.randn(3, 2, 16, 12)
    convolved = plain.conv(features)
    kept = _kept(tuple(convolved.shape)) if training else None
    expected = _layers(convolved, plain.norm, plain.gate.linear, kept, (2, 2))
    torch.testing.assert_close(block(features), expected, rtol=1e-4, atol=1e-5)


def test_channels_last_of_one_channel_and_of_several() -> None:
    """The values are the same; a convolution takes both for channels-last."""
    for channels in (1, 3):
        x = torch.randn(2, channels, 4, 5)
        last = channels_last(x)
        assert torch.equal(last, x)
        out = nn.functional.conv2d(last, torch.randn(2, channels, 3, 3))
        assert out.is_contiguous(memory_format=torch.channels_last)


def test_dropout_layer() -> None:
    x = _maps((3, 5, 4))
    layer = Dropout(P)
    with torch.random.fork_rng():
        kept = torch.from_numpy(DropoutMasks(P).draw(x.shape))
    expected = torch.where(kept, x / (1 - P), torch.zeros(()))
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=0)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


@pytest.mark.parametrize("layers", [1, 2])
def test_grus_equal_pytorchs(layers: int) -> None:
    """Outputs and all gradients, of two GRUs with inputs of different sizes."""
    torch.manual_seed(0)
    grus = [nn.GRU(n, 5, layers, bidirectional=True, batch_first=True) for n in (4, 7)]
    inputs = [torch.randn(3, 11, gru.input_size, requires_grad=True) for gru in grus]
    weights = [torch.randn(3, 11, 10) for _ in grus]
    given = [*inputs, *(parameter for gru in grus for parameter in gru.parameters())]
    results = []
    for outputs in (
        [gru(x)[0] for gru, x in zip(grus, inputs, strict=True)],
        run_grus(grus, inputs),
    ):
        total = sum((out * weight).sum() for out, weight in zip(outputs, weights, strict=True))
        results.append((*outputs, *torch.autograd.grad(total, given)))
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        for expected, actual in zip(results[0], run_grus(grus, inputs), strict=False):
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


def test_dropout_between_the_layers_of_a_gru() -> None:
    """Without it in evaluation; in training a share of the first layer's outputs is dropped."""
    torch.manual_seed(0)
    gru = nn.GRU(4, 5, 2, bidirectional=True, batch_first=True, dropout=0.5)
    x = torch.randn(3, 11, 4)
    (first,), (second,) = run_grus([gru], [x]), run_grus([gru], [x])
    assert not torch.allclose(first, second)
    gru.eval()
    torch.testing.assert_close(run_grus([gru], [x])[0], gru(x)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_masks_are_independent_draws(p: float) -> None:
    """Share of kept elements, and no correlation along any axis or between two draws."""
    torch.manual_seed(2)
    masks = DropoutMasks(p)
    assert masks.scale == pytest.approx(1 / (1 - p), rel=1e-5)
    kept, second = (torch.from_numpy(masks.draw((10, 10, 100, 101))).float() for _ in range(2))
    deviation = (p * (1 - p) / kept.numel()) ** 0.5  # of the share
    assert kept.mean().item() == pytest.approx(1 - p, abs=5 * deviation)
    neighbours = [(kept.roll(1, dim), kept) for dim in range(4)]
    for one, other in [*neighbours, (kept, second)]:
        correlation = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()
        assert abs(correlation) < 5 / kept.numel() ** 0.5


def test_masks_follow_pytorchs_random_state() -> None:
    state = torch.get_rng_state()
    first = DropoutMasks(0.2).draw((100, 101))
    assert not np.array_equal(DropoutMasks(0.2).draw((100, 101)), first)
    torch.set_rng_state(state)
    assert np.array_equal(DropoutMasks(0.2).draw((100, 101)), first)
