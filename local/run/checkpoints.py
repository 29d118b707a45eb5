"""Reading checkpoints, ours and the published layout, without running code from the file.

Source: docs/recipe.md, "The published checkpoint".
"""

import io
import itertools
import os
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from desed_task.errors import FaultError, InputError, file_error, shortened
from desed_task.files import write_file, writing
from local.config.load import Config, build_config, override_config, stored_config
from local.config.published import convert_weights
from local.encoders import without_code
from local.run.folders import CHECKPOINTS, LAST_CHECKPOINT, run_folders

OUR_PREFIX = "networks."
CLASSES_KEY = "classes"
DEV_RUN_KEY = "fast_dev_run"
PUBLISHED_PREFIXES = {"student": "sed_student.", "teacher": "sed_teacher."}
_ENCODER_USE = ("source", "mode", "precision")  # keys that fit any weights
# Classes and functions that rebuild tensors; every other one becomes an inert dictionary.
_HARMLESS = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}


class _Inert(dict[Any, Any]):
    """Replacement of an object whose class is not loaded; keeps nothing and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def append(self, item: Any) -> None:
        """Ignore an item; unpickling fills lists of unknown classes with it."""


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _HARMLESS or (
            module in ("torch", "torch.storage") and name == "UntypedStorage"
        ):
            return super().find_class(module, name)
        return type(name, (_Inert,), {"__module__": module})


_inert_pickle = SimpleNamespace(Unpickler=_InertUnpickler, __name__="inert")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Content of a checkpoint: tensors and plain values; other objects become inert.

    Raises InputError where the file is missing or no checkpoint.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise file_error(path, error) from None
    try:
        _check_archive(content)
        checkpoint = _load(content)
    except Exception as error:  # unpickling damaged bytes can raise any exception
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: is damaged or no checkpoint: {reason}") from None
    for key in ("state_dict", "hyper_parameters"):
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(key), Mapping):
            raise InputError(f"{path}: is no checkpoint of this recipe: expected a key {key!r}")
    for name, value in checkpoint["state_dict"].items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError(f"{path}: state_dict: expected tensors by name, got {name!r}")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise InputError(
                f"{path}: {name}: expected a tensor with all its elements, got a view of shape "
                f"{tuple(value.shape)} of {value.untyped_storage().nbytes()} bytes"
            )
    return checkpoint


def _check_classes(stored: Any, wanted: Sequence[str], source: str) -> None:
    """Raise InputError unless a checkpoint's outputs are the wanted classes, in order."""
    names = list(stored) if isinstance(stored, list | tuple) else [stored]
    if names == list(wanted):
        return
    pairs = itertools.zip_longest(wanted, names, fillvalue="no class")
    wrong = [
        f"output {number} (expected {own}, got {name})"
        for number, (own, name) in enumerate(pairs, start=1)
        if own != name
    ]
    raise InputError(f"{source}: was trained with other classes: {shortened(wrong)}")


def _check_archive(content: bytes) -> None:
    """Raise ValueError for bytes that are no archive, or that unpack to more than there are."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError("expected PyTorch's zip format")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("expected entries without compression, as PyTorch writes them")
    if sum(entry.file_size for entry in entries) > len(content):
        raise ValueError("its entries declare more bytes than the file has")


def _load(content: bytes) -> Any:
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # Some versions of Lightning wrote class objects as keys of the callbacks' states.
        return torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=False, pickle_module=_inert_pickle
        )


def add_to_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Add plain values to a checkpoint of this project; the file is replaced as a whole."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    write_checkpoint(path, checkpoint | dict(content))


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint, which replaces an existing one when it is complete; see `write_file`."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_file(path, buffer.getbuffer())


class CheckpointFiles(TorchCheckpointIO):
    """Reads checkpoints as Lightning does, and writes them so that an earlier one is never lost.

    Lightning writes into the temporary folder and moves the file, also to another file system. If
    that disk is full, an incomplete checkpoint replaces the earlier one.

    Args:
        fast: whether the run is one of `--fast_dev_run`; see `is_dev_run`.
    """

    def __init__(self, *, fast: bool = False) -> None:
        super().__init__()
        self._fast = fast

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint by `write_checkpoint`.

        Raises FaultError where a weight is not finite; the earlier checkpoint is not replaced.
        """
        broken = [
            name
            for name, tensor in checkpoint["state_dict"].items()
            if tensor.is_floating_point() and not tensor.isfinite().all()
        ]
        if broken:
            raise FaultError(f"{path}: not saved: weights that are not finite: {shortened(broken)}")
        path = Path(path)
        with writing(path):
            path.parent.mkdir(exist_ok=True)  # not the run's folder, if that has vanished
        write_checkpoint(path, checkpoint | ({DEV_RUN_KEY: True} if self._fast else {}))


