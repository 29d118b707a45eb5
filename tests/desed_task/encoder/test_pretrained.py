"""Models of `transformers` with random weights: loading, time order, clocks, what padding does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from desed_task.encoder.clock import click_clips, measure_clock
from desed_task.encoder.encoder import FrameEncoder
from desed_task.encoder.pretrained import TransformersEncoder
from desed_task.encoder.settings import EncoderSettings
from desed_task.encoder.sources import load_encoder, load_function
from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from tests.support.tiny_pretrained import MODELS, write_pretrained

transformers = pytest.importorskip("transformers")
# Hz, and seconds of a step and of the first step's centre, as the architecture has them: patches
# of 16 frames of 25 ms every 10 ms, 32 equal parts of 10 s, convolutions that see 400 samples,
# every second frame, the first of which is centred at 0.
AST, CLAP, WAV2VEC = (16000, 0.1, 0.0875), (48000, 0.3125, 0.15625), (16000, 0.02, 0.0125)
CLOCKS = {
    "ast": AST,
    "clap_fusion": CLAP,
    "data2vec": WAV2VEC,
    "wav2vec2": WAV2VEC,
    "wavlm": WAV2VEC,
    "whisper": (16000, 0.02, 0.0),
}
ONCE = ("ast", "clap_fusion", "data2vec", "wav2vec2", "whisper")
"""One of each architecture."""
N_STEPS = {  # of clips of 0.5, 3, 10 and 10.03 s
    "ast": (5, 30, 100, 101),
    "clap": (2, 10, 32, None),
    "wav2vec2": (24, 149, 499, 501),
    "whisper": (25, 150, 500, 502),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folder of each model."""
    root = tmp_path_factory.mktemp("pretrained")
    return {name: write_pretrained(name, root / name) for name in MODELS}


def _load(folder: str) -> TransformersEncoder:
    encoder, _ = load_function(folder)
    assert isinstance(encoder, TransformersEncoder)
    return encoder.eval()


def _last(encoder: TransformersEncoder, audio: Tensor) -> Tensor:
    with torch.no_grad():
        output = encoder(audio)
    return output if isinstance(output, Tensor) else output[-1]


def _noise(seconds: float, rate: int, batch: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(5)
    return 0.1 * torch.randn(batch, round(seconds * rate), generator=random)


@pytest.mark.parametrize("name", CLOCKS)
def test_clock(name: str, folders: dict[str, str]) -> None:
    """Clicks find the step and, within half of one, the centres of the steps."""
    rate, step, first = CLOCKS[name]
    encoder = _load(folders[name])
    assert encoder.sample_rate == rate
    clock = measure_clock(encoder, rate, 10, n_clicks=24)
    assert clock.step == pytest.approx(step, rel=0.01)
    middle = clock.n_steps / 2  # where a small error of the step has no effect on the time
    assert abs(clock.first + middle * clock.step - first - middle * step) < 0.5 * step


@pytest.mark.parametrize("name", N_STEPS)
def test_number_of_steps(name: str, folders: dict[str, str]) -> None:
    encoder = _load(folders[name])
    rate = encoder.sample_rate
    for seconds, n_steps in zip((0.5, 3, 10, 10.03), N_STEPS[name], strict=True):
        audio = _noise(seconds, rate)
        if n_steps is None:
            with pytest.raises(InputError, match=r"at most 10 s, got 10\.03 s"):
                encoder(audio)
        else:
            assert _last(encoder, audio).shape[1] == n_steps


@pytest.mark.parametrize(
    ("name", "seconds", "n_steps"), [("ast", 10.24, 101), ("whisper", 30, 1500)]
)
def test_longest_clips(name: str, seconds: float, n_steps: int, folders: dict[str, str]) -> None:
    encoder = _load(folders[name])
    assert _last(encoder, _noise(seconds, 16000)).shape[1] == n_steps
    with pytest.raises(InputError, match=f"expected a clip of at most {seconds:g} s, got"):
        encoder(_noise(seconds + 0.01, 16000))


@pytest.mark.parametrize("pitch", [300, 3000])
def test_tokens_of_a_spectrogram_transformer(pitch: float, folders: dict[str, str]) -> None:
    """A tone burst, low or high, is in the steps of its time alone."""
    encoder = _load(folders["ast"])
    time = torch.arange(160000) / 16000
    noise = _noise(10, 16000) / 10
    burst = 0.5 * torch.sin(2 * torch.pi * pitch * time) * ((time > 3) & (time < 4))
    seen = (_last(encoder, noise + burst) - _last(encoder, noise)).square().sum(dim=-1)[0]
    steps = torch.nonzero(seen > 0.1 * seen.max())[:, 0].tolist()
    assert steps == list(range(steps[0], steps[-1] + 1))
    assert 29 <= steps[0] <= 31
    assert 38 <= steps[-1] <= 40


@pytest.mark.parametrize("name", ONCE)
def test_a_clip_alone_and_in_a_batch(name: str, folders: dict[str, str]) -> None:
    """Clips do not depend on each other, nor on a state of random numbers."""
    encoder = _load(folders[name])
    audio = _noise(3, encoder.sample_rate, batch=3)
    together = _last(encoder, audio)
    np.random.seed(1)  # noqa: NPY002  # which the package's extractor reads
    alone = torch.cat([_last(encoder, clip[None]) for clip in audio])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "changed"), [("ast", True), ("clap", True), ("wav2vec2", True), ("whisper", False)]
)
def test_silence_after_a_clip(name: str, changed: bool, folders: dict[str, str]) -> None:
    """Zeros up to 10 s are not the extractor's padding, but for Whisper's (docs/encoders.md)."""
    encoder = _load(folders[name])
    short = _noise(3, encoder.sample_rate)
    padded = torch.nn.functional.pad(short, (0, 7 * encoder.sample_rate))
    alone = _last(encoder, short)
    difference = (_last(encoder, padded)[:, : alone.shape[1]] - alone).abs().max()
    assert bool(difference > 1e-3 * alone.abs().max()) == changed


