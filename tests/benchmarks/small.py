"""Subjects in a size for tests: clips of a second, a narrow network."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks.options import DEMO, RECIPE
from benchmarks.real_training import TINY
from local.config.load import Config, load_config, override_config

NARROW = (
    "data.audio_max_len=1",
    "net.nb_filters=[4, 4, 8, 8, 8]",
    "net.sed_filters=[8, 8]",
    "net.n_RNN_cell=4",
)


DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]
"""What a subject runs on, as far as it is there."""


def narrow(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> Config:
    """Let modules load the recipe made narrow; returns it."""
    config = load_config(RECIPE, NARROW)

    def load(path: Path, overrides: Sequence[str] = ()) -> Config:
        return override_config(config, list(overrides))

    for module in modules:
        monkeypatch.setattr(module, "load_config", load)
    return config


def tiny_file(folder: Path) -> Path:
    """A file of the demo's configuration made tiny."""
    path = folder / "tiny.yaml"
    path.write_text(load_config(DEMO, TINY).to_yaml(), encoding="utf-8")
    return path
