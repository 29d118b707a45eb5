"""Tests whose data or package is missing: skipped, except where every test must run."""

import os
from typing import NoReturn

import pytest

REQUIRE_ALL = "SED_TESTS_REQUIRE_ALL"  # set by .ci/run


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the running test; fail it where the environment variable REQUIRE_ALL is set."""
    if os.environ.get(REQUIRE_ALL):
        pytest.fail(f"{reason}, and {REQUIRE_ALL} is set")
    pytest.skip(reason)
