"""Audio models of the package `transformers`, from local files, as encoders: audio -> layers.

Features are those of the model's own feature extractor, on the CPU. The steps that only read an
extractor's padding are dropped. Source: docs/encoders.md, "Models of transformers".
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from desed_task.encoder.encoder import Output, mean_of_bands, reason
from desed_task.encoder.settings import Tokens
from desed_task.errors import InputError
from desed_task.extras import import_extra
from desed_task.files import user_path

CONFIG, FEATURES = "config.json", "preprocessor_config.json"


class TransformersEncoder(nn.Module):
    """A model of the wav2vec 2.0 family; others are subclasses.

    Args:
        model: the model, whose configuration has no augmentation of its own.
        extractor: its feature extractor.
        configuration: what identifies the encoder beside its weights.
    """

    part = ""
    """The attribute of the loaded model that is the encoder; empty: the model itself."""

    def __init__(self, model: nn.Module, extractor: Any, configuration: str) -> None:
        super().__init__()
        self.model, self.extractor, self.configuration = model, extractor, configuration
        self.sample_rate: int = extractor.sampling_rate

    @staticmethod
    def default_extractor(library: Any, config: Any) -> Any:
        """The feature extractor of a folder without one."""
        return library.Wav2Vec2FeatureExtractor()

    def longest(self) -> float:
        """Samples of the longest clip that the extractor does not cut."""
        return math.inf

    def forward(self, audio: Tensor) -> Output:
        """`(batch, samples)` -> layers `(batch, steps, dimension)`; the last is the output.

        Layer 0 is what the first block reads. Raises InputError for a clip that is too long.
        """
        longest = self.longest()
        if audio.shape[1] > longest:
            raise InputError(
                f"{type(self.model).__name__}: expected a clip of at most "
                f"{longest / self.sample_rate:g} s, got {audio.shape[1] / self.sample_rate:g} s"
            )
        return self._layers(self._features(audio), audio.shape[1])

    def _layers(self, features: Tensor, samples: int) -> Output:
        output = self.model(features, output_hidden_states=True)
        layers = (*output.hidden_states[:-1], output.last_hidden_state)
        return [self._steps(layer, samples) for layer in layers]

    def _features(self, audio: Tensor, **options: Any) -> Tensor:
        clips = list(audio.detach().float().cpu().numpy())
        with torch.autocast("cpu", enabled=False):
            found = self.extractor(
                clips, sampling_rate=self.sample_rate, return_tensors="np", **options
            )
        values = np.asarray(found[self.extractor.model_input_names[0]], dtype=np.float32)
        return torch.from_numpy(values).to(audio.device)

    def _steps(self, layer: Tensor, samples: int) -> Tensor:
        """The steps of a layer that begin in the clip."""
        return layer


class SpectrogramTransformer(TransformersEncoder):
    """ASTModel: two special tokens, then one per patch, the patches of a band after each other."""

    @staticmethod
    def default_extractor(library: Any, config: Any) -> Any:
        """The one of the paper's model, with the sizes of this one."""
        return library.ASTFeatureExtractor(
            num_mel_bins=config.num_mel_bins, max_length=config.max_length
        )

    _hop = 0.01  # seconds, of the extractor's spectrogram

    def longest(self) -> float:
        """Samples of `max_length` frames."""
        return self.extractor.max_length * self._hop * self.sample_rate

    def _steps(self, layer: Tensor, samples: int) -> Tensor:
        config: Any = self.model.config
        bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        steps = mean_of_bands(layer[:, 2:], Tokens(bands=bands, order="band"))
        step = self._hop * config.time_stride * self.sample_rate
        return steps[:, : math.ceil(samples / step)]


class WhisperEncoder(TransformersEncoder):
    """Whisper's encoder, which reads 30 s always."""

    part = "encoder"

    @staticmethod
    def default_extractor(library: Any, config: Any) -> Any:
        """The one of the paper's model, with the bands of this one."""
        return library.WhisperFeatureExtractor(feature_size=config.num_mel_bins)

    def longest(self) -> float:
        """Samples of 30 s."""
        return self.extractor.n_samples

    def _steps(self, layer: Tensor, samples: int) -> Tensor:
        step = self.extractor.n_samples / layer.shape[1]
        return layer[:, : math.ceil(samples / step)]


