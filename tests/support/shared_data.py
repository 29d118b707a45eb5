"""Real files that lie beside the repository, in `shared/`."""

import os
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def shared_path(name: str) -> Path:
    """A file or folder of `shared/`; without it the test fails in CI and is skipped elsewhere."""
    path = ROOT.parent / "shared" / name
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing, and CI must run this test")
        pytest.skip(f"{path} is not there")
    return path
