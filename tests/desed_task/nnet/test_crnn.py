"""The network against golden numbers, and the shapes it can be built in."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from desed_task.features import LogMel, Scaler
from desed_task.nnet import crnn
from desed_task.nnet.cpu import Dropout
from desed_task.nnet.cpu_gru import run_grus
from desed_task.nnet.crnn import CRNN
from local.config.load import Config, load_config
from local.config.published import convert_name, convert_weights
from tests.golden import weights
from tests.support.paths import CONFS, GOLDEN

RELATIVE = 1e-4
GRADIENT = 1e-3


@pytest.fixture(scope="module")
def features(recipe: Config) -> torch.Tensor:
    waveform = np.load(GOLDEN / "features.npz")["waveform_16bit"]
    audio = torch.from_numpy(waveform / np.float32(32768))
    log_mel = LogMel(recipe.feats, recipe.data.fs)(audio)
    return Scaler(recipe.scaler, recipe.feats.n_mels, recipe.grid.n_hops)(log_mel)


def _network(config: Config) -> nn.Module:
    network = CRNN(config.net, 10)
    stand_ins = {name: torch.from_numpy(value) for name, value in weights.state_dict().items()}
    network.load_state_dict(convert_weights(stand_ins))
    return network


def _assert_close(actual: torch.Tensor, expected: np.ndarray, relative: float) -> None:
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(
        actual.detach().numpy(), expected, rtol=relative, atol=relative * scale
    )


def test_evaluation_outputs(recipe: Config, features: torch.Tensor) -> None:
    golden = np.load(GOLDEN / "network.npz")
    with torch.no_grad():
        output = _network(recipe).eval()(features)
    assert output.strong.shape == (2, 10, 156)
    for name in ("strong", "weak", "sod_logits"):
        _assert_close(getattr(output, name), golden[name], RELATIVE)


def test_forward_without_sod_branch(recipe: Config, features: torch.Tensor) -> None:
    network = _network(recipe).eval()
    with torch.no_grad():
        whole, without = network(features), network(features, with_sod=False)
    assert without.sod_logits is None
    torch.testing.assert_close(whole.strong, without.strong)


def test_training_outputs_gradients_and_running_statistics(
    recipe: Config, features: torch.Tensor
) -> None:
    golden = np.load(GOLDEN / "network.npz")
    expected = json.loads((GOLDEN / "network_train.json").read_text())
    network = _network(recipe).train()
    for module in network.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    output = network(features)
    for name in ("strong", "weak", "sod_logits"):
        _assert_close(getattr(output, name), golden[f"train_{name}"], RELATIVE)
    one_sound = torch.ones(output.sod_logits.shape[:2], dtype=torch.long)
    sod = nn.functional.cross_entropy(output.sod_logits.transpose(1, 2), one_sound)
    loss = output.strong.square().mean() + output.weak.mean() + sod
    assert loss.item() == pytest.approx(float(golden["train_loss"]), rel=RELATIVE)
    loss.backward()
    gradients = {
        name: p.grad.norm().item() for name, p in network.named_parameters() if p.grad is not None
    }
    for name, norm in expected["grad_norm"].items():
        assert gradients[convert_name(name)] == pytest.approx(norm, rel=GRADIENT), name
    buffers = dict(network.named_buffers())
    for name, total in expected["running_sum_after_one_step"].items():
        value = buffers[convert_name(name)]
        scale = value.abs().sum().item()
        assert value.sum().item() == pytest.approx(total, rel=RELATIVE, abs=1e-5 * scale), name


def test_every_key_of_net_takes_effect() -> None:
    """Another value of each key changes the network's modules."""
    changes = {
        "nb_filters": [8, 16, 16, 32, 24],
        "kernel_size": [5, 3, 3, 3, 3],
        "pooling": [[2, 2], [1, 2], [1, 2], [1, 2], [2, 2]],
        "sed_filters": [256, 64],
        "sed_kernel_size": [1, 3],
        "sed_pooling": [[1, 4], [1, 1]],
        "subspectral_blocks": 2,
        "subspectral_bands": 2,
        "batchnorm_eps": 0.01,
        "batchnorm_momentum": 0.1,
        "dropout": 0.3,
        "rnn_layers": 3,
        "n_RNN_cell": 64,
        "dropout_recurrent": 0.1,
        "dropout_output": 0.1,
        "sod_branch": False,
        "convolution": ["plain"] * 7,
        "basis_kernels": 3,
        "attention_temperature": 1.0,
    }
    published = load_config(CONFS / "sed_fdy.yaml").net
    before = repr(CRNN(published, 10))
    assert set(changes) | {"weak_floor"} == set(type(published).model_fields)
    for key, value in changes.items():
        net = published.model_copy(update={key: value})
        assert repr(CRNN(net, 10)) != before, key


def test_weak_floor_bounds_the_attention(recipe: Config) -> None:
    """With a floor of 1 every attention weight is 1, so weak is the mean of strong."""
    net = recipe.net.model_copy(update={"weak_floor": 1.0})
    network = CRNN(net, 10).eval()
    output = network(torch.rand(1, 128, 626))
    torch.testing.assert_close(output.weak, output.strong.mean(dim=-1))


def test_grus_run_in_float32_under_autocast(
    recipe: Config, features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Input, weights, output and arithmetic of both GRUs are float32 in bf16 training."""
    network = _network(recipe).train()
    seen: list[torch.dtype] = []

    def record(grus: list[nn.GRU], inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        outputs = run_grus(grus, inputs)
        with torch.autocast("cpu", enabled=False):
            expected = [gru(x)[0] for gru, x in zip(grus, inputs, strict=True)]
        torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-5)
        seen.extend(tensor.dtype for tensor in (*inputs, *outputs))
        return outputs

    monkeypatch.setattr(crnn, "run_grus", record)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(features[:1])
    assert seen == [torch.float32] * 4
    assert {value.dtype for value in output} == {torch.float32}
