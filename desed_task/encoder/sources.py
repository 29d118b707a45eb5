"""Encoders by their source: a file, a folder of `transformers`, or a function of the user's."""

import hashlib
import sys
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from desed_task.encoder.encoder import FrameEncoder, Function, reason
from desed_task.encoder.pretrained import TransformersEncoder, find_folder, load_pretrained
from desed_task.encoder.settings import EncoderSettings
from desed_task.errors import InputError, file_error
from desed_task.extras import import_extra
from desed_task.files import user_path
from desed_task.frames import FrameGrid

ONNX, EXPORTED = ".onnx", ".pt2"


def load_encoder(settings: EncoderSettings, grid: FrameGrid) -> FrameEncoder:
    """The encoder of `settings.source`, on the CPU, in evaluation mode.

    Raises InputError where it cannot be had: no such file, a missing package, a failing function;
    and for settings that do not fit it.
    """
    function, digest = load_function(settings.source)
    rate, precision = settings.sample_rate, settings.precision
    if isinstance(function, TransformersEncoder) and function.sample_rate != rate:
        misfit = f"sample_rate: expected {function.sample_rate}, got {rate}"
    elif not isinstance(function, nn.Module) and precision != 32:
        misfit = f"precision: expected 32 for a source that is no PyTorch module, got {precision}"
    else:
        return FrameEncoder(settings, function, grid, digest)
    raise InputError(f"{settings.source}: encoder.{misfit}")


def load_function(source: str) -> tuple[Function, str]:
    """The encoder of a source at its own rate, and the SHA-256 that identifies it.

    The digest is that of a file's content; of the weights of a module, with the configuration of a
    folder; of the name and the code's file of a module without weights or another callable.

    Raises InputError as `load_encoder`.
    """
    if names_code(source):
        return _user_function(source)
    path = user_path(source)
    if path.suffix not in (ONNX, EXPORTED):
        folder = find_folder(source)
        model = load_pretrained(folder)
        return model, _module_digest(model, model.configuration)
    digest = _file_digest(path)
    return (OnnxEncoder(path) if path.suffix == ONNX else _exported(path)), digest


def digest_of_file(source: str) -> str | None:
    """The digest of a source that is a file, without loading it; None for others, and without it.

    Raises InputError for a file that cannot be read.
    """
    path = user_path(source)
    is_file = path.suffix in (ONNX, EXPORTED) and path.exists() and not names_code(source)
    return _file_digest(path) if is_file else None


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise file_error(path, error) from None


def names_code(source: str) -> bool:
    """Whether a source is `module:function`, which is run."""
    module, _, function = source.partition(":")
    words = (*module.split("."), function)
    return all(word.isidentifier() for word in words) and not user_path(source).exists()


class OnnxEncoder:
    """An ONNX file as a function of audio, on the CPU.

    Raises InputError for a file that onnxruntime cannot read.
    """

    def __init__(self, path: Path) -> None:
        runtime = import_extra("onnx", "onnxruntime")
        self.path = path
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = runtime.InferenceSession(
                str(path), settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has many classes of errors
            raise _unreadable(path, error) from None
        inputs = [each.name for each in self._session.get_inputs()]
        if len(inputs) != 1:
            raise InputError(f"{path}: expected one input, the audio, got {', '.join(inputs)}")
        self._input = inputs[0]

    def __call__(self, audio: Tensor) -> list[Tensor]:
        """`(batch, samples)` -> its outputs."""
        outputs = self._session.run(None, {self._input: audio.float().cpu().numpy()})
        return [torch.from_numpy(output).to(audio.device) for output in outputs]


def _exported(path: Path) -> nn.Module:
    try:
        module = torch.export.load(path).module()
    except Exception as error:  # many classes, depending on what the file is
        raise _unreadable(path, error) from None
    module.train = lambda mode=True: module  # type: ignore[method-assign]  # PyTorch's raises
    return module


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be read: {reason(error)}")


def _user_function(source: str) -> tuple[Function, str]:
    """What `module:function` returns, and its digest. The current folder is searched, too."""
    module_name, _, name = source.partition(":")
    sys.path.insert(0, "")
    try:
        module = import_module(module_name)
        function = getattr(module, name)()
    except Exception as error:  # the user's code
        raise InputError(f"encoder.source {source}: {reason(error)}") from error
    finally:
        sys.path.remove("")
    if isinstance(function, nn.Module) and function.state_dict():
        return function, _module_digest(function)
    if not callable(function):
        got = type(function).__name__
        raise InputError(
            f"encoder.source {source}: expected an nn.Module or another callable, got {got}"
        )
    file = getattr(module, "__file__", None)
    code = Path(file).read_bytes() if file else b""
    return function, hashlib.sha256(source.encode() + code).hexdigest()


def _module_digest(module: nn.Module, more: str = "") -> str:
    digest = hashlib.sha256(more.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(content.numpy())
    return digest.hexdigest()
