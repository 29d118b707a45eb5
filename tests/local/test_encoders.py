"""Trainings with a frozen encoder: it reads the audio of every step, or its stored embeddings."""

from pathlib import Path
from typing import Any

import pytest
import torch

from desed_task.augment import distort
from desed_task.dataio.embeddings import Embeddings
from desed_task.encoder.settings import EncoderSettings
from desed_task.encoder.sources import load_encoder
from desed_task.errors import InputError, Terminated
from desed_task.frames import FrameGrid
from local import audio_sets, encoders
from local.audio_sets import prepare_sets, training_sets
from local.config.load import Config, load_config, override_config
from local.embed import main as embed
from local.encoders import configured_encoder, store_missing
from local.run import checkpoints
from local.run.checkpoints import checkpoint_config, read_checkpoint
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT
from local.run.weights import load_tested, start_from
from local.sed_trainer import CrossTaskSED
from tests.support import tiny_encoder
from tests.support.compare import assert_equal
from tests.support.given_batches import given_batch
from tests.support.paths import CONFS
from tests.support.tiny import NETWORK, make_data, overrides, tiny_config
from tests.support.tiny_encoder import (
    CACHED,
    CONVOLUTION,
    ENCODER,
    OTHER,
    tiny_encoder_settings,
    write_encoder,
)
from tests.support.training import Recorder, Trained, train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set, beside whose audio embeddings are stored."""
    return make_data(tmp_path_factory.mktemp("generated") / "data")


def _refuse(*_: Any) -> Any:
    raise AssertionError("the encoder was loaded")


@pytest.fixture(scope="module")
def cached(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training that stores the embeddings first."""
    return train(tiny_config(data, *CACHED), tmp_path_factory.mktemp("cached"))


def test_a_training_with_stored_embeddings_needs_no_encoder(
    cached: Trained, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "load_encoder", _refuse)
    again = train(tiny_config(data, *CACHED), tmp_path)
    assert again.recorder.losses == cached.recorder.losses
    assert again.module.encoder_digest == cached.module.encoder_digest


def test_validation_is_that_of_the_encoder(cached: Trained, data: Path) -> None:
    """Within the rounding of float16."""
    online = tiny_config(data, *ENCODER)
    path = Path(cached.trainer.checkpoint_callback.dirpath) / LAST_CHECKPOINT  # type: ignore[union-attr]
    module = load_tested(online, path).module.eval()
    loaders = cached.trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
    batches = [batch.with_float_audio() for loader in loaders for batch in loader]
    assert len(batches) > 1
    cached.module.eval()
    for batch in batches:
        with torch.no_grad():
            (_, expected), (_, got) = module.predict(batch), cached.module.predict(batch)
        for name, output in expected.items():
            for one, other in zip(output, got[name], strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-3)