def is_dev_run(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a run of `--fast_dev_run` saved the checkpoint: no training is resumed from it."""
    return DEV_RUN_KEY in checkpoint


def newest_checkpoint(log_dir: Path) -> Path:
    """`last.ckpt` of the newest run in `log_dir` that trained more than `--fast_dev_run`.

    Raises InputError where no run has one, and as `read_checkpoint`.
    """
    for folder in reversed(run_folders(log_dir).values()):
        checkpoint = folder / CHECKPOINTS / LAST_CHECKPOINT
        if checkpoint.is_file() and not is_dev_run(read_checkpoint(checkpoint)):
            return checkpoint
    raise InputError(
        f"--resume_from_checkpoint last: no run under --log_dir {log_dir} has a "
        f"{CHECKPOINTS}/{LAST_CHECKPOINT}"
    )


def is_ours(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this project wrote the checkpoint, so that training can be resumed from it."""
    return any(name.startswith(OUR_PREFIX) for name in checkpoint["state_dict"])


def checkpoint_config(checkpoint: Mapping[str, Any], source: str) -> Config:
    """Configuration that a checkpoint was trained with. Raises InputError as `build_config`.

    Keys that are newer than the checkpoint get the recipe's values. An encoder `module:function` is
    not run, see `without_code`.
    """
    config = without_code(stored_config(checkpoint["hyper_parameters"], source))
    # Published checkpoints, and those of older versions, do not have the names.
    _check_classes(checkpoint.get(CLASSES_KEY, config.data.classes), config.data.classes, source)
    return config


def checkpoint_weights(checkpoint: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """Weights and statistics under this project's names: `networks.student.…`, `scaler.…`.

    Raises InputError for a layout that is neither this project's nor the published one.
    """
    weights: Mapping[str, Tensor] = checkpoint["state_dict"]
    if is_ours(checkpoint):
        return dict(weights)
    converted: dict[str, Tensor] = {}
    for name, prefix in PUBLISHED_PREFIXES.items():
        part = {
            key.removeprefix(prefix): value
            for key, value in weights.items()
            if key.startswith(prefix)
        }
        try:
            ours = convert_weights(part)
        except KeyError as error:
            raise InputError(f"{source}: unknown parameter {prefix}{error.args[0]}") from None
        converted |= {f"{OUR_PREFIX}{name}.{key}": value for key, value in ours.items()}
    if not converted:
        raise InputError(
            f"{source}: expected weights named {OUR_PREFIX}… or "
            f"{PUBLISHED_PREFIXES['student']}…, got none"
        )
    return converted


def test_config(
    checkpoint: Mapping[str, Any],
    chosen: Config | None,
    overrides: Sequence[str],
    source: str,
) -> Config:
    """Configuration to test a checkpoint with.

    The checkpoint's own; where the user chose one, the chosen one with the checkpoint's `net`,
    `feats`, `scaler` and `encoder`, which shape the network, but for how the encoder is found and
    used. The overrides, `section.key=value`, come last.

    Clips may be longer or shorter than in training (`data.audio_max_len`): no weight depends on
    it. Raises InputError for other classes, and for frames of another length.
    """
    own = checkpoint_config(checkpoint, source)
    config = own
    if chosen is not None:
        shaping = {name: own.plain()[name] for name in ("net", "feats", "scaler", "encoder")}
        if own.encoder is not None and chosen.encoder is not None:
            shaping["encoder"] |= {key: chosen.plain()["encoder"][key] for key in _ENCODER_USE}
        config = build_config(chosen.plain() | shaping, source)
    config = override_config(config, overrides)
    _check_classes(own.data.classes, config.data.classes, source)
    if replace(config.grid, clip_seconds=own.grid.clip_seconds) != own.grid:
        raise InputError(
            f"{source}: expected frames as in its training, data.fs {own.data.fs} and "
            f"{own.grid.samples_per_frame} samples a frame, got data.fs {config.data.fs} and "
            f"{config.grid.samples_per_frame} (feats.hop_length, net.pooling)"
        )
    return config
