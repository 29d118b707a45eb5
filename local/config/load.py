"""Load a configuration: a file of this recipe or the published YAML, or what a checkpoint stores.

Every problem of a configuration is reported at once, each with its file and line.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from desed_task.errors import InputError
from desed_task.tables import normalised
from local.config.published import from_published, is_published
from local.config.schema import Config
from local.config.yaml_files import (
    RECIPE,
    RawConfig,
    Replacement,
    checked,
    merge,
    nested,
    parse_value,
    read_composed,
)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a configuration file of either layout and apply `section.key=value` overrides.

    Raises InputError with file, line, key, and what is allowed.
    """
    return checked(Config, _overridden(_converted(read_composed(Path(path))), overrides))


def override_config(config: Config, overrides: Iterable[str]) -> Config:
    """Apply `section.key=value` overrides. Raises InputError as `load_config`."""
    return checked(Config, _overridden(RawConfig(config.plain(), "configuration"), overrides))


def stored_config(values: Mapping[str, Any], source: str) -> Config:
    """The configuration of either layout that the checkpoint `source` stores.

    Keys that are newer than the checkpoint have the recipe's values; a mapping within a section is
    the checkpoint's alone. Raises InputError as `load_config`.
    """
    whole = {
        name: {
            key: Replacement(value) if isinstance(value, Mapping) else value
            for key, value in section.items()
        }
        if isinstance(section, Mapping)
        else section
        for name, section in values.items()
    }
    stored = _converted(RawConfig.from_values(whole, source))
    return checked(Config, read_composed(RECIPE).with_changes(stored))


def build_config(values: Mapping[str, Any], source: str) -> Config:
    """Check nested mappings from `source`. Raises InputError as `load_config`."""
    return checked(Config, RawConfig.from_values(values, source))


def _converted(raw: RawConfig) -> RawConfig:
    """In this recipe's layout."""
    if is_published(raw.values):
        return read_composed(RECIPE).with_changes(_from_current_folder(from_published(raw)))
    return _from_current_folder(raw)


def _from_current_folder(raw: RawConfig) -> RawConfig:
    """With `data.root`: paths of an older version without it are relative to the current folder."""
    data = raw.values.get("data")
    if not isinstance(data, Mapping) or "root" in data:
        return raw
    return RawConfig(merge({"data": {"root": "."}}, raw.values), raw.source, raw.places)


def _overridden(raw: RawConfig, overrides: Iterable[str]) -> RawConfig:
    for override in overrides:
        path, separator, text = override.partition("=")
        keys = [normalised(key.strip()) for key in path.split(".")]
        option = f"--set {override}"
        if not separator or not all(keys):
            raise InputError(f"{option}: expected section.key=value")
        values = nested(".".join(keys), parse_value(text, option))
        raw = raw.with_changes(RawConfig.from_values(values, option))
    return raw
