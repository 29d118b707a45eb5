"""A training step never waits for its device: nothing reads a value between two drawn steps."""

import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.utils.data import DataLoader

from desed_task.augment import _overlap_add, _resampler, shift_pitch
from desed_task.dataio.batch import Batch
from local.config.load import Config, load_config
from local.run import experiment
from local.run.experiment import LOG_INTERVAL, make_trainer
from local.run.machine import Machine
from local.run.progress import Progress
from local.sed_trainer import CrossTaskSED
from tests.support.given_batches import given_batch
from tests.support.paths import CONFS

METHODS = ["Time mask", "Pitch shift", "Time shift", "Frequency mask", "Filter"]
# The recipe's network, narrow, on clips of a second and few frames (GRUs are slow on `meta`).
NARROW = (
    "data.audio_max_len=1",
    "feats.hop_length=1024",
    "net.rnn_layers=1",
    "net.nb_filters=[4, 4, 8, 8, 8]",
    "net.sed_filters=[8, 8]",
    "net.n_RNN_cell=4",
    "training.n_epochs=2",
    "training.validation_interval=2",
)
GPU = Machine(gpus=1)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def narrow(*overrides: str) -> Config:
    return load_config(CONFS / "sed.yaml", [*NARROW, *overrides])


class MetaAccelerator(CPUAccelerator):
    """PyTorch's `meta` device: its tensors have no values, and whatever reads one fails."""

    def setup_device(self, device: torch.device) -> None:
        pass


class MetaStrategy(SingleDeviceStrategy):
    """Without what is read before and after training: a loader's length, the weights."""

    def reduce(self, tensor: Any, *args: Any, **kwargs: Any) -> Tensor:
        return torch.tensor(1)

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        pass

    def teardown(self) -> None:
        pass


class MetaMachine(Machine):
    """As with one GPU, on the `meta` device."""

    def trainer_options(self, config: Config) -> dict[str, Any]:
        return {"strategy": MetaStrategy(torch.device("meta"), MetaAccelerator()), "plugins": []}


def fit(config: Config, machine: Machine, folder: Path, batch: Batch, steps: int) -> CrossTaskSED:
    """First epoch of the run's own trainer on one batch, without logged steps and validation."""
    trainer = make_trainer(config, machine, folder / "version_0", log_interval=1000)
    trainer.fit_loop.max_epochs = 1
    module = CrossTaskSED(config, steps)
    batches: Any = [batch] * steps
    trainer.fit(module, DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch))
    assert module.global_step == steps
    return module


@pytest.mark.parametrize("method", METHODS)
def test_on_a_device_without_values(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the bar asks for the loss, in every second step here and at the end of the epoch."""
    fetched: list[int] = []
    trainers: list[pl.Trainer] = []
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(experiment, "LOG_INTERVAL", 2)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(
        Progress, "on_train_start", lambda _, trainer, *__: trainers.append(trainer)
    )

    def fetch(self: Progress, loss: Tensor) -> float:
        assert loss.device.type == "meta"
        fetched.append(trainers[0].global_step)
        return 0.0

    monkeypatch.setattr(Progress, "_fetch", fetch)
    config = narrow(f"augs.aug_methods=[{method}]")
    batch = given_batch(config).to(torch.device("meta"))
    with pytest.raises(RuntimeError):
        bool(batch.audio.any())
    fit(config, MetaMachine(gpus=1), tmp_path, batch, steps=3)
    assert fetched == [2, 3, 3]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("method", METHODS)
def test_on_a_gpu(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same through CUDA's own check, from the second step on."""

    class NoWaiting(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step == 1:
                torch.cuda.set_sync_debug_mode("error")

        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step == LOG_INTERVAL - 2:
                torch.cuda.set_sync_debug_mode("default")

    config = narrow(f"augs.aug_methods=[{method}]", "training.precision=bf16-mixed")
    make = make_trainer

    def make_watched(*args: Any, **options: Any) -> pl.Trainer:
        trainer = make(*args, **options)
        trainer.callbacks.append(NoWaiting())  # type: ignore[attr-defined]
        return trainer

    monkeypatch.setattr(sys.modules[__name__], "make_trainer", make_watched)
    batch = given_batch(config).to(torch.device("cuda"))
    try:
        module = fit(config, GPU, tmp_path, batch, LOG_INTERVAL)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert module.loss.isfinite()


@pytest.mark.parametrize(("length", "frames"), [(16000, 126), (15900, 124)])
def test_overlap_add_is_pytorchs(length: int, frames: int) -> None:
    window = torch.hann_window(512)
    spectrum = torch.randn(3, 257, frames, dtype=torch.complex64)
    expected = torch.istft(spectrum, 512, 128, window=window, length=length)
    torch.testing.assert_close(_overlap_add(spectrum.mT, window, 128, length), expected)


def test_filters_of_the_pitch_shift_are_made_before_training() -> None:
    """Made in a step, they would be copied to a GPU from memory that it waits for."""
    config = narrow("augs.aug_methods=[Pitch shift]")
    _resampler.cache_clear()
    module = CrossTaskSED(config)
    module.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module.on_train_start()
    made = _resampler.cache_info().misses
    assert made == 2 * config.augs.aug_scale
    for level in range(1, config.augs.aug_scale + 1):
        for sign in (-1, 1):
            shift_pitch(torch.zeros(1, 16000), sign * level * config.augs.pitch_shift, 16000)
    assert _resampler.cache_info().misses == made


def test_compiled_convolutions_are_used_in_training_and_named_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def compiler(function: Any, **options: Any) -> Any:
        def compiled(*arguments: Any) -> Any:
            calls.append(options)
            return function(*arguments)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    config = narrow("net.dropout=0", "net.dropout_output=0")
    network: Any = CrossTaskSED(config).networks["student"]
    features = torch.rand(2, 128, 16)
    expected, names = network(features), list(network.state_dict())
    network.compile_convolutions()
    for mine, reference in zip(network(features), expected, strict=True):
        assert torch.equal(mine, reference)
    assert calls == [{"dynamic": False}]
    network.eval()(features)
    assert len(calls) == 1
    assert list(network.state_dict()) == names


def test_training_compiles_each_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever batches validation has between two epochs."""
    torch._dynamo.reset()
    counter, compiler = CompileCounter(), torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **options: compiler(function, backend=counter, **options)
    )
    networks: Any = CrossTaskSED(narrow()).networks
    for network in networks.values():
        network.compile_convolutions()
    graphs = []
    for _ in range(2):
        networks.train()
        for _ in range(2):
            networks["student"](torch.rand(2, 128, 16))
            with torch.no_grad():
                networks["teacher"](torch.rand(2, 128, 16))
        graphs.append(counter.frame_count)
        networks.eval()
        for clips in (1, 3):
            for network in networks.values():
                with torch.no_grad():
                    network(torch.rand(clips, 128, 16), with_sod=clips > 1)
    assert graphs[0] > 0
    assert counter.frame_count == graphs[1] == graphs[0]


@pytest.mark.gpu
@needs_gpu
def test_compiled_convolutions_give_the_same_numbers(tmp_path: Path) -> None:
    losses: list[Tensor] = []
    for compiled in ("false", "true"):
        config = narrow(
            "net.dropout=0",
            "net.dropout_output=0",
            f"training.compile={compiled}",
            "training.precision=32",
        )
        torch.manual_seed(0)
        batch = given_batch(config).to(torch.device("cuda"))
        losses.append(fit(config, GPU, tmp_path / compiled, batch, 1).loss)
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=0)
