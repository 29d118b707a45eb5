"""A model's folder: what is written is read back; what does not fit is refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from desed_task.errors import FaultError, InputError
from desed_task.model import load_model, save_model
from desed_task.model.folder import read_description, write_description
from local.config.load import load_config
from tests.support.compare import assert_equal
from tests.support.paths import CONFS
from tests.support.tiny_model import tiny_description, tiny_model, write_tiny_model

OLDER = Path(__file__).parent / "older_models"


def test_a_model_is_read_back(tmp_path: Path) -> None:
    written = write_tiny_model(tmp_path / "model")
    read = load_model(tmp_path / "model")
    digest = read.description.weights_sha256
    assert written.description.model_copy(update={"weights_sha256": digest}) == read.description
    assert_equal(written.state_dict(), read.state_dict())
    audio = 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for before, after in zip(written(audio), read(audio), strict=True):
            assert torch.equal(before, after)
    assert not any(module.training for module in read.modules())
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "model",
        "model.json",
        "weights.safetensors",
    ]


def test_statistics_of_a_data_set_are_read_back(tmp_path: Path) -> None:
    scaler = {"statistic": "dataset", "normtype": "standard", "dims": (2,)}
    description = tiny_description()
    changed = description.model_copy(
        update={"scaler": description.scaler.model_copy(update=scaler)}
    )
    model = tiny_model(scaler=changed.scaler)
    model.scaler.fit([torch.randn(2, 16, 63)])
    save_model(tmp_path / "model", model)
    assert torch.equal(load_model(tmp_path / "model").scaler.deviation, model.scaler.deviation)


@pytest.mark.parametrize("name", ["demo", "sed"])
def test_a_description_of_an_older_run(name: str, tmp_path: Path) -> None:
    """model.json of format 1, written in 2026-11; the demo's has infinite thresholds."""
    content = (OLDER / f"{name}.json").read_text()
    (tmp_path / "model.json").write_text(content)
    description = read_description(tmp_path)
    written = json.loads(content, parse_constant=str)
    write_description(tmp_path, description)
    text = (tmp_path / "model.json").read_text()
    read = json.loads(text, parse_constant=pytest.fail)
    assert written["network"].pop("n_classes") == len(description.classes)
    assert read.pop("format") == 2
    tuned = read["postprocessing"]["tuned"]  # older models chose no method and calibrated nothing
    assert (tuned.pop("selection"), tuned.pop("calibration")) == (None, {})
    assert read == {key: value for key, value in written.items() if key != "format"}
    config = load_config(CONFS / f"{name}.yaml")
    assert description.features == config.feats
    assert description.scaler == config.scaler
    assert description.network == config.net
    assert description.correction == config.correction
    for key in ("convolution", "basis_kernels", "attention_temperature"):  # the first format 1
        del written["network"][key]
    (tmp_path / "model.json").write_text(json.dumps(written))
    assert read_description(tmp_path) == description


def _edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "model.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


