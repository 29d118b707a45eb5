"""model.onnx and model.pt2 give what the model gives, or are not written."""

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from desed_task.errors import FaultError, InputError
from desed_task.model import Model, graphs, save_model
from tests.support.tiny_model import tiny_model, write_tiny_model


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    folder = tmp_path_factory.mktemp("model")
    model = write_tiny_model(folder)
    graphs.export_graphs(folder, onnx=True, torch_export=True)
    return folder, model


@pytest.fixture
def audio() -> Tensor:
    """Four clips, a number that the export did not try, with 0.7 s of digital silence."""
    clips = 0.2 * torch.randn(4, 16000, generator=torch.Generator().manual_seed(3))
    clips[1, 3000:8600] = 0
    return clips


def test_graphs_give_what_the_model_gives(exported: tuple[Path, Model], audio: Tensor) -> None:
    folder, model = exported
    with torch.no_grad():
        expected = model(audio)
        plain = torch.export.load(folder / "model.pt2").module()(audio)
    runtime = graphs.OnnxModel(folder)(audio)
    assert runtime.strong.shape == (4, 3, 31)
    for name, ours, *reference in zip(expected._fields, expected, runtime, plain, strict=True):
        for other in reference:
            torch.testing.assert_close(other, ours, atol=1e-4, rtol=0, msg=name)


def test_metadata_describe_the_graph(exported: tuple[Path, Model]) -> None:
    graph = onnx.load(exported[0] / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    about = {entry.key: entry.value for entry in graph.metadata_props}
    assert about["classes"] == '["Bell", "Cat 猫", "Dog"]'
    assert about["sample_rate"] == "8000"
    assert float(about["frame_seconds"]) == 0.064
    assert 0 <= float(about["largest_difference"]) < 1e-4
    batch = graph.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_param == "batch"


def test_a_graph_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_model(tmp_path)
    monkeypatch.setattr(
        graphs.RealLogMel, "forward", lambda self, audio: audio[:, : 16 * 63].reshape(-1, 16, 63)
    )
    with pytest.raises(FaultError, match=r"model\.onnx: not written: "):
        graphs.export_graphs(tmp_path, onnx=True, torch_export=False)
    assert not (tmp_path / "model.onnx").exists()


def test_a_graph_of_other_weights(exported: tuple[Path, Model], tmp_path: Path) -> None:
    model = tiny_model(seed=1)
    save_model(tmp_path, model)
    (tmp_path / "model.onnx").write_bytes((exported[0] / "model.onnx").read_bytes())
    with pytest.raises(InputError, match=r"model\.onnx: "):
        graphs.OnnxModel(tmp_path)


def test_a_folder_without_a_graph(tmp_path: Path) -> None:
    write_tiny_model(tmp_path)
    with pytest.raises(InputError, match=r"model\.onnx: .* --onnx "):
        graphs.OnnxModel(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"model\.onnx: cannot be read"):
        graphs.OnnxModel(tmp_path)