@pytest.mark.parametrize("encoder", [ENCODER, CACHED], ids=["online", "cached"])
def test_an_interrupted_run_is_resumed_to_the_bit(
    encoder: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    config = tiny_config(data, *encoder, "encoder.dropout=0.5")
    whole = train(config, tmp_path / "whole")
    with pytest.raises(Terminated):
        train(config, tmp_path / "parts", Recorder("step", 5))
    last = tmp_path / "parts" / CHECKPOINTS / LAST_CHECKPOINT
    if encoder == CACHED:  # not named again: its stored embeddings are enough
        config = checkpoint_config(read_checkpoint(last), str(last))
    rest = train(config, tmp_path / "parts", resume=last)
    assert_equal(whole.module.state_dict(), rest.module.state_dict())
    assert whole.recorder.losses[5:] == rest.recorder.losses
    assert read_checkpoint(last)["hyper_parameters"]["encoder"]["source"] == CONVOLUTION


def test_checkpoints_name_the_encoder_and_have_no_weights_of_it(online: Path) -> None:
    content = read_checkpoint(online)
    module = CrossTaskSED(load_config(CONFS / "demo.yaml", [*NETWORK, *ENCODER]))
    assert content["state_dict"].keys() == module.state_dict().keys()
    assert content["encoder_sha256"] == load_encoder(tiny_encoder_settings(), FrameGrid()).digest
    assert content["hyper_parameters"]["encoder"]["source"] == CONVOLUTION


@pytest.fixture(scope="module")
def online(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a training of one epoch whose encoder reads the audio."""
    run = tmp_path_factory.mktemp("online")
    train(tiny_config(data, *ENCODER, "training.n_epochs=1"), run)
    return run / CHECKPOINTS / LAST_CHECKPOINT


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), rf"{CONVOLUTION}: is code, .*: expected --set encoder\.source={CONVOLUTION}$"),
        (
            (f"encoder.source={OTHER}",),
            rf"expected it as encoder\.source, got {OTHER}, which has SHA-256 \w{{12}}…$",
        ),
        (("encoder.source=gone:away",), r".*gone:away.*; --set encoder\.source=SOURCE names it$"),
    ],
    ids=["unnamed code", "another", "missing"],
)
def test_a_test_without_the_encoder_says_what_is_missing(
    given: tuple[str, ...], message: str, online: Path
) -> None:
    config = checkpoints.test_config(read_checkpoint(online), None, given, str(online))
    start = rf"^{online}: needs the encoder of its training \(SHA-256 \w{{12}}…\): "
    with pytest.raises(InputError, match=start + message) as caught:
        load_tested(config, online)
    assert "\n" not in str(caught.value)


def test_the_encoder_that_the_user_names_is_run(online: Path, tmp_path: Path) -> None:
    """On the command line, in a file, and not where a further key alone is given."""
    content = read_checkpoint(online)
    named = checkpoints.test_config(content, None, [f"encoder.source={CONVOLUTION}"], "")
    chosen = load_config(CONFS / "demo.yaml", overrides(tmp_path, *ENCODER, "encoder.dropout=0.5"))
    from_file = checkpoints.test_config(content, chosen, [], "")
    assert from_file.encoder == named.encoder  # but for the source, that of the checkpoint
    for config in (named, from_file):
        assert load_tested(config, online).module.encoder_digest == content["encoder_sha256"]
    with pytest.raises(InputError, match="is code"):
        load_tested(checkpoints.test_config(content, None, ["encoder.precision=bf16"], ""), online)


def test_a_resumed_run_has_the_same_encoder(online: Path, data: Path, tmp_path: Path) -> None:
    other = tiny_config(data, *ENCODER, f"encoder.source={OTHER}")
    with pytest.raises(InputError, match=rf"^{online}: needs the encoder .* got {OTHER}, which"):
        train(other, tmp_path, resume=online)
    with pytest.raises(InputError, match=rf"^{online}: needs the encoder .* got {OTHER}, which"):
        train(override_config(other, ["training.n_epochs=3"]), tmp_path, resume=online)


def test_a_training_starts_from_one_with_another_encoder_or_none(
    online: Path, data: Path, tmp_path: Path
) -> None:
    """The layers that join the embeddings are loaded where the encoder is the same."""
    plain = tmp_path / "plain"
    train(tiny_config(data, "training.n_epochs=1"), plain)
    layers = ["student.sed_embedding.weight", "student.sod_embedding.weight"]
    own, other = ([*NETWORK, *ENCODER, f"encoder.source={name}"] for name in (CONVOLUTION, OTHER))
    for settings, checkpoint, new in (
        (own, online, False),
        (other, online, True),
        (own, plain / CHECKPOINTS / LAST_CHECKPOINT, True),
    ):
        config = load_config(CONFS / "demo.yaml", settings)
        module = CrossTaskSED(config, encoder=configured_encoder(config))
        line, _ = start_from(module, checkpoint)
        assert [name in line for name in layers] == [new] * 2, line
        stored = read_checkpoint(checkpoint)["state_dict"]
        assert torch.equal(
            stored["networks.student.sed_rnn.weight_ih_l0"],
            module.networks["student"].sed_rnn.weight_ih_l0,  # type: ignore[arg-type, union-attr]
        )


def test_embeddings_are_float32_in_mixed_precision(data: Path) -> None:
    config = tiny_config(data, *ENCODER)
    module = CrossTaskSED(config, encoder=configured_encoder(config))
    batch = given_batch(config)
    expected = module.embeddings(batch)["student"]
    with torch.autocast("cpu", torch.bfloat16):
        got = module.embeddings(batch)["student"]
    assert got is not None
    assert expected is not None
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)


def test_student_and_teacher_get_the_same_embeddings_computed_once(data: Path) -> None:
    config = tiny_config(data, *ENCODER, "encoder.dropout=0.5")
    encoder = configured_encoder(config)
    assert encoder is not None
    calls: list[int] = []
    encoder.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    module = CrossTaskSED(config, encoder=encoder).train()
    distorted = distort(given_batch(config), module._augment_context())
    found = module.embeddings(given_batch(config), distorted)
    assert found["student"] is found["teacher"]
    assert found["student"] is not None
    dropped = ~found["student"].flatten(1).any(dim=1)
    assert 0 < int(dropped.sum()) < len(dropped) == calls[0]
    assert len(calls) == 1
    module.eval()
    evaluated = module.embeddings(given_batch(config))["student"]
    assert evaluated is not None
    assert evaluated.flatten(1).any(dim=1).all()


def test_embed_stores_ahead_of_time_and_compares_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data(tmp_path / "data")
    config = tiny_config(data, *CACHED)
    sets = [*training_sets(config).values(), *audio_sets.test_sets(config).values()]
    values = overrides(data, *ENCODER)
    command = ["--conf_file", str(CONFS / "demo.yaml"), *(f"--set={each}" for each in values)]
    embed([*command, "--gpus", "0"])
    first, printed = store_missing(config, sets), capsys.readouterr().out
    assert f"{CONVOLUTION}, SHA-256 {first}: complete" in printed
    assert "4 clips, 4 windows of 500 x 6, 24.0kB\n" in printed
    with monkeypatch.context() as patch:
        patch.setattr(encoders, "load_encoder", _refuse)
        assert store_missing(config, sets) == first
    monkeypatch.setattr(tiny_encoder, "convolution", tiny_encoder.other_convolution)
    embed(command)  # other weights behind the same name
    second = store_missing(config, sets)  # loads the encoder, since two had the name
    assert first != second
    assert len(Embeddings.with_source(sets[0].folder, _encoder(config), config.grid)) == 2
    with pytest.raises(InputError, match=r"^confs.*demo\.yaml: encoder: expected an encoder, got"):
        embed(["--conf_file", "confs/demo.yaml"])


def test_a_file_that_is_replaced_has_other_embeddings(tmp_path: Path) -> None:
    data, file = make_data(tmp_path / "data"), tmp_path / "encoder.onnx"
    config = tiny_config(data, *CACHED, f"encoder.source={file}", "data.audio_max_len=2")
    sets = [audio_sets.test_sets(config)["test"]]
    prepare_sets(sets, config.data.fs, 1)
    write_encoder(file)
    first = store_missing(config, sets)
    content = file.read_bytes()
    file.unlink()
    assert store_missing(config, sets) == first  # the stored ones are enough
    file.write_bytes(content + b"\0")
    with pytest.raises(InputError, match=r"encoder\.onnx: cannot be read"):
        store_missing(config, sets)
    stored = Embeddings.of(sets[0].folder, _encoder(config), config.grid, first)
    next(Path(sets[0].folder).iterdir()).touch()
    file.unlink()
    with pytest.raises(InputError, match=r"^a\.ckpt: needs the encoder of its training \(SHA-256"):
        store_missing(config, sets, first, checkpoint="a.ckpt")
    with pytest.raises(InputError, match=r"encoder\.onnx: "):
        store_missing(config, sets)
    assert stored.file.exists()


def _encoder(config: Config) -> EncoderSettings:
    assert config.encoder is not None
    return config.encoder
