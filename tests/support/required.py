"""Tests that need an extra package."""

import os
from importlib.util import find_spec

import pytest

REQUIRE_ALL = "SED_TESTS_REQUIRE_ALL"  # set by .ci/run


def needs(package: str) -> pytest.MarkDecorator:
    """Skip a test without the package; it fails where the variable REQUIRE_ALL is set."""
    missing = find_spec(package) is None and not os.environ.get(REQUIRE_ALL)
    return pytest.mark.skipif(missing, reason=f"needs {package}")