def test_layers(folders: dict[str, str]) -> None:
    """Layer 0 is what the first block reads, the last is the output; CLAP has no others."""
    for name in ONCE:
        encoder = _load(folders[name])
        output = encoder(_noise(1, encoder.sample_rate))
        assert isinstance(output, Tensor) == name.startswith("clap")
        if not isinstance(output, Tensor):
            assert len(output) == 3
            assert len({layer.shape for layer in output}) == 1
    ast = _load(folders["ast"])
    model: Any = ast.model
    first, *_ = ast(_noise(1, 16000))
    read = model.embeddings(ast._features(_noise(1, 16000)))
    torch.testing.assert_close(first, ast._steps(read, 16000))


@pytest.mark.parametrize("name", ONCE)
def test_frames(name: str, folders: dict[str, str]) -> None:
    """A click's frame is the one in which the embeddings change most."""
    rate, step, first = CLOCKS[name]
    grid = FrameGrid()
    values: dict[str, Any] = {"sample_rate": rate, "frame_seconds": step, "first_frame": first}
    dimension = 64 if "clap" in name else 16
    settings = EncoderSettings(source=folders[name], dimension=dimension, **values)
    encoder = load_encoder(settings, grid)
    times = np.array([2.0, 4.1, 6.3, 8.2])
    with torch.no_grad():
        frames = encoder(click_clips(times, grid.sample_rate, 10))
    seen = (frames - frames.median(dim=0).values).square().sum(dim=-1)
    found = (seen.argmax(dim=1) + 0.5) * grid.frame_seconds
    np.testing.assert_allclose(found, times, atol=0.6 * max(step, grid.frame_seconds))


def test_own_augmentation_is_off(folders: dict[str, str]) -> None:
    """Training mode differs by dropout alone, which needs no random numbers of NumPy."""
    encoder = _load(folders["wav2vec2"])
    model: Any = encoder.model
    assert (model.config.apply_spec_augment, model.config.layerdrop) == (False, 0.0)
    state: Any = np.random.get_state()  # noqa: NPY002
    encoder.train()(_noise(1, 16000))
    found: Any = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(found[1], state[1])