DESCRIPTIONS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another format": (lambda c: c.update(format=3), "format: expected 2, got 3"),
    "unknown key": (lambda c: c.update(colour=1), "colour: unknown key: expected one of format"),
    "unknown key of the network": (
        lambda c: c["network"].update(nb_filter=[4]),
        "network.nb_filter: unknown key (did you mean nb_filters?)",
    ),
    "missing key": (lambda c: c.pop("scaler"), "scaler: missing"),
    "fewer classes": (lambda c: c["classes"].pop(), "postprocessing.median.window: expected a"),
    "one class twice": (lambda c: c.update(classes=["Bell"] * 3), "classes: expected distinct"),
    "endless windows": (
        lambda c: c["features"].update(n_window=10**12),
        "features.n_window: expected at most 65536",
    ),
    "hours as a window": (
        lambda c: c.update(clip_seconds=3600.0, sample_rate=96000),
        "clip_seconds: expected at most 33554432 samples",
    ),
    "a band above half the rate": (
        lambda c: c["features"].update(f_max=4001.0),
        "features.f_max: expected at most half of the sample rate 8000, got 4001",
    ),
    "bands that are not pooled to one": (
        lambda c: c["features"].update(n_mels=32),
        "network.sed_pooling: expected pooling of 32 bands to exactly 1, got 2",
    ),
    "a clip without frames": (
        lambda c: c["network"].update(pooling=[[64, 2], [1, 2], [1, 2]]),
        "network.pooling: expected at least 1 frame",
    ),
    "endless layers": (lambda c: c["network"].update(rnn_layers=10**9), "expected at most 100"),
    "endless filters": (
        lambda c: c["network"].update(nb_filters=[10**9, 4, 8]),
        "does not fit model.json",
    ),
    "no number": (
        lambda c: c.update(clip_seconds="ten"),
        "expected a decimal number",
    ),
    "another kernel": (
        lambda c: c["network"].update(kernel_size=[5, 3, 3]),
        "network.backbone.0.conv.weight: expected (4, 1, 5, 5) torch.float32, got (4, 1, 3, 3)",
    ),
    "without SOD": (
        lambda c: (c["network"].update(sod_branch=False), c.update(correction=None)),
        "network.sod_fusion.conv.bias is unknown",
    ),
    "correction without SOD": (
        lambda c: c["network"].update(sod_branch=False),
        "correction: expected null",
    ),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_that_does_not_fit(name: str, tmp_path: Path) -> None:
    change, message = DESCRIPTIONS[name]
    write_tiny_model(tmp_path)
    _edit(tmp_path, change)
    with pytest.raises(InputError) as caught:
        load_model(tmp_path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


def _replaced(folder: Path, content: bytes) -> None:
    """Other weights, with their digest in model.json."""
    (folder / "weights.safetensors").write_bytes(content)
    _edit(folder, lambda c: c.update(weights_sha256=hashlib.sha256(content).hexdigest()))


def _tensors(**changes: Any) -> bytes:
    model = tiny_model()
    tensors = {f"network.{name}": t.clone() for name, t in model.network.state_dict().items()}
    for name, tensor in changes.items():
        key = f"network.{name.replace('__', '.')}"
        if tensor is None:
            del tensors[key]
        else:
            tensors[key] = tensor
    return safetensors.torch.save(tensors)


HUGE = b'{"a":{"dtype":"F32","shape":[274877906944],"data_offsets":[0,1099511627776]}}'
WEIGHTS = {
    "a tensor is missing": (_tensors(sed_scale=None), "network.sed_scale is missing"),
    "an unknown tensor": (_tensors(more=torch.ones(1)), "network.more is unknown"),
    "no number": (_tensors(sed_scale=torch.tensor([torch.nan])), "expected finite numbers"),
    "another type": (_tensors(sed_scale=torch.ones(1).double()), "got (1,) torch.float64"),
    "not safetensors": (b"PK\x03\x04 a pickle", "cannot be read"),
    "empty": (b"", "cannot be read"),
    "a header of 2^60 bytes": (b"\xff\xff\xff\xff\xff\xff\xff\x0f{}", "cannot be read"),
    "a tensor of 2^40 bytes": (
        len(HUGE).to_bytes(8, "little") + HUGE,
        "cannot be read",
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_do_not_fit(name: str, tmp_path: Path) -> None:
    content, message = WEIGHTS[name]
    write_tiny_model(tmp_path)
    _replaced(tmp_path, content)
    with pytest.raises(InputError, match=r"weights\.safetensors: ") as caught:
        load_model(tmp_path)
    assert message in str(caught.value)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    write_tiny_model(tmp_path)
    weights = bytearray((tmp_path / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match=r"weights\.safetensors: "):
        load_model(tmp_path)


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing: "):
        load_model(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"model\.json: .*No such file"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"model\.json: content: not valid JSON"):
        load_model(tmp_path)


def test_a_device_is_no_file(tmp_path: Path) -> None:
    write_tiny_model(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    (tmp_path / "weights.safetensors").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="expected a file, got a folder or device"):
        load_model(tmp_path)


def test_a_failed_save_leaves_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write_tiny_model(tmp_path / "model")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    real_rename = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if target == tmp_path / "model" and not self.name.endswith("-old"):
            full()
        return real_rename(self, target)

    for name, function in (("write_text", full), ("rename", rename)):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, function)
            with pytest.raises(FaultError, match="model: cannot be written: No space left"):
                write_tiny_model(tmp_path / "model", clip_seconds=1.0)
        assert_equal(load_model(tmp_path / "model").state_dict(), before.state_dict())
        assert [path.name for path in tmp_path.iterdir()] == ["model"]
