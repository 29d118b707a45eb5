"""Models with an encoder: what their folder holds, and whose encoder they run with."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from desed_task.errors import InputError
from desed_task.model import Model, graphs, load_model
from tests.support.tiny_encoder import (
    CONVOLUTION,
    OTHER,
    PLAIN_FUNCTION,
    Convolution,
    tiny_encoder_settings,
    write_encoder,
)
from tests.support.tiny_model import tiny_model, write_tiny_model


def _audio(batch: int = 2) -> Tensor:
    return 0.1 * torch.randn(batch, 16000, generator=torch.Generator().manual_seed(1))


def _strong(model: Model) -> Tensor:
    with torch.no_grad():
        strong: Tensor = model(_audio()).strong
    return strong


def test_the_user_names_the_encoder_again(tmp_path: Path) -> None:
    """The folder has its settings and digest, not its weights, and its source is not run."""
    written = write_tiny_model(tmp_path, encoder=tiny_encoder_settings())
    weights = safetensors.torch.load_file(tmp_path / "weights.safetensors")
    assert not [name for name in weights if name.startswith("encoder.")]
    content = json.loads((tmp_path / "model.json").read_text())
    assert content["encoder"]["source"] == CONVOLUTION
    content["encoder"]["source"] = "tests.support.nowhere:run"
    (tmp_path / "model.json").write_text(json.dumps(content))
    assert torch.equal(_strong(load_model(tmp_path, CONVOLUTION)), _strong(written))
    with pytest.raises(
        InputError, match=r"expected --encoder SOURCE, which was tests\.support\.nowhere:run \(SHA"
    ):
        load_model(tmp_path)


def test_scores_depend_on_the_encoder() -> None:
    scores = [
        _strong(tiny_model(encoder=tiny_encoder_settings(source)))
        for source in (CONVOLUTION, OTHER)
    ]
    assert (scores[0] - scores[1]).abs().max() > 0.01


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_encoders_in_files(ending: str, tmp_path: Path) -> None:
    source = write_encoder(tmp_path / f"encoder.{ending}")
    folder = tmp_path / "model"
    write_tiny_model(folder, encoder=tiny_encoder_settings(source))
    expected = _strong(tiny_model(encoder=tiny_encoder_settings()))
    moved = Path(source).rename(tmp_path / f"moved.{ending}")
    found = _strong(load_model(folder, str(moved)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_another_encoder(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "with", encoder=tiny_encoder_settings())
    write_tiny_model(tmp_path / "without")
    for source in (OTHER, PLAIN_FUNCTION):
        with pytest.raises(InputError, match=rf"^--encoder {source}: is not the encoder of "):
            load_model(tmp_path / "with", source)
    with pytest.raises(InputError, match=r"--encoder .*without has no encoder: expected no"):
        load_model(tmp_path / "without", CONVOLUTION)


def test_a_rate_whose_filters_are_huge(tmp_path: Path) -> None:
    """A folder from elsewhere must not make its reader allocate without limit."""
    write_tiny_model(tmp_path, encoder=tiny_encoder_settings())
    path = tmp_path / "model.json"
    path.write_text(path.read_text().replace('"sample_rate": 16000', '"sample_rate": 999983'))
    with pytest.raises(InputError, match=r"encoder\.sample_rate: .* got 999983 \(999983:8000\)"):
        load_model(tmp_path, CONVOLUTION)


def test_trained_weights_are_in_the_folder(tmp_path: Path) -> None:
    """They replace those of the source, which may be another of the same architecture."""
    settings = tiny_encoder_settings(train=True)
    written = write_tiny_model(tmp_path, encoder=settings)
    names = safetensors.torch.load_file(tmp_path / "weights.safetensors")
    assert "encoder.function.linear.weight" in names
    assert torch.equal(_strong(load_model(tmp_path, OTHER)), _strong(written))
    with pytest.raises(InputError, match=r"does not fit model\.json: encoder\.function\.convol"):
        load_model(tmp_path, PLAIN_FUNCTION)


def test_a_digest_belongs_to_an_encoder(tmp_path: Path) -> None:
    write_tiny_model(tmp_path, encoder=tiny_encoder_settings())
    path = tmp_path / "model.json"
    content = json.loads(path.read_text())
    for change in ({"encoder": None}, {"encoder_sha256": ""}):
        path.write_text(json.dumps(content | change))
        with pytest.raises(InputError, match=r"model\.json: encoder_sha256: expected a digest"):
            load_model(tmp_path, CONVOLUTION)


NUMPY = "tests.desed_task.model.test_encoder:through_numpy"
LAYERS = "tests.desed_task.model.test_encoder:several_layers"


class _ThroughNumpy(Convolution):
    """Leaves PyTorch, as feature extractors do."""

    def forward(self, audio: Tensor) -> Tensor:
        return super().forward(torch.from_numpy(audio.numpy() * 1.0))


def through_numpy() -> Convolution:
    """A source."""
    return _ThroughNumpy(0)


class _Layers(Convolution):
    """Gives hidden layers, the last of which is the output."""

    def forward(self, audio: Tensor) -> list[Tensor]:  # type: ignore[override]
        output = super().forward(audio)
        return [2 * output, output.flip(1), output]


def several_layers() -> Convolution:
    """A source."""
    return _Layers(0)


def _source(name: str, folder: Path) -> str:
    return write_encoder(folder / f"encoder.{name}") if name in ("pt2", "onnx") else name


@pytest.mark.parametrize(
    ("name", "layers"),
    [(CONVOLUTION, ()), (LAYERS, ()), (LAYERS, (0, 1)), ("pt2", ()), ("onnx", (0,))],
)
def test_the_onnx_graph_has_the_encoder(name: str, layers: tuple[int, ...], tmp_path: Path) -> None:
    """With its resampling and the hidden layers that are used; the runtime needs no source."""
    if name != "onnx":
        pytest.importorskip("onnxscript")
    folder, source = tmp_path / "model", _source(name, tmp_path)
    model = write_tiny_model(folder, encoder=tiny_encoder_settings(source, layers=layers))
    graphs.export_graphs(folder, onnx=True, torch_export=False, encoder=source)
    runtime = graphs.OnnxModel(folder)
    for batch in (1, 4):  # 4: the export did not try it
        with torch.no_grad():
            expected = model(_audio(batch))
        for field, wanted, found in zip(
            expected._fields, expected, runtime(_audio(batch)), strict=True
        ):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0, msg=field)


def test_the_program_has_the_encoder(tmp_path: Path) -> None:
    """In float32, whatever the precision of the training."""
    folder, source = tmp_path / "model", _source("pt2", tmp_path)
    settings = tiny_encoder_settings(source, precision="bf16")
    write_tiny_model(folder, encoder=settings)
    graphs.export_graphs(folder, onnx=False, torch_export=True, encoder=source)
    expected = _strong(tiny_model(encoder=tiny_encoder_settings(source)))
    with torch.no_grad():
        strong, *_ = torch.export.load(folder / "model.pt2").module()(_audio())
    torch.testing.assert_close(strong, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "onnx", "reason"),
    [
        ("onnx", False, r"expected an nn\.Module or a file \.pt2, got an ONNX graph"),
        (PLAIN_FUNCTION, True, r"expected .* or \.onnx, got a Python function"),
        (PLAIN_FUNCTION, False, "got a Python function"),
        (NUMPY, False, "it computes outside PyTorch, by NumPy"),
    ],
)
def test_what_is_no_graph(name: str, onnx: bool, reason: str, tmp_path: Path) -> None:
    folder, source = tmp_path / "model", _source(name, tmp_path)
    write_tiny_model(folder, encoder=tiny_encoder_settings(source))
    file = "model.onnx" if onnx else "model.pt2"
    message = rf"^{file}: not written: the encoder .* cannot be inside: .*{reason}"
    with pytest.raises(InputError, match=message) as error:
        graphs.export_graphs(folder, onnx=onnx, torch_export=not onnx, encoder=source)
    assert "\n" not in str(error.value)
    assert not (folder / file).exists()
