"""Frequency-dynamic convolutions against golden numbers, and in the network."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from desed_task.nnet.blocks import ConvBlock
from desed_task.nnet.cpu import band_convolution
from desed_task.nnet.crnn import CRNN
from desed_task.nnet.frequency_dynamic import FrequencyDynamicConv, sum_of_convolutions
from local.config.load import load_config
from tests.support.paths import CONFS, GOLDEN

RELATIVE = 1e-4
NORM = 1e-3
NAMES = {  # ours -> those of the golden numbers
    "weight": "weight",
    "attention.conv_in": "attention.conv1d1",
    "attention.norm": "attention.bn",
    "attention.conv_out": "attention.conv1d2",
}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    """The golden numbers, with bands before frames as in the network."""
    with np.load(GOLDEN / "frequency_dynamic.npz") as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays}
    for name in ("input", "output_eval", "output_train", "weights/weight"):
        tensors[name] = tensors[name].transpose(-1, -2).contiguous()
    return tensors


def _their_name(name: str) -> str:
    module, _, rest = name.rpartition(".")
    return f"{NAMES[module]}.{rest}" if module else NAMES[name]


@pytest.fixture
def conv(golden: dict[str, Tensor]) -> FrequencyDynamicConv:
    conv = FrequencyDynamicConv(6, 5, kernel_size=3, basis_kernels=4, temperature=31.0)
    conv.load_state_dict(
        {name: golden[f"weights/{_their_name(name)}"] for name in conv.state_dict()}
    )
    return conv


def _assert_close(actual: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    torch.testing.assert_close(actual, expected, rtol=RELATIVE, atol=RELATIVE * scale)


def test_evaluation(conv: FrequencyDynamicConv, golden: dict[str, Tensor]) -> None:
    x = golden["input"]
    conv.eval()
    _assert_close(conv.attention(x), golden["attention_eval"])
    _assert_close(conv(x), golden["output_eval"])
    _assert_close(sum_of_convolutions(x, conv.attention(x), conv.weight), golden["output_eval"])


def test_training(conv: FrequencyDynamicConv, golden: dict[str, Tensor]) -> None:
    """Outputs with batch statistics, running statistics, norms of the gradients."""
    x = golden["input"].clone().requires_grad_()
    output = conv(x)
    _assert_close(output, golden["output_train"])
    _assert_close(conv.attention.norm.running_mean, golden["running_mean_after"])  # type: ignore[arg-type]
    _assert_close(conv.attention.norm.running_var, golden["running_var_after"])  # type: ignore[arg-type]
    output.square().mean().backward()
    tensors = {_their_name(name): value for name, value in conv.named_parameters()} | {"input": x}
    expected = {
        name.removeprefix("gradient_norm/"): float(norm)
        for name, norm in golden.items()
        if name.startswith("gradient_norm/")
    }
    assert len(expected) > 5
    for name, norm in expected.items():
        gradient = tensors[name].grad
        assert gradient is not None
        assert float(gradient.norm()) == pytest.approx(norm, rel=NORM), name


def test_both_forms_have_the_same_gradients() -> None:
    """The sum before the convolution (CPU) and after it (elsewhere), with 5 x 5 kernels."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 6, 8, 10), (3, 4, 8), (4, 5, 6, 5, 5))
    x, attention, weight = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    )
    above = torch.randn(3, 5, 8, 10, generator=generator, dtype=torch.float64)
    results = [
        (y, *torch.autograd.grad(y, (x, attention, weight), above))
        for y in (form(x, attention, weight) for form in (band_convolution, sum_of_convolutions))
    ]
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference)


def test_the_recipe_s_network_with_it() -> None:
    """All blocks but the first have it; a step in bf16 gives every parameter a gradient."""
    config = load_config(
        CONFS / "sed_fdy.yaml", ["net.nb_filters=[4, 4, 8, 8, 8]", "net.sed_filters=[8, 8]"]
    )
    network = CRNN(config.net, 10)
    kinds = [type(m.conv) for m in network.modules() if isinstance(m, ConvBlock)]
    assert kinds == [nn.Conv2d, *[FrequencyDynamicConv] * 6]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(torch.rand(2, 128, 64))
    assert output.sod_logits is not None
    (output.strong.mean() + output.weak.mean() + output.sod_logits[..., 0].mean()).backward()
    missing = [name for name, value in network.named_parameters() if value.grad is None]
    assert not missing
    assert all(bool(value.grad.isfinite().all()) for value in network.parameters())  # type: ignore[union-attr]
