"""A tiny experiment on a tiny generated data set, for tests that train."""

from pathlib import Path

from benchmarks.real_training import TINY_NETWORK, TINY_SETS
from desed_task.synthesis.generate import generate_dataset
from local.config.load import Config, load_config
from tests.support.paths import CONFS

SIZES = {**TINY_SETS, "validation": 4, "public": 2}
SMALL = (
    *TINY_NETWORK,
    "training.n_epochs=2",
    "training.picture_interval=0",
    "training.n_test_thresholds=10",
    "postprocess.methods=[median]",
    "postprocess.report=false",
    "postprocess.tuning_windows=[1, 5]",
    "postprocess.sebbs_step=[0.5]",
    "postprocess.sebbs_merge_absolute=[0.2]",
    "postprocess.sebbs_merge_relative=[2.0]",
    "postprocess.bootstrap_replicates=20",
)


def make_data(folder: Path) -> Path:
    """Generate the data set; returns its folder."""
    generate_dataset(folder, seed=7, sizes=SIZES)
    return folder


def overrides(data: Path, *more: str) -> list[str]:
    """`section.key=value` that turn `confs/demo.yaml` into the tiny experiment."""
    demo = load_config(CONFS / "demo.yaml").data.model_dump()
    moved = [
        f"data.{key}={str(value).replace('demo_data', str(data))}"
        for key, value in demo.items()
        if isinstance(value, str)
    ]
    return [*moved, *SMALL, *more]


def tiny_config(data: Path, *more: str) -> Config:
    """The tiny experiment."""
    return load_config(CONFS / "demo.yaml", overrides(data, *more))
