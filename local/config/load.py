"""Load a configuration: a file of this recipe or the published YAML, or what a checkpoint stores.

Every problem of a configuration is reported at once, each with its file and line.
"""

import difflib
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from desed_task.errors import InputError
from desed_task.settings import MISFIT
from desed_task.tables import normalised
from local.config.published import from_published, is_published
from local.config.retired import drop_retired
from local.config.schema import Config
from local.config.yaml_files import (
    RECIPE,
    KeyPath,
    RawConfig,
    Replacement,
    merge,
    nested,
    parse_value,
    read_composed,
)

NAMES_LISTED = 5


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a configuration file of either layout and apply `section.key=value` overrides.

    Raises InputError with file, line, key, and what is allowed.
    """
    return _checked(_overridden(_converted(read_composed(Path(path))), overrides))


def override_config(config: Config, overrides: Iterable[str]) -> Config:
    """Apply `section.key=value` overrides. Raises InputError as `load_config`."""
    return _checked(_overridden(RawConfig(config.model_dump(), "configuration"), overrides))


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
    return _checked(read_composed(RECIPE).with_changes(stored))


def build_config(values: Mapping[str, Any], source: str) -> Config:
    """Check nested mappings from `source`. Raises InputError as `load_config`."""
    return _checked(RawConfig.from_values(values, source))


def _converted(raw: RawConfig) -> RawConfig:
    """In this recipe's layout, without retired keys."""
    raw = drop_retired(raw)
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
        raw = raw.with_changes(drop_retired(RawConfig.from_values(values, option)))
    return raw


def _checked(raw: RawConfig) -> Config:
    try:
        return Config.model_validate(dict(raw.values))
    except ValidationError as error:
        lines = [_message(problem, raw) for problem in error.errors()]
        raise InputError("\n       ".join(lines)) from None


def _message(problem: Any, raw: RawConfig) -> str:
    """`PLACE: KEY: problem` of one of pydantic's errors."""
    path: KeyPath = tuple(key for key in problem["loc"] if key != "[key]")
    involved = [path]
    if problem["type"] == MISFIT and problem["ctx"]["keys"]:
        involved = [(*path, *key.split(".")) for key in problem["ctx"]["keys"]]
        path = involved[0]
    name = ".".join(map(str, path)) or "configuration"
    return f"{raw.place(*involved)}: {name}: {_reason(problem, path)}"


def _reason(problem: Any, path: KeyPath) -> str:
    value, kind, context = problem["input"], problem["type"], problem.get("ctx", {})
    quoted = _quoted(value)
    if kind == MISFIT:
        return context["text"]
    if kind == "missing":
        return "missing"
    if kind == "extra_forbidden":
        return f"unknown key; {_hint(str(path[-1]), _allowed(path[:-1]))}"
    if kind in ("too_short", "too_long"):
        bound = "at least" if kind == "too_short" else "at most"
        limit = context.get("min_length", context.get("max_length"))
        return f"expected {bound} {limit} values, got {quoted}"
    if kind == "literal_error":
        names = re.findall("'(.+?)'", context["expected"])
        if len(names) > NAMES_LISTED:
            return f"unknown name {quoted}; {_hint(str(value), names)}"
    expected = problem["msg"].removeprefix("Input should be ")
    if kind == "model_type":
        expected = "a section of keys"
    shown = f"a section of {len(value)} keys" if isinstance(value, dict) else quoted
    return f"expected {expected}, got {shown}"


def _quoted(value: Any) -> str:
    """A value for a message: a YAML alias can make a value whose full text never ends."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes no integer of thousands of digits
        return "a number of thousands of digits"


def _hint(name: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    if near:
        return f"did you mean `{near[0]}`?"
    more = ", …" if len(allowed) > NAMES_LISTED else ""
    return f"expected one of {', '.join(allowed[:NAMES_LISTED])}{more}"


def _allowed(path: KeyPath) -> list[str]:
    """The keys of a section."""
    content: Any = Config
    for key in path:
        content = content.model_fields[key].annotation
    return list(content.model_fields)
