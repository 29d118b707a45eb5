"""The bidirectional GRU against PyTorch's."""

import pytest
import torch
from torch import Tensor, nn

from desed_task.nnet.gru import BiGRU


def _run(gru: BiGRU, forward: object, x: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    out = forward(x)  # type: ignore[operator]
    weights = torch.linspace(-1, 1, out.numel()).view_as(out)
    names, parameters = zip(*gru.named_parameters(), strict=True)
    gradients = torch.autograd.grad((out * weights).sum(), (x, *parameters))
    return {"output": out, **dict(zip(("input", *names), gradients, strict=True))}


@pytest.mark.parametrize(("layers", "frames"), [(1, 1), (1, 7), (2, 20), (3, 5)])
def test_equals_pytorchs(layers: int, frames: int) -> None:
    torch.manual_seed(0)
    gru = BiGRU(6, 5, layers, 0.0)
    x = torch.randn(4, frames, 6)
    expected = _run(gru, lambda x: nn.GRU.forward(gru, x)[0], x)
    for name, value in _run(gru, gru, x).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def test_dropout_between_layers_in_training_alone() -> None:
    torch.manual_seed(0)
    gru, x = BiGRU(6, 5, 2, 0.5), torch.randn(4, 9, 6)
    whole = nn.GRU.forward(gru.eval(), x)[0]
    torch.testing.assert_close(gru.eval()(x), whole)
    outputs = [gru.train()(x) for _ in range(2)]
    assert not torch.allclose(outputs[0], outputs[1])


def test_autocast_leaves_it_in_float32() -> None:
    torch.manual_seed(0)
    gru, x = BiGRU(6, 5, 2, 0.0), torch.randn(4, 9, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(gru(x), gru(x.float()))
        assert gru(x).dtype == torch.float32
