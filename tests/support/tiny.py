"""A tiny experiment on a tiny generated data set, for tests that train."""

from pathlib import Path

from desed_task.making.generate import generate_dataset
from local.config.load import Config, load_config
from tests.support.paths import CONFS

SIZES = {
    "synthetic": 4,
    "weak": 8,
    "unlabelled": 6,
    "synthetic validation": 3,
    "test": 4,
    "eval": 2,
}
NETWORK = (
    "feats.n_mels=16",
    "feats.hop_length=1024",
    "feats.n_window=1024",
    "net.nb_filters=[4, 4, 8]",
    "net.kernel_size=[3, 3, 3]",
    "net.pooling=[[1, 2], [1, 2], [1, 2]]",
    "net.sed_filters=[8]",
    "net.sed_kernel_size=[3]",
    "net.sed_pooling=[[1, 2]]",
    "net.subspectral_blocks=1",
    "net.rnn_layers=1",
    "net.n_RNN_cell=8",
)
SMALL = (
    *NETWORK,
    "training.batch_size=[1, 2, 2]",
    "training.batch_size_val=4",
    "training.n_epochs=2",
    "training.n_epochs_warmup=1",
    "training.n_epochs_rampdown=0",
    "training.num_workers=0",
    "training.weak_split=0.75",
    "training.validation_interval=1",
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


def data_overrides(data: Path) -> list[str]:
    """`data.key=value` that point `confs/demo.yaml` to a generated data set."""
    return [f"data.root={data}"]


def overrides(data: Path, *more: str) -> list[str]:
    """`section.key=value` that turn `confs/demo.yaml` into the tiny experiment."""
    return [*data_overrides(data), *SMALL, *more]


def tiny_config(data: Path, *more: str) -> Config:
    """The tiny experiment."""
    return load_config(CONFS / "demo.yaml", overrides(data, *more))
