"""Settings: frozen classes, strict about unknown keys, types and values.

The part of the program that uses settings defines them: its class is the section of the
configuration and of model.json, with one check and one description of each key.
"""

import contextlib
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from desed_task.errors import nearest, shortened
from desed_task.tables import class_name

MISFIT = "misfit"
MAX_NAMES = 5  # of allowed ones in a message

KeyPath = tuple[str | int, ...]
Value = TypeVar("Value")


class Shown(str):
    """A value that a message shows without quotes."""

    def __repr__(self) -> str:
        return str(self)


class _Repr(reprlib.Repr):
    """Values as YAML and JSON write them, of bounded length: a YAML alias can make one endless."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxtuple = 12  # values
        self.maxstring = self.maxother = 200  # characters

    def repr_tuple(self, value: tuple[object, ...], level: int) -> str:
        return self.repr_list(list(value), level)

    def repr_bool(self, value: bool, level: int) -> str:
        return str(value).lower()

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: N802 - reprlib's name
        return "null"

    def repr_float(self, value: float, level: int) -> str:
        return repr(value).removesuffix(".0")

    def repr_dict(self, value: dict[Any, Any], level: int) -> str:
        return f"a section of {len(value)} key{'s' * (len(value) != 1)}"


def shown(value: object) -> str:
    """A value for a message."""
    try:
        return _Repr().repr(value)
    except ValueError:  # Python writes no integer of thousands of digits
        return "a number of thousands of digits"


def misfit(text: str, *keys: str) -> PydanticCustomError:
    """The error for values that do not fit.

    `keys` are relative to the section that is checked, the wrong one first, then those whose
    values it does not fit.
    """
    return PydanticCustomError(MISFIT, "{text}", {"text": text, "keys": keys})


def _class_name(name: str) -> str:
    try:
        return class_name(name)
    except ValueError as error:
        raise misfit(str(error)) from None


def has_length(least: int, most: int | None = None) -> BeforeValidator:
    """Annotation of a tuple: a list is read as one; `least` to `most` values (None: any number)."""
    if most is None:
        expected = f"at least {_counted(least)}"
    else:
        expected = f"exactly {_counted(least)}" if least == most else f"{least} to {most} values"

    def convert(value: object) -> object:
        values = tuple(value) if isinstance(value, list) else value
        if isinstance(values, tuple) and not least <= len(values) <= (most or len(values)):
            raise misfit(f"expected {expected}, got {shown(values)}")
        return values

    return BeforeValidator(convert)


def _whole_as_int(value: float) -> float:
    """A whole number as an integer: it is written without a decimal point."""
    return int(value) if value.is_integer() else value


def _infinity(value: object) -> object:
    """The number that JSON has as a text."""
    return float("inf") if value == "Infinity" else value


def _counted(number: int) -> str:
    return f"{number} value{'s' * (number != 1)}"


PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Length = Annotated[float, Field(gt=0), PlainSerializer(_whole_as_int, return_type=int | float)]
NonNegative = Annotated[float, Field(ge=0)]
NonNegativeOrInf = Annotated[
    float, Field(ge=0, allow_inf_nan=True), BeforeValidator(lambda value: _infinity(value))
]
Fraction = Annotated[float, Field(ge=0, le=1)]
FractionBelow1 = Annotated[float, Field(ge=0, lt=1)]
InnerFraction = Annotated[float, Field(gt=0, lt=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
Dropout = Annotated[float, Field(ge=0, le=0.99)]
ClassName = Annotated[str, AfterValidator(_class_name)]
# Lists of YAML and JSON, tuples in the settings.
Values = Annotated[tuple[Value, ...], has_length(0)]
NonEmpty = Annotated[tuple[Value, ...], has_length(1)]
Pair = Annotated[tuple[Value, Value], has_length(2, 2)]


class NoResult:
    """Annotation of a key that changes neither scores nor metrics, only speed or pictures."""


class Settings(BaseModel):
    """Keys of one section: strict about unknown keys, types and values; immutable."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        ser_json_inf_nan="strings",  # JSON has no infinite numbers
    )

    def plain(self) -> dict[str, Any]:
        """Plain values as YAML, JSON and checkpoints hold them: lists instead of tuples."""
        return self.model_dump(mode="json")

    @classmethod
    def keys_without_result(cls) -> set[str]:
        """The keys with the annotation `NoResult`."""
        fields = cls.model_fields.items()
        return {key for key, field in fields if NoResult in field.metadata}

    def _require(
        self, fits: bool, key: str, expected: str, *others: str, got: object = None
    ) -> None:
        """Raise the error for a value of `key` that does not fit the values of the `others`.

        Keys are relative to this section. `got` is what is compared, by default the value.
        """
        if not fits:
            value = attrgetter(key)(self) if got is None else got
            raise misfit(f"expected {expected}, got {shown(value)}", key, *others)

    def _require_distinct(self, key: str) -> None:
        values = getattr(self, key)
        self._require(len(set(values)) == len(values), key, "distinct values")


