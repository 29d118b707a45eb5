"""Configuration files: YAML with `extends`, and the line on which each key was given."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from desed_task.errors import InputError, file_error
from desed_task.files import user_path
from desed_task.settings import KeyPath, Settings, problems
from desed_task.tables import normalised

SHIPPED = Path(__file__).parents[2] / "confs"
RECIPE = SHIPPED / "sed.yaml"
MAX_DEPTH = 4  # of remembered keys; a YAML alias can contain itself

Section = TypeVar("Section", bound=Settings)


@dataclass(frozen=True)
class RawConfig:
    """Unchecked values of a configuration, and where each key was given.

    Attributes:
        values: nested mappings.
        source: the file or checkpoint as a whole, for messages.
        places: `FILE:LINE` or the command-line option of each key; later layers come last.
    """

    values: Mapping[str, Any]
    source: str
    places: Mapping[KeyPath, str] = field(default_factory=dict)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], source: str) -> "RawConfig":
        """Values without lines: every key was given in `source`."""
        return cls(values, source, dict.fromkeys(_key_paths(values), source))

    def with_changes(self, changes: "RawConfig") -> "RawConfig":
        """A copy with `changes` laid over it, mapping by mapping."""
        older = {path: place for path, place in self.places.items() if path not in changes.places}
        values = merge(self.values, changes.values)
        return RawConfig(values, self.source, older | dict(changes.places))

    def place(self, *paths: KeyPath) -> str:
        """Where one of these keys was given last; for an unknown key, where its parent was."""
        order = list(self.places)
        known = [
            next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self.places), None)
            for path in paths
        ]
        given = [path for path in known if path is not None]
        return self.places[max(given, key=order.index)] if given else self.source


def checked(kind: type[Section], raw: RawConfig) -> Section:
    """The settings in `raw`. Raises InputError with every problem, its place and its key."""
    try:
        return kind.model_validate(dict(raw.values))
    except ValidationError as error:
        lines = [f"{raw.place(*each.keys)}: {each}" for each in problems(error, kind)]
        raise InputError("\n       ".join(lines)) from None


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `base` with `changes` laid over it, mapping by mapping.

    A `Replacement` takes the place of a mapping.
    """
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = dict(value) if isinstance(value, Replacement) else merge(below, value)
        merged[key] = value
    return merged


def nested(path: str, value: Any) -> dict[str, Any]:
    """`section.key` and a value as nested mappings."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def read_composed(path: Path) -> RawConfig:
    """A YAML file laid over the file that its `extends` names, and so on.

    The parent is searched beside the file, then in the folder of the shipped configurations.
    Raises InputError for an unreadable or invalid file, a missing parent, and a circle.
    """
    layers: list[RawConfig] = []
    seen: list[Path] = []
    current: Path | None = path
    while current is not None:
        if current.resolve() in seen:
            raise InputError(f"{layers[-1].place(('extends',))}: extends: the file extends itself")
        seen.append(current.resolve())
        layers.append(_read_yaml(current))
        current = _parent(current, layers[-1])
    raw = layers.pop()
    while layers:
        raw = raw.with_changes(layers.pop())
    values = {key: value for key, value in raw.values.items() if key != "extends"}
    return RawConfig(values, str(path), raw.places)


def parse_value(text: str, option: str) -> Any:
    """The value of a command-line override, read as YAML; `option` names it in messages.

    Raises InputError for what is no YAML, and for a comment, which would be lost.
    """
    value, _ = _parse(text, option, number_lines=False)
    end = 0
    for token in yaml.scan(text):
        if "#" in text[end : token.start_mark.index]:
            raise InputError(f"{option}: expected a value, got a comment: write # in quotes")
        end = max(end, token.end_mark.index)
    return value


def _parent(path: Path, layer: RawConfig) -> Path | None:
    name = layer.values.get("extends")
    if name is None:
        return None
    place = layer.place(("extends",))
    if not isinstance(name, str):
        raise InputError(f"{place}: extends: expected a file name, got {name!r}")
    for folder in (path.parent, SHIPPED):
        if (folder / user_path(name)).is_file():
            return folder / user_path(name)
    raise InputError(f"{place}: extends: expected a file in {path.parent} or {SHIPPED}, got {name}")


def _read_yaml(path: Path) -> RawConfig:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise file_error(path, error) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    content, lines = _parse(text, str(path))
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected sections of keys, got {type(content).__name__}")
    return RawConfig(
        content, str(path), {keys: f"{path}:{number}" for keys, number in lines.items()}
    )


class Replacement(dict[Any, Any]):
    """A mapping tagged `!replace`: the mapping of the extended file is not added to it."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys, and reads as a text what is not in `_SCALARS`.

    YAML 1.1 would read 010 as 8, 1:30 as 90, 1_000 as 1000, `no` as false, 2020-01-01 as a date
    and 1e-3 as a text. Keys are texts, in Unicode's form NFC: they may be names of classes.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as in the base class

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                key_node.value = normalised(key_node.value)
                key_node.tag = "tag:yaml.org,2002:str"
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also writes in quotes the texts that `_Loader` would read as numbers.

    Texts that only YAML 1.1 reads as something else, such as `no`, are in quotes, too.
    """


_INTEGER = r"[-+]?(0|[1-9][0-9]*)"
# What a value without quotes can be besides a text, and its first characters.
_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (_INTEGER, list("-+0123456789")),
    "float": (
        rf"({_INTEGER}(\.[0-9]*)?|[-+]?\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)"
        r"|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}
for _name, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _tag, _whole = f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})\Z")
        _class.add_implicit_resolver(_tag, _whole, _first)


def dump_yaml(values: Any) -> str:
    """Plain values as YAML that is read back equal; lists and small mappings on one line."""
    return yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True
    )


def _replacement(loader: _Loader, node: yaml.Node) -> Replacement:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(
            None, None, "!replace: expected a mapping", node.start_mark
        )
    return Replacement(loader.construct_mapping(node, deep=True))


_Loader.add_constructor("!replace", _replacement)


def _parse(text: str, source: str, *, number_lines: bool = True) -> tuple[Any, dict[KeyPath, int]]:
    """The value of a YAML text, and the line of each key."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if number_lines and mark is not None else ""
        reason = " ".join(filter(None, (error.context, error.problem)))
        raise InputError(f"{source}{line}: not valid YAML: {reason}") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{source}: not valid YAML: {reason}") from None
    except RecursionError:
        raise InputError(f"{source}: not valid YAML: nested too deeply") from None
    return value, dict(_key_lines(node))


def _key_lines(node: yaml.Node | None, above: KeyPath = ()) -> Iterator[tuple[KeyPath, int]]:
    if not isinstance(node, yaml.MappingNode) or len(above) == MAX_DEPTH:
        return
    for key, value in node.value:
        path = (*above, key.value)
        yield path, key.start_mark.line + 1
        yield from _key_lines(value, path)


def _key_paths(values: Any, above: KeyPath = ()) -> Iterator[KeyPath]:
    if not isinstance(values, Mapping) or len(above) == MAX_DEPTH:
        return
    for key, value in values.items():
        yield (*above, key)
        yield from _key_paths(value, (*above, key))
