"""Files that lie beside the repository, in `shared/`."""

from pathlib import Path

from tests.support.paths import ROOT
from tests.support.required import skip_or_fail


def shared_path(name: str) -> Path:
    """Return a file or folder of `shared/`; a test without it is skipped or fails."""
    path = ROOT.parent / "shared" / name
    if not path.exists():
        skip_or_fail(f"{path} does not exist")
    return path