@contextlib.contextmanager
def in_section(section: str, **others: str) -> Iterator[None]:
    """Name the keys of a misfit inside the block as the whole names them.

    A section checks itself against values from outside, which are arguments of its check. Its own
    keys get the prefix `section`; `others` are the keys of the whole by name of the argument.
    """
    try:
        yield
    except PydanticCustomError as error:
        context: Any = error.context
        keys = [others.get(key, f"{section}.{key}") for key in context["keys"]]
        raise misfit(context["text"], *keys) from None


class Problem(NamedTuple):
    """One problem of values that do not fit.

    Attributes:
        keys: the wrong key, then those that it does not fit.
        text: what is wrong, and what is expected.
    """

    keys: tuple[KeyPath, ...]
    text: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.keys[0])) or 'content'}: {self.text}"


def problems(error: ValidationError, whole: type[Settings]) -> list[Problem]:
    """All problems of values that were read as `whole`."""
    found = []
    for each in error.errors(include_url=False):
        path: KeyPath = tuple(key for key in each["loc"] if key != "[key]")
        context: Mapping[str, Any] = each.get("ctx", {})
        keys = [(*path, *key.split(".")) for key in context.get("keys", ())] or [path]
        found.append(Problem(tuple(keys), _text(each, path, context, whole)))
    return found


def _text(error: Any, path: KeyPath, context: Mapping[str, Any], whole: type[Settings]) -> str:
    kind = error["type"]
    if kind == MISFIT:
        return context["text"]
    if kind == "missing":
        return "missing"
    if kind == "json_invalid":
        return f"not valid JSON: {context['error']}"
    if kind == "extra_forbidden":
        known = _known_keys(path[:-1], whole)
        near = nearest(str(path[-1]), known)
        return "unknown key" + (near or f": expected one of {shortened(known, MAX_NAMES)}")
    expected = {
        "greater_than": lambda: f"more than {shown(context['gt'])}",
        "greater_than_equal": lambda: f"at least {shown(context['ge'])}",
        "less_than": lambda: f"less than {shown(context['lt'])}",
        "less_than_equal": lambda: f"at most {shown(context['le'])}",
        "too_long": lambda: f"at most {_counted(context['max_length'])}",
        "int_type": lambda: "a decimal integer",
        "float_type": lambda: "a decimal number",
        "bool_type": lambda: "true or false",
        "string_type": lambda: (
            "a text, in quotes where it looks like a number, true, false or null"
        ),
        "tuple_type": lambda: "a list",
        "list_type": lambda: "a list",
        "dict_type": lambda: "a section of keys",
        "model_type": lambda: "a section of keys",
    }.get(kind, lambda: error["msg"].removeprefix("Input should be "))()
    return f"expected {expected}, got {shown(error['input'])}"


def value_types(whole: type[Settings], path: Sequence[str | int]) -> set[type]:
    """The types that the value of a key may have; a Literal's are those of its values.

    Empty for an unknown key; of a section and a list their classes.
    """
    kind: Any = whole
    for key in path:
        section = section_class(kind)
        if section is None or key not in section.model_fields:
            return set()
        kind = section.model_fields[key].annotation
    return {get_origin(each) or each for each in _members(kind)}


def section_class(annotation: Any) -> type[Settings] | None:
    """The class of a section, also of one that may be null; None for other values."""
    return next((each for each in _members(annotation) if hasattr(each, "model_fields")), None)


def _members(annotation: Any) -> list[Any]:
    """The members of a union, without annotations; of a Literal the types of its values."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _members(arguments[0])
    if origin in (Union, UnionType):
        return [member for each in arguments for member in _members(each)]
    if origin is Literal:
        return [type(each) for each in arguments]
    return [annotation]


def _known_keys(path: KeyPath, whole: type[Settings]) -> list[str]:
    """The keys of the section at a path."""
    section: Any = whole
    for key in path:
        if key in section.model_fields:  # else the name of a section in a mapping of sections
            annotation = section.model_fields[key].annotation
            # A section that may be null is a union; one in a mapping is an argument of it.
            kinds = get_args(annotation) or (annotation,)
            section = next((kind for kind in kinds if hasattr(kind, "model_fields")), section)
    return list(section.model_fields)