class ClapEncoder(TransformersEncoder):
    """CLAP's audio model: its output, without hidden layers, whose steps differ in length."""

    @staticmethod
    def default_extractor(library: Any, config: Any) -> Any:
        """The one of the paper's model, with the bands of this one."""
        config = getattr(config, "audio_config", config)
        return library.ClapFeatureExtractor(
            feature_size=config.num_mel_bins,
            truncation="fusion" if config.enable_fusion else "rand_trunc",
        )

    def longest(self) -> float:
        """Samples of 10 s: longer clips would be cut at random."""
        return self.extractor.nb_max_samples

    def _layers(self, features: Tensor, samples: int) -> Tensor:
        # The extractor marks a random clip as longer than it is where fusion is on; none is.
        is_longer = torch.zeros(len(features), 1, dtype=torch.bool, device=features.device)
        output = self.model(features, is_longer=is_longer).last_hidden_state
        steps: Tensor = output.mean(dim=2).transpose(1, 2)  # (batch, dimension, bands, steps)
        return steps[:, : math.ceil(samples * steps.shape[1] / self.longest())]


class ClapEncoderOfPair(ClapEncoder):
    """The same in a folder that has the text model, too."""

    part = "audio_model"


_MODELS: dict[str, tuple[str, type[TransformersEncoder]]] = {
    "audio-spectrogram-transformer": ("ASTModel", SpectrogramTransformer),
    "clap": ("ClapModel", ClapEncoderOfPair),
    "clap_audio_model": ("ClapAudioModel", ClapEncoder),
    "data2vec-audio": ("Data2VecAudioModel", TransformersEncoder),
    "hubert": ("HubertModel", TransformersEncoder),
    "wav2vec2": ("Wav2Vec2Model", TransformersEncoder),
    "wavlm": ("WavLMModel", TransformersEncoder),
    "whisper": ("WhisperModel", WhisperEncoder),
}
_OWN_AUGMENTATION = {"apply_spec_augment": False, "layerdrop": 0.0, "encoder_layerdrop": 0.0}
_MAY_BE_MISSING = "masked_spec_embed"  # for the model's own augmentation alone


def find_folder(source: str) -> Path:
    """The folder of a source: a path, or a name in the user's cache of `huggingface_hub`.

    Raises InputError where there is none. Nothing is downloaded.
    """
    path = user_path(source)
    if path.is_dir():
        return path
    hub = import_extra("encoder", "transformers", "huggingface_hub")
    try:
        return Path(hub.snapshot_download(source, local_files_only=True))
    except Exception:  # several classes; no cache, not in it, not a name
        raise InputError(
            f"encoder.source {source}: no such folder, and no such model in the cache of "
            "huggingface_hub: expected a file .onnx or .pt2, a folder of a model of transformers, "
            "or module:function"
        ) from None


def load_pretrained(folder: Path) -> TransformersEncoder:
    """The encoder of a folder that `save_pretrained` of `transformers` wrote, in float32.

    Code in the folder is not run; weights are read as tensors only.

    Raises InputError for what is no known model, and for missing weights.
    """
    library = import_extra("encoder", "transformers")
    config_text = _read(folder / CONFIG)
    kind = _model_type(config_text, folder)
    name, encoder_class = _MODELS[kind]
    try:
        with _quiet(library):
            config = getattr(library, name).config_class.from_pretrained(folder)
            for key, value in _OWN_AUGMENTATION.items():
                if hasattr(config, key):
                    setattr(config, key, value)
            model, found = getattr(library, name).from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                attn_implementation=None,  # the package's choice, not the folder's
                dtype=torch.float32,
                output_loading_info=True,
            )
            given = (folder / FEATURES).is_file()
            extractor = encoder_class.default_extractor(library, config)
            if given:
                extractor = type(extractor).from_pretrained(folder, local_files_only=True)
    except Exception as error:  # many classes, depending on what is wrong
        raise InputError(f"{folder}: cannot be read as a {name}: {reason(error)}") from error
    part = encoder_class.part
    missing = [
        key
        for key in found["missing_keys"]
        if key.startswith(part) and not key.endswith(_MAY_BE_MISSING)
    ]
    if missing:
        raise InputError(f"{folder}: expected the weights of a {name}, got none for {missing[0]}")
    configuration = config_text + (_read(folder / FEATURES) if given else "")
    return encoder_class(getattr(model, part) if part else model, extractor, configuration)


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Without the package's bar and its table of weights that the encoder does not use."""
    logging = library.utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _model_type(config: str, folder: Path) -> str:
    try:
        content = json.loads(config)
    except ValueError as error:
        raise InputError(f"{folder / CONFIG}: cannot be read: {error}") from None
    content = content if isinstance(content, dict) else {}
    kind = content.get("model_type")
    if kind not in _MODELS:
        expected = f"expected one of {', '.join(_MODELS)}, got {kind}"
        raise InputError(f"{folder / CONFIG}: model_type: {expected}")
    if "quantization_config" in content:
        raise InputError(f"{folder / CONFIG}: expected no quantization_config")
    return str(kind)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
