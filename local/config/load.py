"""Load a configuration: a file of this recipe or the published YAML, or what a checkpoint stores.

Every problem of a configuration is reported at once, each with its file and line.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from desed_task.errors import InputError
from desed_task.settings import value_types
from desed_task.tables import normalised
from local.config.published import from_published, is_published
from local.config.schema import Config
from local.config.yaml_files import (
    RECIPE,
    RawConfig,
    Replacement,
    checked,
    nested,
    parse_value,
    read_composed,
)

NEWER: dict[str, Any] = {
    "encoder": None,
    "opt": {"convolution_lr": None},
    "training": {
        "steps_per_epoch": None,
        "n_epochs_consistency": None,
        "baseline": False,
        "labelled_share": 1.0,
    },
    "data": {
        "root": ".",
        "strong_folder": None,
        "strong_folder_44k": None,
        "strong_tsv": None,
        "channel": "mix",
    },
    "losses": {"self_consistency_share": {"strong": 0.25}},
    "postprocess": {
        "window_unit": "frames",
        "tuning_shrinkage": 0.0,
        "choose_method": False,
        "calibrate_confidence": False,
        "review_labels": 0,
    },
}
"""Values of the keys that a configuration of an older version does not have: what it did."""


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
        return read_composed(RECIPE).with_changes(_with_newer_keys(from_published(raw)))
    return _with_newer_keys(raw)


def _with_newer_keys(raw: RawConfig) -> RawConfig:
    """With the keys that are newer than a file, where it has the section, as `NEWER` has them."""
    return RawConfig(_filled(raw.values, NEWER), raw.source, raw.places)


def _filled(values: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(values)
    for key, value in newer.items():
        if not isinstance(value, Mapping):
            filled.setdefault(key, value)
        elif isinstance(values.get(key), Mapping):
            below = _filled(values[key], value)
            filled[key] = Replacement(below) if isinstance(values[key], Replacement) else below
    return filled


def _overridden(raw: RawConfig, overrides: Iterable[str]) -> RawConfig:
    """With each `section.key=value`; the value is YAML, but that of a text is the text."""
    for override in overrides:
        path, separator, text = override.partition("=")
        keys = [normalised(key.strip()) for key in path.split(".")]
        option = f"--set {override}"
        if not separator or not all(keys):
            raise InputError(f"{option}: expected section.key=value")
        types = value_types(Config, keys)
        is_text = str in types and types <= {str, type(None)}
        value = text if is_text and text != "null" else parse_value(text, option)
        values = nested(".".join(keys), value)
        raw = raw.with_changes(RawConfig.from_values(values, option))
    return raw
