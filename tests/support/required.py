"""Tests whose data or package is missing: skipped, except where every test must run."""

import os
from importlib.util import find_spec
from typing import NoReturn

import pytest

REQUIRE_ALL = "SED_TESTS_REQUIRE_ALL"  # set by .ci/run


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the running test; fail it where the environment variable REQUIRE_ALL is set."""
    if os.environ.get(REQUIRE_ALL):
        pytest.fail(f"{reason}, and {REQUIRE_ALL} is set")
    pytest.skip(reason)


def has_package(name: str) -> bool:
    """Whether a package is installed."""
    return find_spec(name) is not None


def require_package(name: str) -> None:
    """Skip the running test, or fail it (see `skip_or_fail`), without this package."""
    if not has_package(name):
        skip_or_fail(f"{name} is not installed")
