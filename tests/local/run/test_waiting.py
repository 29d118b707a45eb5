"""A training step never waits for its device: nothing in it asks for a number that is there."""

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from desed_task.augment import _overlap_add
from local.config.load import Config, load_config
from tests.support.paths import CONFS
from tests.support.training_step import NARROW, OurStep, random_batch

METHODS = ["Time mask", "Pitch shift", "Time shift", "Frequency mask", "Filter"]


def small(*overrides: str) -> Config:
    return load_config(CONFS / "sed.yaml", [*NARROW, *overrides])


@pytest.mark.parametrize("method", METHODS)
def test_on_a_device_without_numbers(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PyTorch's `meta` device whatever reads a value fails: `bool()`, boolean indices, …"""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    config = small(f"augs.aug_methods=[{method}]")
    step = OurStep(config, random_batch(12, config, torch.device("cpu")).to("meta"))
    with pytest.raises(RuntimeError):
        bool(step.batch.audio.any())
    step.run()
    assert step.loss.device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_on_a_gpu(method: str) -> None:
    config = small(f"augs.aug_methods=[{method}]")
    step = OurStep(config, random_batch(12, config, torch.device("cuda")), "bf16")
    step.run()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step.run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert step.loss.isfinite()


@pytest.mark.parametrize(("length", "frames"), [(16000, 126), (15900, 124)])
def test_overlap_add_is_pytorchs(length: int, frames: int) -> None:
    window = torch.hann_window(512)
    spectrum = torch.randn(3, 257, frames, dtype=torch.complex64)
    expected = torch.istft(spectrum, 512, 128, window=window, length=length)
    torch.testing.assert_close(_overlap_add(spectrum.mT, window, 128, length), expected)


def test_compiled_convolutions_are_used_and_named_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def compiler(function: Any, **options: Any) -> Any:
        def compiled(*arguments: Any) -> Any:
            calls.append(options)
            return function(*arguments)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    step = OurStep(small(), random_batch(12, small(), torch.device("cpu")))
    network: Any = step.student.eval()
    features = torch.rand(2, 128, 63)
    expected, names = network(features), list(network.state_dict())
    network.compile_convolutions()
    for mine, theirs in zip(network(features), expected, strict=True):
        assert torch.equal(mine, theirs)
    assert calls == [{"dynamic": False}]
    assert list(network.state_dict()) == names


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_compiled_convolutions_give_the_same_numbers() -> None:
    config = small("net.dropout=0", "net.dropout_output=0")
    batch = random_batch(12, config, torch.device("cuda"))
    losses: list[Tensor] = []
    for compiled in (False, True):
        torch.manual_seed(0)
        step = OurStep(config, batch)
        if compiled:
            for network in (step.student, step.teacher):
                _compile(network)
        step.run()
        losses.append(step.loss.detach())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=0)


def _compile(network: nn.Module) -> None:
    network.compile_convolutions()  # type: ignore[operator]
