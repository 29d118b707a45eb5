"""Checkpoints, ours and the published one, become models that give the same scores."""

import json
from pathlib import Path

import pytest
import torch

from desed_task.dataio.batch import Batch
from desed_task.detect import Detector
from desed_task.errors import InputError
from desed_task.model import load_model
from local.config.load import Config
from local.export import main
from local.run.checkpoints import checkpoint_config, read_checkpoint
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT
from local.run.weights import load_tested
from tests.support.classes import CLASSES
from tests.support.tiny import make_data, tiny_config
from tests.support.tiny_encoder import (
    CONVOLUTION,
    OTHER,
    tiny_encoder_settings,
    write_encoder,
)
from tests.support.training import train


@pytest.fixture(scope="module")
def config(tiny_data: Path) -> Config:
    return tiny_config(tiny_data, "training.n_epochs=1", "data.audio_max_len=2")


@pytest.fixture(scope="module")
def checkpoint(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    train(config, run)
    return run / CHECKPOINTS / LAST_CHECKPOINT


def _scores(checkpoint: Path, network: str, audio: torch.Tensor) -> torch.Tensor:
    """Strong scores of the trainer's network, by its own path."""
    config = checkpoint_config(read_checkpoint(checkpoint), "")
    module = load_tested(config, checkpoint).module
    module.eval()
    with torch.no_grad():
        return module.networks[network](module.features(audio)).strong


@pytest.mark.parametrize("network", ["student", "teacher"])
def test_a_model_gives_the_scores_of_its_checkpoint(
    network: str, checkpoint: Path, config: Config, tmp_path: Path
) -> None:
    main([f"--checkpoint={checkpoint}", f"--output={tmp_path / 'model'}", f"--network={network}"])
    model = load_model(tmp_path / "model")
    audio = 0.1 * torch.randn(2, config.grid.n_samples, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(
            model(audio).strong, _scores(checkpoint, network, audio), rtol=0, atol=1e-6
        )
    description = model.description
    assert description.grid == config.grid
    assert description.classes == CLASSES
    assert description.source == f"{network} of last.ckpt"
    assert description.correction is not None
    assert description.correction.excluded_classes == ("Dishes",)
    windows = config.postprocess.median_window
    assert description.postprocessing.median.window == windows
    content = json.loads((tmp_path / "model" / "model.json").read_text())
    assert content["trained_on"]["weak_tsv"] == config.data.paths()["weak_tsv"]


def test_the_published_checkpoint(published_checkpoint: Path, tmp_path: Path) -> None:
    main([f"--checkpoint={published_checkpoint}", f"--output={tmp_path / 'model'}"])
    model = load_model(tmp_path / "model")
    audio = 0.1 * torch.randn(1, 160_000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = _scores(published_checkpoint, "student", audio)
        torch.testing.assert_close(model(audio).strong, expected, rtol=0, atol=1e-6)


def test_what_cannot_be_exported(checkpoint: Path, tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="photos: "):
        main([f"--checkpoint={checkpoint}", f"--output={tmp_path / 'photos'}"])
    alone = tiny_config(tiny_data, "training.n_epochs=1", "training.mean_teacher=false")
    train(alone, tmp_path / "run")
    last = tmp_path / "run" / CHECKPOINTS / LAST_CHECKPOINT
    with pytest.raises(InputError, match="--network: expected student, got teacher"):
        main([f"--checkpoint={last}", f"--output={tmp_path / 'a'}", "--network=teacher"])
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("trained", [False, True])
def test_a_training_with_an_encoder(trained: bool, tiny_data: Path, tmp_path: Path) -> None:
    """Its networks give the same scores in the model, and in the graph, which has the encoder."""
    name = CONVOLUTION if trained else write_encoder(tmp_path / "encoder.onnx")
    encoder = tiny_encoder_settings(name, train=trained, layer_decay=1.0).plain()
    shown = ", ".join(f"{key}: {json.dumps(value)}" for key, value in encoder.items())
    given = ("training.n_epochs=1", "data.audio_max_len=2", f"encoder={{{shown}}}")
    config = tiny_config(tiny_data, *given)
    train(config, tmp_path / "run")
    checkpoint, folder = tmp_path / "run" / CHECKPOINTS / LAST_CHECKPOINT, tmp_path / "model"
    graph = [] if trained else ["--onnx"]
    main(
        [f"--checkpoint={checkpoint}", f"--output={folder}", f"--set=encoder.source={name}", *graph]
    )
    module = load_tested(config, checkpoint).module.eval()
    audio = 0.1 * torch.randn(2, config.grid.n_samples, generator=torch.Generator().manual_seed(1))
    embedded = Batch(audio, torch.zeros(2, 1, 1), torch.zeros(2), (), torch.zeros(2))
    with torch.no_grad():
        expected = module.predict(embedded)[1]["student"].strong
        found = load_model(folder, name)(audio).strong
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        if trained:  # the folder has the weights
            torch.testing.assert_close(load_model(folder, OTHER)(audio).strong, found)
            return
    with pytest.raises(InputError, match=rf"--encoder {OTHER}: "):
        load_model(folder, OTHER)
    runtime = Detector.load(folder, runtime="onnx").model
    torch.testing.assert_close(runtime(audio).strong, expected, rtol=0, atol=1e-4)
    with pytest.raises(InputError, match=r"^--encoder: expected none with --runtime onnx"):
        Detector.load(folder, runtime="onnx", encoder=name)


def test_stored_embeddings(tmp_path: Path) -> None:
    """A model needs no encoder to be written; a graph does, and code is named again."""
    encoder = tiny_encoder_settings(CONVOLUTION, mode="cached").plain()
    shown = ", ".join(f"{key}: {json.dumps(value)}" for key, value in encoder.items())
    given = ("training.n_epochs=1", "data.audio_max_len=2", f"encoder={{{shown}}}")
    train(tiny_config(make_data(tmp_path / "data"), *given), tmp_path / "run")
    checkpoint, folder = tmp_path / "run" / CHECKPOINTS / LAST_CHECKPOINT, tmp_path / "model"
    output = [f"--checkpoint={checkpoint}", f"--output={folder}"]
    main(output)
    description = load_model(folder, CONVOLUTION).description
    assert description.encoder is not None
    assert description.encoder.source == CONVOLUTION
    with pytest.raises(InputError, match=rf"expected --set encoder\.source={CONVOLUTION}"):
        main([*output, "--torch_export"])
    with pytest.raises(InputError, match=rf"expected it as encoder\.source, got {OTHER}"):
        main([*output, "--torch_export", f"--set=encoder.source={OTHER}"])
