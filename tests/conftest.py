import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from desed_task.drawing import style
from local.config.load import Config, load_config
from tests.golden import weights as golden
from tests.support.desed import write_system, write_table
from tests.support.paths import CONFS, GOLDEN
from tests.support.tiny import make_data


@pytest.fixture(scope="session")
def recipe() -> Config:
    """The published recipe, `confs/sed.yaml`."""
    return load_config(CONFS / "sed.yaml")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny generated data set in DESED's layout; tests add nothing but 16 kHz audio."""
    return make_data(tmp_path_factory.mktemp("generated") / "data")


@pytest.fixture(scope="session")
def published_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the published layout, with the golden weights."""
    path = tmp_path_factory.mktemp("published") / "published.ckpt"
    config = json.loads((GOLDEN / "published_config.json").read_text())
    torch.save(golden.checkpoint(config), path)
    return path


@pytest.fixture(scope="session")
def desed_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with DESED's weak.tsv, validation.tsv and public.tsv."""
    folder = tmp_path_factory.mktemp("desed")
    for name in ("weak.tsv", "validation.tsv", "public.tsv"):
        write_table(name, folder)
    return folder


@pytest.fixture(scope="session")
def desed_system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system's files on DESED's validation set, see `write_system`."""
    return write_system(tmp_path_factory.mktemp("desed_system"))


@pytest.fixture(scope="module")
def one_pixel_pictures() -> Iterator[None]:
    """Figures of reports have one pixel, but not the clip pictures of a run.

    Drawing takes most of such a test's time; tests/desed_task/report looks at the pictures.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "to_image", lambda figure: Image.new("RGB", (1, 1)))
        yield


SLOWEST_FILES = (
    "test_benchmarks.py",
    "test_faults.py",
    "test_processes.py",
    "test_resuming.py",
    "test_sed_trainer.py",
    "test_train_sed.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes come first, so that none is left to one worker at the end."""
    items.sort(key=lambda item: item.path.name not in SLOWEST_FILES)
