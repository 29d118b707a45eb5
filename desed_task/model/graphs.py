"""A model as one graph: model.onnx for any runtime, model.pt2 for PyTorch without this project.

Both take audio `(batch, samples)` of the length of the network's input, for any batch, and give
`strong`, `weak` and, with an SOD branch, `sod` as `ModelOutput`. Each file is run while it is made,
and refused where it differs from the model by more than `TOLERANCE`.
"""

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from desed_task.errors import FaultError, InputError
from desed_task.features import LogMel
from desed_task.model.folder import load_model, read_description
from desed_task.model.network import Model, ModelOutput

ONNX_FILE = "model.onnx"
TORCH_FILE = "model.pt2"
TOLERANCE = 1e-4
OPSET = 17
NAMES = ("strong", "weak", "sod")
DIGEST = "weights_sha256"

Run = Callable[[Tensor], tuple[Tensor, ...]]


def export_graphs(folder: Path, *, onnx: bool, torch_export: bool) -> None:
    """Add model.onnx and model.pt2, as asked, to a model's folder.

    Raises FaultError for a graph whose outputs are not the model's, InputError where the packages
    of the extra `onnx` are missing.
    """
    model = load_model(folder)
    if onnx:
        export_onnx(model, folder)
    if torch_export:
        export_torch(model, folder)


