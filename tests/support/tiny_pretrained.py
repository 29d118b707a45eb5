"""Tiny models of `transformers` with random weights, as folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_BLOCKS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_WAV2VEC = {
    **_BLOCKS,
    "intermediate_size": 16,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 5,
    "num_conv_pos_embedding_groups": 2,
}
_TEXT = {"num_hidden_layers": 1, "hidden_size": 16, "vocab_size": 99, "intermediate_size": 16}
_SWIN = {
    **{"patch_embeds_hidden_size": 8, "hidden_size": 64, "num_attention_heads": [1, 1, 2, 2]},
    **{"depths": [1, 1, 1, 1], "projection_dim": 16},
}


def _ast(library: Any) -> Any:
    return library.ASTModel(library.ASTConfig(**_BLOCKS, intermediate_size=16))


def _clap(library: Any, **changes: Any) -> Any:
    text = {**_TEXT, "num_attention_heads": 1}
    config = library.ClapConfig(text_config=text, audio_config=_SWIN | changes)
    return library.ClapModel(config)


def _clap_audio(library: Any) -> Any:
    return library.ClapAudioModel(library.ClapAudioConfig(**_SWIN))


def _clap_fusion(library: Any) -> Any:
    return _clap(library, enable_fusion=True, aff_block_r=2)


def _data2vec(library: Any) -> Any:
    return library.Data2VecAudioModel(library.Data2VecAudioConfig(**_WAV2VEC))


def _hubert(library: Any) -> Any:
    return library.HubertModel(library.HubertConfig(**_WAV2VEC))


def _wav2vec2(library: Any) -> Any:
    return library.Wav2Vec2Model(library.Wav2Vec2Config(**_WAV2VEC))


def _wavlm(library: Any) -> Any:
    return library.WavLMModel(library.WavLMConfig(**_WAV2VEC))


def _whisper(library: Any) -> Any:
    sizes = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 1, "decoder_ffn_dim": 16}
    config = library.WhisperConfig(**sizes, **decoder, encoder_ffn_dim=16)
    return library.WhisperModel(config)


MODELS: dict[str, Callable[[Any], Any]] = {
    "ast": _ast,
    "clap": _clap,
    "clap_audio": _clap_audio,
    "clap_fusion": _clap_fusion,
    "data2vec": _data2vec,
    "hubert": _hubert,
    "wav2vec2": _wav2vec2,
    "wavlm": _wavlm,
    "whisper": _whisper,
}


def write_pretrained(name: str, folder: Path) -> str:
    """Write a model of `MODELS` with random weights to a folder, without a feature extractor."""
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(3)
        MODELS[name](transformers).save_pretrained(folder)
    return str(folder)
