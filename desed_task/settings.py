"""Settings: frozen classes, strict about unknown keys, types and values.

The part of the program that uses settings defines them: its class is the section of the
configuration and of model.json, with one check and one description of each key.
"""

from operator import attrgetter
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from desed_task.tables import class_name

MISFIT = "misfit"


def _class_name(name: str) -> str:
    try:
        return class_name(name)
    except ValueError as error:
        raise PydanticCustomError(MISFIT, "{text}", {"text": str(error), "keys": ()}) from None


PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
FractionBelow1 = Annotated[float, Field(ge=0, lt=1)]
InnerFraction = Annotated[float, Field(gt=0, lt=1)]
Dropout = Annotated[float, Field(ge=0, le=0.99)]
ClassName = Annotated[str, AfterValidator(_class_name)]


class Shown(str):
    """A value that a message shows without quotes."""

    def __repr__(self) -> str:
        return str(self)


class Settings(BaseModel):
    """Keys of one section: strict about unknown keys, types and values; immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def _require(
        self, fits: bool, key: str, expected: str, *others: str, got: object = None
    ) -> None:
        """Raise the error for a value of `key` that does not fit the values of the `others`.

        Keys are relative to this section. `got` is what is compared, by default the value.
        """
        if not fits:
            value = attrgetter(key)(self) if got is None else got
            shown = f"{value:g}" if isinstance(value, float) else repr(value)
            text = f"expected {expected}, got {shown}"
            raise PydanticCustomError(MISFIT, "{text}", {"text": text, "keys": (key, *others)})

    def _require_distinct(self, key: str) -> None:
        values = getattr(self, key)
        self._require(len(set(values)) == len(values), key, "distinct values")
