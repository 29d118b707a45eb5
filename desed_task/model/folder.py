"""Writing and reading a model's folder: model.json and weights.safetensors."""

import hashlib
from pathlib import Path

import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from desed_task.encoder.encoder import FrameEncoder
from desed_task.encoder.sources import load_encoder
from desed_task.errors import InputError, file_error, shortened
from desed_task.features import Scaler
from desed_task.files import atomic_folder
from desed_task.model.description import ModelDescription
from desed_task.model.network import Model
from desed_task.nnet.crnn import CRNN
from desed_task.settings import problems

DESCRIPTION_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
_MAX_DESCRIPTION_BYTES, _MAX_WEIGHTS_BYTES = 10_000_000, 4_000_000_000  # bytes


def save_model(folder: Path, model: Model) -> None:
    """Write a model's folder as a whole; an existing one is replaced; see `write_model`."""
    with atomic_folder(folder) as partial:
        write_model(partial, model)


def write_model(folder: Path, model: Model) -> None:
    """Write model.json, with the digest of the weights, and weights.safetensors.

    `folder` is an existing folder.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in _tensors(model).items()}
    content = safetensors.torch.save(tensors)
    digest = hashlib.sha256(content).hexdigest()
    description = model.description.model_copy(update={"weights_sha256": digest})
    (folder / WEIGHTS_FILE).write_bytes(content)
    write_description(folder, description)


def write_description(folder: Path, description: ModelDescription) -> None:
    """Write model.json."""
    absent = None if description.encoder else {"encoder", "encoder_sha256"}
    text = description.model_dump_json(indent=2, exclude=absent) + "\n"
    (folder / DESCRIPTION_FILE).write_text(text, encoding="utf-8")


def load_model(folder: str | Path, encoder: str | None = None) -> Model:
    """The model in a folder, on the CPU.

    Args:
        folder: of the model.
        encoder: source of its encoder, as `encoder.source` of the configuration; None for a model
            without one.

    Raises InputError that names the file and what does not fit: a missing or damaged file, another
    digest, tensors that are missing, unknown, of another shape or not finite; an encoder that is
    missing, another, or not needed.
    """
    folder = Path(folder)
    description = read_description(folder)
    frame_encoder = _encoder(description, encoder, folder)
    content = _read(folder / WEIGHTS_FILE, _MAX_WEIGHTS_BYTES)
    if hashlib.sha256(content).hexdigest() != description.weights_sha256:
        raise InputError(
            f"{folder / WEIGHTS_FILE}: digest: expected {description.weights_sha256[:12]}… as in "
            f"{DESCRIPTION_FILE}, got another: the file is damaged or of another model"
        )
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:  # safetensors raises its own class, and others for its content
        raise InputError(f"{folder / WEIGHTS_FILE}: cannot be read: {error}") from None
    # Without memory of its own: a description may claim any size.
    with torch.device("meta"):
        network = CRNN(description.network, len(description.classes), description.encoder)
        features = description.features
        scaler = Scaler(description.scaler, features.n_mels, description.grid.n_hops)
    model = Model(description, network, scaler, frame_encoder)
    _check_tensors(tensors, _tensors(model), folder)
    model.load_state_dict(tensors, strict=False, assign=True)  # the front end has none there
    return model


def _encoder(
    description: ModelDescription, source: str | None, folder: Path
) -> FrameEncoder | None:
    """The encoder that the user names, if it is the model's."""
    settings, digest = description.encoder, description.encoder_sha256
    if settings is None:
        if source is not None:
            raise InputError(f"--encoder {source}: {folder} has no encoder: expected no --encoder")
        return None
    if source is None:
        raise InputError(
            f"{folder}: needs the encoder of its training: expected --encoder SOURCE, which was "
            f"{settings.source} (SHA-256 {digest[:12]}…)"
        )
    settings = settings.model_copy(update={"source": source})
    found = load_encoder(settings, description.grid)
    if found.digest != digest and not settings.train:  # trained weights are the model's
        raise InputError(
            f"--encoder {source}: is not the encoder of {folder}: expected SHA-256 "
            f"{digest[:12]}…, got {found.digest[:12]}…"
        )
    return found


def read_description(folder: Path) -> ModelDescription:
    """Content of model.json. Raises InputError for every key that does not fit."""
    path = folder / DESCRIPTION_FILE
    if folder.is_file() and folder.suffix == ".ckpt":
        raise InputError(
            f"{folder}: a checkpoint: expected a model's folder; python -m local.export makes one "
            "of a checkpoint"
        )
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model: expected a folder with {DESCRIPTION_FILE}")
    content = _read(path, _MAX_DESCRIPTION_BYTES)
    try:
        return ModelDescription.model_validate_json(content)
    except ValidationError as error:
        lines = [f"{path}: {problem}" for problem in problems(error, ModelDescription)]
        raise InputError("\n       ".join(lines)) from None


def _read(path: Path, longest: int) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InputError(f"{path}: expected a file, got a folder or device")
        if size > longest:
            raise InputError(f"{path}: expected at most {longest} bytes, got {size}")
        return path.read_bytes()
    except OSError as error:
        raise file_error(path, error) from None


def _tensors(model: Model) -> dict[str, Tensor]:
    """Parameters and statistics by name, without what follows from the description.

    Of an encoder those that were trained.
    """
    encoder = model.description.encoder
    derived = ["log_mel.", "encoder.resample."]
    if encoder is not None and not encoder.train:
        derived.append("encoder.")
    tensors = model.state_dict().items()
    return {name: tensor for name, tensor in tensors if not name.startswith(tuple(derived))}


def _check_tensors(tensors: dict[str, Tensor], wanted: dict[str, Tensor], folder: Path) -> None:
    """Raise InputError unless the tensors have the wanted names, shapes and types."""
    problems = [f"{name} is missing" for name in wanted.keys() - tensors.keys()]
    problems += [f"{name} is unknown" for name in tensors.keys() - wanted.keys()]
    for name in wanted.keys() & tensors.keys():
        found, expected = tensors[name], wanted[name]
        if found.shape != expected.shape or found.dtype != expected.dtype:
            problems.append(
                f"{name}: expected {tuple(expected.shape)} {expected.dtype}, got "
                f"{tuple(found.shape)} {found.dtype}"
            )
        elif found.is_floating_point() and not found.isfinite().all():
            problems.append(f"{name}: expected finite numbers")
    if problems:
        raise InputError(
            f"{folder / WEIGHTS_FILE}: does not fit {DESCRIPTION_FILE}: "
            f"{shortened(sorted(problems))}"
        )
