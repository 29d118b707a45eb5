"""The configuration: `confs/*.yaml` -> `Config`; what it refuses, it names.

A file that starts from another one names it as `extends: other.yaml` and holds the differences.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, model_validator

from desed_task.errors import InputError
from desed_task.frames import FrameGrid
from local.config.retired import RETIRED, drop_retired
from local.config.schema import (
    Augs,
    CrossTask,
    Data,
    Feats,
    Losses,
    Net,
    Opt,
    Postprocess,
    Scaler,
    Section,
    Training,
)
from local.config.yaml_loader import load_yaml, parse_value


class Config(Section):
    """The whole experiment; sections as in `confs/sed.yaml`."""

    training: Training
    scaler: Scaler
    data: Data
    opt: Opt
    feats: Feats
    net: Net
    augs: Augs
    losses: Losses
    cross_task: CrossTask
    postprocess: Postprocess

    @model_validator(mode="after")
    def _parts_fit(self) -> "Config":
        if self.feats.f_max > self.data.fs / 2:
            raise ValueError(
                f"feats.f_max {self.feats.f_max:g} exceeds half of data.fs {self.data.fs}"
            )
        if self.feats.hop_length > self.feats.n_window:
            raise ValueError(
                f"feats.hop_length {self.feats.hop_length} exceeds feats.n_window "
                f"{self.feats.n_window}: samples would be skipped"
            )
        if self.grid.n_samples <= self.feats.n_window // 2:
            raise ValueError(
                f"data.audio_max_len {self.data.audio_max_len:g} s is shorter than half an "
                f"analysis window of feats.n_window {self.feats.n_window}"
            )
        self._check_bands()
        most_bands = self.augs.filter_bands[1]
        if "Filter" in self.augs.aug_methods and most_bands > self.feats.n_mels:
            raise ValueError(f"augs.filter_bands {most_bands} exceeds feats.n_mels")
        widest = self.augs.frequency_mask * self.augs.aug_scale
        if "Frequency mask" in self.augs.aug_methods and widest > self.feats.n_mels:
            raise ValueError(
                f"augs.frequency_mask times augs.aug_scale, {widest} bands, exceeds feats.n_mels"
            )
        return self

    def _check_bands(self) -> None:
        bands = self.feats.n_mels
        for number, pool in enumerate(self.net.pooling):
            if number < self.net.subspectral_blocks and bands % self.net.subspectral_bands:
                raise ValueError(
                    f"net.subspectral_bands {self.net.subspectral_bands} does not divide the "
                    f"{bands} bands that enter block {number + 1} "
                    f"(feats.n_mels {self.feats.n_mels}, net.pooling {self.net.pooling})"
                )
            bands = self._pooled(bands, pool[1], f"net.pooling, block {number + 1}")
        for number, pool in enumerate(self.net.sed_pooling):
            bands = self._pooled(bands, pool[1], f"net.sed_pooling, block {number + 1}")
        if bands != 1:
            raise ValueError(
                f"net.pooling {self.net.pooling} and net.sed_pooling {self.net.sed_pooling} leave "
                f"{bands} of feats.n_mels {self.feats.n_mels} bands; they must leave exactly 1"
            )
        if self.grid.n_frames < 1:
            raise ValueError(f"net.pooling {self.net.pooling} leaves no frame of a clip")

    def _pooled(self, bands: int, factor: int, place: str) -> int:
        if bands % factor:
            raise ValueError(
                f"{place}: pooling {factor} does not divide the {bands} bands that reach it "
                f"(feats.n_mels {self.feats.n_mels})"
            )
        return bands // factor

    @model_validator(mode="after")
    def _something_is_learned(self) -> "Config":
        losses = self.losses
        labelled = {"synthetic": losses.sed_strong, "weak": losses.sed_weak}
        if not any(labelled.get(name) for name in self.training.train_sets):
            raise ValueError(
                "losses.sed_strong and losses.sed_weak: no labelled set of training.train_sets "
                f"{self.training.train_sets} has a loss; one weight must be above 0"
            )
        return self

    @property
    def grid(self) -> FrameGrid:
        """The time axis that follows from rate, hop, pooling and clip length."""
        pooling = 1
        for pool in self.net.pooling:
            pooling *= pool[0]
        return FrameGrid(
            sample_rate=self.data.fs,
            hop_length=self.feats.hop_length,
            time_pooling=pooling,
            clip_seconds=self.data.audio_max_len,
        )

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with any value."""
        text = json.dumps(self.model_dump(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_yaml(self) -> str:
        """The resolved configuration as YAML."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False, default_flow_style=None)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a configuration file, ours or the published YAML, and apply `section.key=value`.

    Raises InputError with the file, the key's path, the value and what is allowed.
    """
    from local.config.published import from_published, is_published

    raw = read_composed(Path(path))
    if is_published(raw):
        raw = from_published(raw, source=str(path))
    return build_config(_overridden(raw, overrides), source=str(path))


def override_config(config: Config, overrides: Iterable[str]) -> Config:
    """The configuration with `section.key=value` applied. Raises InputError as `load_config`."""
    return build_config(_overridden(config.model_dump(), overrides), source="--set")


def build_config(raw: Mapping[str, Any], source: str) -> Config:
    """Check a nested mapping; `source` names it in messages."""
    try:
        return Config.model_validate(drop_retired(raw, source))
    except ValidationError as error:
        lines = [f"{source}: {_explain(problem)}" for problem in error.errors()]
        raise InputError("\n       ".join(lines)) from None


def read_composed(path: Path) -> dict[str, Any]:
    """Read a YAML file and, below it, the one that its `extends` names."""
    seen: list[Path] = []
    layers: list[dict[str, Any]] = []
    current: Path | None = path
    while current is not None:
        if current.resolve() in seen:
            raise InputError(f"{current}: extends itself")
        seen.append(current.resolve())
        layer = load_yaml(current)
        parent = layer.pop("extends", None)
        if parent is not None and not isinstance(parent, str):
            raise InputError(f"{current}: extends: {parent!r} is not a file name")
        layers.append(layer)
        current = current.parent / parent if parent is not None else None
    raw: dict[str, Any] = {}
    for layer in reversed(layers):
        raw = merge(raw, layer)
    return raw


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, section by section; neither is changed."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _overridden(raw: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    for override in overrides:
        if override.partition("=")[0].strip() in RETIRED:  # `build_config` says so
            name, retired = override.partition("=")[0].strip().split(".")
            raw = merge(raw, {name: {retired: None}})
            continue
        path, separator, text = override.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not separator or not all(keys):
            raise InputError(f"--set {override}: write section.key=value")
        section: Any = raw
        for key in keys[:-1]:
            if not isinstance(section, dict) or not isinstance(section.get(key), dict):
                raise InputError(f"--set {override}: there is no section {key!r} in {path!r}")
            section = section[key]
        if keys[-1] not in section:
            raise InputError(
                f"--set {override}: unknown key {path.strip()}; allowed here: {', '.join(section)}"
            )
        value: Any = parse_value(text)
        for key in reversed(keys):
            value = {key: value}
        raw = merge(raw, value)
    return raw


def _explain(problem: Any) -> str:
    path = ".".join(str(part) for part in problem["loc"] if part != "[key]") or "configuration"
    value, kind, message = problem["input"], problem["type"], problem["msg"]
    if kind == "extra_forbidden":
        return f"{path}: unknown key; allowed: {_siblings(problem['loc'])}"
    if kind == "missing":
        return f"{path}: missing"
    if kind == "value_error":
        return f"{path}: {message.removeprefix('Value error, ')}"
    shown = f"a section of {len(value)} keys" if isinstance(value, dict) else repr(value)
    return f"{path}: {shown} is not allowed: {message[0].lower()}{message[1:]}"


def _siblings(location: tuple[Any, ...]) -> str:
    section: Any = Config
    for key in location[:-1]:
        section = section.model_fields[key].annotation
    return ", ".join(section.model_fields)
