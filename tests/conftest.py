from pathlib import Path

import pytest

from tests.tiny import make_data


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny generated data set in DESED's layout; tests add nothing but 16 kHz audio."""
    return make_data(tmp_path_factory.mktemp("generated") / "data")
