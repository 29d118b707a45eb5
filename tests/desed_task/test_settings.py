"""Settings: what is read from YAML and JSON, and the problems of values that do not fit."""

import json
import math

import pytest
from pydantic import ValidationError

from desed_task.settings import (
    NonEmpty,
    NonNegativeOrInf,
    Pair,
    PositiveInt,
    Settings,
    Values,
    in_section,
    problems,
)


class Inner(Settings):
    """A section."""

    sizes: Values[Pair[PositiveInt]]
    names: NonEmpty[str]
    bound: NonNegativeOrInf

    def check_input(self, number: int) -> None:
        """Raise a misfit for more names than `number`."""
        self._require(len(self.names) <= number, "names", f"at most {number} names", "number")


class Outer(Settings):
    """The whole."""

    inner: Inner | None


INNER = {"sizes": [[1, 2], [3, 4]], "names": ["a"], "bound": math.inf}


def test_lists_are_tuples_and_become_lists_again() -> None:
    read = Inner.model_validate(INNER)
    assert read.sizes == ((1, 2), (3, 4))
    assert read.plain() == INNER
    text = read.model_dump_json()
    assert Inner.model_validate_json(text) == read
    assert json.loads(text, parse_constant=pytest.fail)["bound"] == "Infinity"
    older = text.replace('"Infinity"', "Infinity")
    assert Inner.model_validate_json(older) == read


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sizes": [[1, 2], [3]]}, "inner.sizes.1: expected exactly 2 values, got [3]"),
        ({"sizes": [[1, 0]]}, "inner.sizes.0.1: expected at least 1, got 0"),
        ({"sizes": 3}, "inner.sizes: expected a list, got 3"),
        ({"names": []}, "inner.names: expected at least 1 value, got []"),
        ({"names": None}, "inner.names: expected a list, got null"),
        ({"bound": math.nan}, "inner.bound: expected at least 0, got nan"),
        ({"bound": True}, "inner.bound: expected a decimal number, got true"),
        ({"name": 1}, "inner.name: unknown key (did you mean names?)"),
        ({"xyz": 1}, "inner.xyz: unknown key: expected one of sizes, names, bound"),
    ],
)
def test_a_problem_names_its_key_and_what_is_expected(
    change: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": INNER | change})
    assert [str(each) for each in problems(caught.value, Outer)] == [problem]


def test_a_check_against_values_from_outside_names_their_keys() -> None:
    with (
        pytest.raises(ValueError, match="expected at most 0 names, got") as caught,
        in_section("inner", number="outer.number"),
    ):
        Inner.model_validate(INNER).check_input(0)
    assert caught.value.context["keys"] == ("inner.names", "outer.number")  # type: ignore[attr-defined]


def test_a_list_that_contains_itself() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": INNER | {"sizes": endless}})
    assert all(len(str(each)) < 200 for each in problems(caught.value, Outer))
