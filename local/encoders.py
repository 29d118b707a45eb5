"""The encoder of a run: loaded and compared with that of a checkpoint, or its stored embeddings.

Source: docs/encoders.md.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from desed_task.dataio.embed import store_embeddings
from desed_task.dataio.embeddings import Embeddings
from desed_task.dataio.prepare import clip_seconds
from desed_task.encoder.encoder import FrameEncoder
from desed_task.encoder.sources import digest_of_file, load_encoder, names_code
from desed_task.errors import InputError
from local.config.data import AudioSet
from local.config.load import Config

DIGEST_KEY = "encoder_sha256"
"""Of a checkpoint: the digest of its encoder."""
_UNNAMED = "stored:"  # before the `module:function` of a checkpoint, which the user has not named


def without_code(config: Config) -> Config:
    """A configuration from a checkpoint: its encoder is not run where it is `module:function`.

    The user names such an encoder again, which replaces the source.
    """
    if config.encoder is None or not names_code(config.encoder.source):
        return config
    source = _UNNAMED + config.encoder.source
    encoder = config.encoder.model_copy(update={"source": source})
    return config.model_copy(update={"encoder": encoder})


def as_trained(config: Config) -> Config:
    """The configuration without the mark of `without_code`: for what a run writes."""
    if config.encoder is None:
        return config
    source = config.encoder.source.removeprefix(_UNNAMED)
    encoder = config.encoder.model_copy(update={"source": source})
    return config.model_copy(update={"encoder": encoder})


def has_stored_embeddings(config: Config) -> bool:
    """Whether training and test read stored embeddings, without the encoder."""
    return config.encoder is not None and config.encoder.mode == "cached"


def configured_encoder(
    config: Config, digest: str | None = None, checkpoint: object = None
) -> FrameEncoder | None:
    """The encoder of a configuration; None without one, and where stored embeddings replace it.

    Args:
        config: the experiment.
        digest: of the encoder of the checkpoint; None without a checkpoint.
        checkpoint: its path, for messages.

    Raises InputError as `load_encoder`, for another digest, and for code that the user has not
    named.
    """
    if config.encoder is None or has_stored_embeddings(config):
        return None
    return _loaded(config, digest, checkpoint)


def _loaded(config: Config, digest: str | None, checkpoint: object) -> FrameEncoder:
    settings: Any = config.encoder
    code = settings.source.removeprefix(_UNNAMED)
    needed = ""
    if digest is not None:
        needed = f"{checkpoint}: needs the encoder of its training (SHA-256 {digest[:12]}…): "
    if code != settings.source:
        raise InputError(
            f"{needed}{code}: is code, which a checkpoint names but you do not: expected --set "
            f"encoder.source={code}"
        )
    try:
        encoder = load_encoder(settings, config.grid)
    except InputError as error:
        if not needed:
            raise
        raise InputError(f"{needed}{error}; --set encoder.source=SOURCE names it") from None
    if digest not in (None, encoder.digest) and not settings.train:  # else it has the weights
        raise InputError(
            f"{needed}expected it as encoder.source, got {settings.source}, which has SHA-256 "
            f"{encoder.digest[:12]}…"
        )
    return encoder


def store_missing(
    config: Config,
    sets: Iterable[AudioSet],
    digest: str | None = None,
    *,
    checkpoint: object = None,
    device: torch.device | str = "cpu",
    compare: bool = False,
) -> str:
    """Store the embeddings of the clips of all sets that are not stored; the encoder's digest.

    Where nothing is missing the encoder is not loaded. Its digest is that of the checkpoint or of
    its file; otherwise the stored embeddings are those of an encoder with the same source, if there
    is one such encoder.

    Args:
        config: the experiment, with an encoder; `data` as `prepare_sets` leaves it.
        sets: the sets.
        digest: of the encoder, where it is known from a checkpoint.
        checkpoint: its path, for messages.
        device: that computes.
        compare: load the encoder in any case.

    Raises InputError and FaultError as `configured_encoder` and `store_embeddings`.
    """
    settings, grid, training = config.encoder, config.grid, config.training
    assert settings is not None
    clips = {each.folder: clip_seconds(each.folder, each.original, config.data.fs) for each in sets}
    known = digest
    if known is None and not compare:
        known = digest_of_file(settings.source) or _only_digest(config, clips)
    if known is not None and not any(
        Embeddings.of(folder, settings, grid, known).missing(seconds, grid)
        for folder, seconds in clips.items()
    ):
        return known
    encoder = _loaded(config, digest, checkpoint)
    for folder, seconds in clips.items():
        store_embeddings(
            folder,
            seconds,
            encoder,
            device=device,
            batch_size=training.batch_size_val,
            workers=training.num_workers,
        )
    return encoder.digest


def _only_digest(config: Config, clips: Mapping[str, Mapping[str, float]]) -> str | None:
    """The digest of the only encoder with the source of which all clips are stored."""
    found = [
        (each, seconds)
        for folder, seconds in clips.items()
        for each in Embeddings.with_source(folder, config.encoder, config.grid)  # type: ignore[arg-type]
    ]
    digests = {each.digest for each, _ in found}
    complete = len(found) == len(clips) and not any(
        each.missing(seconds, config.grid) for each, seconds in found
    )
    return digests.pop() if complete and len(digests) == 1 else None
