"""Encoders by their source: a file, a folder of `transformers`, or a function of the user's."""

import hashlib
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from desed_task.encoder.encoder import FrameEncoder, Function
from desed_task.encoder.settings import EncoderSettings
from desed_task.errors import InputError
from desed_task.files import content_digest, user_path
from desed_task.frames import FrameGrid


def load_encoder(settings: EncoderSettings, grid: FrameGrid) -> FrameEncoder:
    """The encoder of `settings.source`, on the CPU, in evaluation mode.

    Raises InputError where it cannot be had: no such file, a missing package, a failing function.
    """
    source = settings.source
    path = user_path(source)
    if path.suffix == ".onnx":
        function, digest = _onnx(path), content_digest(path)
    elif path.suffix == ".pt2":
        function, digest = _exported(path), content_digest(path)
    else:
        function, digest = _user_function(source)
    return FrameEncoder(settings, function, grid, digest)


def names_code(source: str) -> bool:
    """Whether a source is `module:function`, which is run."""
    module, _, function = source.partition(":")
    words = (*module.split("."), function)
    return all(word.isidentifier() for word in words) and not user_path(source).exists()


class OnnxEncoder:
    """An ONNX file as a function of audio, on the CPU."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self.path = path
        self._session = onnxruntime.InferenceSession(
            path.read_bytes(), providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, audio: Tensor) -> list[Tensor]:
        """`(batch, samples)` -> its outputs."""
        outputs = self._session.run(None, {self._input: audio.float().cpu().numpy()})
        return [torch.from_numpy(output).to(audio.device) for output in outputs]


def _onnx(path: Path) -> Function:
    return OnnxEncoder(path)


def _exported(path: Path) -> Function:
    module = torch.export.load(path).module()
    module.train = lambda mode=True: module  # type: ignore[method-assign]  # PyTorch's raises
    return module


def _user_function(source: str) -> tuple[Function, str]:
    """What `module:function` returns, and its digest."""
    module_name, _, name = source.partition(":")
    if not module_name or not name:
        raise InputError(
            f"encoder.source: expected a file .onnx or .pt2, a folder, or module:function, got "
            f"{source}"
        )
    sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(module_name), name)()
    except ImportError as error:
        raise InputError(f"encoder.source {source}: {error}") from None
    finally:
        sys.path.remove("")
    return function, _digest(function, source)


def _digest(function: Function, source: str) -> str:
    """Of the weights of a module; of a callable without weights, of its name."""
    digest = hashlib.sha256()
    if isinstance(function, nn.Module):
        weights: Mapping[str, Tensor] = function.state_dict()
        for name, tensor in sorted(weights.items()):
            digest.update(name.encode())
            digest.update(
                tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            )
    else:
        digest.update(source.encode())
    return digest.hexdigest()