class OnnxModel:
    """model.onnx with the call and the attributes of `desed_task.model.Model`; on the CPU.

    Raises InputError where the folder has no model.onnx, or onnxruntime is missing.
    """

    def __init__(self, folder: Path, threads: int = 0) -> None:
        runtime = _runtime()
        path = folder / ONNX_FILE
        if not path.is_file():
            raise InputError(f"{path}: no such file: python -m local.export --onnx writes it")
        self.description = read_description(folder)
        self.log_mel = LogMel(self.description.features, self.description.sample_rate)
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = threads or torch.get_num_threads()
        try:
            self._session = runtime.InferenceSession(
                path.read_bytes(), settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has many classes of errors
            raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None

        about = self._session.get_modelmeta().custom_metadata_map
        if about.get(DIGEST) != self.description.weights_sha256:
            raise InputError(f"{path}: is of another model than model.json: export it again")

    def __call__(self, audio: Tensor) -> ModelOutput:
        """`(batch, samples)` -> probabilities."""
        outputs = self._session.run(None, {"audio": audio.float().numpy()})
        strong, weak, *sod = map(torch.from_numpy, outputs)
        return ModelOutput(strong, weak, sod[0] if sod else None)


def export_onnx(model: Model, folder: Path) -> None:
    """Write model.onnx; its metadata have classes, sample rate and length of a frame."""
    runtime = _runtime()
    import onnx

    content = io.BytesIO()
    names = NAMES[: 2 + model.network.has_sod]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # remarks on shapes that are constants here
        torch.onnx.export(
            _Graph(model, RealLogMel(model.log_mel)),
            (_audio(model, 2),),
            cast(Any, content),
            dynamo=False,  # the newer exporter walks through the GRUs' frames, which takes minutes
            opset_version=OPSET,
            input_names=["audio"],
            output_names=list(names),
            dynamic_axes={name: {0: "batch"} for name in ("audio", *names)},
        )
    graph = onnx.load_from_string(content.getvalue())
    description = model.description
    about = {
        "classes": json.dumps(description.classes, ensure_ascii=False),
        "sample_rate": str(description.sample_rate),
        "frame_seconds": repr(description.grid.frame_seconds),
        "input": "audio in [-1, 1]: (batch, samples)",
        DIGEST: description.weights_sha256,
    }
    session = runtime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    about["largest_difference"] = repr(
        largest_difference(
            model,
            lambda audio: tuple(map(torch.from_numpy, session.run(None, {"audio": audio.numpy()}))),
            ONNX_FILE,
        )
    )
    onnx.helper.set_model_props(graph, about)
    (folder / ONNX_FILE).write_bytes(graph.SerializeToString())


def export_torch(model: Model, folder: Path) -> None:
    """Write model.pt2, which `torch.export.load` reads."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            _Graph(model, model.log_mel), (_audio(model, 2),), dynamic_shapes=({0: batch},)
        )
        content = io.BytesIO()
        torch.export.save(program, content)
        content.seek(0)
        loaded = torch.export.load(content).module()
    with torch.no_grad():
        largest_difference(model, loaded, TORCH_FILE)
    (folder / TORCH_FILE).write_bytes(content.getvalue())


def largest_difference(model: Model, run: Run, name: str) -> float:
    """Largest difference of a graph's outputs from the model's, on clips unlike each other.

    Raises FaultError above `TOLERANCE`.
    """
    largest = 0.0
    for batch in (1, 3, 5):
        audio = _audio(model, batch)
        with torch.no_grad():
            expected = [output for output in model(audio) if output is not None]
        for output, graph_output in zip(expected, run(audio), strict=True):
            largest = max(largest, float((output - graph_output).abs().max()))
    if not largest <= TOLERANCE:
        raise FaultError(
            f"{name}: not written: expected the model's outputs within {TOLERANCE:g}, got a "
            f"difference of {largest:g}"
        )
    return largest


class RealLogMel(nn.Module):
    """`LogMel` without complex numbers (ONNX has none): a Fourier transform by convolution."""

    basis: Tensor
    bands: Tensor

    def __init__(self, log_mel: LogMel) -> None:
        super().__init__()
        spectrogram = log_mel.transform.spectrogram
        self.size, self.hop = spectrogram.n_fft, spectrogram.hop_length
        self.log = log_mel.log
        angles = np.outer(np.arange(self.size // 2 + 1), np.arange(self.size)) % self.size
        angles = 2 * np.pi * angles / self.size
        window = spectrogram.window.double().numpy()
        basis = np.concatenate([np.cos(angles), np.sin(angles)]) * window
        self.register_buffer("basis", torch.from_numpy(basis).float()[:, None])
        self.register_buffer("bands", log_mel.transform.mel_scale.fb.T.contiguous())

    def forward(self, audio: Tensor) -> Tensor:
        """`(batch, samples)` -> log-mel in dB `(batch, bands, frames)`."""
        padded = pad(audio[:, None], (self.size // 2, self.size // 2), mode="reflect")
        spectrum = conv1d(padded, self.basis, stride=self.hop)
        real, imaginary = spectrum.chunk(2, dim=1)
        return self.log(self.bands @ (real.square() + imaginary.square()).sqrt())


class _Graph(nn.Module):
    """Audio -> the outputs that a model has."""

    def __init__(self, model: Model, log_mel: nn.Module) -> None:
        super().__init__()
        self.model, self.log_mel = model, log_mel
        self.eval()  # the exporter restores this mode, for the model, too

    def forward(self, audio: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model.probabilities(self.log_mel(audio))
        return tuple(output for output in outputs if output is not None)


def _audio(model: Model, batch: int) -> Tensor:
    """Clips `(batch, samples)`: noise, tones with onsets over faint noise, a nearly silent one."""
    n_samples = model.description.grid.n_samples
    random = torch.Generator().manual_seed(batch)
    noise = torch.randn(batch, n_samples, generator=random)
    time = torch.arange(n_samples) / model.description.sample_rate
    clips = []
    for number in range(batch):
        tones = sum(
            (0.2 / n) * torch.sin(2 * torch.pi * (180 + 60 * number) * n * time)
            for n in range(1, 8)
        )
        sounding = (time % 1.3 > 0.7).float() * torch.exp(-3 * (time % 1.3))
        kinds = (0.3 * noise[number], tones * sounding + 1e-3 * noise[number], 1e-4 * noise[number])
        clips.append(kinds[number % 3])
    return torch.stack(clips).clamp(-1, 1)


def _runtime():  # type: ignore[no-untyped-def]  # onnxruntime has no types
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"{error.name}: is not installed: pip install 'desed_task[onnx]' or "
            "pip install onnx onnxruntime"
        ) from None
    return onnxruntime
