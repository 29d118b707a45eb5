"""A model as one graph: model.onnx for any runtime, model.pt2 for PyTorch without this project.

Both take audio `(batch, samples)` of the length of the network's input, for any batch, and give
`strong`, `weak` and, with an SOD branch, `sod` as `ModelOutput`. An encoder is inside, in float32.
Each file is run while it is made, and refused where it differs from the model by more than
`TOLERANCE`.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from desed_task.encoder.encoder import FrameEncoder
from desed_task.encoder.sources import OnnxEncoder
from desed_task.errors import FaultError, InputError
from desed_task.extras import import_extra
from desed_task.features import LogMel
from desed_task.model.folder import load_model, read_description
from desed_task.model.network import Model, ModelOutput

ONNX_FILE = "model.onnx"
TORCH_FILE = "model.pt2"
TOLERANCE = 1e-4
OPSET = 17
_BATCH = torch.export.Dim("batch", min=1, max=4096)
_REASONS = {
    "Constraints violated (batch)": "it is for one size of batch alone",
    ".numpy() is not supported": "it computes outside PyTorch, by NumPy",
}
"""Why an encoder is no graph, by a text of PyTorch's message."""
NAMES = ("strong", "weak", "sod")
DIGEST = "weights_sha256"

Run = Callable[[Tensor], tuple[Tensor, ...]]


def export_graphs(
    folder: Path, *, onnx: bool, torch_export: bool, encoder: str | None = None
) -> None:
    """Add model.onnx and model.pt2, as asked, to a model's folder; `encoder` as of `load_model`.

    Raises FaultError for a graph whose outputs are not the model's, InputError where the packages
    of the extra `onnx` are missing, and for an encoder that cannot be inside the graph.
    """
    model = load_model(folder, encoder)
    model.set_encoder_precision(32)
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

    names, audio = NAMES[: 2 + model.network.has_sod], _audio(model, 2)
    module = _Graph(model, RealLogMel(model.log_mel))
    with _encoder_is_graph(model, ONNX_FILE):
        if model.encoder is None:
            graph = _traced(module, {"audio": audio}, names)
        else:
            graph = _around_encoder(module, model.encoder, audio, names)
        session = runtime.InferenceSession(
            graph.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        difference = largest_difference(
            model,
            lambda audio: tuple(map(torch.from_numpy, session.run(None, {"audio": audio.numpy()}))),
            ONNX_FILE,
        )
    description = model.description
    about = {
        "classes": json.dumps(description.classes, ensure_ascii=False),
        "sample_rate": str(description.sample_rate),
        "frame_seconds": repr(description.grid.frame_seconds),
        "input": "audio in [-1, 1]: (batch, samples)",
        DIGEST: description.weights_sha256,
        "largest_difference": repr(difference),
    }
    onnx.helper.set_model_props(graph, about)
    (folder / ONNX_FILE).write_bytes(graph.SerializeToString())


def _traced(module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str]) -> Any:
    """A module as an ONNX model, of any batch."""
    import onnx

    content = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # remarks on shapes that are constants here
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            cast(Any, content),
            dynamo=False,  # the newer exporter walks through the GRUs' frames, which takes minutes
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
        )
    return onnx.load_from_string(content.getvalue())


def _around_encoder(
    module: "_Graph", encoder: FrameEncoder, audio: Tensor, names: Sequence[str]
) -> Any:
    """The ONNX model of resampling, the encoder's graph, and the rest."""
    from onnx import compose, version_converter

    with torch.no_grad():
        resampled = encoder.resample(audio)
        outputs = encoder.function(resampled)
    inner = compose.add_prefix(_encoder_graph(encoder.function, resampled), "encoder/")
    output_names = [each.name for each in inner.graph.output]
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    before = _traced(_Before(encoder), {"audio": audio}, ["same", "resampled"])
    given = {"same": audio, **dict(zip(output_names, outputs, strict=True))}
    after = compose.add_prefix(
        _traced(module, given, names), "after/", rename_inputs=False, rename_outputs=False
    )
    # Graphs can be merged that have one version of the operators, and of the format.
    graphs, newest = [before, inner, after], max(map(_opset, (inner, before)))
    graphs = [
        each if _opset(each) == newest else version_converter.convert_version(each, newest)
        for each in graphs
    ]
    for each in graphs:
        each.ir_version = max(each.ir_version for each in graphs)
    before, inner, after = graphs
    # The exporter removes inputs that are not used: hidden layers.
    used = [each.name for each in after.graph.input]
    joint = [("resampled", inner.graph.input[0].name)]
    both = compose.merge_models(before, inner, joint, outputs=used)
    return compose.merge_models(both, after, [(name, name) for name in used])


