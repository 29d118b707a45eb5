"""Encoders by their source, their digests, and one message for each source that cannot be had."""

import sys
from pathlib import Path

import pytest
import torch

from desed_task.encoder.sources import load_encoder, load_function, names_code
from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from tests.support.tiny_encoder import (
    CONVOLUTION,
    OTHER,
    PLAIN_FUNCTION,
    tiny_encoder_settings,
    write_encoder,
)

GRID = FrameGrid(clip_seconds=2.0)
CODE = """
from torch import nn

def three():
    return 3

def fails():
    raise ValueError("no checkpoint\\nmore")

def function():
    return lambda audio: audio

def weightless():
    return nn.Identity()

def other():
    return nn.Flatten()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the user's module `own_encoders`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.delitem(sys.modules, "own_encoders", raising=False)
    (tmp_path / "own_encoders.py").write_text(CODE)
    return tmp_path


def _message(source: str) -> str:
    with pytest.raises(InputError) as found:
        load_function(source)
    message = str(found.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_files(ending: str, tmp_path: Path) -> None:
    source = write_encoder(tmp_path / f"encoder.{ending}")
    audio = 0.1 * torch.randn(3, GRID.n_samples, generator=torch.Generator().manual_seed(0))
    encoder = load_encoder(tiny_encoder_settings(source), GRID)
    expected = load_encoder(tiny_encoder_settings(CONVOLUTION), GRID)
    torch.testing.assert_close(encoder.steps(audio), expected.steps(audio), rtol=0, atol=1e-5)
    with pytest.raises(InputError, match=r"cannot read audio \(batch, samples\) of \(3, 16000\)"):
        encoder.steps(audio[:, :16000])  # the file is for 2 s


def test_digests(tmp_path: Path) -> None:
    """They are SHA-256 of 64 digits, equal for equal weights, another for others."""
    file = Path(write_encoder(tmp_path / "encoder.pt2"))
    copy = file.rename(tmp_path / "copy.pt2")
    sources = [CONVOLUTION, OTHER, PLAIN_FUNCTION, str(copy)]
    digests = [load_function(source)[1] for source in sources]
    assert [load_function(source)[1] for source in sources] == digests
    assert len({*digests}) == 4
    assert {len(digest) for digest in digests} == {64}


def test_a_function_without_weights_is_identified_by_its_code(folder: Path) -> None:
    sources = [f"own_encoders:{name}" for name in ("function", "weightless", "other")]
    before = {load_function(source)[1] for source in sources}
    (folder / "own_encoders.py").write_text(CODE + "# another\n")
    assert len(before | {load_function(source)[1] for source in sources}) == 6


def test_own_code(folder: Path) -> None:
    here = "encoder.source own_encoders"
    assert _message("own_encoders:three") == (
        f"{here}:three: expected an nn.Module or another callable, got int"
    )
    place = folder / "own_encoders.py"
    assert _message("own_encoders:fails") == f"{here}:fails: {place}:8: ValueError: no checkpoint"
    assert "no attribute 'missing'" in _message("own_encoders:missing")
    assert "No module named 'nowhere'" in _message("nowhere.at_all:function")
    place.write_text("def f(:\n")
    del sys.modules["own_encoders"]
    assert "SyntaxError" in _message("own_encoders:f")
    assert "" not in sys.path


def test_files_that_cannot_be_read(folder: Path) -> None:
    for ending in ("onnx", "pt2"):
        name = f"encoder.{ending}"
        assert _message(name).startswith(f"{name}: cannot be read: No such file")
        Path(name).write_bytes(b"no encoder")
        assert _message(name).startswith(f"{name}: cannot be read: ")


def test_a_graph_with_two_inputs(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    kind = onnx.TensorProto.FLOAT
    audio, state, out = (
        onnx.helper.make_tensor_value_info(name, kind, [1, 8]) for name in ("audio", "state", "out")
    )
    node = onnx.helper.make_node("Add", ["audio", "state"], ["out"])
    graph = onnx.helper.make_graph([node], "graph", [audio, state], [out])
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "x.onnx"
    )
    found = _message(str(tmp_path / "x.onnx"))
    assert found.endswith("x.onnx: expected one input, the audio, got audio, state")


def test_missing_packages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    Path("encoder.onnx").touch()
    Path("model").mkdir()
    assert "pip install 'desed_task[onnx]'" in _message("encoder.onnx")
    assert "pip install 'desed_task[encoder]'" in _message("model")
    assert "pip install 'desed_task[encoder]'" in _message("owner/model")


def test_what_names_code(folder: Path) -> None:
    Path("a:b").mkdir()
    sources = [
        "a:c",
        "a.b:c",
        "a:b",
        "a.onnx",
        "a/b:c",
        "owner/model",
        "model",
        ":c",
        "a:",
        "a:b:c",
    ]
    assert [source for source in sources if names_code(source)] == ["a:c", "a.b:c"]
