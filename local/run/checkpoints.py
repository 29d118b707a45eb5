"""Reading checkpoints, ours and the published layout, without running code from the file.

Source: docs/recipe.md, "The published checkpoint".
"""

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from desed_task.errors import InputError
from desed_task.files import atomic_write
from local.config.load import Config, build_config, stored_config
from local.config.published import convert_weights

OUR_PREFIX = "networks."
PUBLISHED_PREFIXES = {"student": "sed_student.", "teacher": "sed_teacher."}
# What rebuilding tensors takes; everything else a file names becomes an inert dictionary.
_HARMLESS = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}


# What unpickling a damaged file may raise.
_DAMAGE = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class _Inert(dict[Any, Any]):
    """Stands for an object whose class is not loaded; keeps nothing and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def append(self, item: Any) -> None:
        """Lists of unknown classes are filled by it."""


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _HARMLESS or (
            module in ("torch", "torch.storage") and name.endswith("Storage")
        ):
            return super().find_class(module, name)
        return type(name, (_Inert,), {"__module__": module})


_inert_pickle = SimpleNamespace(Unpickler=_InertUnpickler, __name__="inert")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint: tensors and plain values; other objects are left inert.

    Raises InputError when the file is missing or is no checkpoint.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise InputError(f"{path}: is no checkpoint (PyTorch's zip format is expected)")
    try:
        checkpoint = _load(content)
    except _DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: is damaged or no checkpoint: {reason}") from None
    for key in ("state_dict", "hyper_parameters"):
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(key), Mapping):
            raise InputError(f"{path}: is no checkpoint of this recipe: it has no {key!r}")
    return checkpoint


def _load(content: bytes) -> Any:
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # Callbacks keyed by class objects, as some versions of Lightning wrote them.
        return torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=False, pickle_module=_inert_pickle
        )


def add_to_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Add plain values to a checkpoint of ours; the file is replaced as a whole."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    with atomic_write(path) as partial:
        torch.save(checkpoint | dict(content), partial)


def is_ours(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this project wrote it (and training can go on from it)."""
    return any(name.startswith(OUR_PREFIX) for name in checkpoint["state_dict"])


def checkpoint_config(checkpoint: Mapping[str, Any], source: str) -> Config:
    """The configuration a checkpoint was trained with. Raises InputError as `build_config`.

    Keys that are newer than the checkpoint have the recipe's values.
    """
    return stored_config(checkpoint["hyper_parameters"], source)


def checkpoint_weights(checkpoint: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """The weights under this project's names: `networks.student.…`, and what belongs to them.

    Raises InputError for a layout that is neither ours nor the published one.
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
            f"{source}: no weights named {OUR_PREFIX}… or {PUBLISHED_PREFIXES['student']}…"
        )
    return converted


def test_config(checkpoint: Mapping[str, Any], chosen: Config | None, source: str) -> Config:
    """The configuration to test a checkpoint with.

    The checkpoint's own; where the user chose one, everything but what shaped the network (`net`,
    `feats`, `scaler`) is the chosen one's. Raises InputError where its time axis is another.
    """
    own = checkpoint_config(checkpoint, source)
    if chosen is None:
        return own
    shaping = own.model_dump(include={"net", "feats", "scaler"})
    config = build_config(chosen.model_dump() | shaping, source)
    if config.grid != own.grid:
        raise InputError(
            f"{source}: was trained with {own.grid}, the configuration says {config.grid}; "
            "data.fs and data.audio_max_len must be the same"
        )
    return config
