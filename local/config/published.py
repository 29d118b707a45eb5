"""Conversion of the published YAML and checkpoint into this recipe's layout, by explicit tables.

Source: docs/recipe.md, "Where the published code cannot be followed" and "The published
checkpoint".
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from desed_task.errors import InputError
from desed_task.settings import KeyPath
from local.config.yaml_files import RawConfig, merge, nested

IGNORED_SECTIONS = ("log_dir",)


class Conversion(NamedTuple):
    """Key of this recipe for a published key (None: it has no effect), and a note."""

    target: str | None
    note: str = ""


def _equal(section: str, names: str) -> dict[str, Conversion]:
    """Keys that this recipe has, too."""
    keys = [f"{section}.{name}" for name in names.split()]
    return {key: Conversion(key) for key in keys}


def _unused(note: str) -> Conversion:
    return Conversion(None, note)


CONFIG_TABLE: dict[str, Conversion] = {
    **_equal(
        "training",
        "batch_size batch_size_val const_max n_epochs_warmup num_workers n_epochs "
        "early_stop_patience accumulate_batches gradient_clip val_thresholds n_test_thresholds "
        "ema_factor self_sup_loss validation_interval weak_split seed obj_metric_synth_type "
        "backend",
    ),
    "training.median_window": _unused("not read: class-wise windows, postprocess.median_window"),
    "training.mixup": _unused("not read: augs.mixup decides"),
    **_equal("scaler", "statistic normtype dims"),
    "scaler.savepath": _unused("statistics of a data set are stored in the checkpoint"),
    **_equal(
        "data",
        "synth_folder synth_folder_44k synth_tsv weak_folder weak_folder_44k weak_tsv "
        "unlabeled_folder unlabeled_folder_44k synth_val_folder synth_val_folder_44k "
        "synth_val_tsv synth_val_dur test_folder test_folder_44k test_tsv test_dur "
        "audio_max_len fs",
    ),
    "data.net_subsample": _unused("derived from net.pooling"),
    **_equal("opt", "lr"),
    **_equal("feats", "n_mels hop_length n_window f_min f_max"),
    "feats.n_filters": _unused("not read"),
    "feats.sample_rate": _unused("equals data.fs"),
    "net.dropout": _unused("not read: the network has 0.2 in its blocks and 0.5 before the heads"),
    **_equal("net", "rnn_layers n_RNN_cell dropout_recurrent"),
    "net.n_in_channel": _unused("always 1"),
    "net.nclass": _unused("data.classes: DESED's ten"),
    "net.attention": _unused("not read: weak predictions are always attention-weighted"),
    "net.activation": _unused("not read: context gating"),
    "net.rnn_type": _unused("not read: a bidirectional GRU"),
    "net.kernel_size": _unused("not read: 3 in every block"),
    "net.padding": _unused("not read: maps keep their size"),
    "net.stride": _unused("not read: 1"),
    "net.nb_filters": _unused("not read: 32, 64, 128, 256, 256"),
    "net.pooling": _unused("does not describe the network: its third block pools [1, 2]"),
    "augs.mixup": Conversion("augs.mixup", "in lower case"),
    **_equal("augs", "mixup_scale aug_methods aug_scale consis_loss"),
    "augs.unsup": _unused("not read: unlabelled clips are always augmented"),
    "augs.consis": Conversion("losses.self_consistency", "true: weight 1, false: weight 0"),
}


def is_published(values: Mapping[str, Any]) -> bool:
    """Whether a configuration has the published layout, which alone has `net.nclass`."""
    net = values.get("net")
    return isinstance(net, Mapping) and "nclass" in net


def from_published(raw: RawConfig) -> RawConfig:
    """The keys of the published YAML in this recipe's layout.

    Raises InputError for keys that are not in `CONFIG_TABLE`.
    """
    values: dict[str, Any] = {}
    places: dict[KeyPath, str] = {}
    unknown: list[KeyPath] = []
    for section, content in raw.values.items():
        if section in IGNORED_SECTIONS:
            continue
        if not isinstance(content, Mapping):
            unknown.append((section,))
            continue
        for key, value in content.items():
            path = f"{section}.{key}"
            conversion = CONFIG_TABLE.get(path)
            if conversion is None:
                unknown.append((section, key))
            elif conversion.target is not None:
                values = merge(values, nested(conversion.target, _converted(path, value)))
                places[tuple(conversion.target.split("."))] = raw.place((section, key))
    if unknown:
        lines = [
            f"{raw.place(path)}: {'.'.join(map(str, path))}: unknown key of the published "
            "configuration"
            for path in unknown
        ]
        raise InputError("\n       ".join(lines))
    return RawConfig(values, raw.source, places)


def _converted(path: str, value: Any) -> Any:
    if path == "augs.mixup" and isinstance(value, str):
        return value.lower()
    if path == "augs.consis" and isinstance(value, bool):
        return 1.0 if value else 0.0
    return value


# Published prefix of a parameter, and ours.
_MODULES: tuple[tuple[str, str], ...] = (
    ("alpha", "sod_scale"),
    ("beta", "sed_scale"),
    *(
        (f"{block}.{layer}{index}", f"{our_block}.{our_layer}")
        for block, index, our_block, norm in (
            ("cnn_0_1.cnn", 0, "backbone.0", "subspectralnorm"),
            ("cnn_0_1.cnn", 1, "backbone.1", "subspectralnorm"),
            ("cnn_2.cnn", 0, "backbone.2", "subspectralnorm"),
            ("cnn_3.cnn", 0, "backbone.3", "subspectralnorm"),
            ("cnn_4.cnn", 0, "backbone.4", "batchnorm"),
            ("cnn_sed.cnn", 0, "sed_blocks.0", "batchnorm"),
            ("cnn_sed.cnn", 1, "sed_blocks.1", "batchnorm"),
        )
        for layer, our_layer in (("conv", "conv"), (norm, "norm"), ("cg", "gate"))
    ),
    ("rnn_sed.rnn", "sed_rnn"),
    ("rnn_vad.rnn", "sod_rnn"),
    ("densenet.batchnorm2", "sod_fusion.norm_out"),
    ("densenet.batchnorm", "sod_fusion.norm_in"),
    ("densenet.conv", "sod_fusion.conv"),
    ("densenet2.batchnorm2", "sed_fusion.norm_out"),
    ("densenet2.batchnorm", "sed_fusion.norm_in"),
    ("densenet2.conv", "sed_fusion.conv"),
    ("dense_softmax", "attention_head"),
    ("dense_vad", "sod_head"),
    ("dense", "strong_head"),
)


def convert_name(name: str) -> str:
    """New name of a published parameter. Raises KeyError for an unknown name."""
    for published, ours in _MODULES:
        if name == published or name.startswith(f"{published}."):
            return ours + name.removeprefix(published)
    raise KeyError(name)


def convert_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published network's `state_dict` (without prefix) as one of `CRNN`.

    Published kernels are (time, band) and gates linear layers; here kernels are (band, time) and
    gates 1x1 convolutions. Raises KeyError for an unknown name.
    """
    converted = {}
    for name, tensor in weights.items():
        new = convert_name(name)
        if new.endswith("gate.linear.weight"):
            tensor = tensor[:, :, None, None]
        elif new.endswith("conv.weight"):
            tensor = tensor.transpose(2, 3).contiguous()
        converted[new] = tensor
    return converted