def test_gradients(folders: dict[str, str]) -> None:
    for name in ("ast", "wav2vec2"):
        encoder = _load(folders[name]).train()
        encoder(_noise(1, encoder.sample_rate))[-1].square().sum().backward()
        assert sum(p.grad is not None for p in encoder.parameters()) > 10


def test_the_folders_extractor(folders: dict[str, str], tmp_path: Path) -> None:
    """Its preprocessor_config.json is used, and part of the digest."""
    audio = _noise(1, 16000)
    transformers.ASTFeatureExtractor().save_pretrained(tmp_path)
    folder = write_pretrained("ast", tmp_path)
    digests = [load_function(each)[1] for each in (folders["ast"], folder)]
    plain, given = (_last(_load(each), audio) for each in (folders["ast"], folder))
    assert torch.equal(plain, given)
    transformers.ASTFeatureExtractor(mean=0.0).save_pretrained(tmp_path)
    assert len({*digests, load_function(folder)[1]}) == 3
    assert not torch.equal(_last(_load(folder), audio), plain)


def test_a_classifiers_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The encoder of a model with a head is taken, without a word."""
    config = transformers.ASTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    model = transformers.ASTForAudioClassification(config)
    model.save_pretrained(tmp_path)
    capfd.readouterr()
    encoder = _load(str(tmp_path))
    assert capfd.readouterr() == ("", "")
    expected = model.audio_spectrogram_transformer.state_dict()
    assert all(
        torch.equal(value, expected[name]) for name, value in encoder.model.state_dict().items()
    )


def test_a_wrong_rate(folders: dict[str, str]) -> None:
    values: dict[str, Any] = {"sample_rate": 44100, "frame_seconds": 0.3125, "dimension": 64}
    with pytest.raises(InputError, match=r"encoder\.sample_rate: expected 48000, got 44100$"):
        load_encoder(EncoderSettings(source=folders["clap"], **values), FrameGrid())


def _broken(folder: Path, **changes: Any) -> str:
    """The message for a folder with a changed configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError) as found:
        load_function(str(folder))
    message = str(found.value)
    assert "\n" not in message
    return message.removeprefix(str(folder))


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    write_pretrained("wav2vec2", tmp_path)
    config = (tmp_path / "config.json").read_text()
    assert "/config.json: model_type: expected one of audio-" in _broken(
        tmp_path, model_type="bert"
    )
    (tmp_path / "config.json").write_text(config)
    assert "no quantization_config" in _broken(tmp_path, quantization_config={"bits": 4})
    (tmp_path / "config.json").write_text(config)
    assert ": cannot be read as a Wav2Vec2Model: " in _broken(tmp_path, hidden_size=24)
    (tmp_path / "config.json").write_text(config)
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer_norm.weight"]
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    assert _broken(tmp_path).endswith(
        ": expected the weights of a Wav2Vec2Model, got none for encoder.layer_norm.weight"
    )
    (tmp_path / "model.safetensors").unlink()
    assert ": cannot be read as a Wav2Vec2Model: " in _broken(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: cannot be read"):
        load_function(str(tmp_path))


def test_code_in_a_folder_is_not_run(tmp_path: Path) -> None:
    folder = write_pretrained("wav2vec2", tmp_path)
    expected = _load(folder).state_dict()
    (tmp_path / "code.py").write_text("raise SystemExit('ran')\n")
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    mapped = {"AutoConfig": "code.Config", "AutoModel": "code.Model"}
    path.write_text(json.dumps(content | {"auto_map": mapped, "attn_implementation": "a/kernel"}))
    found = _load(folder).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_weights_with_code_are_refused(tmp_path: Path) -> None:
    """A pickle other than one of tensors is not read."""
    write_pretrained("wav2vec2", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"encoder": FrameEncoder}, tmp_path / "pytorch_model.bin")
    assert ": cannot be read as a Wav2Vec2Model: " in _broken(tmp_path)


def test_a_name_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    cache = tmp_path / "models--owner--model"
    write_pretrained("hubert", cache / "snapshots" / "abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert _load("owner/model").sample_rate == 16000
    with pytest.raises(InputError, match=r"source owner/other: no such folder, and no such mo"):
        load_function("owner/other")