def _encoder_graph(function: Any, audio: Tensor) -> Any:
    """An encoder as an ONNX model."""
    import onnx

    if isinstance(function, OnnxEncoder):
        return onnx.load(function.path)
    import_extra("onnx", "onnxscript")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # warns that torchvision is missing
    # The newer exporter: it knows the Fourier transforms and attention layers of encoders.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        outputs = _Outputs(function)
        program = torch.export.export(outputs, (audio,), dynamic_shapes=({0: _BATCH},))
        exported = torch.onnx.export(program, dynamo=True, verbose=False)
    assert exported is not None  # of the newer exporter
    return exported.model_proto


def _opset(model: Any) -> int:
    """Version of the standard operators of an ONNX model."""
    domains = ("", "ai.onnx")
    return next(each.version for each in model.opset_import if each.domain in domains)


def export_torch(model: Model, folder: Path) -> None:
    """Write model.pt2, which `torch.export.load` reads."""
    with warnings.catch_warnings(), torch.no_grad(), _encoder_is_graph(model, TORCH_FILE):
        warnings.simplefilter("ignore")
        program = torch.export.export(
            _Graph(model, model.log_mel), (_audio(model, 2),), dynamic_shapes=({0: _BATCH},)
        )
        content = io.BytesIO()
        torch.export.save(program, content)
        content.seek(0)
        loaded = torch.export.load(content).module()
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
    """Audio, and the outputs of an encoder that is a graph of its own -> the model's outputs."""

    def __init__(self, model: Model, log_mel: nn.Module) -> None:
        super().__init__()
        self.model, self.log_mel = model, log_mel
        self.eval()  # the exporter restores this mode, for the model, too

    def forward(self, audio: Tensor, *encoder_outputs: Tensor) -> tuple[Tensor, ...]:
        encoder, embeddings = self.model.encoder, None
        if encoder is not None and encoder_outputs:
            settings, grid = encoder.settings, encoder.grid
            encoder = FrameEncoder(settings, lambda _: encoder_outputs, grid, encoder.digest)
        if encoder is not None:
            embeddings = encoder(audio)
        outputs = self.model.probabilities(self.log_mel(audio), embeddings)
        return tuple(output for output in outputs if output is not None)


class _Before(nn.Module):
    """Audio -> the same, and the encoder's input."""

    def __init__(self, encoder: FrameEncoder) -> None:
        super().__init__()
        self.resample = encoder.resample

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        return audio.clone(), self.resample(audio)


class _Outputs(nn.Module):
    """The outputs of an encoder, each a tensor of its own."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, audio: Tensor) -> tuple[Tensor, ...]:
        outputs = self.function(audio)
        outputs = [outputs] if isinstance(outputs, Tensor) else outputs
        return tuple(output.clone() for output in outputs)


@contextmanager
def _encoder_is_graph(model: Model, name: str) -> Iterator[None]:
    """Raise InputError for an encoder that cannot be inside the graph `name`."""
    encoder = model.encoder
    if encoder is None:
        yield
        return
    source, function = encoder.settings.source, encoder.function
    refused = f"{name}: not written: the encoder {source} cannot be inside"
    kinds: tuple[type, ...] = (nn.Module, OnnxEncoder) if name == ONNX_FILE else (nn.Module,)
    if not isinstance(function, kinds):
        got = "an ONNX graph" if isinstance(function, OnnxEncoder) else "a Python function"
        expected = "an nn.Module or a file .pt2" + (" or .onnx" if name == ONNX_FILE else "")
        raise InputError(f"{refused}: expected {expected}, got {got}")
    try:
        yield
    except Exception as error:  # exporters and runtimes have many classes of errors
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = next((plain for text, plain in _REASONS.items() if text in reason), reason)
        if isinstance(error, FaultError) or type(error).__module__.startswith("onnxruntime"):
            reason = (
                "its graph has other outputs, as of random numbers and of one size of batch "
                f"({reason.removeprefix(f'{name}: not written: ')})"
            )
        raise InputError(f"{refused}: {reason}") from None


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


def _runtime() -> Any:
    return import_extra("onnx", "onnx", "onnxruntime")
