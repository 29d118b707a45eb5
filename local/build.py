"""Configuration -> parts of `desed_task`: features, scaler, network, augmentation.

Each part takes the keys of its section under their own names.
"""

from typing import Any

from desed_task.augment import AugmentSettings
from desed_task.features import LogMel, Scaler
from desed_task.nnet.crnn import CRNN, CRNNShape
from desed_task.settings import Settings
from local.config.schema import Config


def build_log_mel(config: Config) -> LogMel:
    """The log-mel front end."""
    return LogMel(sample_rate=config.data.fs, **_keys(config.feats))


def build_scaler(config: Config) -> Scaler:
    """The feature scaler."""
    return Scaler(**_keys(config.scaler), n_mels=config.feats.n_mels, n_frames=config.grid.n_hops)


def build_network(config: Config) -> CRNN:
    """The two-branch CRNN with new random weights."""
    return CRNN(build_crnn_shape(config))


def build_crnn_shape(config: Config) -> CRNNShape:
    """Widths and depths of the network."""
    return CRNNShape(n_classes=len(config.data.classes), **_keys(config.net))


def build_augment_settings(config: Config) -> AugmentSettings:
    """Settings of mixup and augmentations."""
    settings = _keys(config.augs)
    del settings["consis_loss"]  # a key of the objective
    return AugmentSettings(**settings)


def _keys(section: Settings) -> dict[str, Any]:
    """The section's keys and values, lists as tuples."""
    return {key: _as_tuple(value) for key, value in section.model_dump().items()}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
